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
from msff.evaluation.layouts import one_hand_errors, two_hand_errors
from msff.evaluation.metrics import JointErrors, JointValues
from msff.evaluation.predictions import Predictions, ResultError, Truth
from msff.evaluation.tracks import NATIVE, TRACK_NAMES, TRACKS, Given, Native, Track
from msff.skeleton import JOINT_NAMES, JOINTS_PER_HAND, ROOTS, root_index

__all__ = [
    "AGGREGATED", "HEADLINE", "NATIVE", "TRACKS", "Evaluation", "Given", "Native", "Predictions", "ResultError",
    "Track", "Truth", "evaluate",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Sample-level errors of one run on one track; every aggregate number derives from them."""

    dataset: str
    layout: str
    track: str
    given: Given  # what ground truth the track used
    sample_id: list[str]
    own_wrist: JointErrors  # (N, 42) each hand aligned at its own wrist
    errors: dict[str, JointErrors]  # metric name -> errors whose mean of joint means is that metric
    side_probability: Tensor  # (N, 2) right, left; NaN where not predicted
    side_present: Tensor  # (N, 2) bool
    side_correct: Tensor  # (N,) bool
    side_valid: Tensor  # (N,) bool: annotated and predicted
    unit: Tensor | None  # (N,) int64: what a bootstrap draws together, see `Truth.unit`
    root_depth_error_mm: JointErrors  # (N, 2) absolute error of the wrists' depth; none counts in a relative output

    @cached_property
    def headline(self) -> str:
        """The metric by which methods are compared on this layout."""
        return HEADLINE[self.layout]

    @cached_property
    def side_share(self) -> JointValues:
        """Handedness right (1) or wrong (0) per sample, (N, 1): its mean is the accuracy, and it can be resampled."""
        return metrics.per_sample(self.side_correct, self.side_valid).drawn_by(self.unit)

    def by_joint(self, metric: str) -> dict[str, float | None]:
        """A metric by joint type, both hands' means averaged where there are two; None where no joint counts."""
        errors = self.errors[metric]
        if errors.valid.shape[1] % JOINTS_PER_HAND:
            raise ValueError(f"{metric} covers {errors.valid.shape[1]} joints, not whole hands")
        parts = {name: metrics.joint_type(errors, j) for j, name in enumerate(JOINT_NAMES)}
        return {name: metrics.mean_of_joint_means(part) for name, part in parts.items()}

    def summary(self) -> dict[str, float | None]:
        """Every metric as one number, None where the test set has no sample for it."""
        numbers = {name: metrics.mean_of_joint_means(e) for name, e in self.errors.items()}
        for name in AGGREGATED[self.layout]:
            numbers[f"{name}_pooled"] = metrics.pooled_mean(self.errors[name])
            numbers[f"{name}_median"] = metrics.pooled_median(self.errors[name])
            numbers[f"{name}_joint_median"] = metrics.mean_of_joint_medians(self.errors[name])
            numbers[f"{name}_auc_0_50"] = metrics.auc(self.errors[name])
            numbers[f"{name}_auc_20_50"] = metrics.auc(self.errors[name], first=8)
        numbers["handedness_accuracy"] = metrics.pooled_mean(self.side_share)
        numbers["handedness_ap"] = metrics.handedness_ap(self.side_probability, self.side_present, self.side_valid)
        numbers["root_depth"] = metrics.mean_of_joint_means(self.root_depth_error_mm)
        return numbers


ABSOLUTE = ("palm21_true_root", "palm21_vis_true_root")
"""The metrics that see where in the camera frame a hand is put."""
HEADLINE = {"rhd": "wrist20", "interhand": "mpjpe_all", "realworld": "wrist20"}
AGGREGATED = {
    "rhd": ("wrist20", "wrist20_vis", "palm21_vis"),
    "realworld": ("wrist20", "palm21"),
    "interhand": ("mpjpe_single", "mpjpe_interacting", "mpjpe_all"),
}
"""The metrics that also get a pooled mean, medians and areas under the PCK curve."""


def evaluate(truth: Truth, predictions: Predictions, track: str) -> Evaluation:
    """All metrics of one track, from the sample level up. Neither argument is changed."""
    if track not in TRACK_NAMES:
        raise ValueError(f"track must be one of {', '.join(TRACK_NAMES)}, got {track!r}")
    if track not in predictions.joints:
        raise ResultError(f"the predictions hold no track {track}, only {', '.join(predictions.joints)}")
    predictions = predictions.in_order_of(truth)
    true, pred = (_float64(a) for a in (truth.joints_cam_mm, predictions.joints[track]))  # (N, 42, 3)
    present = torch.as_tensor(np.asarray(truth.side_present, bool))  # (N, 2)
    valid = torch.as_tensor(np.asarray(truth.joint_valid, bool)) & present.repeat_interleave(JOINTS_PER_HAND, 1)
    valid = valid & valid[:, torch.as_tensor(root_index())]  # (N, 42): no joint counts without its wrist
    _check_finite(truth, pred, valid)
    sides = _float64(predictions.side_probability)  # (N, 2)
    own_wrist = metrics.own_wrist42(pred, true, valid)
    if truth.one_hand:
        errors = one_hand_errors(truth, pred, true, valid, present, sides)
    else:
        relative = _float64(predictions.relative_root_depth_mm)
        depth = _root_depth(predictions, track, true)
        errors = two_hand_errors(truth, own_wrist, pred, true, relative, depth, present)
    roots, given = list(ROOTS.values()), predictions.given_on(track)
    if given.root_depth == "none":  # an output of no place has no error in the camera frame
        nowhere = torch.zeros(len(truth), dtype=torch.bool)
        errors |= {name: errors[name].where(nowhere) for name in ABSOLUTE if name in errors}
    annotated = np.ones(len(truth), bool) if truth.side_valid is None else truth.side_valid
    unit = None if truth.unit is None else torch.as_tensor(truth.unit)  # (N,)
    return Evaluation(
        dataset=truth.dataset,
        layout=truth.layout,
        track=track,
        given=given,
        sample_id=list(truth.sample_id),
        own_wrist=own_wrist.drawn_by(unit),
        errors={name: values.drawn_by(unit) for name, values in errors.items()},
        side_probability=sides,
        side_present=present,
        side_correct=metrics.handedness_correct(sides, present),
        side_valid=torch.as_tensor(annotated) & sides.isfinite().all(1),
        unit=unit,
        root_depth_error_mm=JointErrors(
            (pred[:, roots, 2] - true[:, roots, 2]).abs(), valid[:, roots] & (given.root_depth != "none"), unit
        ),
    )


def _float64(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float64))


def _root_depth(predictions: Predictions, track: str, true: Tensor) -> Tensor:
    """The wrists' depth that the prediction was lifted with. -> (N, 2) mm, NaN where it cannot be known.

    Older files do not hold it: then it is the annotation on T1 and, from the box, the same for both wrists on T2, so
    that any number serves where only the difference of the two is asked for.
    """
    if track in predictions.root_depth_mm:
        return _float64(predictions.root_depth_mm[track])
    source = predictions.given_on(track).root_depth
    wrists = true[:, list(ROOTS.values()), 2]  # (N, 2)
    unknown = torch.full_like(wrists, torch.nan)
    return {"true": wrists, "box": torch.zeros_like(wrists)}.get(source, unknown)


def _check_finite(truth: Truth, pred: Tensor, valid: Tensor) -> None:
    bad = (~pred.isfinite().all(-1) & valid).any(1)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise ResultError(
            f"{int(bad.sum())} of {len(truth)} predictions are not finite, the first for sample "
            f"{truth.sample_id[row]!r}: the network diverged; train it again"
        )
