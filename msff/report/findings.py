"""How stored runs decide a contrast: a weighted sum of cells (method and variant).

Between methods it is averaged over the seeds that all its cells have; within a method least squares also uses seeds
that only some of them have. Its interval covers training chance and the test set together, see
`msff.evaluation.inference_statistics`; the page *How a claim is decided* states the rule in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from msff.evaluation.bootstrap import JOINT_MEANS, bootstrap_means
from msff.evaluation.inference_statistics import (
    ALPHA,
    OPEN,
    Interval,
    TooFewRuns,
    VarianceTerm,
    fit_spread,
    image_term,
    interval,
    joint_mean_influence,
    pool,
    pooled_influence,
    run_coefficients,
    verdict,
)
from msff.evaluation.joint_errors import AVERAGES, JointErrors
from msff.report.formatting import with_interval
from msff.report.plausibility import withheld
from msff.report.published import lead_share
from msff.report.results import Cell, Results, once, seeds_in_words
from msff.report.rows import name_of
from msff.skeleton import JOINTS_PER_HAND
from msff.study.grid import BASELINES, experiments
from msff.study.profiles import PROFILES

RELATIVE_MARGIN = lead_share("internet")
"""The paper's own lead over InterNet(2020) in its Table 1, as a share of InterNet's error."""
UNPLANNED = "not part of profile"
ONE_SEED = "one seed cannot show training chance"


@dataclass(frozen=True)
class Part:
    """One method's share of a contrast: the sum over its variants and metrics of the products of their weights."""

    method: str
    variants: Mapping[str, float] | str  # a name alone has weight 1
    metrics: Mapping[str, float] | str  # "name" or "name:j", which is joint type j of both hands

    def __post_init__(self):
        for field in ("variants", "metrics"):
            if isinstance(name := getattr(self, field), str):
                object.__setattr__(self, field, {name: 1})


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of mean errors, in mm; negative is better for what its name begins with."""

    name: str
    layout: str
    parts: tuple[Part, ...]
    reference: tuple[str, str]  # method and variant of whose error the margin is a share
    registered: bool = False
    track: str = "T2"
    average: str = JOINT_MEANS
    pooled: bool = False  # one seed variance for all its methods (Student) in place of one for each (Welch)


@dataclass(frozen=True)
class Finding:
    """The outcome of a contrast; numbers are NaN and ``interval`` is None if the stored runs do not give them."""

    contrast: Contrast
    dataset: str
    verdict: str
    reason: str
    estimate: float = np.nan
    interval: Interval | None = None
    sigma_seed: float = np.nan  # mm between seeds of one run, root mean square over the contrast's cells
    margin: float = np.nan
    seeds: tuple[int, ...] = ()
    p_holm: float = np.nan

    @property
    def bounds(self) -> tuple[float, float, float]:
        """Estimate, low and high in mm."""
        return self.estimate, *((self.interval.low, self.interval.high) if self.interval else (np.nan, np.nan))

    @property
    def known(self) -> bool:
        """Whether the stored runs give a number."""
        return not np.isnan(self.estimate)

    def __str__(self):
        return with_interval(*self.bounds, sign="+")


def find(results: Results, contrast: Contrast) -> Finding:
    """Decide a contrast by its own p-value; open with a reason if the stored runs do not allow it."""
    dataset = results.dataset(contrast.layout)
    cells = {Cell(dataset, part.method, variant): part for part in contrast.parts for variant in part.variants}
    missing = _missing(results, cells)
    if obstacle := _obstacle(results, cells, missing):
        return Finding(contrast, dataset, OPEN, obstacle)
    scores = {cell: _scores_of(results, cell, contrast, part.metrics) for cell, part in cells.items()}
    if empty := [name_of(cell) for cell, score in scores.items() if not score.errors]:
        return Finding(contrast, dataset, OPEN, f"no sample or no such output: {', '.join(empty)}")
    try:
        common = sorted(set.intersection(*(set(results.seeds(cell)) for cell in _trained(cells))))
        shares = [_share(results, part, dataset, common) for part in contrast.parts]
    except TooFewRuns:
        return Finding(contrast, dataset, OPEN, missing or "no seed is common to all runs")
    terms = [(c, scores[cell], seed) for share in shares for (cell, seed), c in share.items()]
    trained = {seed for share in shares for cell, seed in share if cell.method not in BASELINES}
    value = sum(c * score.of(seed) for c, score, seed in terms)
    seeds = tuple(sorted(trained))
    margin = RELATIVE_MARGIN * _reference_error(results, contrast, dataset, seeds)
    known = {"estimate": value, "seeds": seeds, "margin": margin}
    try:
        trainings = [
            _seed_part(results, contrast, part, share)
            for part, share in zip(contrast.parts, shares, strict=True)
            if part.method not in BASELINES
        ]
    except TooFewRuns:
        return Finding(contrast, dataset, OPEN, _joined(ONE_SEED, missing), **known)
    image = _image_part(contrast, terms)
    if np.isnan(image.variance):
        return Finding(contrast, dataset, OPEN, "all test images are of one sequence", **known)
    trainings = [pool(trainings)] if contrast.pooled else trainings
    found = interval(value, [*trainings, image])
    squares = sum(c**2 for share in shares for (cell, _), c in share.items() if cell.method not in BASELINES)
    sigma = float(np.sqrt(sum(term.variance for term in trainings) / squares))
    reason = _joined(seeds_in_words(seeds), missing)
    return decided(Finding(contrast, dataset, "", reason, interval=found, sigma_seed=sigma, **known))


def decided(finding: Finding) -> Finding:
    """Return the finding with its verdict, by ``p_holm`` if there is one, and with what qualifies it in the reason."""
    found, adjusted = finding.interval, finding.p_holm
    p = float(found.p) if np.isnan(adjusted) else adjusted
    outcome, extra = verdict(found, finding.margin, p), ""
    if outcome == OPEN and found.p < ALPHA:
        extra = f"; the interval excludes 0, but p is {p:.3f} after Holm's adjustment"
    elif outcome != OPEN and p < ALPHA and found.equivalence_p(finding.margin) < ALPHA:
        extra = "; by less than the margin"
    return replace(finding, verdict=outcome, reason=finding.reason + extra)


@dataclass(frozen=True)
class _Scores:
    """A cell's part of a contrast: the weighted sum of its mean errors, of each run."""

    average: str
    weights: tuple[float, ...]  # of the metrics
    errors: Mapping[int, tuple[JointErrors, ...]]  # by seed; empty without a sample or such an output

    def of(self, seed: int) -> float:
        """Return the number of one run, mm."""
        return self._sum(seed, AVERAGES[self.average])

    def influence(self, seed: int, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Return each image's influence on the number of one run. -> (N,)."""
        return self._sum(seed, lambda e: of(e.value.numpy(), e.valid.numpy()))

    def draws(self, seed: int) -> np.ndarray:
        """Return the number of one run in each resample of the test set. -> (R,)."""
        return self._sum(seed, lambda e: bootstrap_means(e, average=self.average).numpy())

    def _sum(self, seed: int, of: Callable[[JointErrors], float | np.ndarray]):
        return sum(w * of(e) for w, e in zip(self.weights, self.errors[seed], strict=True))


def _scores_of(results: Results, cell: Cell, contrast: Contrast, metrics: Mapping[str, float]) -> _Scores:
    return _scores(results, cell, contrast.track, contrast.average, tuple(metrics.items()))


@once
def _scores(results: Results, cell: Cell, track: str, average: str, metrics: tuple[tuple[str, float], ...]) -> _Scores:
    errors = []
    for metric, _ in metrics:
        name, _, joint = metric.partition(":")
        found = results.errors(cell, track, name)
        errors.append([e.joints([int(joint), int(joint) + JOINTS_PER_HAND]) for e in found] if joint else found)
    known = all(found and all(e.valid.any() for e in found) for found in errors)
    by_seed = dict(zip(results.seeds(cell), zip(*errors, strict=True), strict=True)) if known else {}
    return _Scores(average, tuple(weight for _, weight in metrics), by_seed)


_INFLUENCE = {JOINT_MEANS: joint_mean_influence, "pooled": pooled_influence}


def _image_part(contrast: Contrast, terms: Sequence[tuple[float, _Scores, int]]) -> VarianceTerm:
    """Return the paired image part: the same images for every run; resampled for medians."""
    images = next(iter(terms[0][1].errors.values()))[0]
    if of := _INFLUENCE.get(contrast.average):
        cluster = None if images.cluster is None else images.cluster.numpy()
        return image_term(sum(c * score.influence(seed, of) for c, score, seed in terms), cluster)
    draws = sum(c * score.draws(seed) for c, score, seed in terms)
    return VarianceTerm(float(np.nanvar(draws)) if images.clusters > 1 else np.nan, images.clusters - 1)


def _share(results: Results, part: Part, dataset: str, common: Sequence[int]) -> dict[tuple[Cell, int], float]:
    """Return the coefficient of each run of a method in a contrast. TooFewRuns if its runs do not determine it."""
    cells = {Cell(dataset, part.method, variant): weight for variant, weight in part.variants.items()}
    if part.method in BASELINES:
        return {(cell, results.seeds(cell)[0]): weight for cell, weight in cells.items()}
    if np.isclose(sum(cells.values()), 0):
        runs = [(cell, seed) for cell in cells for seed in results.seeds(cell)]
        found = run_coefficients(*zip(*runs, strict=True), cells)
        return {run: float(c) for run, c in zip(runs, found, strict=True) if abs(c) > 1e-9}
    if not common:
        raise TooFewRuns("no seed is common to all runs")
    return {(cell, seed): weight / len(common) for cell, weight in cells.items() for seed in common}


def _seed_part(
    results: Results, contrast: Contrast, part: Part, share: Mapping[tuple[Cell, int], float]
) -> VarianceTerm:
    """Return a method's seed part, from its variants with several seeds at one precision; TooFewRuns without any."""
    (own, seed), *_ = share
    precision = _precision(results, own, seed)
    runs = [
        (cell.variant, seed, score.of(seed))
        for cell in results.cells()
        if (cell.dataset, cell.method) == (own.dataset, own.method) and len(results.seeds(cell)) > 1
        for score in [_scores_of(results, cell, contrast, part.metrics)]
        for seed in score.errors
        if _precision(results, cell, seed) == precision
    ]
    if not runs:
        raise TooFewRuns("every variant has one seed")
    spread = fit_spread(*zip(*runs, strict=True))
    if np.isclose(sum(part.variants.values()), 0):
        return spread.of_runs(list(share.values()))
    return spread.of_mean(list(part.variants.values()), len({seed for _, seed in share}))


def _reference_error(results: Results, contrast: Contrast, dataset: str, seeds: Sequence[int]) -> float:
    """Return the error that the margin is a share of: the reference cell's, in its method's first metric."""
    method, variant = contrast.reference
    metric = next(iter(next(part.metrics for part in contrast.parts if part.method == method)))
    cell = Cell(dataset, method, variant)
    score = _scores_of(results, cell, contrast, {metric: 1})
    return float(np.mean([score.of(seed) for seed in seeds if seed in results.seeds(cell)]))


# Why a contrast is open


def _obstacle(results: Results, cells: Collection[Cell], missing: str) -> str:
    """Return why the runs of a contrast cannot be compared at all, or ""."""
    if not all(results.runs(cell) for cell in cells):
        return missing or "no seed is common to all runs"
    if fault := withheld(results, *_trained(cells)):
        return f"withheld: {fault}"
    found: dict[str, dict[Cell, list[int]]] = defaultdict(lambda: defaultdict(list))
    for cell in _trained(cells):
        for seed in results.seeds(cell):
            found[_precision(results, cell, seed)][cell].append(seed)
    if len(found) > 1:
        return "precisions differ: " + "; ".join(f"{precision} for {_runs(runs)}" for precision, runs in found.items())
    return ""


def _trained(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.method not in BASELINES]


def _precision(results: Results, cell: Cell, seed: int) -> str:
    return results.run(cell, seed).record.precision


def _missing(results: Results, cells: Collection[Cell]) -> str:
    """Return which runs a contrast lacks: those that the profile plans or has for the other cells; "" if none."""
    planned = _planned(results.profile)
    wanted = {cell: planned.get(cell, frozenset()) | set(results.seeds(cell)) for cell in _trained(cells)}
    unplanned = [cell for cell, seeds in wanted.items() if not seeds]
    expected = set.intersection(*map(set, wanted.values()))
    missing = {cell: seeds for cell in wanted if (seeds := sorted(expected - set(results.seeds(cell))))}
    baselines = [name_of(cell) for cell in cells if cell.method in BASELINES and not results.runs(cell)]
    return _joined(
        f"{UNPLANNED} {results.profile}: {', '.join(map(name_of, unplanned))}" if unplanned else "",
        f"runs missing: {_runs(missing)}" if missing and not unplanned else "",
        f"runs missing: {', '.join(baselines)}" if baselines else "",
    )


@cache
def _planned(profile: str) -> Mapping[Cell, frozenset[int]]:
    """Return the seeds of each cell of a profile's grid; empty for an unknown profile."""
    found: dict[Cell, set[int]] = {}
    for e in experiments(PROFILES[profile]) if profile in PROFILES else ():
        found.setdefault(Cell(e.dataset, e.method, e.variant), set()).add(e.seed)
    return {cell: frozenset(seeds) for cell, seeds in found.items()}


def _runs(runs: Mapping[Cell, Sequence[int]]) -> str:
    """Return runs as text: "MS-FF with channel conversion alone seeds 1, 2; InterNet(2020) seed 0"."""
    return "; ".join(f"{name_of(cell)} {seeds_in_words(seeds)}" for cell, seeds in runs.items())


def listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))
