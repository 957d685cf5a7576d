"""Every metric under its own name: what is aligned, which joints count, how the average is taken.

Two levels. Sample level, here: functions that return ``JointErrors``, the error of every joint of every sample in mm,
with the mask of those that count. Aggregate level, in ``averages``: functions that turn them into one number, each
naming its averaging. "EPE", "MPJPE" and "mean error" in the literature are different combinations of the two.

All of one hand's arrays are (N, 21, 3) mm in the camera frame and the canonical order (wrist last). The names E1-E6
number the conventions that Table 1 of the paper mixes. ZB is Zimmermann & Brox (2017).
"""

from __future__ import annotations

import torch
from torch import Tensor

from msff.evaluation.alignment import (
    bone_scale,
    palm_centre,
    palm_known,
    palm_mask,
    palm_rooted,
    procrustes,
    wrist_aligned,
)
from msff.evaluation.averages import (
    AVERAGES,
    area_under_pck,
    auc,
    mean_of_joint_means,
    mean_of_joint_medians,
    pck,
    per_joint_mean,
    pooled_mean,
    pooled_median,
    thresholds_mm,
    within,
)
from msff.evaluation.handedness import average_precision, handedness_ap, handedness_correct
from msff.evaluation.joint_errors import (
    JointErrors,
    JointValues,
    finger_bases,
    fingertips,
    joint_type,
    per_sample,
    without_wrist,
)
from msff.skeleton import ROOTS, SCALE_BONE, root_index

__all__ = [
    "AVERAGES", "JointErrors", "JointValues", "area_under_pck", "auc", "average_precision", "bone_scale",
    "finger_bases", "fingertips", "handedness_ap", "handedness_correct", "joint_type", "mean_of_joint_means",
    "mean_of_joint_medians", "own_offset", "own_wrist42", "pa21", "palm21", "palm21_scaled", "palm21_true_root",
    "palm21_vis", "pck", "per_joint_mean", "per_sample", "pooled_mean", "pooled_median", "procrustes",
    "relative_root_error", "thresholds_mm", "within", "without_wrist", "wrist20", "wrist20_scaled", "wrist20_vis",
    "wrist21", "wrist_aligned",
]  # fmt: skip

# One hand


def wrist21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E1: both wrists at the origin, all 21 joints count, the wrist with its error of zero (InterNet code on RHD)."""
    return JointErrors((wrist_aligned(pred_mm) - wrist_aligned(true_mm)).norm(dim=-1), valid)


def wrist20(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E2: as E1 without the wrist, whose zero is not a measurement. The headline of this study."""
    return without_wrist(wrist21(pred_mm, true_mm, valid))


def wrist20_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """E3: as E2 on visible joints only."""
    return wrist20(pred_mm, true_mm, valid & visible)


def palm21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Palm centre in place of the wrist and at the origin on both sides, all 21 points, the palm with its zero.

    ZB's root on all joints, as in their evaluation of the lifting alone; here the prediction is re-centred too.
    """
    error_mm = (_palm_aligned(pred_mm) - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_known(valid))


def palm21_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """E4: as ``palm21`` on visible points only; the palm is visible if either of its ends is.

    The convention of ZB and of Spurr, with the prediction re-centred on its own palm so that networks that predict
    absolute positions compare with those that predict relative ones.
    """
    return palm21(pred_mm, true_mm, valid).where(palm_mask(visible))


def palm21_scaled(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """As ``palm21`` after the re-centred prediction got the true length of the middle finger's first bone.

    Chen's row; on visible points only (``.where(palm_mask(visible))``) that of ZB's full pipeline.
    """
    scaled = _palm_aligned(pred_mm) * bone_scale(pred_mm, true_mm)[:, None, None]
    error_mm = (scaled - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_known(valid)).where(valid[:, list(SCALE_BONE)].all(1))


def palm21_true_root(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """As ``palm21`` with the *true* palm centre subtracted on both sides: the prediction is not re-centred.

    ZB's and Spurr's code to the letter, where networks put out root-relative positions. For a network that predicts
    positions in the camera frame it is the error in that frame, and the palm counts like any other point.
    """
    error_mm = (palm_rooted(pred_mm) - palm_centre(true_mm) - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_known(valid))


def wrist20_scaled(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E5: as E2 after the prediction got the true length of the middle finger's first bone ("GT S" of Table 1)."""
    scale = bone_scale(pred_mm, true_mm)[:, None, None]
    bone_valid = valid[:, list(SCALE_BONE)].all(1)
    return wrist20(wrist_aligned(pred_mm) * scale, true_mm, valid).where(bone_valid)


def pa21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E6: after similarity Procrustes alignment, 21 joints (the wrist is no longer free). A diagnostic of the pose."""
    error_mm = (procrustes(pred_mm, true_mm, valid) - true_mm).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm.nan_to_num(0.0), valid & error_mm.isfinite())


def _palm_aligned(hand_mm: Tensor) -> Tensor:
    """The palm centre in the wrist's place and at the origin. (N, 21, 3) -> (N, 21, 3)."""
    return wrist_aligned(palm_rooted(hand_mm))


# Two hands


def own_wrist42(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """InterHand2.6M: 42 joints, each hand with its own wrist at the origin, wrists count as zero.

    (N, 42, 3), (N, 42, 3), (N, 42) bool. A joint counts only if its hand's wrist is annotated (InterNet code).
    """
    roots = torch.as_tensor(root_index(), device=valid.device)
    error_mm = ((pred_mm - pred_mm[:, roots]) - (true_mm - true_mm[:, roots])).norm(dim=-1)  # (N, 42)
    return JointErrors(error_mm, valid & valid[:, roots])


def relative_root_error(
    pred_wrists_mm: Tensor,
    relative_depth_mm: Tensor,
    true_mm: Tensor,
    valid: Tensor,
    own_offset_mm: Tensor | float = 0.0,
) -> JointErrors:
    """MRRPE before averaging: error of the left wrist relative to the right one. -> (N, 1).

    pred_wrists_mm (N, 2, 3) right and left in the camera frame; the left one keeps its pixel and is moved to the right
    one's depth plus the predicted relative_depth_mm (N,). true_mm (N, 42, 3), valid (N, 42). ``own_offset_mm`` (N,)
    is added to the left wrist's depth: see ``own_offset`` for what the InterNet code adds. Counts where both wrists
    are annotated and a relative depth was predicted.
    """
    right, left = pred_wrists_mm.unbind(1)  # (N, 3) each
    depth_mm = right[:, 2] + relative_depth_mm + own_offset_mm  # (N,)
    left = left / left[:, 2:] * depth_mm[:, None]  # along its camera ray, so that its pixel stays
    truth = true_mm[:, ROOTS["left"]] - true_mm[:, ROOTS["right"]]
    error_mm = ((left - right) - truth).norm(dim=-1)  # (N,)
    both = valid[:, ROOTS["left"]] & valid[:, ROOTS["right"]]
    return JointErrors(error_mm.nan_to_num(0.0)[:, None], (both & error_mm.isfinite())[:, None])


def own_offset(pred_wrists_mm: Tensor, root_depth_mm: Tensor) -> Tensor:
    """Depth by which the left wrist's own heat map places it behind the right wrist's own. (N, 2, 3), (N, 2) -> (N,).

    Each map says how far a joint lies behind its hand's wrist, the wrist's own map included, whose target is 0 and
    whose output is not. InterNet's MRRPE keeps that output of either wrist; ``root_depth_mm`` is the absolute depth
    that was added when the prediction was lifted.
    """
    own = pred_wrists_mm[..., 2] - root_depth_mm  # (N, 2)
    return own[:, 1] - own[:, 0]
