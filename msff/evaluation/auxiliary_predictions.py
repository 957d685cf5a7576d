"""The auxiliary networks (RootNet, SideNet): their predictions, stored once and looked up by all runs, and accuracy.

A crop is identified by its sample's id, which for one of two hands in an image also names the hand (``split_hands``),
and by its box and camera. One table thus holds the crops of several views and datasets.
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
from msff.evaluation.lifting import RootDepth
from msff.evaluation.predictions import ResultError, load_npz, save_npz
from msff.models.auxiliary.rootnet import RootNet, box_k_mm, wrist_depth_mm
from msff.models.auxiliary.sidenet import SideNet
from msff.skeleton import ROOTS

SAME_PX = 0.01  # between boxes or cameras of one crop; processors differ in the last bits

Predictor = Callable[[Batch], Tensor]
"""B crops -> (B, 2) for right and left: wrist depth in mm (``depth_of``) or probability (``sides_of``)."""


def depth_of(model: RootNet) -> Predictor:
    """Return the depth gamma * k of either wrist by a trained RootNet. -> (B, 2) mm, camera frame"""
    model.eval()
    return torch.no_grad()(
        lambda batch: wrist_depth_mm(model(batch.image).gamma, box_k_mm(batch.box, batch.intrinsics))
    )


def sides_of(model: SideNet) -> Predictor:
    """Return the probabilities of right and left, of crops of one hand each, by a trained SideNet. -> (B, 2)"""
    model.eval()
    return torch.no_grad()(lambda batch: model(batch.image).float().softmax(-1))


@dataclass(frozen=True, eq=False)
class AuxiliaryPredictions:
    """An auxiliary network's predictions for M crops."""

    sample_id: np.ndarray  # (M,) str; repeated where a sample is stored with several boxes
    box: np.ndarray  # (M, 4) float32 x, y, w, h px
    intrinsics: np.ndarray  # (M, 3, 3) float32 px
    value: np.ndarray  # (M, 2) float32, see ``Predictor``
    source: ClassVar[str] = "network"  # as a ``DepthSource``

    def __post_init__(self):
        count = len(self.sample_id)
        for name, shape in (("box", (count, 4)), ("intrinsics", (count, 3, 3)), ("value", (count, 2))):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ResultError(f"predictions: {name} must be float32 {shape}, found {array.dtype} {array.shape}")

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def of(cls, predictor: Predictor, dataset: HandDataset, batch_size: int = 64) -> AuxiliaryPredictions:
        """Predict every crop of the dataset, in its order."""
        value = torch.cat([predictor(batch).float().cpu() for batch in dataset.in_order(batch_size)])  # (N, 2)
        crops = [(s.sample_id, s.box, s.intrinsics) for s in dataset.samples]  # one pass: large sets make them lazily
        boxes, intrinsics = (np.stack([crop[i] for crop in crops]).astype(np.float32) for i in (1, 2))
        return cls(np.array([crop[0] for crop in crops]), boxes, intrinsics, value.numpy())

    @classmethod
    def joined(cls, parts: Sequence[AuxiliaryPredictions]) -> AuxiliaryPredictions:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def save(self, path: Path | str) -> None:
        """Write an npz file; the caller provides atomicity."""
        save_npz(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path | str) -> AuxiliaryPredictions:
        remedy = f"Delete the folder {Path(path).parent}: the study then trains the auxiliary network again"
        arrays = load_npz(path, [f.name for f in fields(cls)], remedy)
        try:
            return cls(**arrays)
        except (ResultError, TypeError) as error:
            raise ResultError(f"{path}: {error}. {remedy}") from error

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        positions = defaultdict(list)
        for row, name in enumerate(self.sample_id.tolist()):
            positions[name].append(row)
        return positions

    def rows(self, samples: Sequence[HandSample]) -> np.ndarray:
        """Return each sample's row, -1 where its crop is not in the table. -> (N,) int64"""

        def is_of(row: int, sample: HandSample) -> bool:
            off_px = np.abs(self.box[row] - sample.box).max(), np.abs(self.intrinsics[row] - sample.intrinsics).max()
            return max(off_px) <= SAME_PX

        candidates = ((self._positions.get(sample.sample_id, ()), sample) for sample in samples)
        return np.array([next((r for r in rows if is_of(r, sample)), -1) for rows, sample in candidates], np.int64)

    def covers(self, samples: Sequence[HandSample]) -> bool:
        """Return whether every crop is in the table."""
        return bool((self.rows(samples) >= 0).all())

    def on(self, dataset: HandDataset) -> StoredPredictions:
        """Return the values for a dataset's batches. ResultError names the first crop that is not in the table."""
        rows = self.rows(dataset.samples)
        if (rows < 0).any():
            missing = dataset.samples[int(np.flatnonzero(rows < 0)[0])]
            raise ResultError(
                f"{missing.image_path}: the auxiliary network's stored predictions lack this crop, the first of "
                f"{(rows < 0).sum()} out of {len(dataset)}; train it again with `msff train --force`"
            )
        return StoredPredictions(torch.from_numpy(self.value[rows]))


@dataclass(frozen=True, eq=False)
class StoredPredictions:
    """The stored values of one dataset's crops as a function of its batches, such as a ``RootDepth``."""

    value: Tensor  # (N, 2)
    source: ClassVar[str] = "network"

    def __call__(self, batch: Batch) -> Tensor:
        """Look the batch up. -> (B, 2) on its device"""
        return self.value.to(batch.index.device)[batch.index]


def depth_accuracy(depth: RootDepth, dataset: HandDataset, batch_size: int = 64) -> dict[str, float]:
    """Return the median and mean of |estimate - truth| / truth over all valid wrists, in per cent.

    ValueError if no wrist is annotated.
    """
    parts = []
    for batch in dataset.in_order(batch_size):
        valid = batch.joint_valid[:, list(ROOTS.values())]  # (B, 2)
        true_mm = batch.root_depth_mm[valid]
        parts.append(((depth(batch)[valid] - true_mm).abs() / true_mm).cpu())
    error = 100 * torch.cat(parts).double()  # (M,)
    if not len(error):
        raise ValueError("no valid wrist to measure the depth on")
    return {"median_percent": float(error.quantile(0.5)), "mean_percent": float(error.mean()), "wrists": len(error)}


def side_accuracy(sides: Predictor, hands: HandDataset, batch_size: int = 64) -> dict[str, float]:
    """Return the share of hands with annotated handedness for which it is predicted correctly, in per cent.

    ``hands`` shows one hand per crop. ValueError if no handedness is annotated.
    """
    right, seen = 0, 0
    for batch in hands.in_order(batch_size):
        known = batch.side_valid  # (B,)
        right += int((sides(batch).argmax(1) == batch.side_present.argmax(1))[known].sum())
        seen += int(known.sum())
    if not seen:
        raise ValueError("no hand of annotated side to measure the classifier on")
    return {"accuracy_percent": 100 * right / seen, "hands": seen}
