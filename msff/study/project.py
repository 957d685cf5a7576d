"""One profile in one project folder: where its results, images and checkpoints are. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from msff.accelerator import own_device
from msff.data.datasets import DATASETS
from msff.data.reading import STANDIN_MANIFEST
from msff.standin import GENERATOR_VERSION
from msff.study.experiment import Experiment
from msff.study.grid import find
from msff.study.profiles import Profile, get_profile
from msff.study.store import Store

DATA_VARIABLES = {"rhd": "MSFF_RHD", "interhand26m": "MSFF_INTERHAND", "realworld": "MSFF_REALWORLD"}
"""Environment variables that name the folders of the real datasets."""

_T = TypeVar("_T")


def find_root() -> Path:
    """Return the nearest folder upwards with ``_config.yml`` and ``notebooks/``; FileNotFoundError without one."""
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"{start} is not inside the msff project: change into the folder that holds its Makefile")


class Project:
    """Where a profile's results, images and checkpoints are; enough to tell what is done and what is missing.

    ``root`` None: the project around the working directory; ``device`` None: CUDA if there is one.
    """

    def __init__(self, profile: str | Profile, root: Path | str | None = None, device: str | None = None):
        self.profile: Profile = get_profile(profile) if isinstance(profile, str) else profile
        self.root = Path(root) if root else find_root()
        self.store = Store(self.root / "results" / self.profile.name)
        self.checkpoints = self.root / "data" / "checkpoints" / self.profile.name
        self._wanted_device = device
        self._memory: dict[Hashable, object] = {}

    @cached_property
    def device(self) -> str:
        return own_device(self._wanted_device)

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return ``make()``, which is called at the first request for ``key`` only."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def forget(self) -> None:
        """Free the images and all else that ``once`` keeps."""
        self._memory.clear()

    def experiment(self, run_id: str) -> Experiment:
        """Return the experiment with that run id. ValueError names what the profile lacks."""
        return find(self.profile, run_id)

    # where the images are

    def data_root(self, dataset: str) -> Path:
        """Return the dataset's folder: ``data/<profile>/<name>`` of a stand-in, else ``data/<name>`` or a variable."""
        if DATASETS[dataset].is_standin:
            return self.root / "data" / self.profile.name / dataset
        return Path(os.environ.get(DATA_VARIABLES[dataset]) or self.root / "data" / dataset)

    def names_data(self, dataset: str) -> bool:
        """Return whether a real dataset is in its place or its variable is set, rightly or wrongly."""
        return bool(os.environ.get(DATA_VARIABLES[dataset])) or self.data_root(dataset).is_dir()

    def has_data(self, dataset: str) -> bool:
        """Return whether the dataset is on this machine; of a stand-in, whole."""
        root = self.data_root(dataset)
        return (root / STANDIN_MANIFEST).exists() if DATASETS[dataset].is_standin else root.is_dir()

    def data_config(self, dataset: str, part: str = "train") -> dict:
        """Return what determines the images of a part; the size of the test part affects no weights."""
        data = self.profile.data
        held_out = {"held_out": data.held_out} if data.held_out else {}
        if not DATASETS[dataset].is_standin:
            return {"real": dataset} | held_out
        count = {"train": data.train} if part == "train" or data.held_out else {"test": data.test}
        return count | {"size": data.size, "seed": data.seed, "generator_version": GENERATOR_VERSION} | held_out
