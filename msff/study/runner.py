"""Runs: which are finished, and how a missing one is made. Everything else in the study only reads them."""

from __future__ import annotations

import dataclasses
import time
import uuid

import pandas as pd

from msff.evaluation.evaluate import evaluate
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
        _ensure_auxiliary(workspace, needed, experiment.dataset)
    started, peak = time.perf_counter(), PeakMemory(workspace.device)
    trained, training_s = Trained(None, pd.DataFrame(), uuid.uuid4().hex), 0.0
    if method_of(experiment.method).has_network:
        trained = train(workspace, experiment, resume, progress)
        training_s = time.perf_counter() - started
    if engine.is_first:
        started += training_s  # of a resumed training the history has all of it
        store = _store_auxiliary if experiment.method in AUXILIARY else _store_run
        store(workspace, experiment, trained, started, peak)
    engine.barrier()
    return workspace.store.get(experiment)


def _ensure_auxiliary(workspace: Workspace, experiment: Experiment, dataset: str) -> None:
    """Train an auxiliary network unless its stored predictions cover the dataset's test part, or can."""

    def is_there() -> bool:
        stored = finished(workspace, experiment)
        return stored is not None and auxiliary.covers(workspace, stored, dataset)

    if not workspace.engine.agreed(workspace.engine.is_first and is_there()):
        run(workspace, experiment)


def _store_auxiliary(workspace, experiment: Experiment, trained: Trained, started: float, peak: PeakMemory) -> None:
    predictions = auxiliary.predict_test_part(workspace, experiment, trained.network)
    facts = auxiliary.measured(workspace, experiment, predictions)
    record = _record(workspace, experiment, trained, started, peak, **facts)
    workspace.store.save_run(record, trained.history, predictions)


def _store_run(workspace, experiment: Experiment, trained: Trained, started: float, peak: PeakMemory) -> None:
    truth, network = workspace.truth(experiment.dataset), trained.network
    _, depth = auxiliary.depth_source(workspace, experiment.dataset)
    sidenet = auxiliary.handedness(workspace, experiment)
    begun = time.perf_counter()
    predictions = predict(workspace, experiment, network)
    speed = len(predictions) / (time.perf_counter() - begun) if network else None
    predictions = predictions.as_stored()  # metrics of records and of tables are of the same numbers
    record = _record(
        workspace, experiment, trained, started, peak,
        predict_images_per_s=speed,
        root_depth=depth,
        handedness=auxiliary.described(sidenet) if sidenet else None,
        test_time_inputs={track: dataclasses.asdict(predictions.inputs[track]) for track in predictions.joints},
        metrics={track: evaluate(truth, predictions, track).summary() for track in predictions.joints},
    )  # fmt: skip
    stored = workspace.store.save_run(record, trained.history, predictions)
    predict_photos_if_present(workspace, stored, network)


def _record(
    workspace: Workspace, experiment: Experiment, trained: Trained, started: float, peak: PeakMemory, **facts
) -> RunRecord:
    """Return what every run records; ``started`` is when all that is no training began."""
    size, (network, history, uid) = workspace.profile.network.crop_size, trained
    train_seconds = float(history["seconds"].sum()) if len(history) else 0.0
    rates = history.groupby("phase")["images_per_s"].median() if len(history) else None
    return RunRecord(
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
