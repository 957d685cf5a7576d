"""Every metric against numbers worked by hand, and its invariances."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from msff.evaluation import metrics as m
from msff.evaluation.joint_errors import finger_bases, fingertips, mean_of_joint_means, without_wrist
from msff.skeleton import MIDDLE_MCP, MIDDLE_PIP, ROOTS, WRIST

ALL = torch.ones(1, 21, dtype=torch.bool)
THUMB_TIP = 0
ONE_HAND = (m.wrist21, m.wrist20, m.wrist20_scaled, m.palm21, m.palm21_scaled, m.palm21_true_root, m.pa21)


def hand(**joints):
    """(1, 21, 3) mm: all joints at the wrist but those given, at 500 mm from the camera."""
    out = torch.zeros(1, 21, 3, dtype=torch.float64)
    for name, value in joints.items():
        out[0, {"tip": THUMB_TIP, "wrist": WRIST, "mcp": MIDDLE_MCP, "pip": MIDDLE_PIP}[name]] = torch.tensor(
            value
        ).double()
    return out + torch.tensor([0, 0, 500.0])


def random_hands(seed, n=5, joints=21):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, joints, 3, generator=generator, dtype=torch.float64) * 50 + torch.tensor([0, 0, 500.0])


def rotation(seed):
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q)  # det +1


def mean(errors):
    return mean_of_joint_means(errors)


def test_one_joint_off_by_5_mm():
    pred, true = hand(tip=[3, 4, 0]), hand()
    assert mean(m.wrist21(pred, true, ALL)) == pytest.approx(5 / 21)
    assert mean(m.wrist20(pred, true, ALL)) == pytest.approx(5 / 20)
    assert mean(fingertips(m.wrist20(pred, true, ALL))) == pytest.approx(5 / 5)
    assert mean(finger_bases(m.wrist20(pred, true, ALL))) == 0


def test_the_wrist_moves_every_other_joint():
    pred, true = hand(wrist=[0, 0, 2]), hand()
    assert mean(m.wrist20(pred, true, ALL)) == pytest.approx(2)
    assert mean(m.wrist21(pred, true, ALL)) == pytest.approx(40 / 21)  # the free zero
    # The palm centre moves by 1 only, and is itself the zero.
    assert mean(m.palm21_vis(pred, true, ALL, ALL)) == pytest.approx(20 / 21)


def test_the_palm_as_root_on_all_points():
    # The wrist is off by 2: the palm, half-way to the middle finger's base, by 1. Every other joint is 1 off its palm.
    pred, true = hand(wrist=[0, 0, 2]), hand()
    errors = m.palm21(pred, true, ALL)
    assert errors.error_mm[0].tolist() == pytest.approx([1.0] * 20 + [0.0])
    # Without one of its ends the palm is not known; without the other, the wrist, neither.
    for end in (WRIST, MIDDLE_MCP):
        partial = ALL.clone()
        partial[0, end] = False
        assert not m.palm21(pred, true, partial).valid[0, WRIST]


def test_a_prediction_that_is_not_re_centred_pays_for_its_place():
    # Shifted as a whole by (3, 0, 4): 5 mm at every point if only the true palm is subtracted, 0 if both are.
    true = hand(mcp=[0, 100, 0])
    pred = true + torch.tensor([3.0, 0, 4])
    assert m.palm21_true_root(pred, true, ALL).error_mm[0].tolist() == pytest.approx([5.0] * 21)
    assert mean(m.palm21(pred, true, ALL)) == pytest.approx(0)


def test_the_palm_convention_with_the_true_scale():
    # Half as large, and the tip 5 mm off: doubled about its palm, the tip is off by 10 and nothing else is.
    true = hand(mcp=[0, 100, 0], pip=[0, 130, 0])
    pred = hand(mcp=[0, 50, 0], pip=[0, 65, 0], tip=[3, 4, 0])
    assert m.palm21_scaled(pred, true, ALL).error_mm[0].tolist() == pytest.approx([10.0] + [0.0] * 20)
    # Without scale: palms at 25 and 50, so all at the wrist's place are off by 25, the base by 25, the middle joint by
    # 40, and the tip by |(3, 4 - 25 + 50)| = sqrt(9 + 29^2).
    errors = m.palm21(pred, true, ALL).error_mm[0]
    assert errors[[MIDDLE_MCP, MIDDLE_PIP, THUMB_TIP]].tolist() == pytest.approx([25, 40, 850**0.5])
    without_bone = ALL.clone()
    without_bone[0, MIDDLE_PIP] = False
    assert mean(m.palm21_scaled(pred, true, without_bone)) is None


def test_visibility_selects_joints():
    pred, true = hand(tip=[3, 4, 0]), hand()
    visible = torch.zeros_like(ALL)
    visible[0, [THUMB_TIP, 1, 2]] = True
    assert mean(m.wrist20_vis(pred, true, ALL, visible)) == pytest.approx(5 / 3)
    assert mean(m.wrist20(pred, true, ALL).where(~visible)) == 0
    # The palm is visible as soon as one of its ends is: 3 joints and the palm.
    assert m.palm21_vis(pred, true, ALL, visible).valid.sum() == 3
    visible[0, MIDDLE_MCP] = True
    assert m.palm21_vis(pred, true, ALL, visible).valid.sum() == 5


def test_scale_alignment_by_the_bone():
    true = hand(mcp=[0, 100, 0], pip=[0, 130, 0])
    pred = hand(mcp=[0, 50, 0], pip=[0, 65, 0], tip=[3, 4, 0])  # half as large: factor 2, so the tip is off by 10
    assert m.bone_scale(pred, true).item() == pytest.approx(2)
    assert mean(m.wrist20_scaled(pred, true, ALL)) == pytest.approx(10 / 20)
    without_bone = ALL.clone()
    without_bone[0, MIDDLE_PIP] = False
    assert mean(m.wrist20_scaled(pred, true, without_bone)) is None


def test_procrustes_by_hand():
    # A cross of arms 1, 1 onto one of arms 2, 1: no rotation, scale (2 + 2 + 1 + 1) / 4 = 1.5, every point off by 0.5.
    cross = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    pred, true = torch.zeros(1, 21, 3, dtype=torch.float64), torch.zeros(1, 21, 3, dtype=torch.float64)
    pred[0, :4], true[0, :4] = cross + 7, cross * torch.tensor([2.0, 1, 1])
    pred[0, 4:] = 99  # not valid: must not matter
    valid = torch.arange(21)[None] < 4
    errors = m.pa21(pred, true, valid)
    assert errors.error_mm[0, :4].tolist() == pytest.approx([0.5] * 4)
    assert mean(errors) == pytest.approx(0.5)


def test_procrustes_does_not_reflect():
    true = random_hands(0, 1)
    mirrored = true * torch.tensor([-1.0, 1, 1])
    assert mean(m.pa21(mirrored, true, ALL)) > 5


def test_procrustes_needs_three_joints():
    valid = torch.arange(21)[None] < 2
    assert mean(m.pa21(random_hands(1, 1), random_hands(2, 1), valid)) is None


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.2, 5))
def test_procrustes_undoes_a_similarity(seed, scale):
    true = random_hands(seed)
    pred = scale * true @ rotation(seed) + torch.tensor([10.0, -20, 300])
    valid = torch.rand(5, 21, generator=torch.Generator().manual_seed(seed)) < 0.6
    assert mean(m.pa21(pred, true, valid)) < 1e-6


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_a_rigid_motion_of_both_changes_nothing(seed):
    pred, true, turn = random_hands(seed), random_hands(seed + 1), rotation(seed)
    valid = torch.rand(5, 21, generator=torch.Generator().manual_seed(seed)) < 0.8
    valid[0] = True  # at least one sample for every metric
    shift = torch.tensor([5.0, 6, 7])
    for metric in ONE_HAND:
        moved = metric(pred @ turn + shift, true @ turn + shift, valid)
        assert mean(moved) == pytest.approx(mean(metric(pred, true, valid)), rel=1e-9)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_a_motion_of_the_prediction_alone_matters_where_it_should(seed):
    """Shifts are free unless the true root is subtracted; turns cost everywhere but after Procrustes."""
    pred, true, turn = random_hands(seed), random_hands(seed + 1), rotation(seed)
    valid = torch.ones(5, 21, dtype=torch.bool)
    for metric in ONE_HAND:
        still = mean(metric(pred, true, valid))
        shifted = mean(metric(pred + torch.tensor([5.0, 6, 700]), true, valid))
        turned = mean(metric(pred @ turn, true, valid))
        assert (shifted == pytest.approx(still)) == (metric is not m.palm21_true_root)
        assert (turned == pytest.approx(still)) == (metric is m.pa21)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.3, 3))
def test_the_size_of_the_prediction_is_free_only_where_scale_is_given(seed, factor):
    pred, true = random_hands(seed), random_hands(seed + 1)
    valid = torch.ones(5, 21, dtype=torch.bool)
    for metric in (m.wrist20_scaled, m.palm21_scaled, m.pa21):
        assert mean(metric(pred * factor, true, valid)) == pytest.approx(mean(metric(pred, true, valid)))
    if abs(factor - 1) > 0.05:
        assert mean(m.wrist20(pred * factor, true, valid)) != pytest.approx(mean(m.wrist20(pred, true, valid)))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_conventions_keep_their_order(seed):
    """The wrist's zero makes 20/21 of the mean; the best similarity never leaves more squared error than the wrist."""
    pred, true = random_hands(seed), random_hands(seed + 1)
    valid = torch.ones(5, 21, dtype=torch.bool)
    assert mean(m.wrist21(pred, true, valid)) == pytest.approx(20 / 21 * mean(m.wrist20(pred, true, valid)))
    aligned, plain = m.pa21(pred, true, valid), m.wrist21(pred, true, valid)
    assert (aligned.error_mm.square().sum(1) <= plain.error_mm.square().sum(1) + 1e-9).all()


def test_own_wrist42_aligns_each_hand_at_its_own_wrist():
    true = random_hands(3, 2, joints=42)
    pred = true.clone()
    pred[:, :21] += torch.tensor([10.0, 0, 0])  # a hand that is shifted as a whole costs nothing
    pred[0, 25] += torch.tensor([0, 0, 42.0])
    valid = torch.ones(2, 42, dtype=torch.bool)
    valid[1, ROOTS["right"]] = False  # takes its whole hand with it
    errors = m.own_wrist42(pred, true, valid)
    assert mean(errors) == pytest.approx(42 / 2 / 42)  # one joint of 42, in one of its two samples
    assert errors.valid.sum().item() == 42 + 21
    assert mean(without_wrist(errors)) == pytest.approx(42 / 2 / 40)


@pytest.mark.parametrize(("relative", "expected"), [(40.0, 10.0), (0.0, 40.0), (math.nan, None)])
def test_relative_root_error_by_hand(relative, expected):
    # Truth: right (0, 0, 400), left (100, 0, 440). The predicted left wrist lies on the ray x / z = 1/4:
    # at depth 440 it is at x = 110, off by 10; at depth 400 it is at x = 100, off by 40 in depth.
    true = torch.zeros(1, 42, 3, dtype=torch.float64)
    true[0, ROOTS["right"]], true[0, ROOTS["left"]] = torch.tensor([[0, 0, 400.0], [100, 0, 440]]).double()
    wrists = torch.tensor([[[0, 0, 400.0], [125, 0, 500]]], dtype=torch.float64)
    errors = m.relative_root_error(wrists, torch.tensor([relative]).double(), true, torch.ones(1, 42, dtype=torch.bool))
    assert mean(errors) == (None if expected is None else pytest.approx(expected))


def test_mrrpe_with_the_wrists_own_offsets_by_hand():
    # Lifted at 400 and 430 mm, the wrists' own maps say +5 and +15 mm: the left one is 10 mm further behind.
    true = torch.zeros(1, 42, 3, dtype=torch.float64)
    true[0, ROOTS["right"]], true[0, ROOTS["left"]] = torch.tensor([[0, 0, 405.0], [100, 0, 445]]).double()
    wrists = torch.tensor([[[0, 0, 405.0], [111.25, 0, 445]]], dtype=torch.float64)  # x / z = 1/4
    offset = m.own_offset(wrists, torch.tensor([[400.0, 430.0]]))
    assert offset.tolist() == [10]
    known = wrists, torch.tensor([30.0]).double(), true, torch.ones(1, 42, dtype=torch.bool)
    # Without: depth 405 + 30 = 435, so (108.75, 0, 435) against (100, 0, 445). With it: depth 445, off by 11.25 in x.
    assert mean(m.relative_root_error(*known)) == pytest.approx((8.75**2 + 10**2) ** 0.5)
    assert mean(m.relative_root_error(*known, own_offset_mm=offset)) == pytest.approx(11.25)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_mrrpe_does_not_see_a_common_shift_of_the_truth(seed):
    wrists, true = random_hands(seed, 5, 2), random_hands(seed + 1, 5, 42)
    relative, valid = torch.randn(5, dtype=torch.float64) * 30, torch.ones(5, 42, dtype=torch.bool)
    moved = m.relative_root_error(wrists, relative, true + torch.tensor([1.0, 2, 3]), valid)
    assert mean(moved) == pytest.approx(mean(m.relative_root_error(wrists, relative, true, valid)))


def test_arguments_are_not_changed():
    pred, true = random_hands(5), random_hands(6)
    copies = pred.clone(), true.clone()
    valid = torch.ones(5, 21, dtype=torch.bool)
    for metric in ONE_HAND:
        metric(pred, true, valid)
    m.palm21_vis(pred, true, valid, valid)
    assert torch.equal(pred, copies[0]) and torch.equal(true, copies[1]) and valid.all()


# Handedness


def test_handedness_needs_both_thresholds():
    probability = torch.tensor([[0.9, 0.1], [0.9, 0.6], [0.4, 0.3]])
    present = torch.tensor([[True, False], [True, False], [True, False]])
    assert m.handedness_correct(probability, present).tolist() == [True, False, False]


def test_one_half_is_neither_present_nor_absent():
    half = torch.tensor([[0.9, 0.5], [0.5, 0.1]])
    assert m.handedness_correct(half, torch.tensor([[True, False], [True, False]])).tolist() == [False, False]


def test_average_precision_by_hand():
    # Ranked: yes, no, yes, no. Precision 1/1 at recall 1/2 and 2/3 at recall 1: (1 + 2/3) / 2.
    score, present = torch.tensor([0.9, 0.8, 0.6, 0.1]), torch.tensor([True, False, True, False])
    assert m.average_precision(score.double(), present) == pytest.approx((1 + 2 / 3) / 2)
    # The worst ranking: 1/3 and 2/4.
    assert m.average_precision(-score.double(), present) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert m.average_precision(score.double(), ~present) == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_equal_scores_enter_together():
    # All at one score: one step of recall 1 with precision 2/5, in any order.
    score, present = torch.full((5,), 0.3), torch.tensor([True, False, False, True, False])
    assert m.average_precision(score.double(), present) == pytest.approx(2 / 5)
    assert m.average_precision(score, torch.zeros(5, dtype=torch.bool)) is None


def test_handedness_ap_is_the_mean_of_both_hands_over_known_samples():
    probability = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.6, 0.9], [0.1, 0.4]]).double()
    present = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    known = torch.ones(4, dtype=torch.bool)
    assert m.handedness_ap(probability, present, known) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    # Without the second sample: right 1, left 1 (0.9 first).
    known[1] = False
    assert m.handedness_ap(probability, present, known) == pytest.approx(1)
    # Only one hand ever there: its AP alone. None: no number.
    assert m.handedness_ap(probability, torch.tensor([[True, False]] * 4), known) == 1
    assert m.handedness_ap(probability, present, known & False) is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_order_copies_and_monotone_scores_change_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    score = (torch.rand(12, generator=generator, dtype=torch.float64) * 5).round()  # with ties
    present = torch.rand(12, generator=generator) < 0.5
    present[0] = True
    order, expected = torch.randperm(12, generator=generator), m.average_precision(score, present)
    assert m.average_precision(score[order], present[order]) == pytest.approx(expected)
    assert m.average_precision(score.repeat(3), present.repeat(3)) == pytest.approx(expected)
    assert m.average_precision(score.exp() - 7, present) == pytest.approx(expected)
    assert present.double().mean().item() / 12 < expected <= 1
