"""Landmarks of another hand estimator on the real photographs, measured by this study's metrics.

`tools/mediapipe_photos.py` writes the landmarks in an environment of its own. Only photos with a hand found are
measured, so a table must state how many those are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from msff.data.realworld import SIDE
from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions, ResultError, Truth, load_npz
from msff.evaluation.tracks import TestTimeInputs
from msff.files import write_json
from msff.skeleton import CANONICAL_FROM_REALWORLD, HAND_SLICE, JOINTS, JOINTS_PER_HAND, SIDES
from msff.study.photos import TRACK, measured, photo_source, photo_truth
from msff.study.workspace import Workspace

INPUTS = TestTimeInputs("found", "none", "none", scale="none", side_input="none", side_slot="true")
"""The estimator sees the whole photo and uses no annotation; its one hand is the hand that is scored."""

LANDMARKS = "landmarks.npz"
ERRORS = "realworld.json"


def landmark_predictions(path: Path) -> Predictions:
    """Return the hands found as predictions on the photos' assumed side, relative to their own wrist, mm.

    ResultError if the file is damaged or holds no hand.
    """
    arrays = load_npz(path, ("sample_id", "world_mm"), "Run tools/mediapipe_photos.py again")
    ids, world = arrays["sample_id"].tolist(), arrays["world_mm"]
    if world.shape != (len(ids), JOINTS_PER_HAND, 3):
        raise ResultError(
            f"{path}: world_mm must be {(len(ids), JOINTS_PER_HAND, 3)}, found {world.shape}. "
            "Run tools/mediapipe_photos.py again"
        )
    found = np.isfinite(world).all((1, 2))  # (N,)
    if not found.any():
        raise ResultError(f"{path}: no hand was found in any of its {len(ids)} photos")
    joints = np.zeros((found.sum(), JOINTS, 3), np.float32)
    joints[:, HAND_SLICE[SIDE]] = (world - world[:, :1])[found][:, CANONICAL_FROM_REALWORLD]
    unknown = np.full((len(joints), len(SIDES)), np.nan, np.float32)
    kept = [name for name, hit in zip(ids, found, strict=True) if hit]
    return Predictions(kept, {TRACK: joints}, unknown, unknown[:, 0], {TRACK: INPUTS})


def store_landmark_errors(workspace: Workspace, path: Path) -> Path:
    """Measure the landmarks on the photos with a hand found, store the errors beside them and return that file.

    DataError without photos, ResultError if the landmarks are damaged.
    """
    predictions = landmark_predictions(path).as_stored()
    samples, kept = workspace.samples("realworld", "test").samples, set(predictions.sample_id)
    truth = Truth.from_samples([s for s in samples if s.sample_id in kept], "realworld")
    target = path.with_name(ERRORS)
    write_json(target, {
        "photos": photo_source(photo_truth(workspace)),
        "found": len(truth),
        "metrics": {TRACK: measured(evaluate(truth, predictions, TRACK))},
    })  # fmt: skip
    return target
