"""From an experiment to a trained network."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from msff.files import locked
from msff.models.building import build
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.phases import phases, start_from
from msff.study.procedures import procedure
from msff.study.progress import checkpoint_path, is_trained, lock_path
from msff.study.workspace import Workspace
from msff.training.checkpoint import discard_stale, load_checkpoint
from msff.training.loop import Progress, fit


class Trained(NamedTuple):
    """A trained network, its history (one row per epoch) and the uid that its checkpoint carries.

    A method that trains nothing has no network and an empty history.
    """

    network: nn.Module | None
    history: pd.DataFrame
    uid: str


def untrained_network(workspace: Workspace, experiment: Experiment) -> nn.Module:
    """Return the network on the workspace's device; its initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        return build(experiment.method, experiment.variant, workspace.profile.network).to(workspace.device)


def trained_network(workspace: Workspace, experiment: Experiment) -> nn.Module:
    """Return the network with its trained weights, training it first if they are not here."""
    if not workspace.engine.agreed(is_trained(workspace, experiment)):
        return train(workspace, experiment).network
    return load_network(workspace, experiment)


def load_network(workspace: Workspace, experiment: Experiment) -> nn.Module:
    """Return the network with the weights of the local checkpoint."""
    model = untrained_network(workspace, experiment)
    model.load_state_dict(load_checkpoint(checkpoint_path(workspace, experiment), workspace.device)["model"])
    return model


def train(
    workspace: Workspace, experiment: Experiment, resume: bool = True, progress: Progress | None = None
) -> Trained:
    """Train the experiment's network, resuming from its checkpoint. Another process with the same wish waits."""
    how = procedure(experiment, workspace.profile)
    today, engine = config_hash(workspace, experiment), workspace.engine
    checkpoint = checkpoint_path(workspace, experiment)
    # Of torchrun's processes the first one holds the lock, and all train.
    with locked(lock_path(workspace, experiment)) if engine.is_first else nullcontext():
        engine.barrier()
        engine.first_alone(lambda: discard_stale(checkpoint, today if resume else None))
        images = workspace.samples(experiment.dataset, "train", how.view)  # first: reports missing data
        model = untrained_network(workspace, experiment)
        if how.start_from is not None and not engine.agreed(checkpoint.exists()):
            start_from(experiment, model, trained_network(workspace, how.start_from))
        history = fit(
            model, images, phases(experiment, workspace.profile, images), seed=experiment.seed,
            checkpoint=checkpoint, config_hash=today,
            describe=dataclasses.asdict(experiment), progress=progress if engine.is_first else None, engine=engine,
        )  # fmt: skip
    return Trained(model, history, history.attrs["uid"])
