"""Predictions of real photographs by the trained networks, stored apart from a run's own.

The photographs are the real-world test set of Ge et al. (`msff.data.realworld`). No network is trained on them, no
configuration mentions them, and without them everything else stays the same. A run predicts them as soon as it is
trained, since weights are not stored; `msff study photos` does it later while the checkpoint is there. Photographs and
annotation stay where they are: what is stored are the predictions, and the metrics with their intervals, so that the
tables need neither.

Only track T2 is stored. T1 would use the true scale, handedness and wrist depth, but the set's handedness is only
assumed. The box is that of the published crop, which uses no annotation; depth, handedness and scale are estimated as
for the run's own test part. A network of a paper's own recipe (T0) is evaluated in the same way. The oracle, which
decodes the ground truth, predicts no photograph.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from msff.data.datasets import DATASETS
from msff.data.realworld import SIDE
from msff.data.sample import DataError
from msff.evaluation.bootstrap import estimate
from msff.evaluation.evaluate import Evaluation, evaluate
from msff.evaluation.hand_size import AVERAGE_HAND_MM, with_hand_size
from msff.evaluation.joint_errors import JointErrors, JointValues, area_under_pck, within
from msff.evaluation.predictions import Predictions, ResultError, Truth, load_npz
from msff.evaluation.tracks import RANKING_TRACK, TestTimeInputs
from msff.files import write_json
from msff.models.registry import AUXILIARY, method_of
from msff.skeleton import CANONICAL_FROM_REALWORLD, HAND_SLICE, JOINTS, JOINTS_PER_HAND, SIDES
from msff.study import auxiliary
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_needed_by
from msff.study.machine import provenance
from msff.study.predict import predict
from msff.study.procedures import procedure
from msff.study.progress import checkpoint_path, holds_weights_of
from msff.study.store import PHOTOS, Run
from msff.study.train import trained_network
from msff.study.workspace import Workspace

"""The only track of the photographs."""

_SHARES: dict[str, Callable[[JointErrors], JointValues]] = {
    "pck_30": lambda errors: within(errors, 30.0),
    "auc_0_50": area_under_pck,
    "auc_20_50": lambda errors: area_under_pck(errors, first=8),
}
METRICS: dict[str, tuple[str, Callable[[JointErrors], JointValues]]] = {
    name: (name, lambda errors: errors) for name in ("wrist20", "wrist20_pred_side", "palm21", "pa21")
} | {f"{name}_{share}": (name, level) for name in ("wrist20", "pa21") for share, level in _SHARES.items()}
"""What is measured: name -> the error in mm behind it, and what is averaged of it; shares are in [0, 1]."""


SIZED = "wrist20_sized"
"""wrist20 with every hand at the average size, as `msff predict` shows it, instead of at the estimated depth."""

LANDMARK_INPUTS = TestTimeInputs("found", "none", "none", scale="none", side_input="none", side_slot="true")
"""Another estimator sees the whole photo and uses no annotation; its one hand is the hand that is scored."""

LANDMARKS = "landmarks.npz"  # written by tools/mediapipe_photos.py, in an environment of its own
LANDMARK_ERRORS = "realworld.json"


def predicts_photos(experiment: Experiment) -> bool:
    """Return False for the oracle, which needs the annotation, and for auxiliary networks."""
    return experiment.method not in (*AUXILIARY, "oracle")


def photo_truth(workspace: Workspace) -> Truth:
    """Return the photographs' annotation. DataError if the set cannot be read."""
    return Truth.from_samples(workspace.samples(PHOTOS, "test").samples, PHOTOS)


def photo_source(truth: Truth) -> dict:
    """Return which photographs these are, in JSON values: how many, and a digest of their names and joints."""
    names = json.dumps(truth.sample_id).encode()
    digest = hashlib.sha256(names + np.ascontiguousarray(truth.joints_cam_mm, np.float32).tobytes())
    return {"count": len(truth), "sha256": digest.hexdigest()}


def measured(evaluation: Evaluation) -> dict[str, dict | None]:
    """Return the metrics as they are stored: value, low, high (95 %) and samples; None without a sample."""
    found = {name: estimate([level(evaluation.errors[source])]) for name, (source, level) in METRICS.items()}
    kept = ("value", "low", "high", "samples")
    return {name: number and {key: getattr(number, key) for key in kept} for name, number in found.items()}


def measured_photos(truth: Truth, predictions: Predictions) -> dict[str, dict | None]:
    """Return what ``measured`` does of the photographs' track, and ``SIZED``: None for a hand without a position."""
    sized = None
    if predictions.inputs[RANKING_TRACK].root_depth != "none":
        sized = measured(evaluate(truth, with_hand_size(predictions, AVERAGE_HAND_MM), RANKING_TRACK))["wrist20"]
    return measured(evaluate(truth, predictions, RANKING_TRACK)) | {SIZED: sized}


def predict_photos(workspace: Workspace, run: Run, network: nn.Module | None) -> Run:
    """Predict the photographs with a stored run's network and store the result.

    DataError if the photographs cannot be read, ResultError if an auxiliary network has not predicted them.
    """
    experiment, truth = run.experiment, photo_truth(workspace)
    _, depth = auxiliary.depth_source(workspace, experiment.dataset)
    predictions = predict(workspace, experiment, network, PHOTOS).only(RANKING_TRACK).as_stored(truth)
    record = {
        "uid": run.record.uid,
        "dataset": PHOTOS,
        "photos": photo_source(truth),
        "predicted": time.time(),
        "root_depth": depth,
        "given": {RANKING_TRACK: dataclasses.asdict(predictions.inputs[RANKING_TRACK])},
        "metrics": {RANKING_TRACK: measured_photos(truth, predictions)},
        **provenance(workspace.root, workspace.device),
    }
    return workspace.store.save_photos(run, record, predictions)


def predict_photos_if_present(workspace: Workspace, run: Run, network: nn.Module | None) -> None:
    """Predict the photographs if they are on this machine; a failure costs a warning and not the run."""
    if not (workspace.allows_photos and workspace.names_data(PHOTOS) and predicts_photos(run.experiment)):
        return
    try:
        if reason := _uncovered(workspace, run.experiment):
            raise DataError(reason)
        predict_photos(workspace, run, network)
    except DataError as error:
        warnings.warn(
            f"{run.experiment.run_id} is stored, but without its predictions of the {DATASETS[PHOTOS].label}: {error}. "
            f"Then run `msff study photos --profile {workspace.profile.name}`",
            stacklevel=2,
        )


def predict_missing(workspace: Workspace, log: Callable[[str], None] = print) -> list[Run]:
    """Predict the photographs with every stored run that has not and whose weights are here, without training.

    Returns those runs, and logs which cannot and why. DataError without photographs.
    """
    workspace.make_data(PHOTOS)
    source = photo_source(photo_truth(workspace))
    runs = [run for run in workspace.store.runs() if predicts_photos(run.experiment)]
    missing = [run for run in runs if run.photos is None or run.photos["photos"] != source]
    made = []
    for run in missing:
        if reason := _obstacle(workspace, run):
            log(f"{run.experiment.run_id}: {reason}")
        else:
            has_network = method_of(run.experiment.method).has_network
            network = trained_network(workspace, run.experiment) if has_network else None
            made.append(predict_photos(workspace, run, network))
            log(f"{run.experiment.run_id}: predicted")
    log(
        f"Profile {workspace.profile.name}: {len(runs)} runs, {len(runs) - len(missing)} had predicted the real "
        f"photographs, {len(made)} have now, {len(missing) - len(made)} cannot."
    )
    return made


def _obstacle(workspace: Workspace, run: Run) -> str | None:
    """Return why the run cannot predict the photographs without a training; None if it can."""
    experiment = run.experiment
    if run.record.config_hash != config_hash(workspace, experiment):
        return "its configuration is not today's; train it again"
    how = procedure(experiment, workspace.profile)
    holder = experiment if how.schedules else how.start_from  # whose checkpoint holds the network, if there is one
    stored = workspace.store.get(holder) if holder else None
    if stored is not None and not holds_weights_of(workspace, holder, stored.record.uid):
        return f"{checkpoint_path(workspace, holder)} does not hold the weights of the stored run; train it again"
    return _uncovered(workspace, experiment)


def _uncovered(workspace: Workspace, experiment: Experiment) -> str | None:
    """Return which auxiliary network has not predicted the photographs and cannot; None if all have or can."""
    for needed in auxiliary_needed_by(workspace.profile, experiment):
        run = workspace.store.get(needed)
        if run is None or not auxiliary.covers(workspace, run, PHOTOS):
            return (
                f"{needed.run_id} has not predicted these photographs and its weights are not here; "
                "`msff train --force` trains it again"
            )
    return None


# landmarks of another hand estimator, measured by the same metrics


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
    return Predictions(kept, {RANKING_TRACK: joints}, unknown, unknown[:, 0], {RANKING_TRACK: LANDMARK_INPUTS})


def store_landmark_errors(workspace: Workspace, path: Path) -> Path:
    """Measure the landmarks on the photos with a hand found, store the errors beside them and return that file.

    Photos without a hand found are left out, so a table must state how many are measured. DataError without photos,
    ResultError if the landmarks are damaged.
    """
    predictions = landmark_predictions(path)
    samples, kept = workspace.samples(PHOTOS, "test").samples, set(predictions.sample_id)
    truth = Truth.from_samples([s for s in samples if s.sample_id in kept], PHOTOS)
    target = path.with_name(LANDMARK_ERRORS)
    write_json(target, {
        "photos": photo_source(photo_truth(workspace)),
        "found": len(truth),
        "metrics": {RANKING_TRACK: measured(evaluate(truth, predictions.as_stored(truth), RANKING_TRACK))},
    })  # fmt: skip
    return target
