"""Unit and frame of the poses that a network estimates, the targets that follow from them, and the mean scale.

A ``pose`` is (N, 21, 3) of N hands: hand-local canonical joint order, relative to the palm, camera axes (turned with
the crop), in the unit of the network's convention.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from msff.data.batches import Batch
from msff.data.single_hand import single_hands
from msff.models.baselines.canonical_frame import (
    canonical_rotation,
    flip_right,
    palm_flags,
    palm_relative,
    replace_palm_by_wrist,
    turn_with_crop,
)
from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, SCALE_BONE, SIDES, WRIST


@dataclass(frozen=True)
class PoseConvention:
    """The unit of a network's poses, and whether it also estimates the hand's canonical frame.

    The root is the palm, the midpoint of wrist and middle MCP; it takes the place of the wrist in row ``WRIST``.
    """

    scale_invariant: bool = False  # the unit is the hand's own scale bone, else ``fixed_mm``
    fixed_mm: float = 100.0
    canonical: bool = False

    @property
    def needs(self) -> list[int]:
        """Return the joints without which a hand has no target."""
        return sorted({WRIST, MIDDLE_MCP, *(SCALE_BONE * self.scale_invariant), *((LITTLE_MCP,) * self.canonical)})

    def unit_mm(self, scale_mm: Tensor) -> Tensor:
        """Return the millimetres per unit of hands with scale bones of that length. (N,) -> (N,)."""
        return scale_mm if self.scale_invariant else torch.full_like(scale_mm, self.fixed_mm)

    def from_wrist_mm(self, pose: Tensor, scale_mm: Tensor) -> Tensor:
        """Convert a network's poses to mm relative to the wrist. (N, 21, 3) units, (N,) -> (N, 21, 3), row WRIST 0."""
        joints = replace_palm_by_wrist(pose)
        return (joints - joints[:, WRIST, None]) * self.unit_mm(scale_mm)[:, None, None]


@dataclass(frozen=True, eq=False)
class PoseTargets:
    """The N hands of a batch that have a target, turned with their crops."""

    image: Tensor  # (N, 3, S, S) in [0, 1]
    side: Tensor  # (N,) 0 right, 1 left
    pose: Tensor  # (N, 21, 3) relative to the palm, camera axes, in units
    rotation: Tensor  # (N, 3, 3) R of pose = flip(canonical) @ R; the identity without a canonical frame
    valid: Tensor  # (N, 21) bool; row WRIST is the palm
    scale_mm: Tensor  # (N,) length of the scale bone

    def __len__(self) -> int:
        return len(self.side)

    @property
    def canonical(self) -> Tensor:
        """Return the pose in the canonical frame, as a left hand. (N, 21, 3)."""
        return flip_right(self.pose @ self.rotation.transpose(-1, -2), self.side)

    def at(self, rows: Tensor) -> PoseTargets:
        """Select hands by index or mask."""
        return PoseTargets(*(getattr(self, f.name)[rows] for f in fields(self)))


def pose_targets(batch: Batch, convention: PoseConvention) -> PoseTargets:
    """Return the targets of a batch, of the hands whose palm, unit and frame are annotated."""
    hands = single_hands(batch)
    counts = hands.valid[:, convention.needs].all(-1)
    if convention.scale_invariant:
        counts = counts & (hands.scale_mm > 0)
    hands = hands.at(counts)
    unit = convention.unit_mm(hands.scale_mm)[:, None, None]
    joints = turn_with_crop(hands.from_wrist_mm, batch.affine[hands.owner]) / unit  # (N, 21, 3)
    pose, valid = palm_relative(joints), palm_flags(hands.valid, both=True)
    if convention.canonical:
        rotation = canonical_rotation(pose).transpose(-1, -2)  # (N, 3, 3)
    else:
        rotation = torch.eye(3).to(joints).expand(len(joints), 3, 3)
    return PoseTargets(hands.image, hands.side, pose, rotation, valid, hands.scale_mm)


@dataclass(frozen=True)
class MeanScale:
    """Mean length of the scale bone of the training hands, mm, per side: a hand's scale where it is not given."""

    right_mm: float
    left_mm: float

    @classmethod
    def fit(cls, scale_mm: Tensor, side: Tensor) -> MeanScale:
        """Average (N,) mm by side (N,) 0 right, 1 left. A side without a hand gets the mean of the other."""
        if not len(scale_mm) or not torch.isfinite(scale_mm).all():
            raise ValueError(f"the mean scale needs at least one hand, all finite; got {len(scale_mm)} hands")
        everyone = scale_mm.mean()
        right, left = (scale_mm[side == s].mean() if (side == s).any() else everyone for s in range(len(SIDES)))
        return cls(right.item(), left.item())

    def of(self, side: Tensor) -> Tensor:
        """Return the mean scale of each hand. (M,) 0 right, 1 left -> (M,) mm."""
        return torch.tensor([self.right_mm, self.left_mm], device=side.device)[side]
