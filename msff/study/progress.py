"""How far an experiment is: its finished run in the store, its checkpoint on this machine."""

from __future__ import annotations

from pathlib import Path

from msff.data.datasets import DATASETS
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.procedures import procedure
from msff.study.project import Project
from msff.study.store import Run
from msff.training.checkpoint import read_header


def finished(project: Project, experiment: Experiment, own: bool = False) -> Run | None:
    """Return the stored run if it has today's configuration and test part; with ``own``, unless it was shipped."""
    run = project.store.get(experiment)
    if run is None or run.record.config_hash != config_hash(project, experiment):
        return None
    data = project.profile.data
    tested = data.train - round(data.train * (1 - data.held_out)) if data.held_out else data.test
    if DATASETS[experiment.dataset].is_standin and run.record.test_images != tested:
        return None
    shipped = run.record.uid == project.store.reference().get(experiment.run_id, {}).get("uid")
    return None if own and shipped else run


def checkpoint_path(project: Project, experiment: Experiment) -> Path:
    return project.checkpoints / f"{experiment.run_id}.pt"


def log_path(project: Project, experiment: Experiment) -> Path:
    """Return where the output of a run's process is kept."""
    return checkpoint_path(project, experiment).with_suffix(".log")


def lock_path(project: Project, experiment: Experiment) -> Path:
    """Return the lock that a training holds."""
    return checkpoint_path(project, experiment).with_suffix(".lock")


def epochs_trained(project: Project, experiment: Experiment) -> int:
    """Return how many epochs of today's configuration the local checkpoint holds."""
    path = checkpoint_path(project, experiment)
    if not path.exists():
        return 0
    header = read_header(path)
    return header["epoch"] if header["config_hash"] == config_hash(project, experiment) else 0


def is_trained(project: Project, experiment: Experiment) -> bool:
    """Return whether this machine holds the weights of the whole training in today's configuration."""
    epochs = procedure(experiment, project.profile).epochs
    return checkpoint_path(project, experiment).exists() and epochs_trained(project, experiment) >= epochs


def holds_weights_of(project: Project, experiment: Experiment, uid: str) -> bool:
    """Return whether the local checkpoint is the finished training with that uid."""
    return is_trained(project, experiment) and read_header(checkpoint_path(project, experiment)).get("uid") == uid
