"""The evaluation of predictions against the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from make_results import make_predictions, make_truth

from msff.data.datasets import DATASETS
from msff.evaluation.bootstrap import estimate
from msff.evaluation.evaluate import PRIMARY_METRIC, evaluate
from msff.evaluation.predictions import Predictions, ResultError
from msff.evaluation.tracks import TRACKS
from msff.skeleton import ROOTS

RHD, INTERHAND = "standin-rhd", "standin-interhand"


def shifted(truth, **moves):
    """The truth as a prediction, with joint j of every sample moved by mm along x."""
    predictions = make_predictions(truth, 0.0)
    joints = {t: truth.joints_cam_mm.copy() for t in TRACKS}
    for array in joints.values():
        for joint, mm in moves.items():
            array[:, int(joint[1:]), 0] += mm
    return replace(predictions, joints=joints)


def test_predictions_of_other_samples_are_refused():
    truth = make_truth(RHD)
    other = replace(make_predictions(truth, 1.0), sample_id=[f"x{i}" for i in range(40)])
    with pytest.raises(ResultError, match="40 missing.*40 unknown"):
        evaluate(truth, other, "T1")


def test_order_of_predictions_does_not_matter():
    truth = make_truth(RHD)
    p = make_predictions(truth, 5.0)
    order = np.random.default_rng(0).permutation(40)
    shuffled = Predictions(
        [p.sample_id[i] for i in order], {t: j[order] for t, j in p.joints.items()}, p.side_probability[order],
        p.relative_root_depth_mm[order], p.inputs,
    )  # fmt: skip
    assert evaluate(truth, shuffled, "T2").summary() == evaluate(truth, p, "T2").summary()


def test_an_absent_track():
    truth = make_truth(RHD)
    p = make_predictions(truth, 1.0)
    with pytest.raises(ResultError, match="no track T2"):
        evaluate(truth, replace(p, joints={"T1": p.joints["T1"]}), "T2")


def test_rhd_scores_the_annotated_hand():
    truth = make_truth(RHD)
    # Right thumb tip off by 6 mm, left thumb tip by 12: half of the samples are of either side.
    summary = evaluate(truth, shifted(truth, j0=6.0, j21=12.0), "T1").summary()
    assert summary["wrist20"] == pytest.approx(9 / 20, abs=1e-4)
    assert summary["wrist21"] == pytest.approx(9 / 21, abs=1e-4)
    assert summary["wrist20_fingertip"] == pytest.approx(9 / 5, abs=1e-4)
    assert summary["wrist20_base"] == pytest.approx(0, abs=1e-4)
    assert summary["handedness_accuracy"] == 1
    assert summary["wrist20_pred_side"] == pytest.approx(9 / 20, abs=1e-4)


@pytest.mark.skipif("realworld" not in DATASETS, reason="no such dataset")
def test_photos_of_one_hand_are_scored_like_rhd():
    truth = replace(make_truth(RHD), dataset="realworld", joint_visible=None)
    evaluation = evaluate(truth, shifted(truth, j0=6.0, j21=12.0), "T2")
    summary = evaluation.summary()
    assert summary[PRIMARY_METRIC[evaluation.layout]] == pytest.approx(9 / 20, abs=1e-4)
    assert summary["palm21_pooled"] == pytest.approx(9 / 21, abs=1e-4) and summary["wrist20_vis"] is None


def test_predicted_side_takes_the_wrong_hand_when_it_is_wrong():
    truth = make_truth(RHD)
    p = shifted(truth)
    wrong = replace(p, side_probability=1 - p.side_probability)
    summary = evaluate(truth, wrong, "T1").summary()
    assert summary["handedness_accuracy"] == 0
    assert summary["wrist20"] == pytest.approx(0, abs=1e-4) and summary["wrist20_pred_side"] > 50


def test_a_network_without_heads_has_no_handedness():
    truth = make_truth(RHD)
    summary = evaluate(truth, make_predictions(truth, 5.0, heads=False), "T2").summary()
    assert summary["handedness_accuracy"] is None and summary["wrist20_pred_side"] is None
    assert summary["wrist20"] > 0


def test_visible_and_occluded_joints_part_the_hand():
    truth = make_truth(RHD)
    errors = evaluate(truth, make_predictions(truth, 5.0), "T2").errors
    assert torch.equal(errors["wrist20_vis"].valid | errors["wrist20_occluded"].valid, errors["wrist20"].valid)
    assert not (errors["wrist20_vis"].valid & errors["wrist20_occluded"].valid).any()


def test_interhand_by_kind_of_sequence():
    truth = make_truth(INTERHAND)  # 20 interacting, 10 right, 10 left
    p = shifted(truth)
    p.joints["T1"][::2, 0, 0] += 42  # right thumb tip, interacting images only
    summary = evaluate(truth, p, "T1").summary()
    assert summary["mpjpe_interacting"] == pytest.approx(1, abs=1e-4)
    assert summary["mpjpe_single"] == pytest.approx(0, abs=1e-4)
    # Of the images with a right hand 20 interact and 10 are single: 42 * 20 / 30 at one of 42 joints.
    assert summary["mpjpe_all"] == pytest.approx(20 / 30, abs=1e-4)
    assert summary["mpjpe_all_no_wrist"] == pytest.approx(20 / 30 * 42 / 40, abs=1e-4)
    assert summary["mpjpe_all_pooled"] == pytest.approx(42 * 20 / (20 * 42 + 20 * 21), abs=1e-4)
    assert summary["mrrpe"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("take", "absent"), [(slice(0, None, 2), "single"), (slice(1, None, 2), "interacting")])
def test_no_entry_of_an_absent_kind_is_a_number(take, absent):
    truth = make_truth(INTERHAND)
    names = ("joints_cam_mm", "joint_valid", "side_present", "intrinsics", "box", "side_valid")
    part = replace(truth, sample_id=truth.sample_id[take], **{n: getattr(truth, n)[take] for n in names})
    summary = evaluate(part, make_predictions(part, 5.0), "T2").summary()
    for name, value in summary.items():
        assert value is None or np.isfinite(value), name
        assert (value is None) >= (f"mpjpe_{absent}" in name), name
    assert (summary["mrrpe"] is None) == (absent == "interacting")


def test_handedness_can_be_resampled():
    truth = make_truth(RHD)
    p = make_predictions(truth, 1.0)
    sides = p.side_probability.copy()
    sides[:10] = 1 - sides[:10]
    evaluation = evaluate(truth, replace(p, side_probability=sides), "T2")
    number = estimate([evaluation.handedness])
    assert number.value == evaluation.summary()["handedness_accuracy"] == pytest.approx(0.75)
    assert number.low < 0.75 < number.high and number.samples == 40


def test_a_sequence_of_interhand_is_drawn_as_one():
    """Three cameras of two sequences."""
    truth = make_truth(INTERHAND, count=6)
    ids = [f"Capture{i % 2}/ROM0{i % 2}/cam{i}/image7" for i in range(6)]
    moved = make_predictions(truth, 5.0)
    evaluation = evaluate(replace(truth, sample_id=ids), replace(moved, sample_id=ids), "T2")
    for values in (*evaluation.errors.values(), evaluation.handedness, evaluation.root_depth_error_mm):
        assert values.cluster.tolist() == [0, 1, 0, 1, 0, 1] and values.clusters == 2
    rhd = make_truth(RHD)
    assert rhd.cluster is None and replace(rhd, dataset="realworld").cluster is None
    assert all(values.cluster is None for values in evaluate(rhd, make_predictions(rhd, 1.0), "T2").errors.values())


def test_the_root_depths_used_by_a_prediction_do_not_change_its_errors():
    truth = make_truth(RHD)
    p = make_predictions(truth, 5.0)
    stored = replace(p, root_depth_mm={"T2": np.full((40, 2), 400, np.float32)})
    assert evaluate(truth, stored, "T2").summary() == evaluate(truth, p, "T2").summary()


def test_joints_without_their_wrist_do_not_count():
    for dataset, metric in ((RHD, "wrist20"), (INTERHAND, "mpjpe_all")):
        truth = make_truth(dataset)
        valid = truth.joint_valid.copy()
        valid[:, ROOTS["left"]] = False
        errors = evaluate(replace(truth, joint_valid=valid), make_predictions(truth, 5.0), "T1").errors[metric]
        left = ~torch.as_tensor(truth.side_present[:, 0])  # images of the left hand alone
        assert not errors.valid[left].any() and errors.valid[~left].any()
        assert dataset == RHD or not errors.valid[:, 21:].any()


def test_a_diverged_network_is_reported_with_its_sample():
    truth = make_truth(RHD)
    p = make_predictions(truth, 5.0)
    p.joints["T2"][3] = np.nan
    with pytest.raises(ResultError, match="1 of 40 predictions are not finite.*'s003'"):
        evaluate(truth, p, "T2")


def test_evaluating_twice_gives_the_same_and_changes_nothing():
    truth, p = make_truth(INTERHAND), make_predictions(make_truth(INTERHAND), 5.0)
    before = truth.joints_cam_mm.copy(), p.joints["T2"].copy()
    first, second = (evaluate(truth, p, "T2").summary() for _ in range(2))
    assert first == second
    assert np.array_equal(before[0], truth.joints_cam_mm) and np.array_equal(before[1], p.joints["T2"])
    assert all(v is None or isinstance(v, float) for v in first.values())


def test_the_own_offset_is_what_the_wrists_maps_add_to_the_depth_used():
    truth = make_truth(INTERHAND)
    p = make_predictions(truth, 0.0)
    p = replace(p, root_depth_mm={"T1": truth.joints_cam_mm[:, list(ROOTS.values()), 2]})
    for joints in p.joints.values():
        joints[:, 41, 2] += 10  # the left wrist's own map decodes to 10 mm
    t1 = evaluate(truth, p, "T1").errors
    interacting = torch.as_tensor(truth.side_present.all(1))
    wrist = torch.as_tensor(truth.joints_cam_mm[:, 41]).double()
    ray = (wrist / (wrist[:, 2:] + 10)).clone()  # the pixel of the moved wrist: x and y stayed, z grew
    ray[:, 2] = 1
    expected = (ray * (wrist[:, 2:] + 10) - wrist).norm(dim=1)
    assert torch.allclose(t1["mrrpe_own_offset"].error_mm[interacting, 0], expected[interacting], atol=1e-3)
    assert (t1["mrrpe"].error_mm[interacting, 0] < expected[interacting]).all()
