"""The loss of a batch: its terms by hand, and validity."""

import math
from types import SimpleNamespace

import pytest
import torch

from msff.heatmaps import volume_integral_l1, volume_mse
from msff.models.output import HandOutput
from msff.settings.losses import LossConfig
from msff.settings.networks import VolumeSpec
from msff.training.objectives.heatmap import HandObjective, hand_loss, root_loss, side_loss

SPEC = VolumeSpec(bins=8, crop_size=32, sigma_bin=1.0)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        joints_crop_px=torch.rand(2, 42, 2, generator=generator) * 32,
        relative_depth_mm=torch.rand(2, 42, generator=generator) * 300 - 150,
        joint_valid=torch.rand(2, 42, generator=generator) < 0.7,
        side_present=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        side_valid=torch.tensor([True, False]),
        relative_root_depth_mm=torch.tensor([30.0, 0.0]),
        relative_root_valid=torch.tensor([True, False]),
    )


@pytest.fixture
def output():
    volume = torch.randn(2, 42, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    return HandOutput(volume, torch.tensor([[2.0, 0.5], [9.0, 9.0]]), torch.tensor([6.6, 1.0]))


def bins_of(batch):
    return torch.cat([batch.joints_crop_px / 4, (batch.relative_depth_mm[..., None] / 200 + 1) * 4], -1)


def test_side_loss_by_hand(output, batch):
    """Sample 0: -log s(2) - log(1 - s(0.5)); sample 1 is invalid but stays in the mean over 4."""
    expected = (math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(0.5))) / 4
    assert side_loss(output.side_logits, batch.side_present, batch.side_valid).item() == pytest.approx(expected)


def test_root_loss_by_hand(output, batch):
    """30 mm is bin (0.15 + 1) / 2 * 8 = 4.6: |6.6 - 4.6| / 2 samples."""
    value = root_loss(output.relative_root_bin, batch.relative_root_depth_mm, batch.relative_root_valid, SPEC)
    assert value.item() == pytest.approx(1.0)


def test_a_relative_depth_out_of_range_is_invalid():
    assert root_loss(torch.tensor([3.0]), torch.tensor([250.0]), torch.tensor([True]), SPEC).item() == 0
    assert root_loss(torch.tensor([3.0]), torch.tensor([math.nan]), torch.tensor([False]), SPEC).item() == 0


@pytest.mark.parametrize("name, direct", [("mse", volume_mse), ("integral", volume_integral_l1)])
def test_total_is_the_weighted_sum(output, batch, name, direct):
    config = LossConfig(volume=name, volume_weight=0.5, side_weight=3.0, root_weight=7.0)
    losses = hand_loss(output, batch, SPEC, config)
    assert set(losses) == {"total", "volume", "side", "root"}
    assert losses["volume"].item() == pytest.approx(
        direct(output.volume, bins_of(batch), batch.joint_valid, SPEC).item()
    )
    expected = 0.5 * losses["volume"] + 3 * losses["side"] + 7 * losses["root"]
    torch.testing.assert_close(losses["total"], expected)


@pytest.mark.parametrize("name", ["mse", "integral"])
def test_joints_outside_the_volume_count_as_invalid(output, batch, name):
    config = LossConfig(volume=name)
    batch.joints_crop_px[0, 3, 0] = 40.0  # outside the crop
    batch.relative_depth_mm[1, 4] = -230.0  # outside the depth range
    batch.joint_valid[0, 3] = batch.joint_valid[1, 4] = True
    with_them = hand_loss(output, batch, SPEC, config)["volume"]
    batch.joint_valid[0, 3] = batch.joint_valid[1, 4] = False
    torch.testing.assert_close(with_them, hand_loss(output, batch, SPEC, config)["volume"])


@pytest.mark.parametrize("name", ["mse", "integral"])
def test_every_output_learns(output, batch, name):
    leaves = [t.clone().requires_grad_() for t in (output.volume, output.side_logits, output.relative_root_bin)]
    hand_loss(HandOutput(*leaves), batch, SPEC, LossConfig(volume=name))["total"].backward()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all() and leaf.grad.abs().sum() > 0
    assert (leaves[1].grad[1] == 0).all() and leaves[2].grad[1] == 0  # the invalid sample


def test_the_objective_is_the_loss_of_the_output(output, batch):
    batch.image = torch.zeros(2, 3, 32, 32)
    config = LossConfig("integral", side_weight=2.0)
    expected = hand_loss(output, batch, SPEC, config)
    torch.testing.assert_close(HandObjective(SPEC, config)(lambda image: output, batch), expected)
