"""Lifting 2.5D predictions to the camera frame: Eqs. (1)-(2) of the paper.

P3D = P^-1(A^-1(pixel), relative depth + absolute depth of the wrist). The absolute depth of a wrist is given on track
T1 and estimated by a ``RootDepth`` on T2. ``BoxDepth`` estimates it from the size of the hand's box by the pinhole rule
that RootNet starts from; `msff.evaluation.hand_size` sets it afterwards, so that the hand has a known size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from msff.camera import apply_affine, invert_affine, unproject
from msff.data.batches import Batch, HandDataset
from msff.evaluation.predictions import Truth
from msff.models.auxiliary.rootnet import box_k_mm
from msff.skeleton import JOINTS_PER_HAND, ROOTS


def lift(
    crop_px: Tensor, relative_depth_mm: Tensor, root_depth_mm: Tensor, affine: Tensor, intrinsics: Tensor
) -> Tensor:
    """Lift crop pixels and wrist-relative depth to the camera frame, Eqs. (1)-(2).

    crop_px (B, 42, 2), relative_depth_mm (B, 42), root_depth_mm (B, 2) of the right and
    left wrist, affine (B, 2, 3) image to crop, intrinsics (B, 3, 3) of the original image
    -> (B, 42, 3) mm.
    """
    image_px = apply_affine(invert_affine(affine), crop_px)  # (B, 42, 2)
    depth_mm = relative_depth_mm + root_depth_mm.repeat_interleave(JOINTS_PER_HAND, -1)  # (B, 42)
    return unproject(image_px, depth_mm, intrinsics)  # (B, 42, 3)


class RootDepth(Protocol):
    """An estimate of the wrists' absolute depth without the annotation, used to lift on track T2."""

    source: str  # the value of ``TestTimeInputs.root_depth``: "box", "network"

    def __call__(self, batch: Batch) -> Tensor:
        """Return the depth of the right and left wrist. -> (B, 2) mm, camera frame"""
        ...


class DepthSource(Protocol):
    """A source of a ``RootDepth`` for any dataset."""

    source: str

    def on(self, dataset: HandDataset) -> RootDepth:
        """Return the estimate for batches of that dataset alone."""
        ...


@dataclass(frozen=True)
class BoxDepth:
    """Box-size depth model: scale_mm (k / 1 m) ** exponent, k as in ``box_k_mm``.

    Exponent 1 is RootNet's rule with a constant gamma; an exponent below 1 accounts for boxes whose size depends more
    on the pose or the number of hands than on the distance.
    """

    scale_mm: float
    exponent: float = 1.0
    source: ClassVar[str] = "box"

    def __call__(self, batch: Batch) -> Tensor:
        """Return one depth for both wrists, which share a box. -> (B, 2) mm"""
        depth_mm = self.scale_mm * (box_k_mm(batch.box, batch.intrinsics) / 1000.0) ** self.exponent  # (B,)
        return depth_mm[:, None].expand(-1, 2)

    def on(self, dataset: HandDataset) -> BoxDepth:
        return self


def fit_box_depth(train: Truth) -> BoxDepth:
    """Fit ``BoxDepth`` by least squares in log depth over the valid wrists of the training part.

    ValueError if there is none.
    """
    roots = list(ROOTS.values())
    columns = train.box, train.intrinsics, train.joints_cam_mm[:, roots, 2], train.joint_valid[:, roots]
    box, intrinsics, root_depth_mm, root_valid = map(torch.as_tensor, columns)  # (N, 4), (N, 3, 3), 2 x (N, 2)
    if not root_valid.any():
        raise ValueError("no valid wrist to fit the box-size depth model on")
    k = box_k_mm(box, intrinsics)[:, None].expand_as(root_depth_mm)[root_valid].double()  # (M,)
    x, y = (k / 1000.0).log(), root_depth_mm[root_valid].double().log()
    spread = (x - x.mean()).square().sum()
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 1e-9 else 1.0
    return BoxDepth(float((y.mean() - exponent * x.mean()).exp()), exponent)


def track_depths(annotated_mm: Tensor, estimated_mm: Tensor) -> dict[str, Tensor]:
    """Return the wrists' depth by track: annotated on T1, estimated on T2. (B, 2), (B, 2) mm -> track -> (B, 2) mm

    For a wrist without annotation (0), T1 falls back on the estimate so that the unused hand stays finite.
    """
    return {"T1": torch.where(annotated_mm > 0, annotated_mm, estimated_mm), "T2": estimated_mm}
