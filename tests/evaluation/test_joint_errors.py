"""Averages of the sample level, against numbers worked by hand."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from msff.evaluation.joint_errors import (
    AVERAGES,
    JointErrors,
    auc,
    fingertips,
    mean_of_joint_means,
    mean_of_joint_medians,
    pck,
    per_joint_mean,
    pooled_mean,
    pooled_median,
    thresholds_mm,
    within,
)
from msff.skeleton import FINGERTIPS


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_order_and_duplication_of_samples_change_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    errors = JointErrors(torch.rand(7, 4, generator=generator).double(), torch.rand(7, 4, generator=generator) < 0.7)
    order = torch.randperm(7, generator=generator)
    shuffled = JointErrors(errors.error_mm[order], errors.valid[order])
    doubled = JointErrors(errors.error_mm.repeat(2, 1), errors.valid.repeat(2, 1))
    for aggregate in (*AVERAGES.values(), auc):
        expected = aggregate(errors)
        assert aggregate(shuffled) == pytest.approx(expected)
        assert aggregate(doubled) == pytest.approx(expected)


def test_the_two_averages_differ():
    # Joint A has one sample with 2 mm, joint B two with 4 and 8: (2 + 6) / 2 against (2 + 4 + 8) / 3.
    errors = JointErrors(torch.tensor([[2.0, 4.0], [100.0, 8.0]]), torch.tensor([[True, True], [False, True]]))
    assert mean_of_joint_means(errors) == pytest.approx(4)
    assert pooled_mean(errors) == pytest.approx(14 / 3)
    assert pooled_median(errors) == pytest.approx(4)
    assert per_joint_mean(errors).tolist() == [2, 6]


def test_median_of_an_even_number():
    errors = JointErrors(torch.tensor([[1.0], [2.0], [10.0], [50.0]]), torch.ones(4, 1, dtype=torch.bool))
    assert pooled_median(errors) == 6


def test_auc_by_hand():
    # 25 mm lies between thresholds 9 (23.68) and 10 (26.32) of 0..19: 9.5 of 19 steps, and 9.5 of the last 11.
    errors = JointErrors(torch.tensor([[25.0]]), torch.tensor([[True]]))
    assert auc(errors) == pytest.approx(9.5 / 19)
    assert auc(errors, first=8) == pytest.approx(9.5 / 11)
    assert thresholds_mm()[8].item() == pytest.approx(400 / 19)
    # A second joint with 0 mm is within every threshold: mean of the two areas.
    two = JointErrors(torch.tensor([[25.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert auc(two) == pytest.approx((0.5 + 1) / 2)


def test_the_two_medians_differ():
    # Joint A: 1, 2, 9; joint B: 4. Per joint 2 and 4, mean 3; together 1, 2, 4, 9, median 3 as well; so one more.
    values = torch.tensor([[1.0, 4.0], [2.0, 5.0], [9.0, 0.0]])
    valid = torch.tensor([[True, True], [True, True], [True, False]])
    assert mean_of_joint_medians(JointErrors(values, valid)) == pytest.approx((2 + 4.5) / 2)
    assert pooled_median(JointErrors(values, valid)) == 4


def test_pck_by_hand():
    # Joint A has 10 and 30 mm, joint B 20 mm in its one sample: at 10 mm 1/2 and 0, at 25 mm 1/2 and 1, at 30 mm all.
    errors = JointErrors(torch.tensor([[10.0, 20.0], [30.0, 0.0]]), torch.tensor([[True, True], [True, False]]))
    thresholds = torch.tensor([9.0, 10, 25, 30])
    assert pck(errors, thresholds).tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert mean_of_joint_means(within(errors, 25)) == pytest.approx(0.75)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), first=st.sampled_from([0, 8]))
def test_the_area_of_single_errors_adds_up_to_that_of_the_curve(seed, first):
    generator = torch.Generator().manual_seed(seed)
    values = (torch.rand(9, 4, generator=generator, dtype=torch.float64) * 60).round()
    values[0, 0], values[1, 1] = thresholds_mm()[10], 0.0  # on a threshold, and at the very first
    errors = JointErrors(values, torch.rand(9, 4, generator=generator) < 0.8)
    thresholds = thresholds_mm()[first:]
    area = torch.trapezoid(pck(errors, thresholds), thresholds) / (thresholds[-1] - thresholds[0])
    assert auc(errors, first) == pytest.approx(area.item(), abs=1e-12)


def test_empty_subsets_are_none():
    errors = JointErrors(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    assert [f(errors) for f in (*AVERAGES.values(), auc)] == [None] * 5
    assert pck(errors, thresholds_mm()) is None and errors.samples == 0


def test_joint_errors_check_their_shape():
    with pytest.raises(ValueError, match="N, J"):
        JointErrors(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))


def test_fingertips_of_two_hands():
    errors = JointErrors(torch.arange(42.0)[None], torch.ones(1, 42, dtype=torch.bool))
    assert fingertips(errors).error_mm[0].tolist() == [*FINGERTIPS, *(21 + j for j in FINGERTIPS)]
