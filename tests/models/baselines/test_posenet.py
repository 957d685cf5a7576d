"""PoseNet (2017): published sizes, padding, shapes, mirrored hands, errors."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from msff.models.baselines.canonical_frame import from_canonical, to_canonical
from msff.models.baselines.posenet import PoseNet, PoseNet2D, PoseNetConfig
from msff.models.baselines.posenet_layers import LayerConfig, SameConv
from msff.models.baselines.posenet_segmentation import HandSegNet, box_of_mask
from msff.models.building import count_macs, count_parameters
from msff.training.objectives.posenet import segmentation_loss

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)
SIDES = torch.tensor([0, 1])


def slim(config=SLIM, seed=0):
    torch.manual_seed(seed)
    return PoseNet(config)


def macs(module, *inputs):
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def test_published_sizes():
    """17.52, 1.64, 2.24 and 13.60 M parameters; 30.2 and 26.2 G multiply-adds at 256 px; 21.4 M and 30.3 G in all."""
    with torch.device("meta"):
        net, segmentation = PoseNet(PoseNetConfig()), HandSegNet()
        image, side = torch.empty(1, 3, 256, 256), torch.empty(1, dtype=torch.int64)
        assert macs(net.pose2d, image) / 1e9 == pytest.approx(30.2, abs=0.05)
        assert macs(net, image, side) / 1e9 == pytest.approx(30.3, abs=0.05)
    assert count_macs(segmentation, 256) / 1e9 == pytest.approx(26.2, abs=0.05)
    assert count_parameters(net.pose2d) == 17_518_847
    assert count_parameters(net.lifting.prior) == 1_637_279
    assert count_parameters(net.lifting.viewpoint) == 2_238_403
    assert count_parameters(segmentation) == 13_601_986
    assert count_parameters(net) / 1e6 == pytest.approx(21.4, abs=0.05)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_shapes_at_every_size(size):
    net = slim(SLIM.slim(size, 0.0625))
    output = net(torch.rand(2, 3, size, size), SIDES)
    assert output.pose.shape == output.canonical.shape == (2, 21, 3) and output.rotation.shape == (2, 3, 3)
    assert [m.shape for m in output.score_maps] == 3 * [(2, 21, size // 8, size // 8)]


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(count):
    net, segmentation = slim(), HandSegNet(LayerConfig(width=0.0625))
    image, side = torch.rand(count, 3, 32, 32), torch.ones(count, dtype=torch.int64)
    assert net(image, side).pose.shape == (count, 21, 3)
    logits = segmentation(image)
    assert logits.shape == (count, 2, 32, 32)
    assert box_of_mask(logits.softmax(1)[:, 1]).shape == (count, 4)
    mask = torch.zeros(count, 32, 32, dtype=torch.bool)
    assert torch.isfinite(segmentation_loss(logits, mask))


def test_one_output_whatever_the_mode_and_dropout_only_in_training():
    net, image, side = slim(), torch.rand(2, 3, 32, 32), SIDES
    first, second = net(image, side), net(image, side)
    assert not torch.equal(first.canonical, second.canonical)
    net.eval()
    assert torch.equal(net(image, side).pose, net(image, side).pose)
    torch.testing.assert_close(net(image[:1], side[:1]).pose[0], net(image, side).pose[0], atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    net = slim(replace(SLIM, prior_dropout=0.0, viewpoint_dropout=0.0))
    joints = net(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])).pose
    (joints * torch.randn(21, 3)).sum().backward()  # a length alone would not see the rotation
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    segmentation = HandSegNet(LayerConfig(width=0.0625))
    segmentation_loss(segmentation(torch.rand(2, 3, 32, 32)), torch.rand(2, 32, 32) > 0.5).backward()
    assert [n for n, p in segmentation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("size, kernel, stride, before, after", [
    (8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (1, 3, 2, 1, 1), (8, 7, 1, 3, 3), (8, 1, 1, 0, 0),
])  # fmt: skip
def test_same_padding(size, kernel, stride, before, after):
    """TensorFlow's rule; for stride 2 on even maps only the right and the bottom edge are padded."""
    conv = SameConv(2, 3, kernel, LayerConfig(), stride)
    x = torch.rand(1, 2, size, size)
    expected = F.leaky_relu(conv.conv(F.pad(x, (before, after, before, after))), 0.01)
    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape[-1] == -(-size // stride)


def test_the_gain_keeps_the_signal():
    """Through the encoder's fifteen layers the deviation stays within a factor of ten; with gain 1 little is left."""
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64) - 0.5

    def kept(layers):
        with torch.no_grad():
            return (PoseNet2D(PoseNetConfig(64, layers)).encoder(image).std() / image.std()).item()

    assert LayerConfig().gain == pytest.approx(math.sqrt(2))
    assert kept(LayerConfig(width=0.25)) > 0.1 and kept(LayerConfig(width=0.25, gain=1.0)) < 0.02


def test_sides_mirror_the_hand():
    """The same canonical hand as left and as right hand, the viewpoint mirrored too, is a hand and its mirror image."""
    generator = torch.Generator().manual_seed(0)
    canonical, left, right = torch.randn(5, 21, 3, generator=generator), torch.ones(5), torch.zeros(5)
    _, viewpoint = to_canonical(torch.randn(5, 21, 3, generator=generator), left)
    flip_x, flip_z = torch.diag_embed(torch.tensor([[-1.0, 1, 1], [1, 1, -1]]))
    mirrored = from_canonical(canonical, flip_z @ viewpoint @ flip_x, right)
    torch.testing.assert_close(mirrored, from_canonical(canonical, viewpoint, left) @ flip_x)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 32, 32\)"):
        slim()(torch.rand(1, 3, 64, 64), SIDES[:1])
    for wrong in (torch.eye(2, dtype=torch.int64)[:1], torch.ones(1), SIDES):
        with pytest.raises(ValueError, match=r"side must be int64 \(1,\), 0 right and 1 left, got torch\."):
            slim()(torch.rand(1, 3, 32, 32), wrong)


def test_the_side_enters_as_one_of_two():
    """The trunk appends (1, 0) for a right and (0, 1) for a left hand."""
    trunk = slim().lifting.prior.trunk
    assert trunk(torch.rand(2, 21, 4, 4), SIDES)[:, -2:].tolist() == [[1, 0], [0, 1]]
