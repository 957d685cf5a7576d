"""The sample level and its averages: one value per sample and joint, with a mask of the valid ones.

Every mean, median, curve and interval derives from these arrays, so that one bootstrap serves every metric. Each
function names its averaging. With n_j the number of samples where joint j is valid and e_ij its errors, "joint means"
is (1/J) sum_j (1/n_j) sum_i e_ij and "pooled" is sum_ij e_ij / sum_j n_j. They agree only if every joint is valid
equally often. ZB is Zimmermann & Brox (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from msff.skeleton import FINGER_BASES, FINGERTIPS, JOINTS_PER_HAND, WRIST


@dataclass(frozen=True, eq=False)
class JointValues:
    """A number per sample and joint, such as a share in [0, 1], and the mask of those that enter an average."""

    value: Tensor  # (N, J) float64; ignored outside `valid`
    valid: Tensor  # (N, J) bool
    cluster: Tensor | None = None  # (N,) int64 in 0..C-1: samples that the bootstrap draws together; None: singly

    def __post_init__(self):
        if self.value.shape != self.valid.shape or self.value.ndim != 2:
            raise ValueError(f"values {tuple(self.value.shape)} and mask {tuple(self.valid.shape)} must be (N, J)")
        if self.cluster is not None and self.cluster.shape != self.valid.shape[:1]:
            found = tuple(self.cluster.shape)
            raise ValueError(f"clusters {found} must be (N,), one for each of {len(self.valid)} samples")

    def joints(self, columns) -> Self:
        """Return the values of these joints only."""
        columns = torch.as_tensor(columns, device=self.valid.device)
        return replace(self, value=self.value[:, columns], valid=self.valid[:, columns])

    def where(self, mask: Tensor) -> Self:
        """Return the same values, valid only where ``mask`` (N,) or (N, J) is also True."""
        return replace(self, valid=self.valid & (mask[:, None] if mask.ndim == 1 else mask))

    def clustered_by(self, cluster: Tensor | None) -> Self:
        """Return the same values with the clusters of the bootstrap set."""
        return replace(self, cluster=cluster)

    @property
    def clusters(self) -> int:
        """Number of clusters to draw from; the number of samples if each is drawn singly."""
        return len(self.valid) if self.cluster is None else int(self.cluster.max()) + 1 if len(self.cluster) else 0

    @property
    def samples(self) -> int:
        """Number of samples with at least one valid value."""
        return int(self.valid.any(1).sum())


class JointErrors(JointValues):
    """Distances in mm."""

    @property
    def error_mm(self) -> Tensor:
        """(N, J) float64 mm."""
        return self.value


def per_sample(values: Tensor, valid: Tensor) -> JointValues:
    """Return one value per sample, such as right or wrong, as a single column. (N,), (N,) bool -> (N, 1)"""
    return JointValues(values.to(torch.float64)[:, None], valid[:, None])


# Subsets of joints


def without_wrist(errors: JointErrors) -> JointErrors:
    """Exclude the wrists from the average. (N, 21) or (N, 42) -> the same shape"""
    keep = torch.ones(errors.valid.shape[1], dtype=torch.bool, device=errors.valid.device)
    keep[WRIST::JOINTS_PER_HAND] = False
    return errors.where(keep.expand_as(errors.valid))


def fingertips(errors: JointErrors) -> JointErrors:
    """Select the five tips of each hand. (N, 21) or (N, 42) -> (N, 5) or (N, 10)"""
    return errors.joints(_of_each_hand(FINGERTIPS, errors.valid.shape[1]))


def finger_bases(errors: JointErrors) -> JointErrors:
    """Select the joints where the fingers meet the palm. (N, 21) or (N, 42) -> (N, 5) or (N, 10)"""
    return errors.joints(_of_each_hand(FINGER_BASES, errors.valid.shape[1]))


def _of_each_hand(joints: tuple[int, ...], total: int) -> list[int]:
    return [start + j for start in range(0, total, JOINTS_PER_HAND) for j in joints]


# Averages


def per_joint_mean(errors: JointValues) -> Tensor:
    """Return the mean over samples of each joint. -> (J,), NaN for a joint without a valid sample"""
    total = torch.where(errors.valid, errors.value, 0.0).sum(0)
    return total / errors.valid.sum(0)


def mean_of_joint_means(errors: JointValues) -> float | None:
    """Return the mean over joints of each joint's mean over samples.

    The averaging of ZB, Spurr, InterNet and InterHand2.6M. Joints without a valid sample are left out; None if all are.
    """
    means = per_joint_mean(errors)
    return float(means[means.isfinite()].mean()) if means.isfinite().any() else None


def pooled_mean(errors: JointValues) -> float | None:
    """Return the mean over all valid (sample, joint) pairs, mmpose's MPJPE. None without a pair."""
    return float(errors.value[errors.valid].mean()) if errors.valid.any() else None


def pooled_median(errors: JointValues) -> float | None:
    """Return the median over all valid (sample, joint) pairs; the mean of the middle two if their number is even."""
    return _median(errors.value[errors.valid])


def mean_of_joint_medians(errors: JointValues) -> float | None:
    """Return the mean over joints of each joint's median over samples, the median that ZB's and Spurr's code prints."""
    medians = [_median(errors.value[:, j][errors.valid[:, j]]) for j in range(errors.valid.shape[1])]
    medians = [m for m in medians if m is not None]
    return sum(medians) / len(medians) if medians else None


def _median(values: Tensor) -> float | None:
    if not len(values):
        return None
    ordered = values.sort().values
    return float((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)


AVERAGES: dict[str, Callable[[JointValues], float | None]] = {
    "joint means": mean_of_joint_means,
    "pooled": pooled_mean,
    "joint medians": mean_of_joint_medians,
    "pooled median": pooled_median,
}
"""Every way of turning a metric's sample level into one number."""


# The PCK curve


def thresholds_mm() -> Tensor:
    """Return the thresholds of ZB's curve: 20 values from 0 to 50 mm, both ends included. -> (T,) float64"""
    return torch.linspace(0.0, 50.0, 20, dtype=torch.float64)


def within(errors: JointErrors, threshold_mm: float) -> JointValues:
    """Return 1 where an error is at most the threshold, else 0.

    The mean of joint means is one point of the PCK curve.
    """
    return JointValues((errors.error_mm <= threshold_mm).to(torch.float64), errors.valid, errors.cluster)


def pck(errors: JointErrors, thresholds: Tensor) -> Tensor | None:
    """Return the share of samples within each threshold (<=), per joint, then averaged over joints. -> (T,)

    None if no value is valid.
    """
    if not errors.valid.any():
        return None
    inside = errors.error_mm[..., None] <= thresholds.to(errors.value.device)  # (N, J, T)
    share = (inside & errors.valid[..., None]).sum(0).to(torch.float64) / errors.valid.sum(0)[:, None]  # (J, T)
    return share[errors.valid.any(0)].mean(0)


def area_under_pck(errors: JointErrors, first: int = 0) -> JointValues:
    """Return the area that each single error contributes under ZB's PCK curve, in [0, 1]: the sample level of ``auc``.

    Trapezoid over the thresholds from number ``first`` on, divided by their range. The trapezoid is linear, so that
    the mean of joint means of these areas is the area under the mean curve.
    """
    thresholds = thresholds_mm()[first:].to(errors.value.device)
    intervals = len(thresholds) - 1
    reached = torch.searchsorted(thresholds, errors.error_mm.to(torch.float64).contiguous())  # (N, J) in 0..T
    # The error lies between thresholds `reached` - 1 and `reached`: that interval counts half, those above it whole.
    above = intervals - reached.to(torch.float64) + 0.5
    area = torch.where(reached == 0, float(intervals), above.clamp_min(0.0)) / intervals
    return JointValues(area, errors.valid, errors.cluster)


def auc(errors: JointErrors, first: int = 0) -> float | None:
    """Return the area under ZB's PCK curve, 0-50 mm in 20 thresholds: per joint, then the mean over joints.

    ``first=8`` drops the first eight thresholds: the literature's 20-50 mm, which starts at 21.05 mm. None if empty.
    """
    return mean_of_joint_means(area_under_pck(errors, first))
