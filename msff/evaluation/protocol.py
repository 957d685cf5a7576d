"""The evaluation protocol: predictions against annotation, on a track that states what ground truth was given.

``evaluate`` is a pure function of the two records and keeps the sample level, so that every aggregate, interval and
paired comparison derives from one array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from msff.evaluation import metrics
from msff.evaluation.metrics import JointErrors
from msff.evaluation.records import TRACKS, Predictions, ResultError, Track, Truth
from msff.skeleton import JOINTS_PER_HAND, LEFT, RIGHT, ROOTS, root_index

__all__ = ["AGGREGATED", "HEADLINE", "TRACKS", "Evaluation", "Predictions", "ResultError", "Track", "Truth", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Sample-level errors of one run on one track; every aggregate number derives from them."""

    dataset: str
    layout: str
    track: str
    sample_id: list[str]
    own_wrist: JointErrors  # (N, 42) each hand aligned at its own wrist
    errors: dict[str, JointErrors]  # metric name -> errors whose mean of joint means is that metric
    side_correct: Tensor  # (N,) bool
    side_valid: Tensor  # (N,) bool: annotated and predicted
    root_depth_error_mm: JointErrors  # (N, 2) absolute error of the wrists' depth

    @cached_property
    def headline(self) -> str:
        """The metric by which methods are compared on this layout."""
        return HEADLINE[self.layout]

    def summary(self) -> dict[str, float | None]:
        """Every metric as one number, None where the test set has no sample for it."""
        numbers = {name: metrics.mean_of_joint_means(e) for name, e in self.errors.items()}
        for name in AGGREGATED[self.layout]:
            numbers[f"{name}_pooled"] = metrics.pooled_mean(self.errors[name])
            numbers[f"{name}_median"] = metrics.pooled_median(self.errors[name])
            numbers[f"{name}_auc_0_50"] = metrics.auc(self.errors[name])
            numbers[f"{name}_auc_20_50"] = metrics.auc(self.errors[name], first=8)
        known = self.side_valid
        numbers["handedness_accuracy"] = float(self.side_correct[known].double().mean()) if known.any() else None
        numbers["root_depth"] = metrics.mean_of_joint_means(self.root_depth_error_mm)
        return numbers


HEADLINE = {"rhd": "wrist20", "interhand": "mpjpe_all"}
AGGREGATED = {
    "rhd": ("wrist20", "palm21_vis"),
    "interhand": ("mpjpe_single", "mpjpe_interacting", "mpjpe_all"),
}
"""The metrics that also get a pooled mean, a median and areas under the PCK curve."""


def evaluate(truth: Truth, predictions: Predictions, track: str) -> Evaluation:
    """All metrics of one track, from the sample level up. Neither argument is changed."""
    if track not in TRACKS:
        raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {track!r}")
    if track not in predictions.joints:
        raise ResultError(f"the predictions hold no track {track}, only {', '.join(predictions.joints)}")
    predictions = predictions.in_order_of(truth)
    true, pred = (torch.as_tensor(np.asarray(a, np.float64)) for a in (truth.joints_cam_mm, predictions.joints[track]))
    present = torch.as_tensor(np.asarray(truth.side_present, bool))  # (N, 2)
    valid = torch.as_tensor(np.asarray(truth.joint_valid, bool)) & present.repeat_interleave(JOINTS_PER_HAND, 1)
    valid = valid & valid[:, torch.as_tensor(root_index())]  # (N, 42): no joint counts without its wrist
    _check_finite(truth, pred, valid)
    sides = torch.as_tensor(np.asarray(predictions.side_probability, np.float64))  # (N, 2)
    own_wrist = metrics.own_wrist42(pred, true, valid)
    if truth.layout == "rhd":
        errors = _one_hand_errors(truth, pred, true, valid, present, sides)
    else:
        relative = torch.as_tensor(np.asarray(predictions.relative_root_depth_mm, np.float64))
        errors = _two_hand_errors(truth, own_wrist, pred, true, relative, present)
    roots = list(ROOTS.values())
    annotated = np.ones(len(truth), bool) if truth.side_valid is None else truth.side_valid
    return Evaluation(
        dataset=truth.dataset,
        layout=truth.layout,
        track=track,
        sample_id=list(truth.sample_id),
        own_wrist=own_wrist,
        errors=errors,
        side_correct=metrics.handedness_correct(sides, present),
        side_valid=torch.as_tensor(annotated) & sides.isfinite().all(1),
        root_depth_error_mm=JointErrors((pred[:, roots, 2] - true[:, roots, 2]).abs(), valid[:, roots]),
    )


def _one_hand_errors(truth, pred, true, valid, present, sides) -> dict[str, JointErrors]:
    """RHD layout: the annotated hand's 21 joints, in every convention that the literature calls EPE."""
    hand_pred, hand_true, hand_valid = (_pick(a, present[:, 0]) for a in (pred, true, valid))  # (N, 21, ...)
    errors = {
        "wrist21": metrics.wrist21(hand_pred, hand_true, hand_valid),
        "wrist20": metrics.wrist20(hand_pred, hand_true, hand_valid),
        "wrist20_scaled": metrics.wrist20_scaled(hand_pred, hand_true, hand_valid),
        "pa21": metrics.pa21(hand_pred, hand_true, hand_valid),
    }
    errors["wrist20_fingertip"] = metrics.fingertips(errors["wrist20"])
    errors["wrist20_base"] = metrics.finger_bases(errors["wrist20"])
    visible = torch.zeros_like(hand_valid)  # where the dataset does not say, these metrics are empty
    occluded = visible
    if truth.joint_visible is not None:
        visible = _pick(torch.as_tensor(np.asarray(truth.joint_visible, bool)), present[:, 0])
        occluded = ~visible
    errors["wrist20_vis"] = metrics.wrist20_vis(hand_pred, hand_true, hand_valid, visible)
    errors["wrist20_occluded"] = errors["wrist20"].where(occluded)
    errors["palm21_vis"] = metrics.palm21_vis(hand_pred, hand_true, hand_valid, visible)
    told = sides.isfinite().all(1)  # (N,) the network says which hand it is
    slot = _pick(pred, sides[:, 0] >= sides[:, 1])  # (N, 21, 3) the hand it says; right on a tie
    slot = torch.where(slot.isfinite(), slot, 0.0)
    errors["wrist21_pred_side"] = metrics.wrist21(slot, hand_true, hand_valid).where(told)
    errors["wrist20_pred_side"] = metrics.wrist20(slot, hand_true, hand_valid).where(told)
    return errors


def _two_hand_errors(truth, own_wrist, pred, true, relative, present) -> dict[str, JointErrors]:
    """InterHand2.6M layout: MPJPE by kind of sequence with and without the zero wrists, and MRRPE."""
    interacting = present.all(1)  # (N,)
    everything = torch.ones_like(interacting)
    errors = {}
    for kind, mask in (("single", ~interacting), ("interacting", interacting), ("all", everything)):
        errors[f"mpjpe_{kind}"] = own_wrist.where(mask)
        errors[f"mpjpe_{kind}_no_wrist"] = metrics.without_wrist(own_wrist).where(mask)
    errors["mpjpe_interacting_fingertip"] = metrics.fingertips(errors["mpjpe_interacting"])
    errors["mpjpe_interacting_base"] = metrics.finger_bases(errors["mpjpe_interacting"])
    if truth.joint_visible is not None:
        visible = torch.as_tensor(np.asarray(truth.joint_visible, bool))
        errors["mpjpe_all_no_wrist_vis"] = errors["mpjpe_all_no_wrist"].where(visible)
        errors["mpjpe_all_no_wrist_occluded"] = errors["mpjpe_all_no_wrist"].where(~visible)
    wrists = pred[:, list(ROOTS.values())]  # (N, 2, 3)
    errors["mrrpe"] = metrics.relative_root_error(wrists, relative, true, own_wrist.valid).where(interacting)
    return errors


def _pick(array: Tensor, take_right: Tensor) -> Tensor:
    """One hand's half of (N, 42, ...) per sample. -> (N, 21, ...)."""
    choose = take_right.reshape(-1, *[1] * (array.ndim - 1))
    return torch.where(choose, array[:, RIGHT], array[:, LEFT])


def _check_finite(truth: Truth, pred: Tensor, valid: Tensor) -> None:
    bad = (~pred.isfinite().all(-1) & valid).any(1)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise ResultError(
            f"{int(bad.sum())} of {len(truth)} predictions are not finite, the first for sample "
            f"{truth.sample_id[row]!r}: the network diverged; train it again"
        )
