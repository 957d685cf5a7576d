"""What a helper said of crops, kept so that the same can be said again without its weights.

A crop is known by the id of its sample, which of two hands in an image also names the hand (``hands_apart``), and by
its box and camera. So one table holds several views and datasets, and it has no answer about a crop that only bears a
known name: about another box of the same hand, or of another photograph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from msff.data.batches import Batch, HandDataset
from msff.data.sample import HandSample
from msff.evaluation.predictions import ResultError, load_npz, save_npz

SAME_PX = 0.01  # between boxes or cameras of the same crop; processors differ in the last bits

Question = Callable[[Batch], Tensor]
"""Of B crops -> (B, 2) for right and left: depth of the wrists in mm (``NetworkDepth``) or probability of the side
(``SideProbabilities``)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A helper's answers about M crops."""

    sample_id: np.ndarray  # (M,) str; with several boxes it may stand here several times
    box: np.ndarray  # (M, 4) float32 x, y, w, h px
    intrinsics: np.ndarray  # (M, 3, 3) float32 px
    value: np.ndarray  # (M, 2) float32, see ``Question``

    def __post_init__(self):
        count = len(self.sample_id)
        for name, shape in (("box", (count, 4)), ("intrinsics", (count, 3, 3)), ("value", (count, 2))):
            found = getattr(self, name)
            if found.shape != shape or found.dtype != np.float32:
                raise ResultError(f"answers: {name} must be float32 {shape}, found {found.dtype} {found.shape}")

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def asked(cls, question: Question, dataset: HandDataset | None, batch_size: int = 64) -> Answers:
        """About every crop of the dataset, in its order; None: about none."""
        if dataset is None:
            return cls(np.zeros(0, str), *(np.zeros((0, *shape), np.float32) for shape in ((4,), (3, 3), (2,))))
        batches = dataset.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator())
        value = torch.cat([question(batch).float().cpu() for batch in batches])  # (N, 2)
        crops = [(s.sample_id, s.box, s.intrinsics) for s in dataset.samples]  # one pass: made on demand in large sets
        boxes, intrinsics = (np.stack([crop[i] for crop in crops]).astype(np.float32) for i in (1, 2))
        return cls(np.array([crop[0] for crop in crops]), boxes, intrinsics, value.numpy())

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def save(self, path: Path | str) -> None:
        """Write an npz file; the caller provides atomicity."""
        save_npz(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path | str) -> Answers:
        remedy = (
            f"Delete the folder {Path(path).parent}: its archive can be ingested again, and without it the study "
            "trains the helper anew"
        )
        arrays = load_npz(path, [f.name for f in fields(cls)], remedy)
        try:
            return cls(**arrays)
        except (ResultError, TypeError) as error:
            raise ResultError(f"{path}: {error}. {remedy}") from error

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places = defaultdict(list)
        for row, name in enumerate(self.sample_id.tolist()):
            places[name].append(row)
        return places

    def rows(self, samples: Sequence[HandSample]) -> np.ndarray:
        """Where each sample's crop is answered, -1 where it is not. -> (N,) int64"""
        return np.array([self._row(sample) for sample in samples], np.int64)

    def _row(self, sample: HandSample) -> int:
        for row in self._places.get(sample.sample_id, ()):
            off_px = np.abs(self.box[row] - sample.box).max(), np.abs(self.intrinsics[row] - sample.intrinsics).max()
            if max(off_px) <= SAME_PX:
                return row
        return -1

    def hold(self, samples: Sequence[HandSample]) -> bool:
        """Whether every crop is answered."""
        return bool((self.rows(samples) >= 0).all())


@dataclass(frozen=True, eq=False)
class StoredAnswers:
    """Answers in the network's place, for the crops of one dataset in its order: a ``RootDepth``, or ``Sides``."""

    value: Tensor  # (N, 2) on the dataset's device
    source: ClassVar[str] = "network"

    def __call__(self, batch: Batch) -> Tensor:
        return self.value[batch.index]  # (B, 2)


@dataclass(frozen=True, eq=False)
class Helped:
    """A helper: its stored answers about a dataset if they hold all of it, else its network. A ``DepthSource``."""

    name: str
    answers: Answers | None
    network: Question | None  # None: its weights are not at hand
    source: ClassVar[str] = "network"

    def on(self, dataset: HandDataset) -> Question:
        """What answers about batches of that dataset. ResultError if nothing does."""
        rows = np.full(len(dataset), -1) if self.answers is None else self.answers.rows(dataset.samples)  # (N,)
        unknown = np.flatnonzero(rows < 0)
        if not len(unknown):
            return StoredAnswers(torch.from_numpy(self.answers.value[rows]).to(dataset.device))
        if self.network is None:
            raise ResultError(
                f"{dataset.samples[int(unknown[0])].image_path}: {self.name} has not seen this crop, the first of "
                f"{len(unknown)} such out of {len(dataset)}, and its weights are not on this machine; "
                "`msff train --force` trains it anew, and the runs to come rest on the new one"
            )
        return self.network
