"""One hand at a time: what methods that know a single hand see of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from msff.data.batches import Batch
from msff.skeleton import JOINTS_PER_HAND, SCALE_BONE, SIDES, WRIST


@dataclass(frozen=True)
class OneHand:
    """M hands of the B crops of a batch, hand-local canonical order (21 joints, wrist last); both hands of an
    interacting crop are rows of their own."""

    image: Tensor  # (M, 3, S, S) float32 in [0, 1], the crop that shows the hand
    owner: Tensor  # (M,) int64 row of the batch
    side: Tensor  # (M,) int64 0 right, 1 left: annotated
    joints_crop_px: Tensor  # (M, 21, 2)
    joints_cam_mm: Tensor  # (M, 21, 3)
    valid: Tensor  # (M, 21) bool
    visible: Tensor  # (M, 21) bool

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def from_wrist_mm(self) -> Tensor:
        """(M, 21, 3) relative to the own wrist."""
        return self.joints_cam_mm - self.joints_cam_mm[:, WRIST : WRIST + 1]

    @property
    def scale_mm(self) -> Tensor:
        """(M,) length of the bone from middle MCP to PIP, by which Zimmermann & Brox normalise a hand."""
        a, b = SCALE_BONE
        return (self.joints_cam_mm[:, a] - self.joints_cam_mm[:, b]).norm(dim=-1)


def one_hand(batch: Batch) -> OneHand:
    """The hands that are annotated as present, ordered by crop, right before left."""
    owner, side = (batch.side_present > 0.5).nonzero(as_tuple=True)

    def of_side(values: Tensor) -> Tensor:  # (B, 42, ...) -> (M, 21, ...)
        return values.unflatten(1, (len(SIDES), JOINTS_PER_HAND))[owner, side]

    return OneHand(
        image=batch.image[owner], owner=owner, side=side, joints_crop_px=of_side(batch.joints_crop_px),
        joints_cam_mm=of_side(batch.joints_cam_mm), valid=of_side(batch.joint_valid),
        visible=of_side(batch.joint_visible),
    )  # fmt: skip
