"""Intervals by the bootstrap over images, paired between methods, and the combination of seeds.

An image is drawn with all its joints, because their errors hang together. Every call with the same number of samples
and the same seed draws the same images, so that the difference of two calls is a paired bootstrap. The interval says
how far the number depends on which test images were at hand; how far it depends on the training seed is the seed
spread, reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from msff.evaluation.metrics import JointErrors, mean_of_joint_means

REPLICATES = 2000
SEED = 20231016
LEVEL = 0.95
_CHUNK = 50  # replicates per matrix product: bounds the memory at 50 x N


@dataclass(frozen=True)
class Estimate:
    """A mean of per-joint means with its percentile interval over images (95 %); all in the unit of the errors."""

    value: float
    low: float
    high: float
    samples: int  # samples with at least one valid joint
    per_seed: tuple[float, ...]  # the same metric of each training seed alone

    @property
    def seeds(self) -> int:
        return len(self.per_seed)

    @property
    def seed_spread(self) -> float | None:
        """Standard deviation between training seeds (n - 1); None with fewer than two."""
        if self.seeds < 2:
            return None
        return float(torch.tensor(self.per_seed, dtype=torch.float64).std())

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def seeds_agree(self) -> bool:
        """Whether every seed alone has the sign of the value (for differences)."""
        return all(s * self.value > 0 for s in self.per_seed)


def combine_seeds(errors: Sequence[JointErrors]) -> JointErrors:
    """Mean over training seeds of the error of every joint of every image. All seeds must cover the same joints."""
    if not errors:
        raise ValueError("no seed to combine")
    valid = errors[0].valid
    if any(e.valid.shape != valid.shape or not torch.equal(e.valid, valid) for e in errors[1:]):
        raise ValueError("the seeds were evaluated on different samples or joints")
    return JointErrors(torch.stack([e.error_mm for e in errors]).mean(0), valid)


def bootstrap_means(errors: JointErrors, *, replicates: int = REPLICATES, seed: int = SEED) -> Tensor:
    """The mean of per-joint means of ``replicates`` resampled image sets. (N, J) -> (R,).

    The draw depends only on N, ``replicates`` and ``seed``. A joint that a replicate leaves without a valid sample
    drops out of that replicate's mean; a replicate without any is NaN.
    """
    valid = errors.valid.to(torch.float64)  # (N, J)
    total = torch.where(errors.valid, errors.error_mm.to(torch.float64), 0.0)  # (N, J)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for start in range(0, replicates, _CHUNK):
        counts = _draw_counts(len(valid), min(_CHUNK, replicates - start), generator)  # (R', N)
        means.append(((counts @ total) / (counts @ valid)).nanmean(1))  # (R', J) -> (R',)
    return torch.cat(means)


def _draw_counts(samples: int, replicates: int, generator: torch.Generator) -> Tensor:
    """How often each image is in each resample. -> (R, N) float64, rows sum to N."""
    drawn = torch.randint(samples, (replicates, samples), generator=generator)
    ones = torch.ones(1, dtype=torch.float64).expand(replicates, samples)
    return torch.zeros(replicates, samples, dtype=torch.float64).scatter_add_(1, drawn, ones)


def estimate(seeds: Sequence[JointErrors], *, replicates: int = REPLICATES, seed: int = SEED) -> Estimate | None:
    """The metric over training seeds with its interval; None where no joint is valid (an empty subset)."""
    combined = combine_seeds(seeds)
    value = mean_of_joint_means(combined)
    if value is None:
        return None
    low, high = _percentiles(bootstrap_means(combined, replicates=replicates, seed=seed))
    return Estimate(value, low, high, _samples(combined), tuple(mean_of_joint_means(e) for e in seeds))


def estimate_difference(
    ours: Sequence[JointErrors],
    theirs: Sequence[JointErrors],
    *,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Estimate | None:
    """``ours - theirs`` on the same images: paired interval of that ``level``, negative where ours is better.

    The two sides may cover different joints (tips against bases) but must cover the same samples in the same order.
    ``per_seed`` pairs the seeds in order, as far as both sides have them.
    """
    a, b = combine_seeds(ours), combine_seeds(theirs)
    if len(a.valid) != len(b.valid):
        raise ValueError(f"a paired difference needs the same samples: {len(a.valid)} against {len(b.valid)}")
    value_a, value_b = mean_of_joint_means(a), mean_of_joint_means(b)
    if value_a is None or value_b is None:
        return None
    draws = [bootstrap_means(e, replicates=replicates, seed=seed) for e in (a, b)]
    low, high = _percentiles(draws[0] - draws[1], level)
    pairs = zip(ours, theirs, strict=False)
    per_seed = tuple(mean_of_joint_means(x) - mean_of_joint_means(y) for x, y in pairs)
    return Estimate(value_a - value_b, low, high, min(_samples(a), _samples(b)), per_seed)


def _percentiles(values: Tensor, level: float = LEVEL) -> tuple[float, float]:
    """The central share ``level`` of the finite values."""
    tail = (1 - level) / 2
    low, high = torch.nanquantile(values, values.new_tensor([tail, 1 - tail])).tolist()
    return low, high


def _samples(errors: JointErrors) -> int:
    return int(errors.valid.any(1).sum())
