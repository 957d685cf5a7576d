"""From one value per sample and joint to one number: each function names its averaging.

With n_j the samples in which joint j counts and e_ij its errors, "joint means" is (1/J) sum_j (1/n_j) sum_i e_ij and
"pooled" is sum_ij e_ij / sum_j n_j. They agree only where every joint counts equally often.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from msff.evaluation.joint_errors import JointErrors, JointValues


def per_joint_mean(errors: JointValues) -> Tensor:
    """Mean over samples of each joint. -> (J,), NaN for a joint without a valid sample."""
    total = torch.where(errors.valid, errors.value, 0.0).sum(0)
    return total / errors.valid.sum(0)


def mean_of_joint_means(errors: JointValues) -> float | None:
    """Mean over joints of each joint's mean over samples: the averaging of ZB, Spurr, InterNet and InterHand2.6M.

    Joints without a valid sample are left out; None if there is none at all.
    """
    means = per_joint_mean(errors)
    return float(means[means.isfinite()].mean()) if means.isfinite().any() else None


def pooled_mean(errors: JointValues) -> float | None:
    """Mean over all valid (sample, joint) pairs: what mmpose calls MPJPE. None without a pair."""
    return float(errors.value[errors.valid].mean()) if errors.valid.any() else None


def pooled_median(errors: JointValues) -> float | None:
    """Median over all valid (sample, joint) pairs; the mean of the middle two if their number is even."""
    return _median(errors.value[errors.valid])


def mean_of_joint_medians(errors: JointValues) -> float | None:
    """Mean over joints of each joint's median over samples: the median that ZB's and Spurr's code prints."""
    medians = [_median(errors.value[:, j][errors.valid[:, j]]) for j in range(errors.valid.shape[1])]
    known = [m for m in medians if m is not None]
    return sum(known) / len(known) if known else None


AVERAGES: dict[str, Callable[[JointValues], float | None]] = {
    "joint means": mean_of_joint_means,
    "pooled": pooled_mean,
    "joint medians": mean_of_joint_medians,
    "pooled median": pooled_median,
}
"""Every way in which a metric's sample level becomes one number."""


def thresholds_mm(stop: float = 50.0, count: int = 20) -> Tensor:
    """The thresholds of ZB's curve: 20 values from 0 to 50 mm, both ends included. -> (T,) float64."""
    return torch.linspace(0.0, stop, count, dtype=torch.float64)


def within(errors: JointErrors, threshold_mm: float) -> JointValues:
    """1 where an error is at most the threshold, else 0; its mean of joint means is one point of the PCK curve."""
    return JointValues((errors.error_mm <= threshold_mm).to(torch.float64), errors.valid, errors.unit)


def pck(errors: JointErrors, thresholds: Tensor) -> Tensor | None:
    """Share of samples within each threshold (<=), per joint, then the plain mean over joints. -> (T,).

    None where no joint counts.
    """
    if not errors.valid.any():
        return None
    inside = errors.error_mm[..., None] <= thresholds.to(errors.value.device)  # (N, J, T)
    share = (inside & errors.valid[..., None]).sum(0).to(torch.float64) / errors.valid.sum(0)[:, None]  # (J, T)
    return share[errors.valid.any(0)].mean(0)


def area_under_pck(errors: JointErrors, first: int = 0) -> JointValues:
    """The area that each single error contributes under ZB's PCK curve, in [0, 1]: the sample level of ``auc``.

    Trapezoid over the thresholds from number ``first`` on, divided by their range. The trapezoid is linear, so that
    the mean of joint means of these areas is the area under the mean curve.
    """
    thresholds = thresholds_mm()[first:].to(errors.value.device)
    intervals = len(thresholds) - 1
    first_reached = torch.searchsorted(thresholds, errors.error_mm.to(torch.float64).contiguous())  # (N, J) in 0..T
    whole = (
        intervals - first_reached.to(torch.float64) + 0.5
    )  # intervals inside; the one in which the step from 0 to 1 lies is a half
    area = torch.where(first_reached == 0, float(intervals), whole.clamp_min(0.0)) / intervals
    return JointValues(area, errors.valid, errors.unit)


def auc(errors: JointErrors, first: int = 0) -> float | None:
    """Area under ZB's PCK curve, 0-50 mm in 20 thresholds: per joint, then the mean over joints. None if empty.

    ``first=8`` drops the first eight thresholds, which is what the literature calls 20-50 mm (it starts at 21.05 mm).
    """
    return mean_of_joint_means(area_under_pck(errors, first))


def _median(values: Tensor) -> float | None:
    if not len(values):
        return None
    ordered = values.sort().values
    return float((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)
