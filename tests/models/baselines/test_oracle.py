"""The quantisation floor: by hand, against the volume itself, and within the bound that half a bin sets."""

from types import SimpleNamespace

import pytest
import torch

from msff.data.synthetic import synthetic_batch
from msff.heatmaps import decode, gaussian_volume
from msff.models.baselines.oracle import HeatMapOracle
from msff.settings.networks import VolumeSpec
from msff.skeleton import ROOTS

SPEC = VolumeSpec()
WRISTS = list(ROOTS.values())


def batch_of(crop_px, depth_mm):
    return SimpleNamespace(joints_crop_px=crop_px, relative_depth_mm=depth_mm)


def test_by_hand():
    """Bins are 4 px and 6.25 mm: px (101, 50) = bins (25.25, 12.5) reads as (25, 12) = px (100, 48).

    20 mm behind the wrist is bin 35.2, read as 35 = 18.75 mm.
    """
    crop_px, depth = torch.tensor([101.0, 50.0]).expand(1, 42, 2), torch.full((1, 42), 20.0)
    oracle = HeatMapOracle(SPEC)
    assert oracle(batch_of(crop_px, depth))[0, 7].tolist() == [25.0, 12.0, 35.0]
    place, relative = oracle.decoded(batch_of(crop_px, depth))
    assert place[0, 7].tolist() == [100.0, 48.0] and relative[0, 7].item() == 18.75


def test_a_joint_outside_is_read_at_the_border():
    crop_px, depth = torch.tensor([-9.0, 300.0]).expand(1, 42, 2), torch.full((1, 42), 250.0)
    assert HeatMapOracle(SPEC)(batch_of(crop_px, depth))[0, 0].tolist() == [0.0, 63.0, 63.0]


@pytest.mark.parametrize("decoder", ["argmax", "subvoxel"])
def test_it_is_the_decoder_on_the_true_volume(decoder):
    spec = VolumeSpec(bins=16, crop_size=64)
    bins = torch.rand(3, 5, 3, generator=torch.Generator().manual_seed(0)) * 15
    bins[0, 0] = torch.tensor([2.5, 8.5, 4.0])  # ties
    torch.testing.assert_close(HeatMapOracle(spec, decoder).decode(bins), decode(gaussian_volume(bins, spec), decoder))


def test_an_expectation_loses_only_what_lies_outside():
    """A volume whose expectation is the true place: two voxels per axis, weighted by how near they are."""
    spec = VolumeSpec(bins=16, crop_size=64)
    bins = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(0)) * 14
    found = HeatMapOracle(spec, "expectation").decode(bins)
    steps = torch.arange(16.0)
    x, y, z = (1 - (steps - bins[..., None]).abs()).clamp(min=0).unbind(2)  # (1, 5, 16) each, sums to 1
    probability = z[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]
    torch.testing.assert_close(decode(probability.clamp(min=1e-30).log(), "expectation"), found, atol=1e-3, rtol=0)
    outside = torch.tensor([[[-3.0, 5.0, 40.0]]])
    assert HeatMapOracle(spec, "expectation").decode(outside).tolist() == [[[0.0, 5.0, 15.0]]]


def test_subvoxel_reads_the_truth():
    spec = VolumeSpec(bins=16, crop_size=64)
    bins = 2 + torch.rand(2, 42, 3, generator=torch.Generator().manual_seed(0)) * 11
    assert (HeatMapOracle(spec, "subvoxel").decode(bins) - bins).abs().max() < 0.01
    assert (HeatMapOracle(spec).decode(bins) - bins).abs().max() > 0.4


def test_no_sample_gives_no_bins():
    batch = batch_of(torch.zeros(0, 42, 2), torch.zeros(0, 42))
    assert HeatMapOracle(SPEC)(batch).shape == HeatMapOracle(SPEC, "subvoxel")(batch).shape == (0, 42, 3)


def test_it_takes_a_batch_of_the_loader():
    batch = synthetic_batch(2, 64, "cpu", torch.Generator().manual_seed(0))
    spec = VolumeSpec(bins=16, crop_size=64)
    assert HeatMapOracle(spec)(batch).shape == (2, 42, 3)
    assert (HeatMapOracle(spec).decoded(batch)[0] - batch.joints_crop_px).abs().max() <= 4.0
