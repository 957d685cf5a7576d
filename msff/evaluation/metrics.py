"""Every metric under its own name: what is aligned, which joints count, how the average is taken.

Two levels. Sample level: functions that return ``JointErrors``, the error of every joint of every sample in mm, with
the mask of those that count. Aggregate level: functions that turn ``JointErrors`` into one number; each names its
averaging. "EPE", "MPJPE" and "mean error" in the literature are different combinations of the two.

All of one hand's arrays are (N, 21, 3) mm in the camera frame and the canonical order (wrist last).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.skeleton import (
    FINGER_BASES,
    FINGERTIPS,
    JOINTS_PER_HAND,
    MIDDLE_MCP,
    ROOTS,
    SCALE_BONE,
    WRIST,
    root_index,
)


@dataclass(frozen=True, eq=False)
class JointErrors:
    """Per-sample, per-joint errors and the mask of those that enter the average."""

    error_mm: Tensor  # (N, J) float64; what lies outside `valid` is ignored
    valid: Tensor  # (N, J) bool

    def __post_init__(self):
        if self.error_mm.shape != self.valid.shape or self.error_mm.ndim != 2:
            raise ValueError(f"errors {tuple(self.error_mm.shape)} and mask {tuple(self.valid.shape)} must be (N, J)")

    def joints(self, columns) -> JointErrors:
        """The same samples with these joints only."""
        columns = torch.as_tensor(columns)
        return JointErrors(self.error_mm[:, columns], self.valid[:, columns])

    def where(self, mask: Tensor) -> JointErrors:
        """The same array with ``mask`` (N,) or (N, J) added to the condition."""
        return JointErrors(self.error_mm, self.valid & (mask[:, None] if mask.ndim == 1 else mask))


# Alignments


def wrist_aligned(hand_mm: Tensor) -> Tensor:
    """Subtract the hand's own wrist. (N, 21, 3) -> (N, 21, 3)."""
    return hand_mm - hand_mm[:, WRIST : WRIST + 1]


def palm_rooted(hand_mm: Tensor) -> Tensor:
    """Replace the wrist by the palm centre, half-way to the middle finger's base. (N, 21, 3) -> (N, 21, 3).

    Source: the code of Zimmermann & Brox, whose joint 0 is this point.
    """
    rooted = hand_mm.clone()
    rooted[:, WRIST] = (hand_mm[:, WRIST] + hand_mm[:, MIDDLE_MCP]) / 2
    return rooted


def palm_mask(mask: Tensor) -> Tensor:
    """Validity or visibility with the palm centre in the wrist's place: either end is enough. (N, 21) bool -> same."""
    rooted = mask.clone()
    rooted[:, WRIST] = mask[:, WRIST] | mask[:, MIDDLE_MCP]
    return rooted


def bone_scale(pred_mm: Tensor, true_mm: Tensor) -> Tensor:
    """The factor that gives the prediction the true length of the middle finger's first bone. -> (N,)."""
    base, middle = SCALE_BONE
    length = [(hand[:, base] - hand[:, middle]).norm(dim=-1) for hand in (true_mm, pred_mm)]  # 2 x (N,)
    return length[0] / length[1].clamp_min(1e-6)


def procrustes(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> Tensor:
    """The prediction after the best similarity (rotation, scale, shift; no reflection) onto the truth.

    Least squares over the valid joints (Umeyama 1991). (N, J, 3), (N, J, 3), (N, J) bool -> (N, J, 3). A sample with
    fewer than three valid joints does not determine a rotation and is NaN.
    """
    weight = valid[..., None].to(pred_mm.dtype)  # (N, J, 1)
    count = weight.sum(1, keepdim=True)  # (N, 1, 1)
    mean = [torch.where(weight > 0, p, 0).sum(1, keepdim=True) / count for p in (pred_mm, true_mm)]  # 2 x (N, 1, 3)
    pred, true = ((p - m) * weight for p, m in zip((pred_mm, true_mm), mean, strict=True))
    enough = count[:, 0, 0] >= 3  # (N,)
    covariance = torch.where(enough[:, None, None], true.transpose(1, 2) @ pred, torch.eye(3, dtype=pred.dtype))
    u, singular, vt = torch.linalg.svd(covariance)  # (N, 3, 3), (N, 3), (N, 3, 3)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))  # a reflection is not a pose
    rotation = (u * sign[:, None]) @ vt  # (N, 3, 3), row vectors: x -> x @ rotation^T
    scale = (singular * sign).sum(-1) / pred.square().sum((1, 2)).clamp_min(1e-12)  # (N,)
    aligned = scale[:, None, None] * (pred_mm - mean[0]) @ rotation.transpose(1, 2) + mean[1]
    return torch.where(enough[:, None, None], aligned, torch.nan)


# Sample level, one hand


def wrist21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E1: both wrists at the origin, all 21 joints count, the wrist with its error of zero (InterNet code on RHD)."""
    return JointErrors((wrist_aligned(pred_mm) - wrist_aligned(true_mm)).norm(dim=-1), valid)


def wrist20(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E2: as E1 without the wrist, whose zero is not a measurement. The headline of this study."""
    return without_wrist(wrist21(pred_mm, true_mm, valid))


def wrist20_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """E3: as E2 on visible joints only."""
    return wrist20(pred_mm, true_mm, valid & visible)


def palm21_vis(pred_mm: Tensor, true_mm: Tensor, valid: Tensor, visible: Tensor) -> JointErrors:
    """E4: palm centre in place of the wrist and at the origin on both sides, 21 points, visible ones only.

    The convention of Zimmermann & Brox and of Spurr, with the prediction re-centred on its own palm so that networks
    that predict absolute positions compare with those that predict relative ones.
    """
    error_mm = (wrist_aligned(palm_rooted(pred_mm)) - wrist_aligned(palm_rooted(true_mm))).norm(dim=-1)  # (N, 21)
    known = valid.clone()
    known[:, WRIST] = valid[:, WRIST] & valid[:, MIDDLE_MCP]  # the palm centre needs both of its ends
    return JointErrors(error_mm, known & palm_mask(visible))


def wrist20_scaled(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E5: as E2 after the prediction got the true length of the middle finger's first bone ("GT S" of Table 1)."""
    scale = bone_scale(pred_mm, true_mm)[:, None, None]
    bone_valid = valid[:, list(SCALE_BONE)].all(1)
    return wrist20(wrist_aligned(pred_mm) * scale, true_mm, valid).where(bone_valid)


def pa21(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """E6: after similarity Procrustes alignment, 21 joints (the wrist is no longer free). A diagnostic of the pose."""
    error_mm = (procrustes(pred_mm, true_mm, valid) - true_mm).norm(dim=-1)  # (N, 21)
    return JointErrors(error_mm.nan_to_num(0.0), valid & error_mm.isfinite())


def without_wrist(errors: JointErrors) -> JointErrors:
    """Take the wrists out of the average; (N, 21) or (N, 42) errors."""
    keep = torch.ones(errors.valid.shape[1], dtype=torch.bool)
    keep[WRIST::JOINTS_PER_HAND] = False
    return JointErrors(errors.error_mm, errors.valid & keep)


def fingertips(errors: JointErrors) -> JointErrors:
    """The five tips of each hand; (N, 21) or (N, 42) errors -> (N, 5) or (N, 10)."""
    return errors.joints(_on_each_hand(FINGERTIPS, errors.valid.shape[1]))


def finger_bases(errors: JointErrors) -> JointErrors:
    """The joints where the fingers meet the palm; (N, 21) or (N, 42) errors -> (N, 5) or (N, 10)."""
    return errors.joints(_on_each_hand(FINGER_BASES, errors.valid.shape[1]))


def _on_each_hand(joints: tuple[int, ...], total: int) -> list[int]:
    return [start + j for start in range(0, total, JOINTS_PER_HAND) for j in joints]


# Sample level, two hands


def own_wrist42(pred_mm: Tensor, true_mm: Tensor, valid: Tensor) -> JointErrors:
    """InterHand2.6M: 42 joints, each hand with its own wrist at the origin, wrists count as zero.

    (N, 42, 3), (N, 42, 3), (N, 42) bool. A joint counts only if its hand's wrist is annotated (InterNet code).
    """
    roots = torch.as_tensor(root_index())
    error_mm = ((pred_mm - pred_mm[:, roots]) - (true_mm - true_mm[:, roots])).norm(dim=-1)  # (N, 42)
    return JointErrors(error_mm, valid & valid[:, roots])


def relative_root_error(
    pred_wrists_mm: Tensor, relative_depth_mm: Tensor, true_mm: Tensor, valid: Tensor
) -> JointErrors:
    """MRRPE before averaging: error of the left wrist relative to the right one. -> (N, 1).

    pred_wrists_mm (N, 2, 3) right and left in the camera frame; the left one keeps its pixel and is moved to the right
    one's depth plus the predicted relative_depth_mm (N,), as the InterNet code does. true_mm (N, 42, 3), valid (N, 42).
    Counts where both wrists are annotated and a relative depth was predicted.
    """
    right, left = pred_wrists_mm.unbind(1)  # (N, 3) each
    depth_mm = right[:, 2] + relative_depth_mm  # (N,)
    left = left / left[:, 2:] * depth_mm[:, None]  # along its camera ray, so that its pixel stays
    truth = true_mm[:, ROOTS["left"]] - true_mm[:, ROOTS["right"]]
    error_mm = ((left - right) - truth).norm(dim=-1)  # (N,)
    both = valid[:, ROOTS["left"]] & valid[:, ROOTS["right"]]
    return JointErrors(error_mm.nan_to_num(0.0)[:, None], (both & error_mm.isfinite())[:, None])


def handedness_correct(side_probability: Tensor, side_present: Tensor) -> Tensor:
    """True where both thresholds at 0.5 give exactly the hands that are there. (N, 2), (N, 2) bool -> (N,) bool."""
    return ((side_probability > 0.5) == side_present).all(1)


# Aggregate level


def per_joint_mean(errors: JointErrors) -> Tensor:
    """Mean over samples of each joint. -> (J,) mm, NaN for a joint without a valid sample."""
    total = torch.where(errors.valid, errors.error_mm, 0.0).sum(0)
    return total / errors.valid.sum(0)


def mean_of_joint_means(errors: JointErrors) -> float | None:
    """Mean over joints of each joint's mean over samples: the averaging of ZB, Spurr, InterNet and InterHand2.6M.

    Joints without a valid sample are left out; None if there is none at all.
    """
    means = per_joint_mean(errors)
    return _number(means[means.isfinite()].mean()) if means.isfinite().any() else None


def pooled_mean(errors: JointErrors) -> float | None:
    """Mean over all valid (sample, joint) pairs: what mmpose calls MPJPE. Differs where joints are unevenly valid."""
    return _number(errors.error_mm[errors.valid].mean()) if errors.valid.any() else None


def pooled_median(errors: JointErrors) -> float | None:
    """Median over all valid (sample, joint) pairs; the mean of the middle two if their number is even."""
    values = errors.error_mm[errors.valid].sort().values
    if not len(values):
        return None
    return _number((values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2)


def thresholds_mm(stop: float = 50.0, count: int = 20) -> Tensor:
    """The thresholds of ZB's curve: 20 values from 0 to 50 mm, both ends included."""
    return torch.linspace(0.0, stop, count, dtype=torch.float64)


def pck(errors: JointErrors, thresholds: Tensor) -> Tensor:
    """Share of samples within each threshold (<=), per joint, then the plain mean over joints. -> (T,)."""
    within = errors.error_mm[..., None] <= thresholds  # (N, J, T)
    share = (within & errors.valid[..., None]).sum(0) / errors.valid.sum(0)[:, None]  # (J, T)
    return share[errors.valid.any(0)].mean(0)


def auc(errors: JointErrors, first: int = 0) -> float | None:
    """Area under ZB's PCK curve, 0-50 mm in 20 steps, trapezoid, divided by the range; per joint, then the mean.

    ``first=8`` drops the first eight thresholds, which is what the literature calls 20-50 mm (it starts at 21.05 mm).
    The trapezoid is linear, so that the mean over joints may be taken before it.
    """
    if not errors.valid.any():
        return None
    thresholds = thresholds_mm()[first:]
    area = torch.trapezoid(pck(errors, thresholds), thresholds)
    return _number(area / (thresholds[-1] - thresholds[0]))


def _number(value: Tensor) -> float:
    return float(value)
