"""The metrics of either layout by name: one annotated hand per image (RHD), or one or two (InterHand2.6M).

Each function returns name -> sample-level errors, whose mean of joint means is the metric of that name. A metric for
which the test set has no sample keeps its name, with an empty mask.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from msff.evaluation import metrics
from msff.evaluation.joint_errors import JointErrors, finger_bases, fingertips, without_wrist
from msff.evaluation.predictions import Truth
from msff.skeleton import LEFT, RIGHT, ROOTS


def single_hand_errors(
    truth: Truth, pred: Tensor, true: Tensor, valid: Tensor, present: Tensor, handedness: Tensor
) -> dict[str, JointErrors]:
    """Return the errors of the RHD layout: the annotated hand's 21 joints in every convention that is called EPE.

    pred, true (N, 42, 3) camera mm, valid (N, 42) bool, present (N, 2) bool, handedness (N, 2) probabilities of right
    and left, NaN if the network does not predict them.
    """
    hand = [_one_hand(a, present[:, 0]) for a in (pred, true, valid)]  # (N, 21, 3), (N, 21, 3), (N, 21)
    everywhere = {
        "wrist21": metrics.wrist21(*hand),
        "wrist20": metrics.wrist20(*hand),
        "wrist20_scaled": metrics.wrist20_scaled(*hand),
        "palm21": metrics.palm21(*hand),
        "palm21_scaled": metrics.palm21_scaled(*hand),
        "palm21_true_root": metrics.palm21_true_root(*hand),
        "pa21": metrics.pa21(*hand),
    }
    visible, hidden = _visibility(truth, hand[2], present[:, 0])
    primary = everywhere["wrist20"]
    parts = {
        "wrist20_fingertip": fingertips(primary),
        "wrist20_base": finger_bases(primary),
        "wrist20_vis": metrics.wrist20_vis(*hand, visible),
        "wrist20_occluded": primary.where(hidden),
        "wrist21_vis": everywhere["wrist21"].where(visible),
        "palm21_vis": metrics.palm21_vis(*hand, visible),
        "palm21_vis_scaled": everywhere["palm21_scaled"].where(metrics.palm_visible(visible)),
        "palm21_vis_true_root": everywhere["palm21_true_root"].where(metrics.palm_visible(visible)),
    }
    # the slot that the predicted handedness selects, right on a tie
    selected = _one_hand(pred, handedness[:, 0] >= handedness[:, 1])  # (N, 21, 3)
    selected, predicted = torch.where(selected.isfinite(), selected, 0.0), handedness.isfinite().all(1)
    by_predicted_side = {
        "wrist21_pred_side": metrics.wrist21(selected, *hand[1:]).where(predicted),
        "wrist20_pred_side": metrics.wrist20(selected, *hand[1:]).where(predicted),
    }
    return everywhere | parts | by_predicted_side


def two_hand_errors(
    truth: Truth, pred: Tensor, true: Tensor, valid: Tensor, present: Tensor, relative_mm: Tensor, root_depth_mm: Tensor
) -> dict[str, JointErrors]:
    """Return the errors of the InterHand2.6M layout: MPJPE by kind of image, wrists and part, and MRRPE.

    pred, true (N, 42, 3) camera mm, valid (N, 42) bool, present (N, 2) bool; relative_mm (N,) predicted depth of the
    left minus the right wrist; root_depth_mm (N, 2) as used for lifting, NaN if unknown.
    """
    own_wrist = metrics.own_wrist42(pred, true, valid)  # (N, 42)
    interacting = present.all(1)  # (N,)
    kinds = {"single": ~interacting, "interacting": interacting, "all": torch.ones_like(interacting)}
    visible, hidden = _visibility(truth, own_wrist.valid, None)
    errors = {}
    for kind, mask in kinds.items():
        errors[f"mpjpe_{kind}"] = own_wrist.where(mask)
        errors[f"mpjpe_{kind}_no_wrist"] = moving = without_wrist(own_wrist).where(mask)
        errors[f"mpjpe_{kind}_fingertip"] = fingertips(moving)
        errors[f"mpjpe_{kind}_base"] = finger_bases(moving)
        errors[f"mpjpe_{kind}_no_wrist_vis"] = moving.where(visible)
        errors[f"mpjpe_{kind}_no_wrist_occluded"] = moving.where(hidden)
    wrists = pred[:, list(ROOTS.values())]  # (N, 2, 3)
    arguments = wrists, relative_mm, true, own_wrist.valid
    errors["mrrpe"] = metrics.relative_root_error(*arguments).where(interacting)
    offset_mm = metrics.own_offset(wrists, root_depth_mm)  # (N,)
    errors["mrrpe_own_offset"] = metrics.relative_root_error(*arguments, own_offset_mm=offset_mm).where(interacting)
    return errors


def _visibility(truth: Truth, like: Tensor, take_right: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return masks of visible and hidden joints, both empty if the dataset has no visibility. -> 2 x shape of like"""
    if truth.joint_visible is None:
        return torch.zeros_like(like), torch.zeros_like(like)
    visible = torch.as_tensor(np.asarray(truth.joint_visible, bool))
    visible = visible if take_right is None else _one_hand(visible, take_right)
    return visible, ~visible


def _one_hand(array: Tensor, take_right: Tensor) -> Tensor:
    """Select the right or left hand of each sample. (N, 42, ...), (N,) bool -> (N, 21, ...)"""
    choose = take_right.reshape(-1, *[1] * (array.ndim - 1))
    return torch.where(choose, array[:, RIGHT], array[:, LEFT])
