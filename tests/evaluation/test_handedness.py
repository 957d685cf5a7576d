"""Handedness: accuracy by two thresholds, average precision by the ranking."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from msff.evaluation.handedness import average_precision, handedness_ap, handedness_correct


def test_handedness_needs_both_thresholds():
    probability = torch.tensor([[0.9, 0.1], [0.9, 0.6], [0.4, 0.3]])
    present = torch.tensor([[True, False], [True, False], [True, False]])
    assert handedness_correct(probability, present).tolist() == [True, False, False]


def test_one_half_says_neither_yes_nor_no():
    half = torch.tensor([[0.9, 0.5], [0.5, 0.1]])
    assert handedness_correct(half, torch.tensor([[True, False], [True, False]])).tolist() == [False, False]


def test_average_precision_by_hand():
    # Ranked: yes, no, yes, no. Precision 1/1 at recall 1/2 and 2/3 at recall 1: (1 + 2/3) / 2.
    score, present = torch.tensor([0.9, 0.8, 0.6, 0.1]), torch.tensor([True, False, True, False])
    assert average_precision(score.double(), present) == pytest.approx((1 + 2 / 3) / 2)
    # The worst ranking: 1/3 and 2/4.
    assert average_precision(-score.double(), present) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(score.double(), ~present) == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_equal_scores_enter_together():
    # All at one score: one step of recall 1 with precision 2/5, whatever the order.
    score, present = torch.full((5,), 0.3), torch.tensor([True, False, False, True, False])
    assert average_precision(score.double(), present) == pytest.approx(2 / 5)
    assert average_precision(score, torch.zeros(5, dtype=torch.bool)) is None


def test_handedness_ap_is_the_mean_of_both_hands_over_known_samples():
    probability = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.6, 0.9], [0.1, 0.4]]).double()
    present = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    known = torch.ones(4, dtype=torch.bool)
    assert handedness_ap(probability, present, known) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    # Without the second sample: right 1, left 1 (0.9 first).
    known[1] = False
    assert handedness_ap(probability, present, known) == pytest.approx(1)
    # Only one hand ever there: its AP alone. None: no number.
    assert handedness_ap(probability, torch.tensor([[True, False]] * 4), known) == 1
    assert handedness_ap(probability, present, known & False) is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_order_duplication_and_monotone_scores_change_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    score = (torch.rand(12, generator=generator, dtype=torch.float64) * 5).round()  # with ties
    present = torch.rand(12, generator=generator) < 0.5
    present[0] = True
    order, expected = torch.randperm(12, generator=generator), average_precision(score, present)
    assert average_precision(score[order], present[order]) == pytest.approx(expected)
    assert average_precision(score.repeat(3), present.repeat(3)) == pytest.approx(expected)
    assert average_precision(score.exp() - 7, present) == pytest.approx(expected)
    assert present.double().mean().item() / 12 < expected <= 1
