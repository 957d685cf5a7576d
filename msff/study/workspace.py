"""The workspace of a study: one profile in one project folder, with its images and its store of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS, load
from msff.data.reading import STANDIN_MANIFEST
from msff.data.sample import DataError, HandSample
from msff.data.single_hand import SplitHands, keypoint_crops, split_hands, whole_images
from msff.device import own_device
from msff.evaluation.evaluate import Truth
from msff.evaluation.lifting import BoxDepth, fit_box_depth
from msff.files import locked
from msff.skeleton import ROOTS
from msff.standin import GENERATOR_VERSION
from msff.study.experiment import Experiment
from msff.study.grid import find
from msff.study.profiles import Profile, get_profile
from msff.study.store import Store
from msff.training.engine import Engine

VIEWS = {"hands": lambda hands: hands, "keypoints": keypoint_crops, "frames": whole_images}
"""Single-hand crops: about the hand's box, about its annotated joints, or the whole image."""

DATA_VARIABLES = {"rhd": "MSFF_RHD", "interhand26m": "MSFF_INTERHAND", "realworld": "MSFF_REALWORLD"}
"""Environment variables that name the folders of the real datasets."""

_T = TypeVar("_T")


def find_root(start: Path | None = None) -> Path:
    """Return the project's folder: the nearest parent of ``start`` that holds ``_config.yml`` and ``notebooks/``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"{start} is not inside the msff project: change into the folder that holds its Makefile")


class Workspace:
    """Where a profile's images, networks and results are. Everything in ``msff.study`` takes one as first argument.

    ``root`` None: the project around the working directory; ``device`` None: CUDA if there is one.
    """

    def __init__(self, profile: str | Profile, root: Path | str | None = None, device: str | None = None):
        self.profile: Profile = get_profile(profile) if isinstance(profile, str) else profile
        self.root = Path(root) if root else find_root()
        self.store = Store(self.root / "results" / self.profile.name)
        self.checkpoints = self.root / "data" / "checkpoints" / self.profile.name
        self.device = own_device(device)
        self.allows_photos = True  # False: nothing that is trained here predicts the real photographs
        if threads := os.environ.get("MSFF_THREADS"):
            torch.set_num_threads(int(threads))
        self._memory: dict[Hashable, object] = {}

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return ``make()``, which is called at the first request for ``key`` only."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def forget(self) -> None:
        """Free the images and everything else that ``once`` keeps."""
        self._memory.clear()

    @cached_property
    def engine(self) -> Engine:
        """The device, precision and processes of every training and prediction."""
        return Engine(self.device, self.profile.speed)

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

    def make_data(self, dataset: str, progress: bool = True, check: bool = True) -> Path:
        """Render a stand-in that is missing or incomplete (``check``) and return the dataset's folder.

        DataError if a real dataset does not exist.
        """
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            from msff.standin.writers import make  # takes seconds, and most commands render nothing

            return make(
                dataset, root, data.train, data.test, data.seed, data.size, progress, device=self.device, check=check
            )
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def make_data_alone(self, dataset: str, check: bool = True) -> Path:
        """As ``make_data``, after any other process that renders for this profile here: it then finds the images."""
        with locked(self.checkpoints / "images.lock"):
            return self.make_data(dataset, check=check)

    def data_config(self, dataset: str) -> dict:
        """Return what determines the training images; the size of the test part affects no weights."""
        data = self.profile.data
        return self._images_config(dataset, {"train": data.train})

    def test_config(self, dataset: str) -> dict:
        """Return what determines the test images."""
        data = self.profile.data
        return self._images_config(dataset, {"train": data.train} if data.held_out else {"test": data.test})

    def _images_config(self, dataset: str, count: dict) -> dict:
        data = self.profile.data
        held_out = {"held_out": data.held_out} if data.held_out else {}
        if not DATASETS[dataset].is_standin:
            return {"real": dataset} | held_out
        return count | {"size": data.size, "seed": data.seed, "generator_version": GENERATOR_VERSION} | held_out

    # the images

    def read(self, dataset: str, part: str) -> Sequence[HandSample]:
        """Return the annotated images of ``part`` ("train" or "test"), read once; a missing stand-in is rendered."""
        return self.once(("read", dataset, part), lambda: self._read(dataset, part))

    def _read(self, dataset: str, part: str) -> Sequence[HandSample]:
        self.make_data(dataset, check=False)
        if not self.profile.data.held_out:
            return load(dataset, self.data_root(dataset), part)
        whole = load(dataset, self.data_root(dataset), "train")
        count = round(len(whole) * (1 - self.profile.data.held_out))
        return whole[:count] if part == "train" else whole[count:]

    def hands(self, dataset: str, part: str) -> SplitHands:
        """Return every hand of a part as a sample of its own, with the position of its image."""
        return self.once(("hands", dataset, part), lambda: split_hands(self.read(dataset, part)))

    def samples(self, dataset: str, part: str, view: str = "images") -> HandDataset:
        """Return a part's crops as the networks see them; ``view`` is "images" or one of ``VIEWS``."""

        def make() -> HandDataset:
            read = self.read(dataset, part) if view == "images" else VIEWS[view](self.hands(dataset, part).samples)
            return self.dataset(read, real=not DATASETS[dataset].is_standin)

        return self.once(("samples", dataset, part, view), make)

    def dataset(self, samples: Sequence[HandSample], real: bool) -> HandDataset:
        """Return crops of these samples at the profile's size, cached in memory unless the dataset is ``real``."""
        return HandDataset(
            samples, self.profile.network.crop_size, device=self.device, cache=not real,
            supersample=self.profile.supersample,
        )  # fmt: skip

    def truth(self, dataset: str) -> Truth:
        """Return the ground truth of the test part and keep it in the store, so that tables need no images."""
        source = self.test_config(dataset)
        if self.store.truth_source(dataset) != source:
            self.store.save_truth(Truth.from_samples(self.read(dataset, "test"), dataset), source)
        return self.store.truth(dataset)

    def box_depth(self, dataset: str) -> BoxDepth:
        """Return the box-size depth model fitted on the training part."""

        def fit() -> BoxDepth:
            return fit_box_depth_model(Truth.from_samples(self.read(dataset, "train"), dataset))

        return self.once(("box depth", dataset), fit)


def fit_box_depth_model(*train: Truth, exponent: float | None = None) -> BoxDepth:
    """Fit the depth of the wrists as a function of the box (track T2) on several training parts together."""
    roots = list(ROOTS.values())

    def all_of(column: Callable[[Truth], np.ndarray]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate([column(truth) for truth in train]))

    return fit_box_depth(
        all_of(lambda t: t.box), all_of(lambda t: t.intrinsics), all_of(lambda t: t.joints_cam_mm[:, roots, 2]),
        all_of(lambda t: t.joint_valid[:, roots]), exponent,
    )  # fmt: skip
