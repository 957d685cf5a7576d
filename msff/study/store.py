"""The results store: runs on disk, each written whole or not at all.

A run lies in ``results/<profile>/runs/<dataset>/<method>/<variant>/seed<k>/``: ``run.json`` (a ``RunRecord``),
``history.csv`` (one row per epoch) and ``predictions.npz``. The auxiliary networks, which serve several methods, lie in
``auxiliary/`` instead of ``runs/``. A run that has predicted the real photographs (`msff.study.photos`) also holds
``realworld.json`` with the metrics and ``realworld.npz`` with the predictions. Photographs and their annotation are
never stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from msff.errors import MsffError
from msff.evaluation.predictions import Predictions, Truth
from msff.files import atomic_file, atomic_folder, write_json
from msff.models.registry import AUXILIARY
from msff.study.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

    from msff.evaluation.auxiliary_predictions import AuxiliaryPredictions

PHOTOS = "realworld"
"""The dataset of real photographs."""
RUN_FILES = ("run.json", "history.csv", "predictions.npz")
PHOTO_FILES = PHOTO_RECORD, PHOTO_PREDICTIONS = "realworld.json", "realworld.npz"

_MARKUP = re.compile(r"[<>{}\[\]`|\\$]")
_T = TypeVar("_T")


class StoreError(MsffError):
    """A results folder that cannot be used. The message names the file and the remedy."""


def without_markup(text: str) -> str:
    """Return ``text`` without the characters that ``check_texts`` refuses."""
    return "".join(c for c in _MARKUP.sub("", text) if c.isprintable())


def check_texts(value: _T, where: str = "the record") -> _T:
    """Return ``value``; ValueError if a text or key anywhere in it holds markup or a control character.

    A run may come from a stranger's archive. In the book, HTML in a name would become part of the page, and what stands
    in double braces would be executed by the template engine that fills in the numbers of the prose.
    """
    if isinstance(value, str):
        if value != without_markup(value):
            raise ValueError(f"{where} holds markup or a control character, expected plain words")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_texts(str(key), f"a name in {where}")
            check_texts(item, str(key))
    elif isinstance(value, Sequence):
        for item in value:
            check_texts(item, where)
    return value


class RunRecord(msgspec.Struct, kw_only=True):
    """What ``run.json`` holds: what was run, where, how long it took, and its metrics."""

    run_id: str
    uid: str  # of this training, also in its checkpoint
    experiment: Experiment
    config: dict
    config_hash: str
    metrics: dict[str, dict[str, int | float | None]]  # by track; of an auxiliary network by source
    seconds: float
    finished: float  # Unix time
    train_seconds: float = 0.0
    images_per_s: float | None = None  # of the slowest training phase
    predict_images_per_s: float | None = None
    peak_mib: float = 0.0
    train_images: int = 0
    test_images: int = 0
    parameters: int = 0
    macs: int = 0  # multiply-adds of a forward pass of one crop
    root_depth: dict | None = None  # the source of track T2's wrist depth
    handedness: dict | None = msgspec.field(default=None, name="side")  # the network that gave it on track T2
    test_time_inputs: dict[str, dict[str, str]] = msgspec.field(default_factory=dict, name="given")  # by track
    box_depth: dict | None = None  # of RootNet: the box-size depth model beside it
    precision: str = "float32"
    compiled: bool = False
    processes: int = 1
    commit: str = "unknown"
    versions: dict[str, str] = {}
    device: str = ""
    hardware: str = ""
    threads: int = 1

    def __post_init__(self):
        check_texts({f.name: getattr(self, f.name) for f in msgspec.structs.fields(self) if f.name != "config"})


@dataclass(frozen=True)
class Run:
    """A finished run on disk."""

    experiment: Experiment
    path: Path

    @cached_property
    def record(self) -> RunRecord:
        path = self.path / "run.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete {self.path} and run the study again.") from error

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: phase, epoch, loss, loss_<term> of each term, images_per_s, seconds, lr."""
        import pandas as pd  # takes as long as all that the commands need which only list runs

        path = self.path / "history.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions.load(self.path / "predictions.npz")

    @cached_property
    def auxiliary_predictions(self) -> AuxiliaryPredictions:
        """The predictions of an auxiliary network."""
        from msff.evaluation.auxiliary_predictions import AuxiliaryPredictions  # brings torch

        return AuxiliaryPredictions.load(self.path / "predictions.npz")

    @cached_property
    def photos(self) -> dict | None:
        """The metrics on real photographs, see `msff.study.photos`; None if the run has not predicted them."""
        path = self.path / PHOTO_RECORD
        try:
            return check_texts(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete it; the run itself does not need it.") from error


class Store:
    """``results/<profile>``. Reading never creates anything."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.profile = self.root.name
        self.tables, self.figures, self.notebooks = (self.root / name for name in ("tables", "figures", "notebooks"))
        self.tuning = self.root / "tuning.csv"  # held-out errors by learning rate
        self.reference_path = self.root / "reference.json"  # the numbers that the project ships for this profile

    def path(self, experiment: Experiment) -> Path:
        return self.root / ("auxiliary" if experiment.method in AUXILIARY else "runs") / experiment.run_id

    def runs(self) -> list[Run]:
        """Return every run of a method, by run id."""
        return self._list("runs")

    def auxiliary(self) -> list[Run]:
        """Return every run of an auxiliary network, by run id."""
        return self._list("auxiliary")

    def all_runs(self) -> list[Run]:
        """Return every run, those of auxiliary networks first."""
        return [*self.auxiliary(), *self.runs()]

    def _list(self, folder: str) -> list[Run]:
        paths = [path.parent for path in sorted(self.root.glob(f"{folder}/*/*/*/seed*/run.json"))]
        return [Run(Experiment.parse(self.profile, "/".join(path.parts[-4:])), path) for path in paths]

    def get(self, experiment: Experiment) -> Run | None:
        path = self.path(experiment)
        return Run(experiment, path) if (path / "run.json").exists() else None

    def select(self, **fields) -> list[Run]:
        """Return the runs with these experiment fields, for example ``select(method="msff", variant="full")``."""
        return [r for r in self.runs() if all(getattr(r.experiment, k) == v for k, v in fields.items())]

    def truth(self, dataset: str) -> Truth:
        """Return the ground truth of the dataset's test part, as stored beside the runs."""
        path = self.root / "truth" / f"{dataset}.npz"
        if not path.exists():
            raise StoreError(f"{path} is missing: `make study PROFILE={self.profile}` writes it from the dataset.")
        return Truth.load(path)

    def truth_source(self, dataset: str) -> dict | None:
        """Return which images the stored ground truth belongs to, see ``save_truth``; None without one.

        StoreError if it is damaged.
        """
        path = self.root / "truth" / f"{dataset}.json"
        if not path.exists() or not path.with_suffix(".npz").exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{path} is damaged ({error}). Delete it; the dataset gives it again.") from error

    def save_truth(self, truth: Truth, source: dict) -> Path:
        """Store the ground truth of a test part; ``source`` identifies its images in JSON values."""
        path = self.root / "truth" / f"{truth.dataset}.npz"
        with atomic_file(path) as partial:
            truth.save(partial)
        write_json(path.with_suffix(".json"), source)
        return path

    def save_run(
        self, record: RunRecord, history: pd.DataFrame, predictions: Predictions | AuxiliaryPredictions
    ) -> Run:
        """Write a run into a temporary sibling folder and rename it into place, replacing an older run."""
        path = self.path(record.experiment)
        with atomic_folder(path) as partial:
            if not history.empty:
                history.to_csv(partial / "history.csv", index=False, float_format="%.6g")
            predictions.save(partial / "predictions.npz")
            write_json(partial / "run.json", msgspec.to_builtins(record))
        return Run(record.experiment, path)

    def save_photos(self, run: Run, record: dict, predictions: Predictions) -> Run:
        """Store a run's predictions of the real photographs, replacing older ones."""
        (run.path / PHOTO_RECORD).unlink(missing_ok=True)
        with atomic_file(run.path / PHOTO_PREDICTIONS) as partial:
            predictions.save(partial)
        write_json(run.path / PHOTO_RECORD, record)  # last: its presence promises the predictions
        return Run(run.experiment, run.path)

    def reference(self) -> dict[str, dict]:
        """Return run id -> {uid, config_hash, seconds, ...} of the shipped runs; empty if none are shipped."""
        if not self.reference_path.exists():
            return {}
        try:
            return json.loads(self.reference_path.read_text(encoding="utf-8"))["runs"]
        except (json.JSONDecodeError, KeyError) as error:
            raise StoreError(
                f"{self.reference_path} is damaged ({error}). Restore it: git checkout -- {self.reference_path}"
            ) from error
