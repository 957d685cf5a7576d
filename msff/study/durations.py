"""How long a run will take: from the stored runs most like it, else from its size."""

from __future__ import annotations

from statistics import median

import pandas as pd

from msff.models.registry import AUXILIARY
from msff.study.experiment import Experiment
from msff.study.machine import hardware as hardware_of
from msff.study.procedures import procedure
from msff.study.store import Run
from msff.study.train import config, epochs_trained, untrained_network
from msff.study.workspace import Workspace
from msff.training.loop import count_epochs
from msff.training.probe import probed_rate

GUESSED_RATE = 40.0  # training images/s of one core until a run or a tuning has measured it; a GPU is measured
COMPILE_S = 60.0  # of one phase's network by torch.compile
UNKNOWN = 1.4  # allowance for a method that no stored run has measured


class Durations:
    """Expected seconds of runs, by what the store holds when it is made.

    ``device`` and ``hardware`` of the machine that makes them; None: this one.
    """

    def __init__(self, workspace: Workspace, device: str | None = None, hardware: str | None = None):
        self._workspace = workspace
        self._elsewhere, self._device = device is not None, device or workspace.device
        self._hardware = hardware or hardware_of(self._device)
        self._runs = [run for run in (*workspace.store.runs(), *workspace.store.auxiliary()) if self._is_telling(run)]

    def _is_telling(self, run: Run) -> bool:
        """Return whether the run trained a network of today's size in one process on this kind of device."""
        record, workspace = run.record, self._workspace
        if not record.images_per_s or record.processes > 1 or _kind(record.device) != _kind(self._device):
            return False
        try:
            today = config(workspace, workspace.experiment(run.experiment.run_id))
        except ValueError:  # the study no longer has it
            return False
        return record.config["network"] == today["network"]

    def seconds(self, experiment: Experiment) -> float:
        """Return the expected seconds from reading the data to the stored run, less the epochs trained already."""
        phases = procedure(experiment, self._workspace.profile).phases(None)
        if not phases:
            return 0.0
        like = self._most_alike(experiment)
        images = sum(p.training.epochs * self._images(p.training.images_per_epoch) for p in phases)
        if like:
            seconds = images / median(_rate(run) for run in like)
            seconds *= 1.0 if like[0].experiment.method == experiment.method else UNKNOWN
            seconds += median(run.record.seconds - run.record.train_seconds for run in like)
        else:
            seconds = images / self._guessed_rate()
            seconds += COMPILE_S * len(phases) if self._workspace.engine.compiled else 0.0
        return seconds * (1 - epochs_trained(self._workspace, experiment) / count_epochs(phases))

    def _images(self, limit: int | None) -> int:
        return min(limit or self._workspace.profile.data.train, self._workspace.profile.data.train)

    def _most_alike(self, experiment: Experiment) -> list[Run]:
        """Return the runs that differ least: in the seed, then in variant or dataset; else the slowest method's."""

        def likeness(run: Run) -> tuple:
            e = run.experiment
            same = e.method == experiment.method
            here = run.record.hardware == self._hardware
            return same, e.variant == experiment.variant, e.dataset == experiment.dataset, here

        runs = [r for r in self._runs if experiment.method in AUXILIARY or r.experiment.method not in AUXILIARY]
        if not runs:
            return []
        best = max(map(likeness, runs))
        if not best[0]:
            return [min(runs, key=_rate)]
        return [run for run in runs if likeness(run) == best]

    def _guessed_rate(self) -> float:
        workspace = self._workspace
        if self._device.startswith("cuda") and not self._elsewhere:
            return workspace.once("probed rate", self._probed_rate)
        path = workspace.store.tuning
        tuned = pd.read_csv(path) if path.exists() else pd.DataFrame()
        return float(tuned.images_per_s.max()) if "images_per_s" in tuned else GUESSED_RATE

    def _probed_rate(self) -> float:
        """Measure MS-FF's training speed on this device."""
        workspace = self._workspace
        experiment = Experiment(workspace.profile.name, workspace.profile.data.datasets[0], "msff")
        (phase,) = procedure(experiment, workspace.profile).phases(None)
        network, size = untrained_network(workspace, experiment), workspace.profile.network.crop_size
        return probed_rate(network, phase, size, workspace.device, workspace.profile.speed)


def _rate(run: Run) -> float:
    """Return the training images per second over all phases."""
    history = run.history
    return float((history.images_per_s * history.seconds).sum() / history.seconds.sum())


def _kind(device: str) -> str:
    return device.split(":")[0]


def clock(seconds: float) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
