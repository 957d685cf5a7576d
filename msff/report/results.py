"""The store as the report reads it: runs grouped over seeds, evaluated once, compared in pairs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property

from msff.data.datasets import DATASETS
from msff.evaluation.bootstrap import REPLICATES, Estimate, estimate, estimate_difference
from msff.evaluation.evaluate import Evaluation, evaluate
from msff.evaluation.joint_errors import JointErrors
from msff.evaluation.predictions import Truth
from msff.evaluation.tracks import TRACKS
from msff.models.registry import method_of
from msff.study.store import Run, Store

SHARED_SEEDS = "A difference is that of the seeds which both rows have, a value the mean over all seeds of its row. "
"""For captions of tables that show both."""


@dataclass(frozen=True)
class Cell:
    """One row of the study, whatever the seed; without ``variant`` the one that stands for the method."""

    dataset: str
    method: str
    variant: str | None = None

    def __post_init__(self):
        if self.variant is None:
            object.__setattr__(self, "variant", method_of(self.method).headline)


class Results:
    """Evaluations and intervals of a store's runs, computed on demand and kept.

    Reads the store once: a run that is added later needs a new ``Results``.
    """

    def __init__(self, store: Store):
        self.store = store
        self.profile = store.profile
        self._runs: dict[Cell, list[Run]] = defaultdict(list)
        for run in store.runs():
            e = run.experiment
            self._runs[Cell(e.dataset, e.method, e.variant)].append(run)
        for runs in self._runs.values():
            runs.sort(key=lambda run: run.experiment.seed)
        self._truths: dict[str, Truth] = {}
        self._evaluations: dict[tuple[Cell, str], list[Evaluation]] = {}

    def cells(self) -> list[Cell]:
        return list(self._runs)

    def runs(self, cell: Cell) -> list[Run]:
        """The finished runs of a row, by seed; empty if there is none."""
        return list(self._runs.get(cell, ()))

    def seeds(self, cell: Cell) -> list[int]:
        return [run.experiment.seed for run in self.runs(cell)]

    def dataset(self, layout: str) -> str:
        """The profile's dataset of a layout: the one that has runs, else the one that the profile would have."""
        names = [name for name, spec in DATASETS.items() if spec.layout == layout]
        with_runs = [name for name in names if any(cell.dataset == name for cell in self._runs)]
        if with_runs:
            return with_runs[0]
        return next(name for name in names if DATASETS[name].is_standin != (self.profile == "paper"))

    def evaluations(self, cell: Cell, track: str) -> list[Evaluation]:
        """One evaluation per seed; empty without a run, or where the runs do not hold that track."""
        key, runs = (cell, track), self.runs(cell)
        if key not in self._evaluations and runs and all(track in run.predictions.joints for run in runs):
            truth = self.truth(cell.dataset)
            self._evaluations[key] = [evaluate(truth, run.predictions, track) for run in runs]
        return self._evaluations.get(key, [])

    def truth(self, dataset: str) -> Truth:
        """The ground truth that the store holds, read once."""
        if dataset not in self._truths:
            self._truths[dataset] = self.store.truth(dataset)
        return self._truths[dataset]

    @cached_property
    def photo_set(self) -> dict | None:
        """Which real photos most runs have seen, the larger set on a tie; None where no run has seen any."""
        sets = [run.photos["photos"] for runs in self._runs.values() for run in runs if run.photos]
        return max(sets, key=lambda photos: (sets.count(photos), photos["count"]), default=None)

    def photos(self, cell: Cell) -> list[dict]:
        """What the row's runs recorded on the ``photo_set``, one record per seed that has seen it."""
        return [run.photos for run in self.runs(cell) if run.photos and run.photos["photos"] == self.photo_set]

    def given(self, cell: Cell, track: str) -> dict[str, str]:
        """Return the ``TestTimeInputs`` of a row's runs on a track by name; empty if they do not hold it."""
        runs = self.runs(cell)
        if not runs or track not in runs[0].record["metrics"]:
            return {}
        recorded = runs[0].record.get("given", {})  # absent in old records, which hold the unified tracks only
        return dict(recorded[track]) if track in recorded else asdict(TRACKS[track].inputs)

    def errors(self, cell: Cell, track: str, metric: str) -> list[JointErrors]:
        """The sample-level errors behind a metric, one per seed; empty if there is no run, track or such metric."""
        found = self.evaluations(cell, track)
        return [e.errors[metric] for e in found] if found and metric in found[0].errors else []

    def estimate(self, cell: Cell, track: str, metric: str) -> Estimate | None:
        """A metric over seeds with its interval; None without a run or without a sample for it."""
        errors = self.errors(cell, track, metric)
        return estimate(errors) if errors else None

    def difference(self, ours: Cell, theirs: Cell, track: str, metric: str) -> Estimate | None:
        """ours - theirs, paired; only seeds that both have if they share any, so that like meets like."""
        a, b = self.errors(ours, track, metric), self.errors(theirs, track, metric)
        if not a or not b:
            return None
        shared = sorted(set(self.seeds(ours)) & set(self.seeds(theirs)))
        if shared:
            a = [a[self.seeds(ours).index(s)] for s in shared]
            b = [b[self.seeds(theirs).index(s)] for s in shared]
        return estimate_difference(a, b)

    def side_note(self, dataset: str) -> str:
        """How often SideNet is right on a dataset's test hands, for captions; it tells the side on T2."""
        for run in self.store.helpers():
            found = run.record["metrics"]
            found = found.get("sidenet", found)  # older records hold its numbers without its name
            if (run.experiment.method, run.experiment.dataset) == ("sidenet", dataset) and "accuracy_percent" in found:
                right = f"{found['accuracy_percent']:.1f} % of {found['hands']} hands"
                return f"SideNet, which tells the side on T2, is right on {right}; guessing 50 %. "
        return "The accuracy of SideNet, which tells the side on T2, is not in this store; guessing has 50 %. "

    def describe(self, *datasets: str) -> str:
        """What the numbers rest on, for captions: data, profile, samples, seeds, intervals."""
        return (
            f"{self.describe_data(*datasets)} Brackets: 95 % percentile bootstrap over {_drawn(datasets)}, "
            f"{REPLICATES} resamples; training chance shows only in the seeds."
        )

    def describe_data(self, *datasets: str) -> str:
        """Return the data, samples and seeds that numbers rest on, and the profile, for captions."""
        data = "; ".join(self._describe_dataset(name) for name in datasets)
        return f"Data: {data}. Profile {self.profile}."

    def _describe_dataset(self, name: str) -> str:
        runs = [run for cell, runs in self._runs.items() if cell.dataset == name for run in runs]
        kind = " (rendered, not photographs)" if DATASETS[name].is_standin else ""
        if not runs:
            return f"{DATASETS[name].label}{kind}, no run yet"
        seeds = sorted({run.experiment.seed for run in runs})
        truth, listed = self.truth(name), ", ".join(map(str, seeds))
        images = f"{len(truth)} test images"
        if truth.cluster is not None:
            images += f" of {truth.cluster.max() + 1} sequences"
        return f"{DATASETS[name].label}{kind}, {images}, seed{'s' if len(seeds) > 1 else ''} {listed}"


def _drawn(datasets: tuple[str, ...]) -> str:
    """What the bootstrap draws from these datasets, see `Truth.cluster`, in words."""
    in_sequences = [name for name in datasets if DATASETS[name].layout == "interhand"]
    if not in_sequences:
        return "images"
    where = (
        "" if len(in_sequences) == len(datasets) else f"images, of {' and '.join(map(label_of, in_sequences))} over "
    )
    return f"{where}sequences, whose cameras and frames show the same hands"


def label_of(dataset: str) -> str:
    """The dataset's name for captions and titles."""
    return DATASETS[dataset].label
