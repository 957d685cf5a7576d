"""Runs: which are finished, and how a missing one is made. Everything else in the study only reads them."""

from __future__ import annotations

import dataclasses
import time
import uuid

import pandas as pd
from torch import nn

from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions
from msff.models.building import count_macs, count_used_parameters
from msff.models.registry import AUXILIARY, method_of
from msff.study import auxiliary
from msff.study.configuration import config, config_hash
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_needed_by
from msff.study.machine import PeakMemory, provenance
from msff.study.photos import predict_photos_if_present
from msff.study.predict import predict
from msff.study.progress import finished
from msff.study.store import Run, RunRecord
from msff.study.train import Trained, train
from msff.study.workspace import Workspace
from msff.training.loop import Progress


def ensure_run(workspace: Workspace, run_id: str, force: bool = False, progress: Progress | None = None) -> Run:
    """Return the finished run, training it now if the store lacks it or ``force`` demands it.

    Auxiliary networks that it needs are trained first.
    """
    experiment = workspace.experiment(run_id)
    if workspace.engine.agreed(not force and finished(workspace, experiment) is not None):
        return workspace.store.get(experiment)
    return run(workspace, experiment, resume=not force, progress=progress)


def run(workspace: Workspace, experiment: Experiment, resume: bool = True, progress: Progress | None = None) -> Run:
    """Train, predict, evaluate and store; then predict the real photographs where they are on this machine.

    Of torchrun's processes all train; the first one alone predicts and stores.
    """
    engine = workspace.engine
    engine.first_alone(lambda: workspace.make_data(experiment.dataset))
    for needed in auxiliary_needed_by(workspace.profile, experiment):
        stored = finished(workspace, needed) if engine.is_first else None
        if not engine.agreed(stored is not None and auxiliary.covers(workspace, stored, experiment.dataset)):
            run(workspace, needed)
    started, peak = time.perf_counter(), PeakMemory(workspace.device)
    trained, training_s = Trained(None, pd.DataFrame(), uuid.uuid4().hex), 0.0
    if method_of(experiment.method).has_network:
        trained = train(workspace, experiment, resume, progress)
        training_s = time.perf_counter() - started
    if engine.is_first:
        _store(workspace, experiment, trained, started + training_s, peak)  # the history has a resumed training's time
    engine.barrier()
    return workspace.store.get(experiment)


def _store(workspace: Workspace, experiment: Experiment, trained: Trained, started: float, peak: PeakMemory) -> None:
    """Predict and store the run; ``started`` is when all that is no training began."""
    network, history, uid = trained
    if experiment.method in AUXILIARY:
        predictions = auxiliary.predict_test_part(workspace, experiment, network)
        facts = auxiliary.measured(workspace, experiment, predictions)
    else:
        predictions, facts = _predicted(workspace, experiment, network)
    size = workspace.profile.network.crop_size
    train_seconds = float(history["seconds"].sum()) if len(history) else 0.0
    rates = history.groupby("phase")["images_per_s"].median() if len(history) else None
    record = RunRecord(
        run_id=experiment.run_id,
        uid=uid,
        experiment=experiment,
        config=config(workspace, experiment),
        config_hash=config_hash(workspace, experiment),
        seconds=train_seconds + time.perf_counter() - started,
        finished=time.time(),
        train_seconds=train_seconds,
        images_per_s=None if rates is None else float(rates.min()),
        peak_mib=peak.mib(),
        train_images=len(workspace.read(experiment.dataset, "train")),
        test_images=len(workspace.read(experiment.dataset, "test")),
        parameters=count_used_parameters(network, size) if network else 0,
        macs=count_macs(network, size) if network else 0,
        **provenance(workspace.root, workspace.device),
        **(workspace.engine.describe() if network else {}),
        **facts,
    )
    predict_photos_if_present(workspace, workspace.store.save_run(record, history, predictions), network)


def _predicted(workspace: Workspace, experiment: Experiment, network: nn.Module | None) -> tuple[Predictions, dict]:
    """Return a method's predictions as they are stored, and what the record states about them."""
    truth, (_, depth) = workspace.truth(experiment.dataset), auxiliary.depth_source(workspace, experiment.dataset)
    sidenet = auxiliary.handedness(workspace, experiment)
    begun = time.perf_counter()
    predictions = predict(workspace, experiment, network)
    speed = len(predictions) / (time.perf_counter() - begun) if network else None
    predictions = predictions.as_stored(truth)  # metrics of records and of tables are of the same numbers
    return predictions, {
        "predict_images_per_s": speed,
        "root_depth": depth,
        "handedness": auxiliary.described(sidenet) if sidenet else None,
        "test_time_inputs": {track: dataclasses.asdict(predictions.inputs[track]) for track in predictions.joints},
        "metrics": {track: evaluate(truth, predictions, track).summary() for track in predictions.joints},
    }
