"""The study's images: where a profile's data lie, how the methods see them, and what is true of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS, load
from msff.data.files import STANDIN_MANIFEST
from msff.data.sample import DataError, HandSample
from msff.data.views import HandsApart, hands_apart, keypoint_crops, whole_frames
from msff.evaluation.lifting import BoxDepth, fit_box_depth
from msff.evaluation.predictions import Truth
from msff.skeleton import ROOTS
from msff.standin import GENERATOR_VERSION
from msff.standin.writers import make
from msff.study.hand_runs import TrainingHands
from msff.study.profiles import Profile, get_profile
from msff.study.store import Store
from msff.training.engine import Engine, own_device

VIEWS = {"hands": lambda hands: hands, "keypoints": keypoint_crops, "frames": whole_frames}
"""Ways to look at the hands apart: in their box, about their true joints, or within the whole image."""

DATA_VARIABLES = {"rhd": "MSFF_RHD", "interhand26m": "MSFF_INTERHAND", "realworld": "MSFF_REALWORLD"}
"""Environment variables that say where the real datasets lie."""


def find_root(start: Path | None = None) -> Path:
    """The project's folder: the nearest parent of ``start`` that holds ``_config.yml`` and ``notebooks/``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"{start} is not inside the msff project: change into the folder that holds its Makefile")


class StudyData:
    """A profile's images in one project folder, as every method sees them, and the test part's ground truth."""

    def __init__(self, profile: str, root: Path | str | None = None, device: str | None = None):
        self.profile: Profile = get_profile(profile)
        self.root = Path(root) if root else find_root()
        self.store = Store(self.root / "results" / profile)
        self.device = own_device(device)
        if threads := os.environ.get("MSFF_THREADS"):
            torch.set_num_threads(int(threads))
        self._samples: dict[tuple[str, str], Sequence[HandSample]] = {}
        self._hands: dict[tuple[str, str], HandsApart] = {}
        self._datasets: dict[tuple[str, str, str], HandDataset] = {}
        self._training_hands: dict[str, TrainingHands] = {}

    @cached_property
    def engine(self) -> Engine:
        """What trains and predicts, alone or together with torchrun's other processes."""
        return Engine(self.device, self.profile.speed)

    def data_root(self, dataset: str) -> Path:
        """Where the dataset lies: ``data/<profile>/<name>`` for the stand-in, else ``data/<name>`` or a variable."""
        if DATASETS[dataset].is_standin:
            return self.root / "data" / self.profile.name / dataset
        return Path(os.environ.get(DATA_VARIABLES[dataset]) or self.root / "data" / dataset)

    def names_data(self, dataset: str) -> bool:
        """Whether somebody has put a real dataset at its place, or set its variable, right or wrong."""
        return bool(os.environ.get(DATA_VARIABLES[dataset])) or self.data_root(dataset).is_dir()

    def has_data(self, dataset: str) -> bool:
        """Whether the dataset is on this machine; of the stand-in, whole and not only begun."""
        root = self.data_root(dataset)
        return (root / STANDIN_MANIFEST).exists() if DATASETS[dataset].is_standin else root.is_dir()

    def data_config(self, dataset: str) -> dict:
        """What decides which images the dataset trains on; the size of the test part shapes no weights."""
        if not DATASETS[dataset].is_standin:
            return {"real": dataset}
        data = self.profile.data
        return {"train": data.train, "size": data.size, "seed": data.seed, "generator_version": GENERATOR_VERSION}

    def test_config(self, dataset: str) -> dict:
        """What decides which images the test part holds."""
        if not DATASETS[dataset].is_standin:
            return {"real": dataset}
        data = self.profile.data
        return {"test": data.test, "size": data.size, "seed": data.seed, "generator_version": GENERATOR_VERSION}

    def make_data(self, dataset: str, progress: bool = True, check: bool = True) -> Path:
        """Render the stand-in unless it is there already, whole (``check``); a real dataset only has to exist."""
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            return make(
                dataset, root, data.train, data.test, data.seed, data.size, progress, device=self.device, check=check
            )
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def samples(self, dataset: str, part: str, view: str = "images") -> HandDataset:
        """The images of ``part`` ("train" or "test") as the networks see them; read once per process.

        ``view`` is one of ``VIEWS``; all but "images" show each hand apart, see ``hands``.
        """
        key = (dataset, part, view)
        if key not in self._datasets:
            seen = self._read(dataset, part) if view == "images" else VIEWS[view](self.hands(dataset, part).samples)
            self._datasets[key] = self.dataset(seen, real=not DATASETS[dataset].is_standin)
        return self._datasets[key]

    def dataset(self, samples: Sequence[HandSample], real: bool) -> HandDataset:
        """Crops of these samples at the profile's size."""
        return HandDataset(
            samples,
            self.profile.network.crop_size,
            device=self.device,
            cache=not real,  # the stand-in fits into memory, the real sets do not
            supersample=self.profile.supersample,
        )

    def hands(self, dataset: str, part: str) -> HandsApart:
        """Every hand of a part as a sample of its own, with the image that it is in."""
        if (dataset, part) not in self._hands:
            self._hands[dataset, part] = hands_apart(self._read(dataset, part))
        return self._hands[dataset, part]

    def training_hands(self, dataset: str) -> TrainingHands:
        """What the methods are told of the training part's hands at test time."""
        if dataset not in self._training_hands:
            self._training_hands[dataset] = TrainingHands.of(self.hands(dataset, "train"))
        return self._training_hands[dataset]

    def _read(self, dataset: str, part: str) -> Sequence[HandSample]:
        if (dataset, part) not in self._samples:
            with self.engine.one_by_one():
                self.make_data(dataset, check=False)  # the study has checked it once for all its processes
            self._samples[dataset, part] = load(dataset, self.data_root(dataset), part)
        return self._samples[dataset, part]

    def truth(self, dataset: str) -> Truth:
        """Ground truth of the test part, kept in the store so that tables need no images."""
        source = self.test_config(dataset)
        # none yet, or of another size, seed or generator version
        if self.engine.agreed(self.store.truth_source(dataset) != source):
            truth = Truth.from_samples(self._read(dataset, "test"), dataset)
            self.engine.first_alone(lambda: self.store.save_truth(truth, source))
        return self.store.truth(dataset)

    def _box_depth(self, dataset: str) -> BoxDepth:
        return box_depth(Truth.from_samples(self._read(dataset, "train"), dataset))


def box_depth(*train: Truth, exponent: float | None = None) -> BoxDepth:
    """The depth of the wrists as a function of the box (track T2), fitted on the training parts together."""
    roots = list(ROOTS.values())

    def all_of(column: Callable[[Truth], np.ndarray]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate([column(truth) for truth in train]))

    return fit_box_depth(
        all_of(lambda t: t.box), all_of(lambda t: t.intrinsics), all_of(lambda t: t.joints_cam_mm[:, roots, 2]),
        all_of(lambda t: t.joint_valid[:, roots]), exponent,
    )  # fmt: skip
