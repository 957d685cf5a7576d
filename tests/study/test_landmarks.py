"""Another estimator's landmarks become predictions in the canonical order, and are measured by the study's metrics."""

import numpy as np
import pytest
from make_results import make_photos

from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import ResultError
from msff.skeleton import CANONICAL_FROM_REALWORLD, FINGERTIPS, LEFT, RIGHT, WRIST
from msff.study.photos import landmark_predictions


def written(path, world, ids=None):
    np.savez(path, sample_id=np.array(ids or [f"{i:05d}" for i in range(len(world))]), world_mm=world)
    return path


def test_landmarks_move_to_the_canonical_order_of_a_left_hand_relative_to_its_wrist(tmp_path):
    world = np.random.default_rng(0).normal(size=(2, 21, 3)).astype(np.float32) * 50
    joints = landmark_predictions(written(tmp_path / "a.npz", world)).joints["T2"]
    assert not joints[:, RIGHT].any() and not joints[:, LEFT][:, WRIST].any()
    tips = joints[:, LEFT][:, list(FINGERTIPS)]
    np.testing.assert_allclose(tips, world[:, [4, 8, 12, 16, 20]] - world[:, :1], atol=1e-4)


def test_a_shift_of_one_tip_by_20_mm_is_an_error_of_1_mm(tmp_path):
    truth = make_photos()
    world = np.empty((len(truth), 21, 3), np.float32)
    world[:, CANONICAL_FROM_REALWORLD] = truth.joints_cam_mm[:, LEFT]
    world[:, 8, 0] += 20
    predictions = landmark_predictions(written(tmp_path / "a.npz", world, truth.sample_id))
    error = evaluate(truth, predictions, "T2").errors["wrist20"]
    assert float(error.value[error.valid].mean()) == pytest.approx(1, abs=1e-3)


def test_photos_without_a_hand_are_left_out_and_all_without_is_an_error(tmp_path):
    world = np.ones((2, 21, 3), np.float32)
    world[0] = np.nan
    assert landmark_predictions(written(tmp_path / "a.npz", world)).sample_id == ["00001"]
    with pytest.raises(ResultError, match="no hand was found"):
        landmark_predictions(written(tmp_path / "b.npz", world[:1]))


def test_a_file_of_another_shape_is_named(tmp_path):
    with pytest.raises(ResultError, match="must be"):
        landmark_predictions(written(tmp_path / "a.npz", np.ones((2, 20, 3))))
