"""The two layouts' metrics by name: one annotated hand per image (RHD), or one or two (InterHand2.6M).

Each function returns name -> sample-level errors, whose mean of joint means is the metric of that name. A metric for
which the test set has no sample keeps its name with an empty mask.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from msff.evaluation import metrics
from msff.evaluation.alignment import palm_mask
from msff.evaluation.metrics import JointErrors
from msff.evaluation.predictions import Truth
from msff.skeleton import LEFT, RIGHT, ROOTS


def one_hand_errors(
    truth: Truth, pred: Tensor, true: Tensor, valid: Tensor, present: Tensor, sides: Tensor
) -> dict[str, JointErrors]:
    """RHD layout: the annotated hand's 21 joints, in every convention that the literature calls EPE.

    pred, true (N, 42, 3) camera mm, valid (N, 42) bool, present (N, 2) bool, sides (N, 2) probabilities of right and
    left, NaN where the network does not say.
    """
    hand_pred, hand_true, hand_valid = (_pick(a, present[:, 0]) for a in (pred, true, valid))  # (N, 21, ...)
    hands = hand_pred, hand_true, hand_valid
    everywhere = {
        "wrist21": metrics.wrist21(*hands),
        "wrist20": metrics.wrist20(*hands),
        "wrist20_scaled": metrics.wrist20_scaled(*hands),
        "palm21": metrics.palm21(*hands),
        "palm21_scaled": metrics.palm21_scaled(*hands),
        "palm21_true_root": metrics.palm21_true_root(*hands),
        "pa21": metrics.pa21(*hands),
    }
    visible, hidden = _visibility(truth, hand_valid, present[:, 0])
    headline = everywhere["wrist20"]
    parts = {
        "wrist20_fingertip": metrics.fingertips(headline),
        "wrist20_base": metrics.finger_bases(headline),
        "wrist20_vis": metrics.wrist20_vis(*hands, visible),
        "wrist20_occluded": headline.where(hidden),
        "wrist21_vis": everywhere["wrist21"].where(visible),
        "palm21_vis": metrics.palm21_vis(*hands, visible),
        "palm21_vis_scaled": everywhere["palm21_scaled"].where(palm_mask(visible)),
        "palm21_vis_true_root": everywhere["palm21_true_root"].where(palm_mask(visible)),
    }
    told = sides.isfinite().all(1)  # (N,) the network says which hand it is
    slot = _pick(pred, sides[:, 0] >= sides[:, 1])  # (N, 21, 3) the hand it says; right on a tie
    slot = torch.where(slot.isfinite(), slot, 0.0)
    predicted_side = {  # E1h and its like: the slot follows the predicted handedness
        "wrist21_pred_side": metrics.wrist21(slot, hand_true, hand_valid).where(told),
        "wrist20_pred_side": metrics.wrist20(slot, hand_true, hand_valid).where(told),
    }
    return everywhere | parts | predicted_side


def two_hand_errors(
    truth: Truth,
    own_wrist: JointErrors,
    pred: Tensor,
    true: Tensor,
    relative: Tensor,
    root_depth: Tensor,
    present: Tensor,
) -> dict[str, JointErrors]:
    """InterHand2.6M layout: MPJPE by kind of sequence with and without the zero wrists, by part, and MRRPE.

    own_wrist: errors (N, 42); pred, true (N, 42, 3) camera mm; relative (N,) predicted depth of the left minus the
    right wrist; root_depth (N, 2) mm as used for lifting; present (N, 2) bool.
    """
    interacting = present.all(1)  # (N,)
    kinds = {"single": ~interacting, "interacting": interacting, "all": torch.ones_like(interacting)}
    visible, hidden = _visibility(truth, own_wrist.valid, None)
    errors = {}
    for kind, mask in kinds.items():
        errors[f"mpjpe_{kind}"] = own_wrist.where(mask)
        errors[f"mpjpe_{kind}_no_wrist"] = moving = metrics.without_wrist(own_wrist).where(mask)
        errors[f"mpjpe_{kind}_fingertip"] = metrics.fingertips(moving)
        errors[f"mpjpe_{kind}_base"] = metrics.finger_bases(moving)
        errors[f"mpjpe_{kind}_no_wrist_vis"] = moving.where(visible)
        errors[f"mpjpe_{kind}_no_wrist_occluded"] = moving.where(hidden)
    wrists = pred[:, list(ROOTS.values())]  # (N, 2, 3)
    known = wrists, relative, true, own_wrist.valid
    errors["mrrpe"] = metrics.relative_root_error(*known).where(interacting)
    offset = metrics.own_offset(wrists, root_depth)  # (N,)
    errors["mrrpe_own_offset"] = metrics.relative_root_error(*known, own_offset_mm=offset).where(interacting)
    return errors


def _visibility(truth: Truth, like: Tensor, take_right: Tensor | None) -> tuple[Tensor, Tensor]:
    """Masks of visible and hidden joints, both empty where the dataset does not say. -> 2 x shape of ``like``."""
    if truth.joint_visible is None:
        return torch.zeros_like(like), torch.zeros_like(like)
    visible = torch.as_tensor(np.asarray(truth.joint_visible, bool))
    visible = visible if take_right is None else _pick(visible, take_right)
    return visible, ~visible


def _pick(array: Tensor, take_right: Tensor) -> Tensor:
    """One hand's half of (N, 42, ...) per sample. -> (N, 21, ...)."""
    choose = take_right.reshape(-1, *[1] * (array.ndim - 1))
    return torch.where(choose, array[:, RIGHT], array[:, LEFT])
