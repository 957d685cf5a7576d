"""Every metric under its own name: which root or scale is aligned and which joints count.

Functions here return ``JointErrors``, the error of every joint of every sample in mm with the mask of the valid ones;
`joint_errors` averages them. "EPE", "MPJPE" and "mean error" in the literature are different combinations of the two.

Arrays of one hand are (N, 21, 3) mm in the camera frame and the canonical order (wrist last). The names E1-E6 number
the conventions that Table 1 of the paper mixes. ZB is Zimmermann & Brox (2017).
"""

from __future__ import annotations

import torch
from torch import Tensor

from msff.evaluation.joint_errors import JointErrors, without_wrist
from msff.skeleton import MIDDLE_MCP, ROOTS, SCALE_BONE, WRIST, root_index

# Alignment


def wrist_aligned(hand_mm: Tensor) -> Tensor:
    """Subtract each hand's own wrist. (N, 21, 3) -> (N, 21, 3)"""
    return hand_mm - hand_mm[:, WRIST : WRIST + 1]


def palm_centre(hand_mm: Tensor) -> Tensor:
    """Return the midpoint of the wrist and the middle finger's base. (N, 21, 3) -> (N, 1, 3)

    Source: ZB's code, whose joint 0 is this point by default.
    """
    return (hand_mm[:, WRIST, None] + hand_mm[:, MIDDLE_MCP, None]) / 2


def palm_rooted(hand_mm: Tensor) -> Tensor:
    """Replace the wrist by the palm centre. (N, 21, 3) -> (N, 21, 3)"""
    return torch.cat([hand_mm[:, :WRIST], palm_centre(hand_mm)], 1)


def palm_visible(mask: Tensor) -> Tensor:
    """Return the visibility with the palm centre in the wrist's place: either end suffices (ZB's code). (N, 21) bool"""
    rooted = mask.clone()
    rooted[:, WRIST] = mask[:, WRIST] | mask[:, MIDDLE_MCP]
    return rooted


def palm_valid(valid: Tensor) -> Tensor:
    """Return the validity with the palm centre in the wrist's place: it needs both ends. (N, 21) bool"""
    rooted = valid.clone()
    rooted[:, WRIST] = valid[:, WRIST] & valid[:, MIDDLE_MCP]
    return rooted


def bone_scale(pred_mm: Tensor, true_mm: Tensor) -> Tensor:
    """Return the factor that gives the prediction the true length of the middle finger's first bone. -> (N,)"""
    base, middle = SCALE_BONE
    length = [(hand[:, base] - hand[:, middle]).norm(dim=-1) for hand in (true_mm, pred_mm)]  # 2 x (N,)
    return length[0] / length[1].clamp_min(1e-6)


def procrustes(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> Tensor:
    """Align the prediction to the truth by the best similarity: rotation, scale and shift, no reflection.

    Least squares over the valid joints (Umeyama 1991). (N, J, 3), (N, J, 3), (N, J) bool -> (N, J, 3), NaN for a sample
    with fewer than three valid joints, which do not determine a rotation.
    """
    weight = valid[..., None].to(pred_mm.dtype)  # (N, J, 1)
    count = weight.sum(1, keepdim=True)  # (N, 1, 1)
    mean = [torch.where(weight > 0, p, 0).sum(1, keepdim=True) / count for p in (pred_mm, true_mm)]  # 2 x (N, 1, 3)
    pred, true = ((p - m) * weight for p, m in zip((pred_mm, true_mm), mean, strict=True))
    enough = count[:, 0, 0] >= 3  # (N,)
    eye = torch.eye(3, dtype=pred.dtype, device=pred.device)
    covariance = torch.where(enough[:, None, None], true.transpose(1, 2) @ pred, eye)  # (N, 3, 3)
    u, singular, vt = torch.linalg.svd(covariance)  # (N, 3, 3), (N, 3), (N, 3, 3)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))  # excludes reflections
    rotation = (u * sign[:, None]) @ vt  # (N, 3, 3), row vectors: x -> x @ rotation^T
    scale = (singular * sign).sum(-1) / pred.square().sum((1, 2)).clamp_min(1e-12)  # (N,)
    aligned = scale[:, None, None] * (pred_mm - mean[0]) @ rotation.transpose(1, 2) + mean[1]
    return torch.where(enough[:, None, None], aligned, torch.nan)


# One hand


def wrist21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Return E1: both wrists at the origin, 21 joints, the wrist with error zero (InterNet's code on RHD)."""
    return JointErrors((wrist_aligned(pred_mm) - wrist_aligned(true_mm)).norm(dim=-1), valid)


def wrist20(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Return E2: as E1 without the wrist, whose zero is not a measurement. The primary metric of this study."""
    return without_wrist(wrist21(pred_mm, true_mm, valid))


def wrist20_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """Return E3: as E2 on visible joints only."""
    return wrist20(pred_mm, true_mm, valid & visible)


def palm21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Palm centre in place of the wrist and at the origin in prediction and truth, all 21 points, the palm's zero too.

    ZB's root on all joints, as in their evaluation of the lifting alone; here the prediction is re-centred too.
    """
    error_mm = (_palm_aligned(pred_mm) - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_valid(valid))


def palm21_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """Return E4: as ``palm21`` on visible points only; the palm is visible if either of its ends is.

    The convention of ZB and of Spurr, but with the prediction re-centred on its own palm, so that networks that predict
    absolute positions can be compared with those that predict relative ones.
    """
    return palm21(pred_mm, true_mm, valid).where(palm_visible(visible))


def palm21_scaled(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """As ``palm21``, the re-centred prediction scaled to the true length of the middle finger's first bone.

    The metric of Chen's row; on visible points only (``.where(palm_visible(visible))``) that of ZB's full pipeline.
    """
    scaled = _palm_aligned(pred_mm) * bone_scale(pred_mm, true_mm)[:, None, None]
    error_mm = (scaled - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_valid(valid)).where(valid[:, list(SCALE_BONE)].all(1))


def palm21_true_root(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """As ``palm21`` with the *true* palm centre subtracted from both: the prediction is not re-centred.

    ZB's and Spurr's code to the letter, where networks output root-relative positions. For a network that predicts
    positions in the camera frame it is the error in that frame, and the palm counts like any other point.
    """
    error_mm = (palm_rooted(pred_mm) - palm_centre(true_mm) - _palm_aligned(true_mm)).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm, palm_valid(valid))


def wrist20_scaled(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Return E5: as E2, the prediction scaled to the true length of the scale bone ("GT S" of Table 1)."""
    scale = bone_scale(pred_mm, true_mm)[:, None, None]
    bone_valid = valid[:, list(SCALE_BONE)].all(1)
    return wrist20(wrist_aligned(pred_mm) * scale, true_mm, valid).where(bone_valid)


def pa21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Return E6: after similarity Procrustes alignment, all 21 joints. A diagnostic of the pose alone."""
    error_mm = (procrustes(pred_mm, true_mm, valid) - true_mm).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm.nan_to_num(0.0), valid & error_mm.isfinite())


def _palm_aligned(hand_mm: Tensor) -> Tensor:
    """Put the palm centre in the wrist's place and at the origin. (N, 21, 3) -> (N, 21, 3)"""
    return wrist_aligned(palm_rooted(hand_mm))


# Two hands


def own_wrist42(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """Return InterHand2.6M's errors: 42 joints, each hand with its own wrist at the origin, wrists count as zero.

    (N, 42, 3), (N, 42, 3), (N, 42) bool -> (N, 42). A joint counts only if its hand's wrist is annotated (InterNet's
    code).
    """
    roots = torch.as_tensor(root_index(), device=valid.device)
    error_mm = ((pred_mm - pred_mm[:, roots]) - (true_mm - true_mm[:, roots])).norm(dim=-1)  # (N, 42)
    return JointErrors(error_mm, valid & valid[:, roots])


def relative_root_error(
    pred_wrists_mm: Tensor, relative_depth_mm: Tensor, true_mm: Tensor, valid: Tensor,
    own_offset_mm: Tensor | float = 0.0,
) -> JointErrors:  # fmt: skip
    """Return MRRPE before averaging: the error of the left wrist relative to the right one. -> (N, 1)

    pred_wrists_mm (N, 2, 3) right and left in the camera frame; the left one keeps its pixel and moves to the right
    one's depth plus the predicted relative_depth_mm (N,). true_mm (N, 42, 3), valid (N, 42). ``own_offset_mm`` (N,) is
    added to the left wrist's depth, as InterNet's code does, see ``own_offset``. Valid where both wrists are annotated
    and a relative depth was predicted.
    """
    right, left = pred_wrists_mm.unbind(1)  # (N, 3) each
    depth_mm = right[:, 2] + relative_depth_mm + own_offset_mm  # (N,)
    left = left / left[:, 2:] * depth_mm[:, None]  # along its camera ray, so that its pixel stays
    truth = true_mm[:, ROOTS["left"]] - true_mm[:, ROOTS["right"]]
    error_mm = ((left - right) - truth).norm(dim=-1)  # (N,)
    both = valid[:, ROOTS["left"]] & valid[:, ROOTS["right"]]
    return JointErrors(error_mm.nan_to_num(0.0)[:, None], (both & error_mm.isfinite())[:, None])


def own_offset(pred_wrists_mm: Tensor, root_depth_mm: Tensor) -> Tensor:
    """Return the left minus the right wrist's depth in its own heat map. (N, 2, 3), (N, 2) -> (N,) mm

    Heat maps encode depth relative to the hand's wrist. The wrist's own map has target 0, but its decoded value is not
    exactly 0, and InterNet's MRRPE keeps it for both wrists. ``root_depth_mm`` is the absolute depth added in lifting.
    """
    own = pred_wrists_mm[..., 2] - root_depth_mm  # (N, 2)
    return own[:, 1] - own[:, 0]


# Handedness


def handedness_correct(side_probability: Tensor, side_present: Tensor) -> Tensor:
    """Return True where thresholding at 0.5 gives exactly the present hands. (N, 2), (N, 2) bool -> (N,) bool

    As in InterNet's code, a probability of exactly 0.5 counts as neither present nor absent.
    """
    return torch.where(side_present, side_probability > 0.5, side_probability < 0.5).all(1)


def average_precision(score: Tensor, present: Tensor) -> float | None:
    """Return the average precision of the ranking by score, without interpolation. (N,), (N,) bool -> [0, 1]

    AP = sum_k (R_k - R_{k-1}) P_k over the distinct scores, highest first; equal scores enter together, so that the
    order of the samples does not matter. None if ``present`` is nowhere True.
    """
    if not present.any():
        return None
    values, group = score.unique(return_inverse=True)  # ascending
    count, hits = torch.zeros_like(values), torch.zeros_like(values)
    count.index_add_(0, group, torch.ones_like(score))
    hits.index_add_(0, group, present.to(score.dtype))
    count, hits = count.flip(0).cumsum(0), hits.flip(0).cumsum(0)  # with at least that score
    recall, precision = hits / hits[-1], hits / count
    return float((recall.diff(prepend=recall.new_zeros(1)) * precision).sum())


def handedness_ap(side_probability: Tensor, side_present: Tensor, valid: Tensor) -> float | None:
    """Return the mean over right and left of the average precision of "this hand is in the image".

    (N, 2), (N, 2) bool; valid (N,) bool: handedness is annotated and predicted. A hand that is never present is left
    out; None if neither is ever present.
    """
    precisions = [average_precision(side_probability[valid, s], side_present[valid, s]) for s in range(2)]
    precisions = [ap for ap in precisions if ap is not None]
    return sum(precisions) / len(precisions) if precisions else None
