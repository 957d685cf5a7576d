"""Hands of an assumed size: the distance at which a hand has it."""

import pytest
import torch

from msff.evaluation.hand_size import at_hand_size, hand_size


def test_a_hand_of_known_size_is_found_at_its_depth():
    cam = torch.randn(4, 42, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 40
    cam[..., 2] += 500
    ray, nearer = cam / cam[..., 2:], cam[..., 2:] - 120
    for hands, moved in zip(cam, ray * nearer, strict=True):
        for k in range(2):
            found = at_hand_size(moved[None], float(hand_size(hands.view(2, 21, 3)[k])))
            assert torch.allclose(found[0].view(2, 21, 3)[k], hands.view(2, 21, 3)[k], atol=1e-6)


def test_the_size_of_a_hand_by_hand():
    # Every joint at the wrist but one fingertip, 30 mm aside and 40 mm behind: one bone, of 50 mm.
    hand = torch.tensor([0.0, 0, 500]).repeat(42, 1)
    hand[8] += torch.tensor([30.0, 0, 40])
    assert hand_size(hand[:21]).item() == pytest.approx(50)
    found = at_hand_size(hand[None], 100.0)[0]
    assert hand_size(found[:21]).item() == pytest.approx(100, rel=1e-5)
    assert (found[8] - found[20])[2].item() == pytest.approx(40, abs=1e-3)  # relative depths stay
    # 40 mm of depth exceed a size of 30: as near as allowed, where the hand is smallest.
    assert at_hand_size(hand[None], 30.0)[0, :21, 2].min().item() == pytest.approx(10, abs=1e-3)
