"""Volumes: encoding, the target of Eq. (15), the losses by hand, the decoders."""

import math

import pytest
import torch

from msff.heatmaps import (
    bins_to_crop,
    decode,
    decode_depth,
    encode_bins,
    encode_depth,
    gaussian_volume,
    in_volume,
    plain_integral_l1,
    plain_soft_argmax,
    plain_volume_mse,
    volume_integral_l1,
    volume_mse,
)
from msff.settings.networks import VolumeSpec

SPEC = VolumeSpec(bins=8, crop_size=32, sigma_bin=1.3)


@pytest.fixture
def example():
    """Volume (2, 3, 8, 8, 8), bins (2, 3, 3), valid (2, 3) with an invalid joint whose position is NaN."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.randn(2, 3, 8, 8, 8, generator=generator) * 40
    bins = torch.rand(2, 3, 3, generator=generator) * 8
    valid = torch.tensor([[True, False, True], [True, True, True]])
    bins[0, 1] = math.nan
    return volume, bins, valid


def expectation(volume):
    """Sum of coordinate times probability, voxel by voxel."""
    probability = volume.flatten(2).softmax(-1)
    depth, height, width = volume.shape[2:]
    z, y, x = torch.meshgrid(*(torch.arange(n).to(volume) for n in (depth, height, width)), indexing="ij")
    return torch.stack([(probability * c.flatten()).sum(-1) for c in (x, y, z)], -1)


def test_encoding_of_internets_own_sizes():
    """Pixel 128 of 256 is bin 32; 200 mm each way: 50 mm behind the wrist is bin (0.25 + 1) / 2 * 64 = 40."""
    bins = encode_bins(torch.tensor([[[128.0, 10.0]]]), torch.tensor([[50.0]]), VolumeSpec())
    torch.testing.assert_close(bins, torch.tensor([[[32.0, 2.5, 40.0]]]))
    assert encode_depth(torch.tensor([-100.0]), VolumeSpec()).item() == pytest.approx(16.0)
    assert decode_depth(torch.tensor([48.0]), VolumeSpec()).item() == pytest.approx(100.0)


def test_decoding_inverts_encoding():
    pixels, depth = torch.rand(2, 42, 2) * 96, torch.rand(2, 42) * 400 - 200
    spec = VolumeSpec(bins=24, crop_size=96)
    again, depth_again = bins_to_crop(encode_bins(pixels, depth, spec), spec)
    torch.testing.assert_close(again, pixels)
    torch.testing.assert_close(depth_again, depth, atol=1e-4, rtol=1e-5)
    root = torch.tensor([-123.0, 0.0, 77.0])
    torch.testing.assert_close(decode_depth(encode_depth(root, spec), spec), root)


def test_in_volume_is_half_open_and_rejects_nan():
    rows = [[0.0, 0, 0], [7.99, 7.99, 7.99], [8.0, 1, 1], [1, -0.01, 1], [1, 1, 8.0], [math.nan, 1, 1]]
    assert in_volume(torch.tensor([rows]), SPEC).tolist() == [[True, True, False, False, False, False]]


def test_gaussian_by_hand():
    """At distance sqrt(1 + 4 + 4) = 3: 255 exp(-9 / (2 * 2.5^2)) = 124.12...; depth is the first axis."""
    spec = VolumeSpec(bins=16, crop_size=64)
    volume = gaussian_volume(torch.tensor([[[5.0, 6.0, 9.0]]]), spec)
    assert volume.shape == (1, 1, 16, 16, 16)
    assert volume[0, 0, 9, 6, 5].item() == pytest.approx(255.0)
    assert volume[0, 0, 10, 8, 7].item() == pytest.approx(124.1216, abs=1e-3)
    between = gaussian_volume(torch.tensor([[[5.5, 6.0, 9.0]]]), spec)  # the centre is not rounded to a voxel
    assert between[0, 0, 9, 6, 5].item() == pytest.approx(255 * math.exp(-0.02), rel=1e-5)


@pytest.mark.parametrize("loss", [volume_mse, plain_volume_mse])
def test_mse_by_hand(loss):
    """A target of amplitude 2 and almost no width, a volume of ones: (512 - 1) * 1 + (2 - 1)^2 over 2 joints of 512."""
    spec = VolumeSpec(bins=8, crop_size=32, sigma_bin=0.01, amplitude=2.0)
    bins, valid = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]]), torch.tensor([[True, False]])
    assert loss(torch.ones(1, 2, 8, 8, 8), bins, valid, spec).item() == pytest.approx(0.5)
    volume = torch.zeros(1, 2, 8, 8, 8)
    volume[0, 0, 3, 2, 1] = 5.0  # (5 - 2)^2 / 1024
    assert loss(volume, bins, valid, spec).item() == pytest.approx(9 / 1024)


def test_the_plain_soft_argmax_is_the_expectation_over_all_voxels():
    volume = torch.randn(2, 3, 4, 5, 6, dtype=torch.double)
    torch.testing.assert_close(plain_soft_argmax(volume), expectation(volume))


def test_soft_argmax_of_two_equal_peaks_lies_between_them():
    volume = torch.full((1, 1, 8, 8, 8), -50.0)
    volume[0, 0, 2, 3, 1] = volume[0, 0, 6, 3, 5] = 50.0
    torch.testing.assert_close(decode(volume, "expectation"), torch.tensor([[[3.0, 3.0, 4.0]]]))


@pytest.mark.parametrize("loss", [volume_integral_l1, plain_integral_l1])
def test_integral_loss_by_hand(loss):
    """A uniform volume is expected at 3.5 on each axis; |3.5 - (1, 3.5, 7)| has the mean (2.5 + 0 + 3.5) / 3."""
    bins, valid = torch.tensor([[[1.0, 3.5, 7.0], [math.nan] * 3]]), torch.tensor([[True, False]])
    assert loss(torch.zeros(1, 2, 8, 8, 8), bins, valid, SPEC).item() == pytest.approx(2.0)


def test_losses_without_a_valid_joint_are_zero_with_a_zero_gradient(example):
    volume, bins, _ = example
    none = torch.zeros(2, 3, dtype=torch.bool)
    for loss in (volume_mse, volume_integral_l1, plain_volume_mse, plain_integral_l1):
        leaf = volume.clone().requires_grad_()
        value = loss(leaf, torch.full_like(bins, math.nan), none, SPEC)
        value.backward()
        assert value.item() == 0 and (leaf.grad == 0).all()


def test_argmax_gives_whole_bins_in_x_y_z_order():
    volume = torch.randn(2, 3, 8, 8, 8)
    volume[1, 2, 7, 0, 4] = 100.0
    peak = decode(volume, "argmax")
    assert peak.dtype == torch.float32 and peak.shape == (2, 3, 3)
    assert peak[1, 2].tolist() == [4.0, 0.0, 7.0]


@pytest.mark.parametrize("decoder", ["argmax", "subvoxel", "expectation"])
def test_decoders_take_any_precision_and_memory_layout(decoder):
    volume = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    half = volume.bfloat16()
    by_depth = half.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # depth innermost, as channels last
    expected = decode(half.float(), decoder)
    for other in (half, by_depth):
        assert decode(other, decoder).dtype == torch.float32
        torch.testing.assert_close(decode(other, decoder), expected)


def test_argmax_takes_the_first_of_equal_voxels():
    volume = torch.zeros(1, 1, 4, 4, 4)
    volume[0, 0, 3, 0, 0] = volume[0, 0, 1, 3, 0] = volume[0, 0, 1, 2, 3] = 1.0
    assert decode(volume, "argmax").tolist() == [[[3.0, 2.0, 1.0]]]


def test_subvoxel_recovers_a_gaussian_exactly_and_argmax_its_voxel():
    bins = torch.tensor([[[3.3, 4.75, 2.1], [5.45, 1.2, 3.0]]])
    volume = gaussian_volume(bins, SPEC)
    torch.testing.assert_close(decode(volume, "subvoxel"), bins, atol=1e-3, rtol=0)
    torch.testing.assert_close(decode(volume, "argmax"), bins.round())


def test_subvoxel_at_the_edge_and_on_negative_scores_stays_in_the_peaks_voxel():
    volume = gaussian_volume(torch.tensor([[[0.0, 7.0, 3.4]]]), SPEC) - 300.0
    torch.testing.assert_close(decode(volume, "subvoxel"), torch.tensor([[[0.0, 7.0, 3.0]]]))


def test_bad_arguments_are_named(example):
    volume, bins, valid = example
    with pytest.raises(ValueError, match="argmax, subvoxel, expectation"):
        decode(volume, "median")
    with pytest.raises(ValueError, match=r"network and VolumeSpec must agree on bins \(16\)"):
        volume_mse(volume, bins, valid, VolumeSpec(bins=16, crop_size=64))
