"""Bootstrap intervals over the test set, paired between methods, and the combination of seeds.

An image is drawn with all its joints, whose errors are correlated, and with all images of its cluster: the cameras and
frames of a sequence show the same hands. Every call with the same clusters and the same seed draws the same images, so
that the difference of two calls is a paired bootstrap. The interval covers the choice of test images only; for the
training seeds see `msff.evaluation.inference_statistics`. A metric over seeds is the mean of the seeds' metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from msff.evaluation.joint_errors import AVERAGES, JointValues

REPLICATES = 2000
SEED = 20231016
LEVEL = 0.95
JOINT_MEANS = "joint means"  # the average of every metric whose name has no suffix
_KEPT = 256  # resampled averages, so that tables and figures of the same errors resample them once
_CHUNK = 50  # replicates per matrix product, to bound the memory at 50 x N
_CELLS = 20_000_000  # replicates x values per cumulative count, to bound the memory of the medians


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % percentile interval over the test set, in the unit of the errors."""

    value: float
    low: float  # NaN, like high, if all samples belong to one cluster
    high: float
    samples: int  # samples with at least one valid joint
    per_seed: tuple[float, ...]  # the metric of each training seed

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Value, low and high."""
        return self.value, self.low, self.high

    @property
    def seeds(self) -> int:
        return len(self.per_seed)


@lru_cache(_KEPT)
def bootstrap_means(
    errors: JointValues, average: str = JOINT_MEANS, replicates: int = REPLICATES, seed: int = SEED
) -> Tensor:
    """Return one of the ``AVERAGES`` for each of ``replicates`` resampled image sets. (N, J) -> (R,)

    The draw depends only on the clusters, ``replicates`` and ``seed``. A joint without a valid sample in a replicate
    drops out of that replicate's mean; a replicate without any valid sample is NaN.
    """
    statistic = _RESAMPLED[average](errors)
    draws = _draws(errors.clusters, replicates, seed)
    return torch.cat([statistic(d if errors.cluster is None else d[:, errors.cluster]) for d in draws])


def _draws(clusters: int, replicates: int, seed: int) -> Iterator[Tensor]:
    """Yield how often each of C clusters is in each resample, in chunks. -> (R', C) float64, rows sum to C"""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, replicates, _CHUNK):
        shape = min(_CHUNK, replicates - start), clusters
        drawn = torch.randint(clusters, shape, generator=generator)
        ones = torch.ones(1, dtype=torch.float64).expand(shape)
        yield torch.zeros(shape, dtype=torch.float64).scatter_add_(1, drawn, ones)


Statistic = Callable[[Tensor], Tensor]  # counts (R, N) -> one number per resample (R,)


def _joint_means(errors: JointValues) -> Statistic:
    total, number = _sums(errors)
    return lambda counts: (total(counts) / number(counts)).nanmean(1)  # (R, J) -> (R,)


def _pooled(errors: JointValues) -> Statistic:
    total, number = _sums(errors)
    return lambda counts: total(counts).sum(1) / number(counts).sum(1)  # (R, J) -> (R,)


def _sums(errors: JointValues) -> tuple[Statistic, Statistic]:
    """Return the sum and the number of each joint's valid values in each resample, (R, N) -> (R, J) each."""
    valid = errors.valid.to(torch.float64)  # (N, J)
    values = torch.where(errors.valid, errors.value.to(torch.float64), 0.0)  # (N, J)
    return (lambda counts: counts @ values), (lambda counts: counts @ valid)


def _joint_medians(errors: JointValues) -> Statistic:
    columns = [_median(errors.joints([j])) for j in range(errors.valid.shape[1])]
    return lambda counts: torch.stack([median(counts) for median in columns], 1).nanmean(1)  # (R, J) -> (R,)


def _median(errors: JointValues) -> Statistic:
    """Return the median of all valid values of each resample, NaN for one without any."""
    rows = errors.valid.nonzero()[:, 0]  # (M,) the image of each valid value
    values, order = errors.value[errors.valid].to(torch.float64).sort()  # (M,)
    image, chunk = rows[order], max(1, _CELLS // max(len(values), 1))

    def statistic(counts: Tensor) -> Tensor:
        reached = counts.index_select(1, image).cumsum(1)  # (R, M) number of values up to this one
        number = reached[:, -1:]  # (R, 1)
        middle = torch.cat([((number - 1) / 2).floor(), (number / 2).floor()], 1) + 1  # (R, 2) ranks from 1
        places = torch.searchsorted(reached, middle).clamp_max(len(values) - 1)  # (R, 2)
        return torch.where(number[:, 0] > 0, values[places].mean(1), torch.nan)

    if not len(values):
        return lambda counts: torch.full((len(counts),), torch.nan, dtype=torch.float64)
    return lambda counts: torch.cat([statistic(part) for part in counts.split(chunk)])


_RESAMPLED: dict[str, Callable[[JointValues], Statistic]] = {
    "joint means": _joint_means,
    "pooled": _pooled,
    "joint medians": _joint_medians,
    "pooled median": _median,
}


def estimate(seeds: Sequence[JointValues], *, average: str = JOINT_MEANS) -> Estimate | None:
    """Return the metric over training seeds with its interval; None for an empty subset.

    ValueError without a seed, or if the seeds do not cover the same samples and joints.
    """
    _check(seeds)
    if not seeds[0].valid.any():
        return None
    low, high = _interval(_mean_draws(seeds, average), seeds[0].clusters)
    per_seed = tuple(AVERAGES[average](e) for e in seeds)
    return Estimate(sum(per_seed) / len(seeds), low, high, seeds[0].samples, per_seed)


def estimate_difference(
    ours: Sequence[JointValues], theirs: Sequence[JointValues], *, average: str | tuple[str, str] = JOINT_MEANS
) -> Estimate | None:
    """Return ``ours - theirs`` on the same images with its paired interval; negative if ours is better.

    Both must cover the same samples in the same order with the same clusters, but may cover different joints (tips
    against bases) and use different averages (a pair of names). ``per_seed`` pairs the seeds in order, up to the
    shorter list.
    """
    averages = (average, average) if isinstance(average, str) else average
    for seeds in (ours, theirs):
        _check(seeds)
    a, b = ours[0], theirs[0]
    if len(a.valid) != len(b.valid):
        raise ValueError(f"a paired difference needs the same samples: {len(a.valid)} against {len(b.valid)}")
    if not _same(a.cluster, b.cluster):
        raise ValueError("a paired difference needs the same clusters on both sides")
    sides = list(zip((ours, theirs), averages, strict=True))
    numbers = [estimate(seeds, average=name) for seeds, name in sides]
    if None in numbers:
        return None
    draws = [_mean_draws(seeds, name) for seeds, name in sides]
    low, high = _interval(draws[0] - draws[1], a.clusters)
    x, y = numbers
    per_seed = tuple(p - q for p, q in zip(x.per_seed, y.per_seed, strict=False))
    return Estimate(x.value - y.value, low, high, min(x.samples, y.samples), per_seed)


def _check(seeds: Sequence[JointValues]) -> None:
    if not seeds:
        raise ValueError("no seed to average over")
    valid = seeds[0].valid
    if any(e.valid.shape != valid.shape or not torch.equal(e.valid, valid) for e in seeds[1:]):
        raise ValueError("the seeds were evaluated on different samples or joints")


def _mean_draws(seeds: Sequence[JointValues], average: str) -> Tensor:
    """Return the mean over training seeds of each resample's number, with the same draws for all. -> (R,)"""
    return torch.stack([bootstrap_means(errors, average=average) for errors in seeds]).mean(0)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _interval(values: Tensor, clusters: int) -> tuple[float, float]:
    """Return the central 95 % of the finite values; NaN for a single cluster, of which all resamples are equal."""
    if clusters < 2:
        return math.nan, math.nan
    tail = (1 - LEVEL) / 2
    low, high = torch.nanquantile(values, values.new_tensor([tail, 1 - tail])).tolist()
    return low, high
