"""The box from HandSegNet's mask, by hand."""

import pytest
import torch

from msff.models.baselines.posenet_segmentation import box_of_mask, grown_region


def test_the_region_jumps_small_gaps_only():
    probability = torch.zeros(1, 64, 64)
    probability[0, 10:20, 10:20], probability[0, 15, 15] = 0.8, 0.9
    probability[0, 10:20, 28:30] = 0.7  # 8 columns further: within half of 21
    probability[0, 50:60, 50:60] = 0.8  # too far
    region = grown_region(probability, 21)
    assert region[0, 10:20, 10:20].all() and region[0, 10:20, 28:30].all()
    assert region.sum() == 120


def test_box_by_hand():
    """Columns 10..29, rows 10..19: centre (19.5, 14.5), side 1.25 * 19 = 23.75 px, magnified at most 5 times: 51.2."""
    probability = torch.zeros(3, 64, 96)
    probability[0, 10:20, 10:30] = 0.8
    probability[1, 5:60, 8:88] = 0.8
    box = box_of_mask(probability)
    assert box[0].tolist() == pytest.approx([19.5 - 25.6, 14.5 - 25.6, 51.2, 51.2])
    assert box[1].tolist() == pytest.approx([47.5 - 49.375, 32 - 49.375, 98.75, 98.75])
    assert box[2].tolist() == pytest.approx([48 - 25.6, 48 - 25.6, 51.2, 51.2])  # nothing found: 30 px at the centre
    larger = box_of_mask(probability, crop_size=32)  # 32 px hold the first hand's 23.75 px magnified 1.35 times
    assert larger[0].tolist() == pytest.approx([19.5 - 11.875, 14.5 - 11.875, 23.75, 23.75])
