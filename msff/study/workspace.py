"""A project with its images in memory and a device that computes: what every training and prediction needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.data.loading import load
from msff.data.sample import DataError, HandSample
from msff.data.single_hand import SplitHands, keypoint_crops, split_hands, whole_images
from msff.evaluation.evaluate import Truth
from msff.evaluation.lifting import BoxDepth, fit_box_depth
from msff.study.profiles import Profile
from msff.study.project import DATA_VARIABLES, Project
from msff.training.engine import Engine

VIEWS = {"hands": lambda hands: hands, "keypoints": keypoint_crops, "frames": whole_images}
"""Single-hand crops: about the hand's box, about its annotated joints, or the whole image."""


class Workspace(Project):
    """A project with its images and the engine of its device; torch gets ``MSFF_THREADS`` threads.

    ValueError if that is no whole number from 1 up.
    """

    def __init__(self, profile: str | Profile, root: Path | str | None = None, device: str | None = None):
        super().__init__(profile, root, device)
        self.allows_photos = True  # False: nothing that is trained here predicts the real photographs
        if threads := os.environ.get("MSFF_THREADS"):
            if not threads.isdecimal() or int(threads) < 1:
                raise ValueError(f"MSFF_THREADS: expected a whole number from 1 up, got {threads!r}")
            torch.set_num_threads(int(threads))

    @cached_property
    def engine(self) -> Engine:
        """The device, precision and processes of every training and prediction."""
        return Engine(self.device, self.profile.speed)

    def make_data(self, dataset: str) -> Path:
        """Render a stand-in that is missing or unfinished and return the dataset's folder.

        DataError if a real dataset does not exist.
        """
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            from msff.standin.writers import make  # takes seconds, and most commands render nothing

            return make(dataset, root, data.train, data.test, data.seed, data.size, device=self.device)
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def read(self, dataset: str, part: str) -> Sequence[HandSample]:
        """Return the annotated images of ``part`` ("train" or "test"), read once; a missing stand-in is rendered."""
        return self.once(("read", dataset, part), lambda: self._read(dataset, part))

    def _read(self, dataset: str, part: str) -> Sequence[HandSample]:
        self.make_data(dataset)
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
        source = self.data_config(dataset, "test")
        if self.store.truth_source(dataset) != source:
            self.store.save_truth(Truth.from_samples(self.read(dataset, "test"), dataset), source)
        return self.store.truth(dataset)

    def box_depth(self, dataset: str) -> BoxDepth:
        """Return the box-size depth model fitted on the training part."""
        return self.once(
            ("box depth", dataset),
            lambda: fit_box_depth(Truth.from_samples(self.read(dataset, "train"), dataset)),
        )
