"""The plausibility check of predicted hands, on small made-up predictions."""

from dataclasses import replace

import numpy as np
import pytest
from make_results import make_predictions, make_truth

from msff.evaluation.plausibility import LEAST_HANDEDNESS_PERCENT, LEAST_PALM_WIDTH, check, palm_width_mm
from msff.evaluation.predictions import ResultError
from msff.evaluation.tracks import TRACKS
from msff.skeleton import INDEX_MCP, JOINT_NAMES, JOINTS_PER_HAND, LITTLE_MCP, ROOTS


def scaled(truth, factor, rows=slice(None)):
    """Exact predictions whose hands are shrunk towards their wrists in these rows."""
    predictions = make_predictions(truth, 0.0)
    joints = truth.joints_cam_mm.copy()
    for side, root in enumerate(ROOTS.values()):
        hand = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
        wrist = joints[rows, root][:, None]
        joints[rows, hand] = wrist + factor * (joints[rows, hand] - wrist)
    return replace(predictions, joints=dict.fromkeys(TRACKS, joints))


def naming(predictions, truth, right):
    """The same predictions with the handedness correct in the first ``right`` images only."""
    correct = np.arange(len(truth)) < right
    sides = np.where(correct[:, None], truth.side_present, 1 - truth.side_present).astype(np.float32)
    return replace(predictions, side_probability=sides)


def test_the_palm_reaches_from_the_index_to_the_little_finger():
    assert (JOINT_NAMES[INDEX_MCP], JOINT_NAMES[LITTLE_MCP]) == ("index base", "little base")
    joints = np.zeros((1, 42, 3))
    joints[0, INDEX_MCP] = [3, 0, 0]
    joints[0, LITTLE_MCP] = [0, 4, 0]
    joints[0, JOINTS_PER_HAND + LITTLE_MCP] = [0, 0, -7]
    assert palm_width_mm(joints).tolist() == [[5.0, 7.0]]


@pytest.mark.parametrize("dataset", ["standin-rhd", "standin-interhand"])
def test_shrunken_hands_have_their_factor_as_palm_width(dataset):
    truth = make_truth(dataset)
    for factor in (1.0, 0.44, 0.21):
        assert check(truth, [scaled(truth, factor)]).palm_width_ratio == pytest.approx(factor, abs=1e-4)


@pytest.mark.parametrize("dataset", ["standin-rhd", "standin-interhand"])
def test_a_palm_just_below_the_threshold_is_a_fault_and_one_just_above_is_not(dataset):
    truth = make_truth(dataset)
    least = LEAST_PALM_WIDTH[truth.layout]
    assert not check(truth, [scaled(truth, least + 0.005)]).fault()
    fault = check(truth, [scaled(truth, least - 0.005)]).fault(mean_pose_ratio=0.21)
    assert fault.startswith("palm width") and "(mean pose 0.21)" in fault and f"{least:.2f} is required" in fault


def test_only_interacting_images_count_in_the_interhand_layout():
    truth = make_truth("standin-interhand")
    single = np.flatnonzero(~truth.side_present.all(1))
    found = check(truth, [scaled(truth, 0.1, single)])
    assert found.palm_width_ratio == pytest.approx(1.0, abs=1e-4)
    assert found.hands == 2 * truth.side_present.all(1).sum()


def test_hands_that_are_not_annotated_do_not_count():
    truth = make_truth("standin-rhd")
    valid = truth.joint_valid.copy()
    valid[:10, [INDEX_MCP, JOINTS_PER_HAND + INDEX_MCP]] = False
    valid[10:15, list(ROOTS.values())] = False
    found = check(replace(truth, joint_valid=valid), [scaled(truth, 0.1, slice(0, 15))])
    assert found.hands == len(truth) - 15 and found.palm_width_ratio == pytest.approx(1.0, abs=1e-4)


def test_handedness_is_judged_on_the_rhd_layout():
    truth = make_truth("standin-rhd")  # 40 images
    least = LEAST_HANDEDNESS_PERCENT["rhd"]
    right = round(len(truth) * least / 100)
    enough = check(truth, [naming(scaled(truth, 1.0), truth, right)])
    assert enough.handedness_percent == pytest.approx(least) and not enough.fault()
    fault = check(truth, [naming(scaled(truth, 1.0), truth, right - 1)]).fault()
    assert "handedness" in fault and "palm" not in fault


def test_handedness_is_reported_but_not_judged_on_interacting_hands():
    truth = make_truth("standin-interhand")
    found = check(truth, [naming(scaled(truth, 1.0), truth, 0)])
    assert found.handedness_percent == 0.0 and not found.fault()


def test_a_handedness_that_is_an_input_is_not_judged():
    truth = make_truth("standin-rhd")
    inputs = replace(TRACKS["T2"], side_input="predicted")
    predictions = replace(naming(scaled(truth, 1.0), truth, 0), inputs=dict.fromkeys(TRACKS, inputs))
    found = check(truth, [predictions])
    assert np.isnan(found.handedness_percent) and not found.fault()


def test_a_network_without_handedness_is_judged_by_its_palm_alone():
    truth = make_truth("standin-rhd")
    silent = replace(scaled(truth, 1.0), side_probability=np.full((len(truth), 2), np.nan, np.float32))
    assert np.isnan(check(truth, [silent]).handedness_percent) and not check(truth, [silent]).fault()


def test_one_implausible_seed_is_enough():
    truth = make_truth("standin-rhd")
    found = check(truth, [scaled(truth, 1.0), scaled(truth, 0.3)])
    assert found.palm_width_ratio == pytest.approx(0.3, abs=1e-4) and found.fault()


def test_predictions_that_are_not_finite_are_implausible():
    truth = make_truth("standin-rhd")
    joints = truth.joints_cam_mm.copy()
    joints[3] = np.nan
    diverged = replace(scaled(truth, 1.0), joints={"T2": joints})
    assert check(truth, [diverged]).fault() and check(truth, [scaled(truth, 1.0), diverged]).fault()


def test_the_check_needs_predictions_of_the_same_images():
    truth = make_truth("standin-rhd")
    with pytest.raises(ValueError, match="at least one seed"):
        check(truth, [])
    with pytest.raises(ResultError, match="not of standin-rhd's 20 test samples"):
        check(make_truth("standin-rhd", count=20), [scaled(truth, 1.0)])
