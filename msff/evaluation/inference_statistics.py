"""Inference for contrasts between trained networks: one interval for both training seeds and test images.

Pure functions of numbers; errors and contrasts are in mm. The runs of one method follow

    error = cell mean + seed effect + residual,

where a cell is a variant of the method and a seed is a block, because runs of one seed train on the same images in the
same order. For the 2^3 factorial this is ``y ~ C(seed) + CCM * GRM * LOM``, which is saturated, so that one mean per
variant is the same model. A method's share of a contrast, a weighted sum of cells averaged over S seeds, has the
variance

    [(sum w^2) residual variance + (sum w)^2 seed variance] / S.

Where its weights sum to 0, seed effects cancel, and least squares estimates it from incomplete seeds, too: a sum over
runs with coefficients c and the variance (sum c^2) residual variance, which is the same where no run is missing. The
image part is added, and all parts are independent. Both variances are estimated by mean squares of that method's runs
alone, without pooling between methods (Welch); degrees of freedom are Satterthwaite's.

Every number may also be an array with one value per replication of a simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
import scipy.stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from msff.evaluation.bootstrap import LEVEL

ALPHA = 0.05
BETTER, WORSE, SMALLER, OPEN = "better", "worse", "smaller than the margin", "open"
Number = float | np.ndarray


class TooFewRuns(ValueError):
    """The stored runs do not determine a contrast, or its spread."""


@dataclass(frozen=True)
class VarianceTerm:
    """An independent part of a contrast's variance, in mm², and the degrees of freedom of its estimate."""

    variance: Number
    df: Number


@dataclass(frozen=True)
class Spread:
    """Mean squares of one method's runs, in mm².

    ``residual`` estimates the residual variance; ``between`` the residual variance plus ``runs_per_seed`` times the
    variance of the seed effect. A mean square without degrees of freedom is NaN.
    """

    residual: Number
    residual_df: float
    between: Number
    between_df: float
    runs_per_seed: float

    def of_mean(self, weights: Sequence[float], seeds: int) -> VarianceTerm:
        """Return the seed part of the variance of a weighted sum of cells, averaged over that many seeds.

        Raises TooFewRuns if the runs hold no degrees of freedom for it.
        """
        w = np.asarray(weights, float)
        share = 0.0 if np.isclose(w.sum(), 0) else w.sum() ** 2 / max(self.runs_per_seed, 1)
        return self._weighted(max(w @ w - share, 0.0) / seeds, share / seeds)

    def of_runs(self, coefficients: Sequence[float]) -> VarianceTerm:
        """Return the variance of a sum over runs in which seed effects cancel; see `run_coefficients`.

        Raises TooFewRuns if the runs hold no degrees of freedom for it.
        """
        c = np.asarray(coefficients, float)
        return self._weighted(c @ c, 0.0)

    def _weighted(self, of_residual: float, of_between: float) -> VarianceTerm:
        parts = (of_residual, self.residual, self.residual_df), (of_between, self.between, self.between_df)
        terms = [VarianceTerm(share * square, df) for share, square, df in parts if share > 1e-9]
        if any(term.df < 1 for term in terms):
            raise TooFewRuns("the runs leave no degree of freedom for their spread between seeds: train more seeds")
        return VarianceTerm(sum(term.variance for term in terms), satterthwaite(terms))


@dataclass(frozen=True)
class Interval:
    """A contrast in mm with its 95 % interval, the two-sided p-value against 0 and the degrees of freedom."""

    estimate: Number
    low: Number
    high: Number
    p: Number
    df: Number
    standard_error: Number

    def equivalence_p(self, margin: Number) -> Number:
        """Return the p-value of two one-sided tests (TOST): small if the contrast lies within +- ``margin``."""
        room = (np.asarray(margin) - np.abs(self.estimate)) / np.maximum(self.standard_error, np.finfo(float).tiny)
        return scipy.stats.t.sf(room, self.df)


def fit_spread(cells: Sequence, seeds: Sequence, errors) -> Spread:
    """Fit one method's runs by ordinary least squares, with cells and seeds as factors.

    cells and seeds (runs,) label each run; errors (runs,) mm, or (runs, R) for R replications.
    """
    errors = np.asarray(errors, float)
    cell, seed = _dummies(cells), _dummies(seeds)
    alone = OLS(errors, cell.to_numpy()).fit()
    both = OLS(errors, np.hstack([cell, seed.iloc[:, 1:]])).fit()
    residual_df, between_df = both.df_resid, alone.df_resid - both.df_resid
    squares = [(fit.resid**2).sum(0) for fit in (alone, both)]
    return Spread(
        residual=squares[1] / residual_df if residual_df else np.nan,
        residual_df=residual_df,
        between=(squares[0] - squares[1]) / between_df if between_df else np.nan,
        between_df=between_df,
        runs_per_seed=alone.df_resid / between_df if between_df else 1.0,  # from the expected sum of squares
    )


def run_coefficients(cells: Sequence, seeds: Sequence, weights: Mapping) -> np.ndarray:
    """Return the runs' coefficients in the least-squares estimate of a weighted sum of cells.

    cells and seeds (runs,) label each run; weights by cell sum to 0 -> (runs,). Where every cell has the same S seeds,
    a run's coefficient is its cell's weight over S. TooFewRuns if the runs do not determine the sum: two cells must
    share a seed, or be linked by cells that do.
    """
    cell, seed = _dummies(cells), _dummies(seeds)
    design = np.hstack([cell, seed])
    wanted = np.concatenate([[weights.get(name, 0.0) for name in cell], np.zeros(seed.shape[1])])
    coefficients = np.linalg.lstsq(design.T, wanted)[0]  # of least norm, which is least squares' own
    if set(weights) - set(cell) or not np.allclose(design.T @ coefficients, wanted, atol=1e-9):
        raise TooFewRuns("the runs do not determine the contrast: no seed links all its cells")
    return coefficients


def _dummies(labels: Sequence) -> pd.DataFrame:
    return pd.get_dummies(pd.Series(list(labels)), dtype=float)


def joint_mean_influence(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return each image's influence on a mean of joint means; the sum of their squares estimates its variance.

    values and valid (N, J) -> (N,). The linearisation (infinitesimal jackknife) of the mean over joints of each joint's
    mean over the images in which it is valid; joints that are never valid are left out.
    """
    number = valid.sum(0)
    kept = number > 0
    values, valid, number = values[:, kept], valid[:, kept], number[kept]
    means = np.where(valid, values, 0.0).sum(0) / number
    return (np.where(valid, values - means, 0.0) / number).sum(1) / max(kept.sum(), 1)


def pooled_influence(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return each image's influence on the mean over all valid pairs of image and joint. (N, J) -> (N,)"""
    mean = values[valid].mean()
    return np.where(valid, values - mean, 0.0).sum(1) / valid.sum()


def image_term(influence: np.ndarray, cluster: np.ndarray | None = None) -> VarianceTerm:
    """Return the image part of a contrast's variance from the images' influences on it.

    influence (N,); images with the same number in ``cluster`` (N,), such as those of a sequence, count as one. NaN for
    fewer than two clusters.
    """
    sums = influence if cluster is None else np.bincount(cluster, weights=influence)
    if len(sums) < 2:
        return VarianceTerm(np.nan, np.nan)
    return VarianceTerm(float((sums**2).sum() * len(sums) / (len(sums) - 1)), len(sums) - 1)


def satterthwaite(terms: Sequence[VarianceTerm]) -> Number:
    """Return the approximate degrees of freedom of a sum of independent variance estimates."""
    total = np.asarray(sum(term.variance for term in terms))
    least = reduce(np.minimum, [term.df for term in terms])
    with np.errstate(divide="ignore", invalid="ignore"):
        df = total**2 / np.asarray(sum(term.variance**2 / term.df for term in terms))
    return np.where(total > 0, df, least)[()]


def pool(terms: Sequence[VarianceTerm]) -> VarianceTerm:
    """Return the sum of terms of equal expected variance, estimated together: Student's t test rather than Welch's."""
    df = sum(term.df for term in terms)
    return VarianceTerm(len(terms) * sum(term.df * term.variance for term in terms) / df, df)


def interval(estimate: Number, terms: Sequence[VarianceTerm], level: float = LEVEL) -> Interval:
    """Return the Student interval of a contrast from the independent parts of its variance.

    Satterthwaite's formula overstates the degrees of freedom if a variance estimate is small by chance. This matters
    for estimates with fewer than two degrees of freedom (a method with two seeds): then the smallest df of all parts is
    used instead.
    """
    least = reduce(np.minimum, [term.df for term in terms])
    df = np.where(least < 2, least, satterthwaite(terms))[()]
    error = np.sqrt(sum(term.variance for term in terms))
    half = scipy.stats.t.ppf((1 + level) / 2, df) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * scipy.stats.t.sf(np.abs(estimate) / error, df)
    p = np.where(error == 0, np.equal(estimate, 0).astype(float), p)[()]
    return Interval(estimate, estimate - half, estimate + half, p, df, error)


def holm(p: Sequence[float]) -> np.ndarray:
    """Return the p-values adjusted by Holm's procedure; NaN, a contrast without runs, counts as 1."""
    p = np.asarray(p, float)
    adjusted = multipletests(np.where(np.isnan(p), 1.0, p), method="holm")[1]
    return np.where(np.isnan(p), np.nan, adjusted)


def verdict(contrast: Interval, margin: float, p: float | None = None) -> str:
    """Return "better", "worse", "smaller than the margin" or "open"; negative contrasts are better.

    Significance takes precedence: a contrast that differs from 0 and also lies within the margin is better or worse.
    ``p`` is the adjusted p-value if several contrasts share an error rate; default: the contrast's own.
    """
    if (contrast.p if p is None else p) < ALPHA:
        return BETTER if contrast.estimate < 0 else WORSE
    return SMALLER if contrast.equivalence_p(margin) < ALPHA else OPEN
