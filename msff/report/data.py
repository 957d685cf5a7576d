"""What a dataset holds: the numbers of the data chapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from msff.camera import project
from msff.data.sample import HandSample
from msff.models.mean_pose import MeanPose
from msff.skeleton import ROOTS, root_index


def statistics(samples: list[HandSample]) -> pd.Series:
    """Counts, shares, sizes and distances of a split; see the labels for units. ValueError if there are no samples."""
    if not samples:
        raise ValueError("no samples to describe")
    joints = np.stack([s.joints_cam_mm for s in samples])  # (N, 42, 3)
    valid = np.stack([s.joint_valid for s in samples])  # (N, 42)
    kinds = np.array([s.hand_type for s in samples])
    boxes = np.stack([s.box for s in samples])  # (N, 4)
    wrists = list(ROOTS.values())
    visible = [s.joint_visible[s.joint_valid].mean() for s in samples if s.joint_visible is not None]
    return pd.Series(
        {
            "images": len(samples),
            "right hand only, %": 100 * (kinds == "right").mean(),
            "left hand only, %": 100 * (kinds == "left").mean(),
            "interacting hands, %": 100 * (kinds == "interacting").mean(),
            "visible joints, %": 100 * np.mean(visible) if visible else np.nan,
            "box side, median px": np.median(boxes[:, 2:].max(1)),
            "wrist distance, median mm": np.median(joints[:, wrists, 2][valid[:, wrists]]),
            "mean-pose error, mm": mean_pose_error_mm(joints, valid),
            "reprojection error, max px": reprojection_error_px(samples),
        }
    )


def statistics_table(parts: dict[tuple[str, str], list[HandSample]]) -> pd.DataFrame:
    """``statistics`` of several splits side by side, rounded, for reading; what is not annotated is blank."""
    table = pd.DataFrame({key: statistics(samples) for key, samples in parts.items()})
    return table.map(lambda v: "" if pd.isna(v) else f"{v:.0f}" if v >= 100 or v == int(v) else f"{v:.1f}")


def mean_pose_error_mm(joints_cam_mm: np.ndarray, valid: np.ndarray) -> float:
    """Wrist-relative error of the split's own mean pose over the 20 other joints: how varied the poses are.

    joints_cam_mm (N, 42, 3), valid (N, 42) -> mm, pooled over joints and samples.
    """
    mean = MeanPose.fit(joints_cam_mm, valid).relative_mm.numpy()  # (42, 3)
    relative = joints_cam_mm - joints_cam_mm[:, root_index()]
    usable = valid & valid[:, root_index()]
    usable[:, list(ROOTS.values())] = False
    return float(np.linalg.norm(relative - mean, axis=-1)[usable].mean())


def reprojection_error_px(samples: list[HandSample]) -> float:
    """Largest distance between the annotated pixels and the projected joints, over valid joints."""
    cam, intrinsics, pixels, valid = (
        np.stack([getattr(s, name) for s in samples])
        for name in ("joints_cam_mm", "intrinsics", "joints_image_px", "joint_valid")
    )
    projected = project(torch.as_tensor(cam), torch.as_tensor(intrinsics)).numpy()  # (N, 42, 2)
    return float(np.linalg.norm(projected - pixels, axis=-1)[valid].max())
