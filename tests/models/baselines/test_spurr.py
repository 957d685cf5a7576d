"""Spurr's network: shapes, published size, the code."""

import dataclasses

import pytest
import torch

from msff.models.baselines.spurr import Spurr, SpurrConfig
from msff.models.baselines.vae import ImageEncoder, Latent, VaeSize, mlp
from msff.models.building import count_macs
from msff.models.registry import SPURR_VARIANTS
from msff.settings.networks import BackboneConfig

SLIM = VaeSize(64, BackboneConfig("basic", 8, (1, 1, 1, 1)), hidden=16)
VARIANTS = sorted(SPURR_VARIANTS)


def slim(variant="plain", **changes):
    torch.manual_seed(0)
    return Spurr(SpurrConfig(SLIM, latent=5, **SPURR_VARIANTS[variant], **changes))


def reached(network, scalar):
    """Parameters that the scalar depends on."""
    network.zero_grad()
    scalar.backward()
    return {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_size_from_image_to_pose(variant):
    """ResNet-18 11,176,512; code 2048 (+ 2 for the side) -> 60; decoder 30 -> 512 x 5 -> 63. 12.4 M, 2.37 GMAC."""
    with torch.device("meta"):
        network = Spurr(SpurrConfig(**SPURR_VARIANTS[variant]))
    inputs = 2048 + 2 * network.config.hand_side
    decoder = 30 * 512 + 512 + 4 * (512 * 512 + 512) + 512 * 63 + 63
    path = (network.image_encoder, network.pose_decoder)
    count = sum(p.numel() for part in path for p in part.parameters())
    assert count == 11_176_512 + inputs * 60 + 60 + decoder
    assert count / 1e6 == pytest.approx(12.4, abs=0.005)
    if not network.config.hand_side:  # the counter passes an image alone
        macs = count_macs(network, 256)
        assert macs / 1e9 == pytest.approx(2.37, abs=0.005)
        resnet = macs - (2048 * 60) - (30 * 512 + 4 * 512 * 512 + 512 * 63)
        assert resnet == 2_368_733_184


def test_the_path_that_is_counted_is_the_one_that_forward_uses():
    network = slim()
    names = reached(network, network(torch.rand(2, 3, 64, 64)).pose.sum())
    assert {name.split(".")[0] for name in names} == {"image_encoder", "pose_decoder"}


def test_the_parts_have_the_released_sizes():
    with torch.device("meta"):
        network = Spurr(SpurrConfig())
    shapes = [tuple(m.weight.shape) for m in network.pose_encoder if hasattr(m, "weight")]
    assert shapes == [(512, 63), (512, 512), (512, 512), (60, 512)]
    assert network.image_encoder.pool.kernel_size == 7 and network.image_encoder.pool.stride == 1


@pytest.mark.parametrize("crop", [64, 96, 160])
def test_smaller_crops_keep_two_by_two_features(crop):
    encoder = ImageEncoder(dataclasses.replace(SLIM, crop_size=crop), 6, hand_side=False)
    assert encoder.code.in_features == 4 * 64
    assert encoder(torch.rand(2, 3, crop, crop)).shape == (2, 6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_shapes_are_the_same_in_training_and_evaluation(variant, training):
    network = slim(variant).train(training)
    output = network(torch.rand(3, 3, 64, 64), torch.tensor([0, 1, 0]))
    assert output.pose.shape == (3, 21, 3) and output.mean.shape == output.log_variance.shape == (3, 5)
    own = network.from_pose(torch.randn(3, 21, 3))
    assert own.pose.shape == (3, 21, 3) and own.mean.shape == (3, 5)


@pytest.mark.parametrize("training", [True, False])
def test_one_hand(training):
    output = slim("side").train(training)(torch.rand(1, 3, 64, 64), torch.tensor([1]))
    assert torch.isfinite(output.pose).all()


def test_no_hand():
    network = slim("scale-side").eval()
    output = network(torch.rand(0, 3, 64, 64), torch.zeros(0, dtype=torch.int64))
    assert output.pose.shape == (0, 21, 3) and output.mean.shape == (0, 5)
    assert network.from_pose(torch.zeros(0, 21, 3)).pose.shape == (0, 21, 3)


def test_the_handedness_matters_only_if_it_is_given():
    image, right, left = torch.rand(2, 3, 64, 64), torch.tensor([0, 0]), torch.tensor([1, 1])
    given, blind = slim("side").eval(), slim("plain").eval()
    assert (given(image, right).pose - given(image, left).pose).abs().max() > 1e-4
    assert torch.equal(blind(image, right).pose, blind(image).pose)
    with pytest.raises(ValueError, match="needs the handedness"):
        given(image)


def test_noise_moves_the_code_by_its_deviation():
    """Means 1 and 2, variances 4 and 1/9, noise 0.5 and -3: 1 + 2 * 0.5 and 2 - 3 / 3."""
    latent = Latent(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 1 / 9]]).log())
    torch.testing.assert_close(latent.at(torch.tensor([[0.5, -3.0]])), torch.tensor([[2.0, 1.0]]))
    assert latent.at(None) is latent.mean
    half = Latent.of(torch.tensor([[1.0, 2, 3, 4]]))
    assert half.mean.tolist() == [[1, 2]] and half.log_variance.tolist() == [[3, 4]]


def test_forward_decodes_the_code():
    network, image, noise = slim().eval(), torch.rand(2, 3, 64, 64), torch.randn(2, 5)
    output, noisy = network(image), network(image, noise=noise)
    torch.testing.assert_close(network.pose_decoder(output.mean).view(2, 21, 3), output.pose)
    z = output.mean + (output.log_variance / 2).exp() * noise
    torch.testing.assert_close(network.pose_decoder(z).view(2, 21, 3), noisy.pose)
    torch.testing.assert_close(noisy.mean, output.mean)


def test_images_enter_about_grey():
    encoder = ImageEncoder(SLIM, 4, hand_side=False).eval()
    seen = []
    encoder.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    encoder(torch.full((1, 3, 64, 64), 0.75))
    assert seen[0].unique().tolist() == [0.25]


def test_a_perceptron_by_hand():
    """max(0, 2 * 3 + 1) = 7, then 7 * -1 + 0.5; and max(0, 2 * -3 + 1) = 0."""
    network = mlp(1, 1, 1, 1)
    for p, value in zip(network.parameters(), (2.0, 1.0, -1.0, 0.5), strict=True):
        p.data.fill_(value)
    assert network(torch.tensor([[3.0], [-3.0]])).flatten().tolist() == [-6.5, 0.5]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: VaeSize(crop_size=32), "at least 64"),
        (lambda: VaeSize(crop_size=100), "multiple of 32"),
        (lambda: slim()(torch.rand(2, 3, 96, 96)), r"image must be \(N, 3, 64, 64\)"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
