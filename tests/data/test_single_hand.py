"""Hands taken out of a batch one by one."""

import pytest
import torch

from msff.data.single_hand import one_hand
from msff.data.synthetic import synthetic_batch


@pytest.fixture
def batch():
    made = synthetic_batch(3, 32, "cpu", torch.Generator().manual_seed(0))
    made.side_present[0, 1] = 0  # crop 0: right, crop 1: both, crop 2: left
    made.side_present[2, 0] = 0
    return made


def test_every_present_hand_once(batch):
    hands = one_hand(batch)
    assert hands.owner.tolist() == [0, 1, 1, 2] and hands.side.tolist() == [0, 0, 1, 1]
    assert torch.equal(hands.joints_cam_mm[2], batch.joints_cam_mm[1, 21:])
    assert torch.equal(hands.joints_crop_px[0], batch.joints_crop_px[0, :21])
    assert torch.equal(hands.image[3], batch.image[2])
    assert hands.from_wrist_mm[:, 20].abs().max() == 0
    bone = (batch.joints_cam_mm[2, 21 + 11] - batch.joints_cam_mm[2, 21 + 10]).norm()
    assert hands.scale_mm[3] == pytest.approx(bone.item())


def test_no_hand_gives_no_row(batch):
    batch.side_present.zero_()
    assert len(one_hand(batch)) == 0 and one_hand(batch).image.shape == (0, 3, 32, 32)
