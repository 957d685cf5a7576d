"""What the trained networks make of real photographs: predictions apart from a run's own, where photos are at hand.

The photos are the real-world test set of Ge et al. (`msff.data.realworld`). Nothing learns from them, no configuration
mentions them, and without them everything is as it is with them. Weights are not kept, so that a run predicts them as
soon as it is trained; `msff study photos` makes up for it as long as the checkpoint lies there. So do the helpers
answer about them; where one has not seen these photos and its weights are elsewhere, runs that rest on it go without,
with a warning, rather than on another helper. Photos and annotation are their authors' and stay where they are: what
is stored is what a run predicts, and the metrics with their intervals, measured at that moment, so that the table needs
neither.

Of the tracks T2 alone is stored. T1 would tell a method the true scale, side and wrist depth: the set has depth and
scale, but its side is only assumed, and what a network sees in a photo is not what it is told. The box is that of the
published crop, in which no annotation enters; depth, side and scale are estimated as for the run's own test part, by
what was fitted or trained on its training part. So is a network of a paper's own recipe (T0) asked. The oracle, which
decodes the truth, predicts no photo.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from msff.data.datasets import DATASETS
from msff.data.sample import DataError
from msff.evaluation.bootstrap import estimate
from msff.evaluation.evaluate import Evaluation, evaluate
from msff.evaluation.joint_errors import JointErrors, JointValues, area_under_pck, within
from msff.evaluation.lifting import DepthSource
from msff.evaluation.predictions import Predictions, Truth
from msff.models.registry import AUXILIARY, method_of
from msff.study.grid import helpers
from msff.study.hand_runs import sees_own_crops
from msff.study.helping import knows, shown
from msff.study.machine import provenance
from msff.study.store import PHOTOS, Experiment, Run
from msff.training.loop import count_epochs

if TYPE_CHECKING:
    from msff.study.experiment import Study

TRACK = "T2"
"""The only track of the photos."""

_SHARES: dict[str, Callable[[JointErrors], JointValues]] = {
    "pck_30": lambda errors: within(errors, 30.0),
    "auc_0_50": area_under_pck,
    "auc_20_50": lambda errors: area_under_pck(errors, first=8),
}
METRICS: dict[str, tuple[str, Callable[[JointErrors], JointValues]]] = {
    name: (name, lambda errors: errors) for name in ("wrist20", "wrist20_pred_side", "palm21", "pa21")
} | {f"{name}_{share}": (name, level) for name in ("wrist20", "pa21") for share, level in _SHARES.items()}
"""What is measured: name -> the error in mm behind it, and what is averaged of it; shares are in [0, 1]."""


def predicts_photos(experiment: Experiment) -> bool:
    """Whether it says anything of a photo without its annotation: all do but the helpers, and the oracle."""
    return experiment.method not in (*AUXILIARY, "oracle")


def keep_photos(study: Study, run: Run, model: nn.Module | None, depth: DepthSource, source: dict) -> None:
    """Store what a run that has just been stored predicts for the photos, if there are any.

    ``depth`` and ``source``: T2's depth of the run, see ``Study.root_depth``. Photos that cannot be read cost a warning
    and not the run.
    """
    if not (study.names_data(PHOTOS) and predicts_photos(run.experiment)):
        return
    try:
        found = _predicted(study, run, model, depth, source)
    except DataError as error:
        warnings.warn(
            f"{run.experiment.run_id} is stored, but without its predictions of the {DATASETS[PHOTOS].label}: {error}. "
            f"Then `msff study photos --profile {study.profile.name}` makes up for it",
            stacklevel=2,
        )
        return
    study.engine.first_alone(lambda: study.store.save_photos(run, *found))


def photo_truth(study: Study) -> Truth:
    """The annotation of the photos at hand. DataError if the set cannot be read."""
    return Truth.from_samples(study.samples(PHOTOS, "test").samples, PHOTOS)


def photo_source(truth: Truth) -> dict:
    """Which photos these are, in JSON values: how many, and a digest of their names and joints."""
    names = json.dumps(truth.sample_id).encode()
    digest = hashlib.sha256(names + np.ascontiguousarray(truth.joints_cam_mm, np.float32).tobytes())
    return {"count": len(truth), "sha256": digest.hexdigest()}


def measured(evaluation: Evaluation) -> dict[str, dict | None]:
    """The metrics as they are stored: value, low, high (95 %) and samples of each; None where it has no sample."""
    found = {name: estimate([level(evaluation.errors[source])]) for name, (source, level) in METRICS.items()}
    return {
        name: number and {key: getattr(number, key) for key in ("value", "low", "high", "samples")}
        for name, number in found.items()
    }


def _predicted(study: Study, run: Run, model, depth: DepthSource, source: dict) -> tuple[dict, Predictions]:
    """Record and predictions of the photos."""
    truth = photo_truth(study)
    predictions = study.predict(run.experiment, model, depth, PHOTOS).only(TRACK)
    record = {
        "uid": run.record["uid"],
        "dataset": PHOTOS,
        "photos": photo_source(truth),
        "predicted": time.time(),
        "root_depth": source,
        "given": {TRACK: dataclasses.asdict(predictions.inputs[TRACK])},
        "metrics": {TRACK: measured(evaluate(truth, predictions, TRACK))},
        **provenance(study.root, study.device),
    }
    return record, predictions


def announce(study: Study) -> str | None:
    """A line for the start of a study; None without photos."""
    if not study.names_data(PHOTOS):
        return None
    try:
        count = len(photo_truth(study))
        blind = [e.run_id for e in helpers(study.profile) if _is_blind(study, e)]
    except DataError as error:
        return f"Real photos: {error}. The runs go on without them."
    line = f"Real photos: {count} in {study.data_root(PHOTOS)}; each run predicts them when it is trained"
    return f"{line}, but not those that rest on {', '.join(blind)}: {_BLIND}." if blind else f"{line}."


_BLIND = "no answers about these photos, and no weights here"


def _is_blind(study: Study, helper: Experiment) -> bool:
    """Whether the helper tells runs of their own test part, and nothing of the photos."""
    run = study.finished(helper)
    return not (run is None or not run.answered or study.keeps(run) or knows(run, shown(study, helper.method, PHOTOS)))


# Afterwards


def predict_missing(study: Study, log: Callable[[str], None] = print) -> list[Run]:
    """Predict the photos at hand with every stored run that has not and whose weights are here; nothing is trained.

    Returns those runs, and logs which stay without and why. DataError without photos.
    """
    study.make_data(PHOTOS)
    source = photo_source(photo_truth(study))
    runs = [run for run in study.store.runs() if predicts_photos(run.experiment)]
    missing = [run for run in runs if run.photos is None or run.photos["photos"] != source]
    reasons = {run.experiment.run_id: _lacking(study, run) for run in missing}
    made = []
    for run in missing:
        if reasons[run.experiment.run_id] is None:
            depth, source = study.root_depth(run.experiment.dataset, sees_own_crops(run.experiment))
            found = _predicted(study, run, _network(study, run.experiment), depth, source)
            made.append(study.store.save_photos(run, *found))
            log(f"{run.experiment.run_id}: predicted")
    for run_id, reason in reasons.items():
        if reason is not None:
            log(f"{run_id}: {reason}")
    log(
        f"Profile {study.profile.name}: {len(runs)} runs, {len(runs) - len(missing)} had their predictions of the real "
        f"photos, {len(made)} got them now, {len(missing) - len(made)} stay without."
    )
    return made


def _lacking(study: Study, run: Run) -> str | None:
    """Why the run's network cannot be had without training; None if it can."""
    if study.finished(run.experiment) is None:
        return "is of another configuration than today's; train it again"
    holder = _holder(study, run.experiment)
    if holder is not None and not study.trained(holder):
        return f"lacks its weights, {study.checkpoint_path(holder)}; train it again"
    stored = study.store.get(holder) if holder is not None else None  # None, too: another experiment had it trained
    if stored is not None and not study.keeps(stored):
        return f"the weights in {study.checkpoint_path(holder)} are of another training than the stored run"
    helpers = sorted(study.rests_on(run.experiment))
    absent = [e.run_id for e in helpers if not study.can_help(e, run.experiment, PHOTOS)]
    remedy = "`msff train --force` trains it anew, and the runs to come rest on the new one"
    return f"cannot ask {', '.join(absent)}: {_BLIND}; {remedy}" if absent else None


def _holder(study: Study, experiment: Experiment) -> Experiment | None:
    """The experiment whose checkpoint holds the network: of one that learns nothing more, the one it starts with."""
    if method_of(experiment.method).build is None:
        return None
    return experiment if count_epochs(study.phases(experiment)) else study.procedure(experiment).start


def _network(study: Study, experiment: Experiment) -> nn.Module | None:
    """The trained network out of its checkpoint."""
    holder, how = _holder(study, experiment), study.procedure(experiment)
    if holder is None or holder == experiment:
        return None if holder is None else study.trained_network(experiment)
    model = study.network(experiment)
    how.begin(model, study.trained_network(holder))
    return model
