"""How long a step of the study takes: as measured by the reference or by finished runs, else a guess from its size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import torch

from msff.models.registry import AUXILIARY, METHODS, NetworkConfig, build, count_macs
from msff.study.experiment import Study
from msff.study.grid import find
from msff.study.machine import provenance
from msff.study.procedures import procedure
from msff.study.profiles import get_profile
from msff.study.store import Experiment, Run, tuning_path
from msff.training.engine import SpeedConfig
from msff.training.loop import Phase
from msff.training.probe import probed_rate

if TYPE_CHECKING:
    from msff.study.execute import Step

GUESSED_RATE = 110.0  # training images/s of one core, at the small profiles; a GPU is measured
COMPILE_S = 60.0  # of one phase's network by torch.compile, until a run has told
UNKNOWN = 1.4  # so much longer a run may take whose method no stored run has measured
GUESSED_PAGE_S = 10.0  # a page without its training: the kernel, the imports, the figures


class Measured(NamedTuple):
    """What a stored run says of its speed."""

    experiment: Experiment
    hardware: str
    kind: str  # of device: "cpu", "cuda"
    rates: dict[str, float]  # training images/s by phase
    images: dict[str, float]  # of an epoch, by phase
    slowest: float  # of the rates
    macs: int  # multiply-adds of a forward pass
    rest_s: float  # of its time what was no training: reading, prediction, measures


class Expected:
    """Expected seconds of the study's steps, from what is measured when it is made.

    ``pages`` are all notebook steps and where they are executed to. The page of a stored run costs no training; with
    ``own`` a run that is only shipped with the project is trained again, with ``force`` every one. With ``elsewhere``
    the runs of another kind of device tell where there are none of this one's: for a plan made at home.
    """

    def __init__(
        self, study: Study, pages: Iterable[tuple[Step, Path]], own: bool = False, force: bool = False,
        elsewhere: bool = False,
    ):  # fmt: skip
        self._study, self._pages, self._own, self._force = study, list(pages), own, force
        self._elsewhere = elsewhere

    def __call__(self, step: Step) -> float:
        trains = step.trains and (not step.notebook or self._is_to_train(step.experiments[0]))
        known = self._reference.get(step.name)
        if known is not None and trains == step.trains and all(map(self._is_as_shipped, step.experiments[:1])):
            return known
        training = self.training(step.experiments[0]) if trains else 0.0
        return training + (self._page(step) if step.notebook else 0.0)

    def training(self, experiment: Experiment) -> float:
        """Seconds from reading the data to the stored run, with the weights that it starts from if they are lost."""
        study, like = self._study, self._most_alike(experiment)
        compiling = COMPILE_S * len(study.phases(experiment)) if study.engine.compiled else 0.0
        seconds = median([run.rest_s for run in like] or [compiling])
        slower = self._slower(experiment, like)
        for phase in study.phases(experiment):
            rate = median([run.rates.get(phase.name, run.slowest) for run in like] or [self._guessed_rate])
            seconds += slower * phase.training.epochs * self._images(experiment, phase, like) / rate
        start = study.procedure(experiment).start
        if start is not None and study.finished(start, self._own) is not None and not study.trained(start):
            seconds += self.training(start)  # such as a run made on another machine, which brought no weights
        return seconds

    def _slower(self, experiment: Experiment, like: list[Measured]) -> float:
        """Times that an image may take of what it took in the runs that tell: 1 for runs of the same method."""
        if not like or like[0].experiment.method == experiment.method:
            return 1.0
        ours = _macs(experiment.method, experiment.variant, self._study.profile.network)
        return UNKNOWN * max(1.0, ours / like[0].macs)

    def _images(self, experiment: Experiment, phase: Phase, like: list[Measured]) -> float:
        """Images of an epoch. How many hands apart there are in the pictures, only a run of that dataset tells."""
        limit, pictures = phase.training.images_per_epoch, self._study.profile.data.train
        if limit is not None and limit <= pictures:
            return limit
        kin = [run for run in like if alike(run.experiment, experiment)[:2] == (True, True)]
        return median([run.images[phase.name] for run in kin if phase.name in run.images] or [pictures])

    def _is_to_train(self, experiment: Experiment) -> bool:
        return self._force or self._study.finished(experiment, self._own) is None

    @cached_property
    def _reference(self) -> dict[str, float]:
        store = self._study.store
        store.reference()  # a clear error if the file is damaged
        path = store.reference_path
        return json.loads(path.read_text()).get("steps", {}) if path.exists() else {}

    def _is_as_shipped(self, experiment: Experiment) -> bool:
        """Whether the reference, where it knows the run, knows it in today's configuration."""
        known = self._study.store.reference().get(experiment.run_id, {}).get("config_hash")
        return known is None or known == self._study.config_hash(experiment)

    # training

    @property
    def _guessed_rate(self) -> float:
        if self._study.device.startswith("cuda"):
            return _measured_now(self._study.profile.name, self._study.device)
        path = tuning_path(self._study.store)
        tuned = pd.read_csv(path) if path.exists() else pd.DataFrame()
        # the least disturbed one
        return float(tuned.images_per_s.max()) if "images_per_s" in tuned else GUESSED_RATE

    def _most_alike(self, experiment: Experiment) -> list[Measured]:
        """Runs that differ in the seed alone, else of the method and dataset, else of the method, else the slowest.

        Of these the ones on this very hardware, if there are any. A helper's speed tells nothing of a method's.
        """

        def likeness(run: Measured) -> tuple[int, bool]:
            same = (*alike(run.experiment, experiment), False)
            return same.index(False), run.hardware == self._hardware

        telling = [r for r in self._measured if experiment.method in AUXILIARY or r.experiment.method not in AUXILIARY]
        most = max(map(likeness, telling), default=None)
        like = [run for run in telling if likeness(run) == most]
        return like if most and most[0] else sorted(like, key=lambda run: run.slowest)[:1]

    @cached_property
    def _hardware(self) -> str:
        return provenance(self._study.root, self._study.device)["hardware"]

    @cached_property
    def _measured(self) -> list[Measured]:
        store = self._study.store
        runs = [run for run in (*store.runs(), *store.helpers()) if self._tells(run)]
        kinds = Counter(_kind(run.record.get("device")) for run in runs)
        kind = _kind(self._study.device)
        if self._elsewhere and kinds and not kinds[kind]:
            kind = kinds.most_common(1)[0][0]
        return [measured(run) for run in runs if _kind(run.record.get("device")) == kind]

    @property
    def measured_elsewhere(self) -> str:
        """The machines whose runs tell in the place of this kind's; empty if they are of this kind, or none tell."""
        machines = {run.hardware for run in self._measured if run.kind != _kind(self._study.device)}
        return " and ".join(sorted(machines))

    def _tells(self, run: Run) -> bool:
        """Whether the run trained a network of today's size, in one process."""
        record, study = run.record, self._study
        if not record.get("images_per_s"):
            return False
        if record.get("processes", 1) > 1:  # of several GPUs together
            return False
        try:
            today = study.config(find(study.profile, run.experiment.run_id))
        except ValueError:  # the study has it no more
            return False
        stored = record.get("config", {})
        return all(stored.get(key) == today[key] for key in ("network", "supersample"))

    # pages

    def _page(self, step: Step) -> float:
        """Seconds of the page without training: its own last time, else the notebook's, else any page's of a run."""
        times = self._page_times
        if step.output in times:
            return times[step.output]
        notebook = {s.output for s, _ in self._pages if s.notebook == step.notebook}
        similar = notebook if notebook & times.keys() else {s.output for s, _ in self._pages if len(s.experiments) == 1}
        return median([times[output] for output in similar & times.keys()] or [GUESSED_PAGE_S])

    @cached_property
    def _page_times(self) -> dict[str, float]:
        """Of every executed notebook, less the time of the run that was trained in it."""
        times = {}
        for step, path in self._pages:
            try:
                seconds = json.loads(path.read_text())["metadata"]["msff"]["seconds"]
            except (OSError, json.JSONDecodeError, KeyError):
                continue
            run = self._study.store.get(step.experiments[0]) if step.trains else None
            trained = run.record["seconds"] if run else 0.0
            times[step.output] = seconds - trained if seconds > trained else seconds  # less: it found the run stored
        return times


@cache
def _measured_now(profile: str, device: str) -> float:
    """Return the images/s of MS-FF's training on this machine, measured because no run is stored yet."""
    sizes, headline = get_profile(profile), METHODS["msff"].headline
    (phase,) = procedure(Experiment(profile, sizes.data.datasets[0], "msff", headline), sizes).phases(None)
    network = build("msff", headline, sizes.network)
    return probed_rate(network, phase, sizes.network.crop_size, device, SpeedConfig(sizes.speed.precision))


def alike(one: Experiment, other: Experiment) -> tuple[bool, bool, bool]:
    """Whether method, dataset and variant are the same."""
    return one.method == other.method, one.dataset == other.dataset, one.variant == other.variant


def measured(run: Run) -> Measured:
    """Speeds of a stored run that has trained a network."""
    record, history = run.record, run.history
    rates, counts = {}, {}
    if "phase" in history:
        rates = history.groupby("phase")["images_per_s"].median().to_dict()
        counts = (history.images_per_s * history.seconds).round().groupby(history.phase).median().to_dict()
    steady_s = record["train_seconds"]  # without what the first epoch of a phase also does: decode, compile
    if rates:
        epochs = (history.images_per_s * history.seconds).groupby(history.phase).sum()
        steady_s = sum(images / rates[phase] for phase, images in epochs.items())
    rest_s = max(0.0, record["seconds"] - steady_s)
    kind, slowest = _kind(record.get("device")), record["images_per_s"]
    return Measured(run.experiment, record["hardware"], kind, rates, counts, slowest, record["macs"], rest_s)


def _kind(device: object) -> str:
    return str(device).split(":")[0]


@cache
def _macs(method: str, variant: str, config: NetworkConfig) -> int:
    """Multiply-adds of a method's forward pass, counted without memory."""
    with torch.device("meta"):
        network = build(method, variant, config)
    return count_macs(network, config.crop_size)
