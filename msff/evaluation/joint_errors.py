"""The sample level: one value per sample and joint, with the mask of those that count, and its subsets.

Everything aggregate (means, medians, curves, intervals) derives from these arrays, so that one bootstrap serves every
metric.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from msff.skeleton import FINGER_BASES, FINGERTIPS, JOINTS_PER_HAND, WRIST


@dataclass(frozen=True, eq=False)
class JointValues:
    """A number per sample and joint, such as a share in [0, 1], and the mask of those that enter an average."""

    value: Tensor  # (N, J) float64; what lies outside `valid` is ignored
    valid: Tensor  # (N, J) bool
    unit: Tensor | None = None  # (N,) int64 in 0..U-1: what a sample is drawn with, see `drawn_by`; None: by itself

    def __post_init__(self):
        if self.value.shape != self.valid.shape or self.value.ndim != 2:
            raise ValueError(f"values {tuple(self.value.shape)} and mask {tuple(self.valid.shape)} must be (N, J)")
        if self.unit is not None and self.unit.shape != self.valid.shape[:1]:
            raise ValueError(f"units {tuple(self.unit.shape)} must be (N,), one for each of {len(self.valid)} samples")

    def joints(self, columns) -> Self:
        """The same samples with these joints only; of the same type."""
        columns = torch.as_tensor(columns, device=self.valid.device)
        return replace(self, value=self.value[:, columns], valid=self.valid[:, columns])

    def where(self, mask: Tensor) -> Self:
        """The same array with ``mask`` (N,) or (N, J) added to the condition; of the same type."""
        return replace(self, valid=self.valid & (mask[:, None] if mask.ndim == 1 else mask))

    def drawn_by(self, unit: Tensor | None) -> Self:
        """The same values, of which a bootstrap draws those with the same number together; of the same type."""
        return replace(self, unit=unit)

    @property
    def units(self) -> int:
        """How many units there are to draw from."""
        return len(self.valid) if self.unit is None else int(self.unit.max()) + 1 if len(self.unit) else 0

    @property
    def samples(self) -> int:
        """How many samples have at least one value that counts."""
        return int(self.valid.any(1).sum())


class JointErrors(JointValues):
    """Distances in mm."""

    @property
    def error_mm(self) -> Tensor:
        """(N, J) float64 mm."""
        return self.value


def per_sample(values: Tensor, valid: Tensor) -> JointValues:
    """One value per sample, such as right or wrong. (N,) and (N,) bool -> a record with one column."""
    return JointValues(values.to(torch.float64)[:, None], valid[:, None])


def without_wrist(errors: JointErrors) -> JointErrors:
    """Take the wrists out of the average; (N, 21) or (N, 42) errors."""
    keep = torch.ones(errors.valid.shape[1], dtype=torch.bool, device=errors.valid.device)
    keep[WRIST::JOINTS_PER_HAND] = False
    return errors.where(keep.expand_as(errors.valid))


def fingertips(errors: JointErrors) -> JointErrors:
    """The five tips of each hand; (N, 21) or (N, 42) errors -> (N, 5) or (N, 10)."""
    return errors.joints(_on_each_hand(FINGERTIPS, errors.valid.shape[1]))


def finger_bases(errors: JointErrors) -> JointErrors:
    """The joints where the fingers meet the palm; (N, 21) or (N, 42) errors -> (N, 5) or (N, 10)."""
    return errors.joints(_on_each_hand(FINGER_BASES, errors.valid.shape[1]))


def joint_type(errors: JointErrors, joint: int) -> JointErrors:
    """One of the 21 joint types, on both hands if both are there; (N, 21) or (N, 42) errors -> (N, 1) or (N, 2)."""
    return errors.joints(_on_each_hand((joint,), errors.valid.shape[1]))


def _on_each_hand(joints: tuple[int, ...], total: int) -> list[int]:
    return [start + j for start in range(0, total, JOINTS_PER_HAND) for j in joints]
