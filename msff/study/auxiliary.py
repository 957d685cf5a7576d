"""The auxiliary networks: trained once per dataset, their predictions stored, and looked up by all runs.

RootNet gives track T2's absolute wrist depth, SideNet the handedness for methods that need it as an input. Their stored
predictions cover the test part and, where they are on this machine, the real photographs, so that other machines need
no weights and all runs rest on the same numbers.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from torch import nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.data.sample import DataError
from msff.evaluation.auxiliary_predictions import (
    AuxiliaryPredictions,
    depth_accuracy,
    depth_of,
    side_accuracy,
    sides_of,
)
from msff.evaluation.lifting import DepthSource
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_of
from msff.study.procedures import procedure
from msff.study.progress import holds_weights_of
from msff.study.store import PHOTOS, Run
from msff.study.train import load_network
from msff.study.workspace import Workspace

_PREDICTOR = {"rootnet": depth_of, "sidenet": sides_of}
_VIEWS = {"rootnet": ("images", "hands"), "sidenet": ("hands",)}
"""The test crops that runs need predictions for."""


def predict_test_part(workspace: Workspace, experiment: Experiment, network: nn.Module) -> AuxiliaryPredictions:
    """Predict the test part and the real photographs; photographs that cannot be read cost a warning."""
    predictions = _extended(workspace, experiment, network, None, experiment.dataset)
    if not (workspace.allows_photos and workspace.names_data(PHOTOS)):
        return predictions
    try:
        return _extended(workspace, experiment, network, predictions, PHOTOS)
    except DataError as error:
        label = DATASETS[PHOTOS].label
        warnings.warn(f"{experiment.run_id} is trained, but has not predicted the {label}: {error}", stacklevel=2)
        return predictions


def _extended(workspace, experiment, network, predictions, dataset: str) -> AuxiliaryPredictions:
    """Return the table with the crops of a dataset's test part that it lacks."""
    predictor = _PREDICTOR[experiment.method](workspace.engine.network(network))
    for crops in _crops(workspace, experiment.method, dataset):
        rows = np.full(len(crops), -1) if predictions is None else predictions.rows(crops.samples)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            new = AuxiliaryPredictions.of(predictor, crops if len(missing) == len(crops) else crops.at(missing))
            predictions = new if predictions is None else AuxiliaryPredictions.joined([predictions, new])
    return predictions


def _crops(workspace: Workspace, method: str, dataset: str) -> list[HandDataset]:
    return [workspace.samples(dataset, "test", view) for view in _VIEWS[method]]


def measured(workspace: Workspace, experiment: Experiment, predictions: AuxiliaryPredictions) -> dict:
    """Return the accuracy on the test part: of RootNet beside the box-size depth model, of SideNet."""
    dataset = experiment.dataset
    if experiment.method == "sidenet":
        hands = workspace.samples(dataset, "test", "hands")
        return {"metrics": {"sidenet": side_accuracy(predictions.on(hands), hands)}}
    box, test = workspace.box_depth(dataset), workspace.samples(dataset, "test")
    return {
        "box_depth": dataclasses.asdict(box),
        "metrics": {depth.source: depth_accuracy(depth.on(test), test) for depth in (predictions, box)},
    }


def covers(workspace: Workspace, run: Run, dataset: str) -> bool:
    """Return whether the stored predictions cover a dataset's test part, extending them if the weights are here.

    A larger test part or photographs that came later are predicted without another training.
    """
    if all(run.auxiliary_predictions.covers(c.samples) for c in _crops(workspace, run.experiment.method, dataset)):
        return True
    if not holds_weights_of(workspace, run.experiment, run.record.uid):
        return False
    network = load_network(workspace, run.experiment)
    predictions = _extended(workspace, run.experiment, network, run.auxiliary_predictions, dataset)
    workspace.store.save_run(run.record, run.history, predictions)
    return True


def depth_source(workspace: Workspace, dataset: str) -> tuple[DepthSource, dict]:
    """Return track T2's wrist depth, the same for all methods and seeds, and its description for records."""
    if workspace.profile.root_depth.source == "box":
        box = workspace.box_depth(dataset)
        return box, {"source": box.source} | dataclasses.asdict(box)
    run = _stored(workspace, dataset, "rootnet")
    return run.auxiliary_predictions, {"source": AuxiliaryPredictions.source} | described(run)


def handedness(workspace: Workspace, experiment: Experiment) -> Run | None:
    """Return the stored SideNet of the experiment's dataset; None if the method does not need it."""
    if not procedure(experiment, workspace.profile).needs_handedness:
        return None
    return _stored(workspace, experiment.dataset, "sidenet")


def _stored(workspace: Workspace, dataset: str, method: str) -> Run:
    return workspace.store.get(auxiliary_of(workspace.profile, dataset, method))


def described(run: Run) -> dict:
    """Return what a record states about an auxiliary network it rests on."""
    record = run.record
    return {"run_id": record.run_id, "config_hash": record.config_hash, "uid": record.uid, "metrics": record.metrics}
