"""RootNet's loss: its terms by hand, validity, mirrors; and that it learns."""

from types import SimpleNamespace

import pytest
import torch

from msff.models.auxiliary.rootnet import RootNetConfig, RootOutput
from msff.settings.losses import RootLossConfig
from msff.settings.networks import BackboneConfig
from msff.settings.training import AugmentConfig
from msff.skeleton import ROOTS
from msff.training.objectives.auxiliary import root_net_loss

SLIM = RootNetConfig(BackboneConfig(block="basic", width=16, blocks=(1, 1, 1, 1)), deconv_channels=16)
WRISTS = list(ROOTS.values())


def batch_of(place_px, depth_mm, valid):
    """Crops of 64 px with the wrists at these places; k = 500 * 300 / 125 = 1200 mm."""
    count = len(place_px)
    joints, joint_valid = torch.zeros(count, 42, 2), torch.zeros(count, 42, dtype=torch.bool)
    joints[:, WRISTS], joint_valid[:, WRISTS] = torch.tensor(place_px), torch.tensor(valid)
    return SimpleNamespace(
        image=torch.zeros(count, 3, 64, 64),
        joints_crop_px=joints,
        joint_valid=joint_valid,
        root_depth_mm=torch.tensor(depth_mm),
        box=torch.tensor([[0.0, 0.0, 100.0, 100.0]]).expand(count, 4),
        intrinsics=torch.diag(torch.tensor([500.0, 500.0, 1.0])).expand(count, 3, 3),
    )


def peaks(*places):
    """One peak per wrist of one sample at bins (x, y) of a 16 x 16 map."""
    heat_map = torch.zeros(1, len(places), 16, 16)
    for wrist, (x, y) in enumerate(places):
        heat_map[0, wrist, y, x] = 60.0
    return heat_map


def test_both_wrists_by_hand():
    """Right at px (40, 20) = bin (10, 5) found at (12, 4): 2 + 1. Left at bin (3, 8) found at (3, 9): 0 + 1.

    Depths 0.5 * 1200 = 600 against 630 and 1200 against 1150 mm: 30 and 50.
    """
    batch = batch_of([[[40.0, 20.0], [12.0, 32.0]]], [[630.0, 1150.0]], [[True, True]])
    output = RootOutput(peaks((12, 4), (3, 9)), torch.tensor([[0.5, 1.0]]))
    losses = root_net_loss(output, batch, RootLossConfig(xy_weight=3.0, depth_unit_mm=10.0))
    values = {name: value.item() for name, value in losses.items()}
    assert values == pytest.approx({"xy": 2.0, "depth": 4.0, "total": 3 * 2.0 + 4.0})


def test_a_missing_wrist_does_not_count():
    """Only the right one is there: 3 bins and 30 mm, whatever is said of the left."""
    batch = batch_of([[[40.0, 20.0], [0.0, 0.0]]], [[630.0, 0.0]], [[True, False]])
    gamma = torch.tensor([[0.5, 9.0]], requires_grad=True)
    losses = root_net_loss(RootOutput(peaks((12, 4), (3, 9)), gamma), batch, RootLossConfig())
    assert losses["xy"].item() == pytest.approx(3) and losses["depth"].item() == pytest.approx(30)
    losses["total"].backward()
    assert gamma.grad.tolist() == [[-1200.0, 0.0]]


def test_a_wrist_outside_the_crop_counts_for_its_depth():
    batch = batch_of([[[70.0, 20.0], [12.0, 32.0]]], [[630.0, 1150.0]], [[True, True]])
    losses = root_net_loss(RootOutput(peaks((12, 4), (3, 9)), torch.tensor([[0.5, 1.0]])), batch, RootLossConfig())
    assert losses["xy"].item() == pytest.approx(1) and losses["depth"].item() == pytest.approx(40)


def test_no_wrist_at_all_is_no_loss():
    batch = batch_of([[[0.0, 0.0], [0.0, 0.0]]], [[0.0, 0.0]], [[False, False]])
    gamma = torch.tensor([[0.5, 1.0]], requires_grad=True)
    total = root_net_loss(RootOutput(peaks((1, 1), (2, 2)), gamma), batch, RootLossConfig())["total"]
    total.backward()
    assert total.item() == 0 and gamma.grad.tolist() == [[0.0, 0.0]]


def only_batch(dataset, augment):
    return next(iter(dataset.batches(8, augment=augment, shuffle=False, generator=torch.Generator().manual_seed(0))))


def test_a_mirrored_crop_exchanges_the_wrists(dataset):
    """The same wrists at the mirrored place, right and left exchanged, with the same k: the same loss."""
    nothing = {"shift": 0.0, "scale": 0.0, "rotation_probability": 0.0, "colour": 0.0}
    plain = only_batch(dataset, AugmentConfig(**nothing, flip_probability=0.0))
    mirrored = only_batch(dataset, AugmentConfig(**nothing, flip_probability=1.0))
    assert torch.equal(mirrored.box, plain.box) and torch.equal(mirrored.root_depth_mm, plain.root_depth_mm.flip(1))
    there = plain.joint_valid[:, WRISTS].flip(1)
    place, other = mirrored.joints_crop_px[:, WRISTS], plain.joints_crop_px[:, WRISTS].flip(1)
    torch.testing.assert_close(place[there][:, 0], 64 - other[there][:, 0], atol=1e-3, rtol=0)
    gamma, heat_map = torch.rand(8, 2) + 0.2, torch.zeros(8, 2, 16, 16)
    first = root_net_loss(RootOutput(heat_map, gamma), plain, RootLossConfig())["depth"]
    second = root_net_loss(RootOutput(heat_map, gamma.flip(1)), mirrored, RootLossConfig())["depth"]
    assert first > 1
    torch.testing.assert_close(first, second)
