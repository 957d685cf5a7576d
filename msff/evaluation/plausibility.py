"""Plausibility of predicted hands: excludes networks that have hardly learnt more than the mean pose.

Averaged over rotations the mean pose shrinks towards the wrist, and a network that has learnt little predicts something
close to it. The errors of two such networks may differ, but the difference is no evidence about hand pose. Two numbers
expose them: the width of the predicted palm and the handedness accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from msff.evaluation.metrics import handedness_correct
from msff.evaluation.predictions import Predictions, Truth
from msff.skeleton import INDEX_MCP, JOINTS_PER_HAND, LITTLE_MCP, SIDES, WRIST

_PREFERRED_TRACK = "T2"

# This study's own choice. On the stand-ins, networks trained from scratch for about a minute reach palm widths of
# 0.24-0.77 (MS-FF, InterNet) and 51-57 % handedness; the same networks trained for an hour reach 0.93-0.98 and 98-99 %
# on the RHD layout, and 0.87-0.90 on interacting hands. The mean pose has 0.21-0.24. The thresholds lie in the gap.
LEAST_PALM_WIDTH = {"rhd": 0.85, "interhand": 0.80}
"""Layout -> smallest plausible ratio of predicted to true palm width."""
LEAST_HANDEDNESS_PERCENT = {"rhd": 80.0}
"""Layout -> smallest plausible handedness accuracy; none for interacting hands, where chance is not one number."""


@dataclass(frozen=True)
class Plausibility:
    """The check of one row of the study, each number the lowest of its seeds."""

    layout: str  # "rhd" or "interhand"
    hands: int  # measured, the same for each seed
    palm_width_ratio: float  # predicted over true; NaN if no hand was measured
    handedness_percent: float  # NaN if the network does not predict it

    def fault(self, mean_pose_ratio: float = np.nan) -> str:
        """Return a description of what is implausible, or "". ``mean_pose_ratio`` is quoted beside the palm width."""
        faults = []
        least = LEAST_PALM_WIDTH[self.layout]
        if self.hands and not self.palm_width_ratio >= least:  # NaN if a prediction is not finite
            beside = "" if np.isnan(mean_pose_ratio) else f" (mean pose {mean_pose_ratio:.2f})"
            faults.append(f"palm width {self.palm_width_ratio:.2f} of the true one{beside}, {least:.2f} is required")
        least = LEAST_HANDEDNESS_PERCENT.get(self.layout, 0.0)
        if self.handedness_percent < least:
            faults.append(f"handedness right in {self.handedness_percent:.0f} % of images, {least:.0f} % is required")
        return "; ".join(faults)


def check(truth: Truth, seeds: Sequence[Predictions]) -> Plausibility:
    """Return the plausibility of a row from its seeds' predictions on track T2, or on the only track they hold.

    ValueError without predictions; ResultError if they are not of the truth's samples.
    """
    if not seeds:
        raise ValueError("the plausibility check needs the predictions of at least one seed")
    ordered = [predictions.in_order_of(truth) for predictions in seeds]
    # hands whose palm is annotated, wrist included; in the InterHand layout only in interacting images
    valid = np.asarray(truth.joint_valid, bool).reshape(-1, len(SIDES), JOINTS_PER_HAND)
    measured = valid[:, :, [INDEX_MCP, LITTLE_MCP, WRIST]].all(-1) & truth.side_present  # (N, 2)
    if not truth.single_hand:
        measured &= truth.side_present.all(1, keepdims=True)
    return Plausibility(
        layout=truth.layout,
        hands=int(measured.sum()),
        palm_width_ratio=float(np.min([_palm_width_ratio(truth, p, measured) for p in ordered])),
        handedness_percent=float(np.min([_handedness_percent(truth, p) for p in ordered])),
    )


def palm_width_mm(joints_mm: np.ndarray) -> np.ndarray:
    """Return the distance from index to little MCP of the right and left hand. (N, 42, 3) mm -> (N, 2) mm."""
    hands = np.asarray(joints_mm, np.float64).reshape(-1, len(SIDES), JOINTS_PER_HAND, 3)
    return np.linalg.norm(hands[:, :, INDEX_MCP] - hands[:, :, LITTLE_MCP], axis=-1)


def _track(predictions: Predictions) -> str:
    return _PREFERRED_TRACK if _PREFERRED_TRACK in predictions.joints else next(iter(predictions.joints))


def _palm_width_ratio(truth: Truth, predictions: Predictions, measured: np.ndarray) -> float:
    """Return mean predicted over mean true palm width of the measured hands; NaN if there are none."""
    if not measured.any():
        return np.nan
    predicted = palm_width_mm(predictions.joints[_track(predictions)])[measured]
    return float(predicted.mean() / palm_width_mm(truth.joints_cam_mm)[measured].mean())


def _handedness_percent(truth: Truth, predictions: Predictions) -> float:
    """Return the accuracy of the network's own handedness; NaN if it does not predict it or has it as an input."""
    probability = torch.as_tensor(np.asarray(predictions.side_probability, np.float64))  # (N, 2)
    valid = probability.isfinite().all(1) & torch.as_tensor(truth.side_valid)
    if not valid.any() or predictions.inputs[_track(predictions)].side_input != "none":
        return np.nan
    correct = handedness_correct(probability, torch.as_tensor(np.asarray(truth.side_present, bool)))
    return 100 * float(correct[valid].double().mean())
