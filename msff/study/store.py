"""The results store: what a run leaves, written whole or not at all.

A run lives in ``results/<profile>/runs/<dataset>/<method>/<variant>/seed<k>/`` and holds ``run.json`` (config, hash,
commit, versions, hardware, times, metrics), ``history.csv`` (one row per epoch) and ``predictions.npz``. The networks
that help all methods lie in ``helpers/`` instead of ``runs/`` and have no predictions of their own but ``answers.npz``,
what they said of the test crops and of real photos: other runs rest on that, wherever they are made. A run that has
seen the photos (`msff.study.photos`) also holds ``realworld.json``, what was measured, and ``realworld.npz``, what it
predicts for them. Neither the photos nor their annotation are ever in the store.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from msff.errors import MsffError
from msff.evaluation.answers import Answers
from msff.evaluation.predictions import Predictions, Truth
from msff.files import PARTIAL, atomic_file, atomic_folder, write_json
from msff.models.registry import AUXILIARY

PHOTOS = "realworld"
"""The dataset of real photographs."""
ANSWERS = "answers.npz"
PHOTO_FILES = PHOTO_RECORD, PHOTO_PREDICTIONS = "realworld.json", "realworld.npz"


class StoreError(MsffError):
    """A results folder that cannot be used. The message names the file and the remedy."""


@dataclass(frozen=True, order=True)
class Experiment:
    """One cell of the study grid."""

    profile: str
    dataset: str
    method: str
    variant: str = "full"
    seed: int = 0

    @property
    def run_id(self) -> str:
        return f"{self.dataset}/{self.method}/{self.variant}/seed{self.seed}"

    @classmethod
    def parse(cls, profile: str, run_id: str) -> Experiment:
        """Inverse of ``run_id``; ValueError if it is not one."""
        match = re.fullmatch(r"([\w-]+)/([\w-]+)/([\w-]+)/seed(\d+)", run_id)
        if not match:
            raise ValueError(f"a run id reads dataset/method/variant/seed<k>, got {run_id!r}")
        return cls(profile, *match.groups()[:3], int(match[4]))


@dataclass(frozen=True)
class Run:
    """A finished run on disk."""

    experiment: Experiment
    path: Path

    @cached_property
    def record(self) -> dict:
        path = self.path / "run.json"
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete {self.path} and run the study again.") from error

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: phase, epoch, loss, loss_<term> of each term, images_per_s, seconds, lr."""
        path = self.path / "history.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    @cached_property
    def predictions(self) -> Predictions:
        return Predictions.load(self.path / "predictions.npz")

    @property
    def answered(self) -> bool:
        """Whether a helper's answers are stored: not where it was stored before they were kept."""
        return (self.path / ANSWERS).exists()

    @cached_property
    def answers(self) -> Answers:
        """What a helper said of the crops that it was asked about when it was trained."""
        return Answers.load(self.path / ANSWERS)

    @cached_property
    def photos(self) -> dict | None:
        """What was measured on the real photos, see `msff.study.photos`; None where the run has not seen them."""
        path = self.path / PHOTO_RECORD
        try:
            return json.loads(path.read_text()) if path.exists() else None
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete it; the run itself does not need it.") from error


class Store:
    """``results/<profile>``. Reading never creates anything."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.profile = self.root.name

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    def path(self, experiment: Experiment) -> Path:
        return self.root / ("helpers" if experiment.method in AUXILIARY else "runs") / experiment.run_id

    def runs(self) -> list[Run]:
        """Every whole run of a method, by run id."""
        return self._found("runs")

    def helpers(self) -> list[Run]:
        """Every whole run of a helper, by run id: networks such as RootNet that all methods share."""
        return self._found("helpers")

    def _found(self, folder: str) -> list[Run]:
        found = sorted(self.root.glob(f"{folder}/*/*/*/seed*/run.json"))
        return [Run(Experiment.parse(self.profile, "/".join(p.parent.parts[-4:])), p.parent) for p in found]

    def get(self, experiment: Experiment) -> Run | None:
        path = self.path(experiment)
        return Run(experiment, path) if (path / "run.json").exists() else None

    def select(self, **fields) -> list[Run]:
        """Runs whose experiment has these field values, for example ``select(method="msff", variant="full")``."""
        return [r for r in self.runs() if all(getattr(r.experiment, k) == v for k, v in fields.items())]

    def truth(self, dataset: str) -> Truth:
        """Ground truth of the dataset's test part, as stored beside the runs."""
        path = self.root / "truth" / f"{dataset}.npz"
        if not path.exists():
            raise StoreError(f"{path} is missing: `make study PROFILE={self.profile}` writes it from the dataset.")
        return Truth.load(path)

    def truth_source(self, dataset: str) -> dict | None:
        """What the stored ground truth was taken from, see ``save_truth``; None where there is none."""
        path = self.root / "truth" / f"{dataset}.json"
        if not path.exists() or not path.with_suffix(".npz").exists():
            return None
        return json.loads(path.read_text())

    def save_truth(self, truth: Truth, source: dict) -> Path:
        """Keep the ground truth of a test part; ``source`` says which images these are, in JSON values."""
        path = self.root / "truth" / f"{truth.dataset}.npz"
        with atomic_file(path) as partial:
            truth.save(partial)
        write_json(path.with_suffix(".json"), source)
        return path

    def save_run(
        self, experiment: Experiment, record: dict, history: pd.DataFrame, predictions: Predictions | Answers | None
    ) -> Run:
        """Write the files into a temporary sibling, then rename it into place, replacing an older run.

        A helper has answers instead of predictions.
        """
        path = self.path(experiment)
        with atomic_folder(path) as partial:
            if not history.empty:
                history.to_csv(partial / "history.csv", index=False, float_format="%.6g")
            if predictions is not None:
                predictions.save(partial / (ANSWERS if isinstance(predictions, Answers) else "predictions.npz"))
            write_json(partial / "run.json", record)
        return Run(experiment, path)

    def save_photos(self, run: Run, record: dict, predictions: Predictions) -> Run:
        """Put beside a stored run what it predicts for the real photos, in place of an older record."""
        (run.path / PHOTO_RECORD).unlink(missing_ok=True)
        with atomic_file(run.path / PHOTO_PREDICTIONS) as partial:
            predictions.save(partial)
        write_json(run.path / PHOTO_RECORD, record)  # last: it says that the predictions are there
        return Run(run.experiment, run.path)

    def sweep(self) -> None:
        """Remove what a killed process left half-written; whole runs are never touched."""
        for path in list(self.root.rglob(f"*{PARTIAL}*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    # The reference: the numbers that the project ships for this profile.

    @property
    def reference_path(self) -> Path:
        return self.root / "reference.json"

    def reference(self) -> dict[str, dict]:
        """Run id -> {uid, config_hash, seconds, ...} of the shipped runs and helpers; empty if none are shipped."""
        if not self.reference_path.exists():
            return {}
        try:
            return json.loads(self.reference_path.read_text())["runs"]
        except (json.JSONDecodeError, KeyError) as error:
            raise StoreError(
                f"{self.reference_path} is damaged ({error}). Restore it: git checkout -- {self.reference_path}"
            ) from error


def tuning_path(store: Store) -> Path:
    """Where a profile's table of held-out errors lies."""
    return store.root / "tuning.csv"
