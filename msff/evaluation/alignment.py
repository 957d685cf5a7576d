"""What is done to a prediction before its distance to the truth is taken: roots, scale, similarity.

All arrays are one hand's (N, 21, 3) mm in the camera frame and the canonical order (wrist last).
"""

from __future__ import annotations

import torch
from torch import Tensor

from msff.skeleton import MIDDLE_MCP, SCALE_BONE, WRIST


def wrist_aligned(hand_mm: Tensor) -> Tensor:
    """Subtract the hand's own wrist. (N, 21, 3) -> (N, 21, 3)."""
    return hand_mm - hand_mm[:, WRIST : WRIST + 1]


def palm_centre(hand_mm: Tensor) -> Tensor:
    """Half-way between the wrist and the middle finger's base. (N, 21, 3) -> (N, 1, 3).

    Source: the code of Zimmermann & Brox, whose joint 0 is this point unless wrists are asked for.
    """
    return (hand_mm[:, WRIST, None] + hand_mm[:, MIDDLE_MCP, None]) / 2


def palm_rooted(hand_mm: Tensor) -> Tensor:
    """Replace the wrist by the palm centre. (N, 21, 3) -> (N, 21, 3)."""
    return torch.cat([hand_mm[:, :WRIST], palm_centre(hand_mm)], 1)


def palm_mask(mask: Tensor) -> Tensor:
    """Visibility with the palm centre in the wrist's place: either end is enough (ZB's code). (N, 21) bool -> same."""
    rooted = mask.clone()
    rooted[:, WRIST] = mask[:, WRIST] | mask[:, MIDDLE_MCP]
    return rooted


def palm_known(valid: Tensor) -> Tensor:
    """Annotation with the palm centre in the wrist's place: it takes both ends. (N, 21) bool -> same."""
    known = valid.clone()
    known[:, WRIST] = valid[:, WRIST] & valid[:, MIDDLE_MCP]
    return known


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
    eye = torch.eye(3, dtype=pred.dtype, device=pred.device)
    covariance = torch.where(enough[:, None, None], true.transpose(1, 2) @ pred, eye)  # (N, 3, 3)
    u, singular, vt = torch.linalg.svd(covariance)  # (N, 3, 3), (N, 3), (N, 3, 3)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))  # a reflection is not a pose
    rotation = (u * sign[:, None]) @ vt  # (N, 3, 3), row vectors: x -> x @ rotation^T
    scale = (singular * sign).sum(-1) / pred.square().sum((1, 2)).clamp_min(1e-12)  # (N,)
    aligned = scale[:, None, None] * (pred_mm - mean[0]) @ rotation.transpose(1, 2) + mean[1]
    return torch.where(enough[:, None, None], aligned, torch.nan)
