"""How long a run will take: from the stored runs most like it, else from its size."""

from __future__ import annotations

import csv
import operator
from pathlib import Path
from statistics import median

from msff.models.registry import AUXILIARY
from msff.study.configuration import config
from msff.study.experiment import Experiment
from msff.study.machine import hardware as hardware_of
from msff.study.procedures import procedure
from msff.study.profiles import Profile
from msff.study.progress import epochs_trained
from msff.study.project import Project
from msff.study.store import Run

GUESSED_RATE = 40.0  # training images/s of one core until a run or a tuning has measured it; a GPU is measured
COMPILE_S = 60.0  # of one phase's network by torch.compile
UNKNOWN = 1.4  # allowance for a method that no stored run has measured


class Durations:
    """Expected seconds of runs, by what the store holds when it is made.

    ``device`` and ``hardware`` of the machine that makes them; None: this one.
    """

    def __init__(self, project: Project, device: str | None = None, hardware: str | None = None):
        self._project = project
        self._is_here, self._device = device is None, device or project.device
        self._hardware = hardware or hardware_of(self._device)
        self._runs = [run for run in project.store.all_runs() if self._is_telling(run)]

    def _is_telling(self, run: Run) -> bool:
        """Return whether the run trained a network of today's size in one process on this kind of device."""
        record, project = run.record, self._project
        if not record.images_per_s or record.processes > 1 or record.device.split(":")[0] != self._device.split(":")[0]:
            return False
        try:
            today = config(project, project.experiment(run.experiment.run_id))
        except ValueError:  # the study no longer has it
            return False
        return record.config["network"] == today["network"]

    def seconds(self, experiment: Experiment) -> float:
        """Return the expected seconds from reading the data to the stored run, less the epochs trained already."""
        epochs = procedure(experiment, self._project.profile).epochs
        return self.whole(experiment) * (1 - epochs_trained(self._project, experiment) / epochs) if epochs else 0.0

    def whole(self, experiment: Experiment) -> float:
        """Return the expected seconds of a run from its first epoch on."""
        how = procedure(experiment, self._project.profile)
        if not how.schedules:
            return 0.0
        like = self._most_alike(experiment)
        every = self._project.profile.data.train
        images = sum(s.epochs * min(s.images_per_epoch or every, every) for s in how.schedules.values())
        if like:
            seconds = images / median(_rate(run) for run in like)
            seconds *= 1.0 if like[0].experiment.method == experiment.method else UNKNOWN
            seconds += median(run.record.seconds - run.record.train_seconds for run in like)
        elif self._is_here and self._device.startswith("cuda"):
            profile, device = self._project.profile, self._device
            rate, compiled = self._project.once("measured speed", lambda: measured_speed(profile, device))
            seconds = images / rate + (COMPILE_S * len(how.schedules) if compiled else 0.0)
        else:
            path = self._project.store.tuning
            rates = [row["images_per_s"] for row in _rows(path) if row.get("images_per_s")] if path.exists() else []
            seconds = images / max(map(float, rates), default=GUESSED_RATE)
        return seconds

    def _most_alike(self, experiment: Experiment) -> list[Run]:
        """Return the runs that differ least: in the seed, then in variant or dataset; else the slowest method's."""

        def likeness(run: Run) -> tuple:
            same = [getattr(run.experiment, f) == getattr(experiment, f) for f in ("method", "variant", "dataset")]
            return *same, run.record.hardware == self._hardware

        runs = [r for r in self._runs if experiment.method in AUXILIARY or r.experiment.method not in AUXILIARY]
        if not runs:
            return []
        best = max(map(likeness, runs))
        if not best[0]:
            return [min(runs, key=_rate)]
        return [run for run in runs if likeness(run) == best]


def measured_speed(profile: Profile, device: str, seconds: float = 3.0) -> tuple[float, bool]:
    """Return MS-FF's training images per second on the device, before any run is stored, and if it compiles networks.

    Steps on one synthetic batch are timed for about ``seconds``.
    """
    import torch
    from torch.utils.benchmark import Timer

    from msff.data.synthetic import synthetic_batch
    from msff.models.building import build
    from msff.study.phases import phases
    from msff.training.engine import Engine
    from msff.training.loop import optimiser, train_step

    (phase,) = phases(Experiment(profile.name, profile.data.datasets[0], "msff"), profile)
    training, engine = phase.training, Engine(device, profile.speed)
    with torch.random.fork_rng(devices=[]):
        network = build("msff", "full", profile.network).to(device)
    draws = torch.Generator().manual_seed(0)
    batch = synthetic_batch(training.batch_size, profile.network.crop_size, device, draws)
    with phase.learning(network):
        optimizer = optimiser(training, (p for p in network.parameters() if p.requires_grad))
        step = engine.step(network.train(), phase.objective)

        def run() -> None:
            train_step(step, optimizer, batch, operator.call, training.learning_rate, engine.backward)

        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        rate = len(batch) / timer.blocked_autorange(min_run_time=seconds).median
    return rate, engine.compiled


def _rate(run: Run) -> float:
    """Return the training images per second over all phases."""
    epochs = [(float(row["images_per_s"]), float(row["seconds"])) for row in _rows(run.path / "history.csv")]
    return sum(rate * seconds for rate, seconds in epochs) / sum(seconds for _, seconds in epochs)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
