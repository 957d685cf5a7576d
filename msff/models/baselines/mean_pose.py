"""The mean pose of the training set: the baseline that every network must beat, since it uses no pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msff.skeleton import JOINTS, ROOTS, SIDES, root_index


@dataclass(frozen=True, eq=False)
class MeanPose:
    """``relative_mm`` (42, 3): each joint's mean position relative to its own wrist, in the camera frame."""

    relative_mm: Tensor

    @classmethod
    def fit(cls, joints_cam_mm: np.ndarray | Tensor, joint_valid: np.ndarray | Tensor) -> MeanPose:
        """Average over the samples in which a joint and its wrist are valid. (N, 42, 3) mm, (N, 42) -> MeanPose.

        A joint that is never valid, as in a dataset without left hands, gets its wrist's position.
        """
        joints = torch.as_tensor(joints_cam_mm).double()
        valid = torch.as_tensor(joint_valid).bool()
        if joints.ndim != 3 or joints.shape[1:] != (JOINTS, 3) or valid.shape != joints.shape[:2]:
            raise ValueError(f"expected (N, 42, 3) and (N, 42), got {tuple(joints.shape)} and {tuple(valid.shape)}")
        root = torch.as_tensor(root_index())
        valid = valid & valid[:, root]
        if not valid.any():
            raise ValueError("the mean pose needs at least one valid joint in the training data, found none")
        relative = torch.where(valid[..., None], joints - joints[:, root], 0.0)  # (N, 42, 3)
        return cls((relative.sum(0) / valid.sum(0).clamp(min=1)[:, None]).float())  # (42, 3)

    def predict(self, wrists_cam_mm: Tensor) -> Tensor:
        """Place the mean pose at given wrists: (B, 2, 3) mm [right, left] -> (B, 42, 3) mm, camera frame."""
        if wrists_cam_mm.ndim != 3 or wrists_cam_mm.shape[1:] != (2, 3):
            raise ValueError(f"wrists must be (B, 2, 3), got {tuple(wrists_cam_mm.shape)}")
        owner = torch.as_tensor(root_index() == ROOTS[SIDES[1]], device=wrists_cam_mm.device).long()  # (42,) 0 or 1
        return wrists_cam_mm[:, owner] + self.relative_mm.to(wrists_cam_mm)  # (B, 42, 3)
