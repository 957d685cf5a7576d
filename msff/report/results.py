"""A store's runs grouped over seeds, evaluated from their stored predictions and compared in pairs, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps

from msff.data.datasets import DATASETS
from msff.evaluation.bootstrap import Estimate, estimate, estimate_difference
from msff.evaluation.evaluate import Evaluation, evaluate
from msff.evaluation.joint_errors import JointErrors
from msff.evaluation.predictions import Truth
from msff.models.registry import method_of
from msff.study.profiles import PROFILES
from msff.study.store import Run, Store


@dataclass(frozen=True)
class Cell:
    """One row of the study over all seeds; without ``variant`` the method's headline variant."""

    dataset: str
    method: str
    variant: str | None = None

    def __post_init__(self):
        if self.variant is None:
            object.__setattr__(self, "variant", method_of(self.method).headline)


def once(compute: Callable) -> Callable:
    """Decorate a function of `Results` and hashable arguments: computed at the first call, kept in the results."""

    @wraps(compute)
    def kept(results: Results, *arguments):
        key = compute, *arguments
        if key not in results.kept:
            results.kept[key] = compute(results, *arguments)
        return results.kept[key]

    return kept


class Results:
    """Evaluations and estimates of a store's runs, computed at the first request and kept.

    Lists the store's runs once: runs added later need a new ``Results``.
    """

    def __init__(self, store: Store):
        self.store = store
        self.profile = store.profile
        self.kept: dict[tuple, object] = {}  # by `once`
        found: dict[Cell, dict[int, Run]] = defaultdict(dict)
        for run in store.runs():
            e = run.experiment
            found[Cell(e.dataset, e.method, e.variant)][e.seed] = run
        self._runs = {cell: dict(sorted(runs.items())) for cell, runs in found.items()}  # by seed

    def cells(self) -> list[Cell]:
        return list(self._runs)

    def runs(self, cell: Cell) -> list[Run]:
        """Return the finished runs of a cell, by seed."""
        return list(self._runs.get(cell, {}).values())

    def run(self, cell: Cell, seed: int) -> Run:
        """Return a finished run; KeyError without it."""
        return self._runs[cell][seed]

    def seeds(self, cell: Cell) -> list[int]:
        return list(self._runs.get(cell, ()))

    def dataset(self, layout: str) -> str:
        """Return the profile's dataset of a layout: the one that has runs, else the one that the profile trains on."""
        names = [name for name, spec in DATASETS.items() if spec.layout == layout]
        with_runs = [name for name in names if any(cell.dataset == name for cell in self._runs)]
        own = [name for name in names if DATASETS[name].is_standin != (self.profile == "paper")]
        return (with_runs or own)[0]

    @once
    def truth(self, dataset: str) -> Truth:
        """Return the stored ground truth of a dataset's test part."""
        return self.store.truth(dataset)

    @once
    def evaluations(self, cell: Cell, track: str) -> list[Evaluation]:
        """Return one evaluation per seed; none without a run, or if a run lacks the track."""
        runs = self.runs(cell)
        if not all(track in run.predictions.joints for run in runs):
            return []
        return [evaluate(self.truth(cell.dataset), run.predictions, track) for run in runs]

    def errors(self, cell: Cell, track: str, metric: str) -> list[JointErrors]:
        """Return the sample-level errors of a metric, one per seed; none without a run, the track or the metric."""
        found = self.evaluations(cell, track)
        return [e.errors[metric] for e in found] if found and metric in found[0].errors else []

    @once
    def estimate(self, cell: Cell, track: str, metric: str) -> Estimate | None:
        """Return a metric over seeds with its interval; None without a run or a sample."""
        errors = self.errors(cell, track, metric)
        return estimate(errors) if errors else None

    @once
    def difference(self, ours: Cell, theirs: Cell, track: str, metric: str) -> Estimate | None:
        """Return ours - theirs, paired by image, over common seeds if there are any, else over all seeds of each."""
        a, b = (dict(zip(self.seeds(c), self.errors(c, track, metric), strict=False)) for c in (ours, theirs))
        shared = a.keys() & b.keys()
        if shared:
            a, b = ({seed: errors[seed] for seed in sorted(shared)} for errors in (a, b))
        return estimate_difference(list(a.values()), list(b.values())) if a and b else None

    @cached_property
    def photo_set(self) -> dict | None:
        """The real photographs that most runs predicted, the larger set on a tie; None without any."""
        sets = [run.photos["photos"] for runs in self._runs.values() for run in runs.values() if run.photos]
        return max(sets, key=lambda photos: (sets.count(photos), photos["count"]), default=None)

    def photos(self, cell: Cell) -> list[dict]:
        """Return the records of a cell's runs on ``photo_set``, one per seed that predicted it."""
        return [run.photos for run in self.runs(cell) if run.photos and run.photos["photos"] == self.photo_set]

    def inputs(self, cell: Cell, track: str) -> dict[str, str]:
        """Return a cell's ``TestTimeInputs`` on a track, by field; empty if the runs lack the track."""
        runs = self.runs(cell)
        return runs[0].record.test_time_inputs.get(track, {}) if runs else {}

    # For captions

    def sidenet_accuracy(self, dataset: str) -> str:
        """Return a sentence on how often SideNet, which predicts handedness on T2, is right; "" if it is not stored."""
        for run in self.store.auxiliary():
            if (run.experiment.method, run.experiment.dataset) == ("sidenet", dataset):
                found = run.record.metrics["sidenet"]
                return f"SideNet's accuracy: {found['accuracy_percent']:.1f} % of {found['hands']:,} hands. "
        return ""

    def describe(self, *datasets: str) -> str:
        """Return data, samples, seeds and profile of numbers with bootstrap intervals."""
        clusters = {"sequences" if DATASETS[name].layout == "interhand" else "images" for name in datasets}
        return f"{self.describe_data(*datasets)} Brackets: 95 %, bootstrap over {' or '.join(sorted(clusters))}."

    def describe_data(self, *datasets: str) -> str:
        """Return data, samples, seeds and profile."""
        return f"Data: {'; '.join(map(self._describe_dataset, datasets))}. Profile {self.profile}."

    def _describe_dataset(self, name: str) -> str:
        data = label_of(name) + (" (rendered)" if DATASETS[name].is_standin else "")
        seeds = sorted({seed for cell, runs in self._runs.items() if cell.dataset == name for seed in runs})
        if not seeds:
            return f"{data}, no run yet"
        truth = self.truth(name)
        sequences = "" if truth.cluster is None else f" of {truth.cluster.max() + 1} sequences"
        return f"{data}, {len(truth):,} test images{sequences}, {seeds_in_words(seeds)}"


def label_of(dataset: str) -> str:
    """Return the dataset's name for captions and titles."""
    return DATASETS[dataset].label


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return "seed 0" or "seeds 0, 1"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


# Stores of other profiles


def stores_with_runs(store: Store) -> list[Store]:
    """Return the stores of all profiles beside ``store`` that hold runs, the smallest profile first."""
    return [other for other in (Store(store.root.with_name(name)) for name in PROFILES) if other.runs()]


def larger_stores(store: Store) -> list[Store]:
    """Return the stores of larger profiles that hold runs, the largest first."""
    names = list(PROFILES)
    larger = names[names.index(store.profile) + 1 :]
    return [other for other in reversed(stores_with_runs(store)) if other.profile in larger]
