"""Root, unit and frame in which a network speaks of hands, and the targets that follow from them.

A ``pose`` is (N, 21, 3) of N hands: hand-local canonical joint order, relative to a root, camera axes (turned as the
crop is, where a crop is turned), in the unit of the network's convention.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from msff.data.single_hand import OneHand, one_hand
from msff.models.baselines.canonical_frame import (
    canonical_rotation,
    flip_right,
    palm_flags,
    replace_palm_by_wrist,
    replace_wrist_by_palm,
    turn_with_crop,
)
from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, SCALE_BONE, WRIST

if TYPE_CHECKING:
    from msff.data.batches import Batch

Root = Literal["palm", "mcp"]


@dataclass(frozen=True)
class PoseConvention:
    """Root and unit in which a network speaks of hands."""

    root: Root = "palm"  # the middle of wrist and middle MCP, which takes the wrist's place; or the middle MCP itself
    scale_invariant: bool = False  # the unit is the hand's own scale bone, else ``fixed_mm``
    fixed_mm: float = 100.0
    canonical: bool = False  # the hand's canonical frame is asked for, too

    def __post_init__(self):
        if self.root not in ("palm", "mcp"):
            raise ValueError(f"root must be 'palm' or 'mcp', got {self.root!r}")
        if self.fixed_mm <= 0:
            raise ValueError(f"the fixed unit must be positive, got {self.fixed_mm} mm")

    @property
    def needs(self) -> list[int]:
        """The joints without which a hand has no target."""
        palm = (WRIST, MIDDLE_MCP) if self.root == "palm" or self.canonical else (MIDDLE_MCP,)
        return sorted({*palm, *(SCALE_BONE * self.scale_invariant), *((LITTLE_MCP,) * self.canonical)})

    def unit_mm(self, scale_mm: Tensor) -> Tensor:
        """Millimetres per unit of hands whose scale bones are that long. (N,) -> (N,)."""
        return scale_mm if self.scale_invariant else torch.full_like(scale_mm, self.fixed_mm)

    def rooted(self, joints: Tensor) -> Tensor:
        """Relative to the root. (N, 21, 3) -> (N, 21, 3), same unit; with the palm as root row ``WRIST`` is 0."""
        if self.root == "mcp":
            return joints - joints[:, MIDDLE_MCP, None]
        palm = replace_wrist_by_palm(joints)
        return palm - palm[:, WRIST, None]

    def from_wrist_mm(self, pose: Tensor, scale_mm: Tensor) -> Tensor:
        """What the network says, in mm relative to the wrist. (N, 21, 3) units, (N,) -> (N, 21, 3), row WRIST is 0."""
        joints = replace_palm_by_wrist(pose) if self.root == "palm" else pose
        return (joints - joints[:, WRIST, None]) * self.unit_mm(scale_mm)[:, None, None]


@dataclass(frozen=True, eq=False)
class PoseTargets:
    """The N hands of a batch that have a target, turned as their crops are turned."""

    image: Tensor  # (N, 3, S, S) in [0, 1]
    side: Tensor  # (N,) 0 right, 1 left
    pose: Tensor  # (N, 21, 3) relative to the root, camera axes, in units
    rotation: Tensor  # (N, 3, 3) R of pose = flip(canonical) @ R; the identity where no canonical frame is asked for
    valid: Tensor  # (N, 21) bool; with the palm as root, row WRIST is the palm
    scale_mm: Tensor  # (N,) length of the scale bone

    def __len__(self) -> int:
        return len(self.side)

    @property
    def canonical(self) -> Tensor:
        """(N, 21, 3) the pose in the canonical frame, as a left hand."""
        return flip_right(self.pose @ self.rotation.transpose(-1, -2), self.side)

    def at(self, rows: Tensor) -> PoseTargets:
        """Some of the hands, by index or mask."""
        return PoseTargets(*(getattr(self, f.name)[rows] for f in fields(self)))


def pose_targets(batch: Batch, convention: PoseConvention) -> PoseTargets:
    """What a network should say about a batch: of the hands whose root, unit and frame are annotated."""
    hands = one_hand(batch)
    counts = hands.valid[:, convention.needs].all(-1)
    if convention.scale_invariant:
        counts = counts & (hands.scale_mm > 0)
    hands = OneHand(*(getattr(hands, f.name)[counts] for f in fields(hands)))
    unit = convention.unit_mm(hands.scale_mm)[:, None, None]
    joints = turn_with_crop(hands.from_wrist_mm, batch.affine[hands.owner]) / unit  # (N, 21, 3)
    valid = palm_flags(hands.valid, both=True) if convention.root == "palm" else hands.valid
    if convention.canonical:
        rotation = canonical_rotation(PoseConvention().rooted(joints)).transpose(-1, -2)  # (N, 3, 3)
    else:
        rotation = torch.eye(3).to(joints).expand(len(joints), 3, 3)
    return PoseTargets(hands.image, hands.side, convention.rooted(joints), rotation, valid, hands.scale_mm)
