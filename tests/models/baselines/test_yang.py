"""Yang's network: two factors and their separation, the viewpoint in six numbers, its canonical targets."""

import pytest
import torch

from msff.data.synthetic import synthetic_batch
from msff.models.baselines.canonical_frame import from_canonical
from msff.models.baselines.pose_convention import pose_targets
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import Yang, YangConfig, rotation_to_6d
from msff.models.building import count_macs
from msff.settings.networks import BackboneConfig
from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, WRIST

SLIM = VaeSize(64, BackboneConfig("basic", 8, (1, 1, 1, 1)), hidden=16)


def slim(**changes):
    torch.manual_seed(0)
    return Yang(YangConfig(SLIM, **{"canonical_latent": 4, "view_latent": 3, **changes}))


def seen(network, count=2):
    return network(torch.rand(count, 3, 64, 64), torch.arange(count) % 2)


def test_size_from_image_to_pose():
    """ResNet-18 11,176,512; 2048 + 2 -> 128; 64 -> 512 x 5 -> 63. 12.6 M and 2.37 GMAC, a little above Spurr's."""
    with torch.device("meta"):
        network = Yang(YangConfig())
    path = (network.image_encoder, network.pose_decoder)
    decoder = (64 + 2) * 512 + 512 + 4 * (512 * 512 + 512) + 512 * 63 + 63
    count = sum(p.numel() for part in path for p in part.parameters())
    assert count == 11_176_512 + 2050 * 128 + 128 + decoder == 12_556_287
    # the decoders of c and v count, too: 1.1 M multiply-adds each
    assert count_macs(network, 256) / 1e9 == pytest.approx(2.37, abs=0.005)


def test_the_parts_have_their_sizes():
    with torch.device("meta"):
        network = Yang(YangConfig())

    def widths(name):
        linear = [m for m in getattr(network, name) if hasattr(m, "weight")]
        return (linear[0].in_features, *(m.out_features for m in linear))

    assert widths("canonical_encoder") == (63, 512, 512, 512, 64)
    assert widths("view_encoder") == (6, 512, 512, 512, 64)
    assert widths("canonical_decoder") == (32, *[512] * 5, 63)
    assert widths("view_decoder") == (32, *[512] * 5, 6)
    assert widths("pose_decoder") == (64 + 2, *[512] * 5, 63)
    assert network.image_encoder.code.weight.shape == (2 * 64, 2050)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [3, 1])
def test_shapes_are_the_same_in_training_and_evaluation(training, count):
    network = slim().train(training)
    side = torch.zeros(count, dtype=torch.long)
    labels = network.from_labels(torch.randn(count, 21, 3), torch.randn(count, 6), side)
    for output in (seen(network, count), labels):
        assert output.pose.shape == output.canonical.shape == (count, 21, 3) and output.view.shape == (count, 6)
        assert output.mean.shape == output.log_variance.shape == (count, 7)
        assert torch.isfinite(output.pose).all()


def test_no_hand():
    network = slim().eval()
    assert seen(network, 0).pose.shape == (0, 21, 3)
    assert network.from_labels(
        torch.zeros(0, 21, 3), torch.zeros(0, 6), torch.zeros(0, dtype=torch.long)
    ).view.shape == (0, 6)


def test_the_factors_are_separate():
    """z_c moves c alone, z_v moves v alone, both move p."""
    output = seen(slim().eval())
    moved = {
        name: torch.autograd.grad(getattr(output, name).sum(), output.mean, retain_graph=True)[0].abs().sum(0) > 0
        for name in ("pose", "canonical", "view")
    }
    assert moved["canonical"].tolist() == [True] * 4 + [False] * 3
    assert moved["view"].tolist() == [False] * 4 + [True] * 3
    assert moved["pose"].all()


def test_labels_are_encoded_separately():
    network = slim()
    canonical, view = torch.randn(1, 21, 3), torch.randn(1, 6)
    side = torch.zeros(1, dtype=torch.long)
    one, other = network.from_labels(canonical, view, side), network.from_labels(canonical, view + 1, side)
    assert torch.equal(one.mean[:, :4], other.mean[:, :4]) and not torch.equal(one.mean[:, 4:], other.mean[:, 4:])


def test_the_same_factors_mean_another_pose_for_the_other_hand():
    """Canonical hands are left ones, so that c and v alone fit two mirrored hands."""
    network = slim().eval()
    canonical, view = torch.randn(1, 21, 3), torch.randn(1, 6)
    right, left = (network.from_labels(canonical, view, torch.tensor([side])) for side in (0, 1))
    assert torch.equal(right.mean, left.mean) and torch.equal(right.canonical, left.canonical)
    assert not torch.allclose(right.pose, left.pose)


# targets


def test_factors_make_the_pose():
    """p = flip(c) R; in the canonical frame the middle MCP is straight above the palm, the little one in its plane."""
    batch = synthetic_batch(5, 32, "cpu", torch.Generator().manual_seed(0))
    targets = pose_targets(batch, YangConfig().convention)
    assert len(targets) == 10
    torch.testing.assert_close(from_canonical(targets.canonical, targets.rotation, targets.side), targets.pose)
    assert (targets.pose[:, WRIST] == 0).all()
    middle, little = targets.canonical[:, MIDDLE_MCP], targets.canonical[:, LITTLE_MCP]
    assert middle[:, [0, 2]].abs().max() < 1e-4 and (middle[:, 1] < 0).all()
    wrist = targets.canonical[:, WRIST]
    assert (wrist - middle)[:, [0, 2]].abs().max() < 1e-4
    assert (little - middle)[:, 2].abs().max() < 1e-4 and ((little - middle)[:, 0] > 0).all()
    assert torch.equal(rotation_to_6d(targets.rotation), targets.rotation.flatten(1)[:, :6])  # its first two rows


def test_hands_without_a_frame_have_no_target():
    batch = synthetic_batch(2, 32, "cpu", torch.Generator().manual_seed(0))
    batch.joint_valid[0, LITTLE_MCP] = False
    batch.joint_valid[1, 21 + WRIST] = False
    targets = pose_targets(batch, YangConfig().convention)
    assert targets.side.tolist() == [1, 0]
