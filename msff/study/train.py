"""From an experiment to a trained network: its configuration, the hash that identifies it, checkpoint and training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from msff.files import is_locked, locked
from msff.models.registry import AUXILIARY, build, method_of
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_of
from msff.study.procedures import Procedure, procedure
from msff.study.workspace import Workspace
from msff.training.checkpoint import discard_stale, load_checkpoint
from msff.training.loop import Progress, count_epochs, fit


class Trained(NamedTuple):
    """A trained network, its history (one row per epoch) and the uid that its checkpoint carries."""

    network: nn.Module
    history: pd.DataFrame
    uid: str


def procedure_of(workspace: Workspace, experiment: Experiment) -> Procedure:
    """Return how the experiment is trained in the workspace's profile."""
    return procedure(experiment, workspace.profile)


def config(workspace: Workspace, experiment: Experiment) -> dict:
    """Return everything that affects the run's numbers, as plain JSON values."""
    profile, method, how = workspace.profile, method_of(experiment.method), procedure_of(workspace, experiment)
    sizes = dataclasses.asdict(profile.network)
    found = {"network": {key: sizes[key] for key in method.sizes}, "supersample": profile.supersample}
    found |= {"recipe": how.recipe} if method.single_hand else how.recipe
    if experiment.method not in AUXILIARY:
        found["root_depth"] = _root_depth_config(workspace, experiment.dataset)
    if how.needs_handedness:
        found["side"] = _other_run(workspace, auxiliary_of(profile, experiment.dataset, "sidenet"))
    if how.start_from is not None:
        found["start"] = _other_run(workspace, how.start_from)
    found |= {key: getattr(experiment, key) for key in ("dataset", "method", "variant", "seed")}
    found |= {"data": workspace.data_config(experiment.dataset), "method_version": method.version}
    return json.loads(json.dumps(found))


def _root_depth_config(workspace: Workspace, dataset: str) -> dict:
    """Return the source of track T2's depth: the box, or RootNet with its configuration."""
    source = workspace.profile.root_depth.source
    rootnet = auxiliary_of(workspace.profile, dataset, "rootnet")
    return {"source": source} | ({} if source == "box" else _other_run(workspace, rootnet, "helper"))


def _other_run(workspace: Workspace, other: Experiment, key: str = "run_id") -> dict:
    return {key: other.run_id, "config_hash": config_hash(workspace, other)}


def config_hash(workspace: Workspace, experiment: Experiment) -> str:
    """Return 12 hex digits that change with anything that affects the run's numbers."""
    text = json.dumps(config(workspace, experiment), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# checkpoints


def checkpoint_path(workspace: Workspace, experiment: Experiment) -> Path:
    return workspace.checkpoints / f"{experiment.run_id}.pt"


def epochs_trained(workspace: Workspace, experiment: Experiment) -> int:
    """Return how many epochs of today's configuration the local checkpoint holds."""
    path = checkpoint_path(workspace, experiment)
    if not path.exists():
        return 0
    state = load_checkpoint(path, mapped=True)
    return state["epoch"] if state["config_hash"] == config_hash(workspace, experiment) else 0


def is_trained(workspace: Workspace, experiment: Experiment) -> bool:
    """Return whether this machine holds the weights of the whole training in today's configuration."""
    epochs = count_epochs(procedure_of(workspace, experiment).phases(None))
    return checkpoint_path(workspace, experiment).exists() and epochs_trained(workspace, experiment) >= epochs


def holds_weights_of(workspace: Workspace, experiment: Experiment, uid: str) -> bool:
    """Return whether the local checkpoint is the finished training with that uid."""
    if not is_trained(workspace, experiment):
        return False
    return load_checkpoint(checkpoint_path(workspace, experiment), mapped=True).get("uid") == uid


def is_training(workspace: Workspace, experiment: Experiment) -> bool:
    """Return whether some process is training the experiment here."""
    return is_locked(_lock_path(workspace, experiment))


def _lock_path(workspace: Workspace, experiment: Experiment) -> Path:
    return checkpoint_path(workspace, experiment).with_suffix(".lock")


# networks


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
    how, today, engine = procedure_of(workspace, experiment), config_hash(workspace, experiment), workspace.engine
    checkpoint = checkpoint_path(workspace, experiment)
    with _locked(workspace, _lock_path(workspace, experiment)):
        engine.first_alone(lambda: discard_stale(checkpoint, today if resume else None))
        images = workspace.samples(experiment.dataset, "train", how.view)  # first: reports missing data
        model = untrained_network(workspace, experiment)
        if how.start_from is not None and not engine.agreed(checkpoint.exists()):
            how.transfer(model, trained_network(workspace, how.start_from))
        history = fit(
            model, images, how.phases(images), seed=experiment.seed, checkpoint=checkpoint, config_hash=today,
            describe=dataclasses.asdict(experiment), progress=progress if engine.is_first else None, engine=engine,
        )  # fmt: skip
    return Trained(model, history, history.attrs["uid"])


@contextmanager
def _locked(workspace: Workspace, path: Path) -> Iterator[None]:
    """Hold the lock for all of torchrun's processes; the first one takes it."""
    with locked(path) if workspace.engine.is_first else nullcontext():
        workspace.engine.barrier()
        yield
