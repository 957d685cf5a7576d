"""The evaluation protocol: predictions against annotation on one track.

``evaluate`` is a pure function of the two records and keeps the sample level, so that every average, interval and
paired comparison derives from the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msff.evaluation.joint_errors import (
    JointErrors,
    JointValues,
    auc,
    mean_of_joint_means,
    mean_of_joint_medians,
    per_sample,
    pooled_mean,
    pooled_median,
)
from msff.evaluation.layouts import single_hand_errors, two_hand_errors
from msff.evaluation.metrics import handedness_ap, handedness_correct
from msff.evaluation.predictions import Predictions, ResultError, Truth
from msff.evaluation.tracks import TestTimeInputs
from msff.skeleton import JOINTS_PER_HAND, ROOTS, root_index

PRIMARY_METRIC = {"rhd": "wrist20", "interhand": "mpjpe_all", "realworld": "wrist20"}
"""Layout -> the metric by which methods are compared."""
AGGREGATED = {
    "rhd": ("wrist20", "wrist20_vis", "palm21_vis"),
    "realworld": ("wrist20", "palm21"),
    "interhand": ("mpjpe_single", "mpjpe_interacting", "mpjpe_all"),
}
"""Layout -> the metrics that also get a pooled mean, medians and areas under the PCK curve."""
_IN_CAMERA_FRAME = ("palm21_true_root", "palm21_vis_true_root")  # depend on the hand's absolute position


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Sample-level errors of one run on one track; every aggregate number derives from them."""

    dataset: str
    layout: str
    track: str
    inputs: TestTimeInputs
    errors: dict[str, JointErrors]  # metric name -> errors whose mean of joint means is that metric
    handedness: JointValues  # (N, 1) 1 if predicted correctly, else 0; valid where annotated and predicted
    side_probability: Tensor  # (N, 2) right, left; NaN if not predicted
    side_present: Tensor  # (N, 2) bool
    root_depth_error_mm: JointErrors  # (N, 2) absolute error of the wrists' depth; never valid for relative outputs

    def summary(self) -> dict[str, float | None]:
        """Return every metric as one number, None if the test set has no sample for it."""
        numbers = {name: mean_of_joint_means(e) for name, e in self.errors.items()}
        for name in AGGREGATED[self.layout]:
            numbers[f"{name}_pooled"] = pooled_mean(self.errors[name])
            numbers[f"{name}_median"] = pooled_median(self.errors[name])
            numbers[f"{name}_joint_median"] = mean_of_joint_medians(self.errors[name])
            numbers[f"{name}_auc_0_50"] = auc(self.errors[name])
            numbers[f"{name}_auc_20_50"] = auc(self.errors[name], first=8)
        numbers["handedness_accuracy"] = pooled_mean(self.handedness)
        numbers["handedness_ap"] = handedness_ap(self.side_probability, self.side_present, self.handedness.valid[:, 0])
        numbers["root_depth"] = mean_of_joint_means(self.root_depth_error_mm)
        return numbers


def evaluate(truth: Truth, predictions: Predictions, track: str) -> Evaluation:
    """Return the errors of one track in every metric of the truth's layout. Neither argument is changed.

    ResultError if the predictions are of other samples, lack the track, or are not finite at a valid joint.
    """
    if track not in predictions.joints:
        raise ResultError(f"the predictions hold no track {track}, only {', '.join(predictions.joints)}")
    predictions = predictions.in_order_of(truth)
    inputs, roots = predictions.inputs[track], list(ROOTS.values())
    true, pred = (_float64(a) for a in (truth.joints_cam_mm, predictions.joints[track]))  # (N, 42, 3)
    present = torch.as_tensor(np.asarray(truth.side_present, bool))  # (N, 2)
    valid = _valid_joints(truth, present)  # (N, 42)
    bad = (~pred.isfinite().all(-1) & valid).any(1)
    if bad.any():
        raise ResultError(
            f"{int(bad.sum())} of {len(truth)} predictions are not finite, the first for sample "
            f"{truth.sample_id[int(bad.nonzero()[0, 0])]!r}: the network diverged; train it again"
        )
    probability = _float64(predictions.side_probability)  # (N, 2)
    if truth.single_hand:
        errors = single_hand_errors(truth, pred, true, valid, present, probability)
    else:
        unknown = np.full((len(predictions), len(ROOTS)), np.nan)
        depth_mm = _float64(predictions.root_depth_mm.get(track, unknown))  # (N, 2) of the wrists, used for lifting
        relative_mm = _float64(predictions.relative_root_depth_mm)  # (N,)
        errors = two_hand_errors(truth, pred, true, valid, present, relative_mm, depth_mm)
    depth_error = JointErrors((pred[:, roots, 2] - true[:, roots, 2]).abs(), valid[:, roots])
    if inputs.root_depth == "none":  # the output is relative to the hand: it has no position to score
        nowhere = torch.zeros(len(truth), dtype=torch.bool)
        errors |= {name: errors[name].where(nowhere) for name in _IN_CAMERA_FRAME if name in errors}
        depth_error = depth_error.where(nowhere)
    is_known = torch.as_tensor(truth.side_valid) & probability.isfinite().all(1)  # (N,) annotated and predicted
    cluster = None if truth.cluster is None else torch.as_tensor(truth.cluster)  # (N,)
    return Evaluation(
        dataset=truth.dataset,
        layout=truth.layout,
        track=track,
        inputs=inputs,
        errors={name: values.clustered_by(cluster) for name, values in errors.items()},
        handedness=per_sample(handedness_correct(probability, present), is_known).clustered_by(cluster),
        side_probability=probability,
        side_present=present,
        root_depth_error_mm=depth_error.clustered_by(cluster),
    )


def _float64(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float64))


def _valid_joints(truth: Truth, present: Tensor) -> Tensor:
    """Return which joints count: annotated, of a present hand, with an annotated wrist. -> (N, 42) bool"""
    valid = torch.as_tensor(np.asarray(truth.joint_valid, bool)) & present.repeat_interleave(JOINTS_PER_HAND, 1)
    return valid & valid[:, torch.as_tensor(root_index())]
