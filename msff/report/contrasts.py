"""The study's contrasts: seven registered before their runs, the secondary ones, and how each is decided.

A contrast is a weighted sum of cells (method and variant) over the seeds that all of them have. Its interval covers
training chance and the test set together, see `msff.evaluation.inference_statistics`. The page *How a claim is decided*
has the rule in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import JOINT_MEANS, bootstrap_means
from msff.evaluation.inference_statistics import (
    ALPHA,
    OPEN,
    Interval,
    Spread,
    VarianceTerm,
    fit_spread,
    holm,
    image_term,
    interval,
    joint_mean_influence,
    pooled_influence,
    verdict,
)
from msff.evaluation.joint_errors import AVERAGES, JointErrors
from msff.models.registry import FACTORIAL, METHODS
from msff.report.plausibility import withheld
from msff.report.published import published_row
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, finish
from msff.skeleton import JOINTS_PER_HAND
from msff.study.grid import FLOORS, experiments
from msff.study.profiles import PROFILES

RHD, INTERHAND = "rhd", "interhand"
HEADLINE_METRIC, OCCLUDED, VISIBLE = "wrist20", "wrist20_occluded", "wrist20_vis"
HIDDEN_MINUS_VISIBLE: Mapping[str, float] = {OCCLUDED: 1, VISIBLE: -1}
RELATIVE_MARGIN = 1 - published_row("msff").epe_mm / published_row("internet").epe_mm
"""The paper's own lead over InterNet(2020) in its Table 1, as a share of InterNet's error."""
MODULES = ("channel conversion", "global regression", "local optimisation")
OTHERS = ("posenet", "chen", "yang", "spurr", "song")
"""The methods of Table 1 beside MS-FF and InterNet; "song" is the surrogate."""
ONE_SEED = "one seed cannot show training chance"


@dataclass(frozen=True)
class Part:
    """One method's share of a contrast: the sum over its variants and metrics of the products of their weights."""

    method: str
    variants: Mapping[str, float]
    metrics: Mapping[str, float]  # "name" or "name:j", which is joint type j of both hands


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


@dataclass(frozen=True)
class Finding:
    """What the stored runs say about a contrast. Numbers are NaN and ``interval`` is None where they cannot."""

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

    def __str__(self):
        value, low, high = self.bounds
        return f"{value:+.2f}" + ("" if np.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


# The contrasts


def msff(variants: Mapping[str, float] | str, metrics: Mapping[str, float] | str = HEADLINE_METRIC) -> Part:
    """Return MS-FF's part of a contrast; a name alone has weight 1."""
    return Part("msff", _weights(variants), _weights(metrics))


def lead(
    name: str, method: str = "internet", variants: tuple[str, str] | None = None,
    metrics: Mapping[str, float] | str = HEADLINE_METRIC, layout: str = RHD, **fields,
) -> Contrast:  # fmt: skip
    """Return the contrast MS-FF minus another method; without ``variants`` of those that stand for the methods."""
    ours, theirs = variants or (METHODS["msff"].headline, METHODS[method].headline)
    parts = msff(ours, metrics), Part(method, {theirs: -1}, _weights(metrics))
    return Contrast(name, layout, parts, (method, theirs), **fields)


def versus(ours: str, theirs: str) -> Contrast:
    """Return the headline contrast of any two different methods on the RHD layout."""
    parts = [Part(m, {METHODS[m].headline: w}, _weights(HEADLINE_METRIC)) for m, w in ((ours, 1), (theirs, -1))]
    return Contrast(f"{LABELS[ours]} - {LABELS[theirs]}", RHD, tuple(parts), (theirs, METHODS[theirs].headline))


def by_predicted_handedness(contrast: Contrast) -> Contrast:
    """Return the same with the hand by its predicted handedness for the methods that estimate both hands.

    A method of one hand has one output, for either name.
    """
    parts = [
        part if METHODS[part.method].single_hand
        else replace(part, metrics={f"{name}_pred_side": w for name, w in part.metrics.items()})
        for part in contrast.parts
    ]  # fmt: skip
    return replace(contrast, name=f"{contrast.name}, hand by predicted handedness", parts=tuple(parts))


def main_effect(module: int, name: str, metrics: Mapping[str, float] | str = HEADLINE_METRIC, **fields) -> Contrast:
    """Return the mean over the other two modules' four settings of a module's effect: all eight cells."""
    weights = {variant: (2 * has[module] - 1) / 4 for variant, has in FACTORIAL.items()}
    return Contrast(name, RHD, (msff(weights, metrics),), ("msff", "bare"), **fields)


def _weights(of: Mapping[str, float] | str) -> Mapping[str, float]:
    return {of: 1} if isinstance(of, str) else of


def _headline(suffix: str = "", metric: str = HEADLINE_METRIC, **fields) -> list[Contrast]:
    """The contrasts that are registered for the headline metric and repeated for others."""
    change = (
        msff({"full": 1, "scratch": -1}, metric),
        Part("internet", {"full": -1, "scratch": 1}, {metric: 1}),
    )
    return [
        lead(f"MS-FF - InterNet{suffix}", metrics=metric, **fields),
        Contrast(f"MS-FF - InterNet, change by pre-training{suffix}", RHD, change, ("internet", "full"), **fields),
        *(main_effect(i, f"{name}, main effect{suffix}", metric, **fields) for i, name in enumerate(MODULES)),
        between(f"the three modules together (full - bare){suffix}", "full", "bare", metric, **fields),
    ]


def between(name: str, ours: str, theirs: str, metrics=HEADLINE_METRIC, **fields) -> Contrast:
    """Return one variant of MS-FF minus another, on the RHD layout."""
    return Contrast(name, RHD, (msff({ours: 1, theirs: -1}, metrics),), ("msff", theirs), **fields)


OCCLUSION = "MS-FF - InterNet, hidden - visible joints"
REGISTERED = (
    *_headline(registered=True),
    lead(OCCLUSION, metrics=HIDDEN_MINUS_VISIBLE, registered=True),
)
"""The seven primary contrasts, whose p-values are adjusted for each other."""


def _interactions() -> Iterable[Contrast]:
    """How far the effect of a module depends on another, and that dependence on the third."""
    for i, j in ((0, 1), (0, 2), (1, 2)):
        weights = {v: (2 * has[i] - 1) * (2 * has[j] - 1) / 2 for v, has in FACTORIAL.items()}
        name = f"interaction of {MODULES[i]} and {MODULES[j]}"
        yield Contrast(name, RHD, (msff(weights),), ("msff", "bare"))
    weights = {v: float(np.prod([2 * h - 1 for h in has])) for v, has in FACTORIAL.items()}
    yield Contrast("interaction of all three modules", RHD, (msff(weights),), ("msff", "bare"))


def secondary() -> list[Contrast]:
    """Return the contrasts whose p-values are not adjusted: they explain the primary ones and decide no claim alone."""
    interacting, single = "mpjpe_interacting", "mpjpe_single"
    found = [
        *(between(f"{m} alone ({v} - bare)", v, "bare") for m, v in zip(MODULES, ("ccm", "grm", "lom"), strict=True)),
        *(between(f"{m} in the whole network (full - {v})", "full", v)
          for m, v in zip(MODULES, ("no-ccm", "no-grm", "no-lom"), strict=True)),
        *_interactions(),
        main_effect(1, GRM_FINGERTIPS, "wrist20_fingertip"),
        main_effect(2, LOM_OCCLUSION, HIDDEN_MINUS_VISIBLE),
        lead("bare - InterNet", variants=("bare", "full")),
        lead("MS-FF - InterNet, from scratch", variants=("scratch", "scratch")),
        lead("bare - InterNet, from scratch", variants=("scratch-bare", "scratch")),
        between("the three modules together, from scratch", "scratch", "scratch-bare"),
        lead("MS-FF - InterNet, both at MS-FF's learning rate", variants=("full", "other-rate")),
        lead("MS-FF - InterNet, both at InterNet's learning rate", variants=("other-rate", "full")),
        *(c for method in OTHERS for c in _both_sides(lead(f"MS-FF - {LABELS[method]}", method))),
        *_headline(", T1", track="T1"), *_headline(", pa21", "pa21"), *_headline(", palm21", "palm21"),
    ]  # fmt: skip
    for metric, words in ((interacting, "interacting"), (single, "single hands")):
        found.append(lead(f"MS-FF - InterNet, {words}", metrics=metric, layout=INTERHAND))
        found.append(lead(f"bare - InterNet, {words}", variants=("bare", "full"), metrics=metric, layout=INTERHAND))
    others = [method for method in OTHERS if method != "chen"]  # which needs masks of the hands
    found += [lead(f"MS-FF - {LABELS[m]}, interacting", m, metrics=interacting, layout=INTERHAND) for m in others]
    return found


def _both_sides(contrast: Contrast) -> tuple[Contrast, Contrast]:
    return contrast, by_predicted_handedness(contrast)


GRM_FINGERTIPS = "global regression, main effect at the fingertips"
LOM_OCCLUSION = "local optimisation, main effect on hidden - visible joints"


def fingertips(results: Results, layout: str) -> Contrast:
    """Return how much harder the fingertips are for MS-FF than for the mean pose; negative where they are.

    Any error that is measured from the wrist grows towards the tips. With r the ratio of tips to bases of the mean
    pose, which looks at no pixel, the contrast is r base - tip of MS-FF. The mean pose's own part is 0 by this choice
    of r; its weights are the derivative of r, so that the image part counts the chance in r.
    """
    prefix = HEADLINE_METRIC if layout == RHD else "mpjpe_interacting"
    tip, base = f"{prefix}_fingertip", f"{prefix}_base"
    dataset = results.dataset(layout)
    means = {
        (method, name): _mean_error(results, Cell(dataset, method), name)
        for method in ("msff", "mean-pose") for name in (tip, base)
    }  # fmt: skip
    ratio, share = 1.0, 1.0  # without these runs the contrast is open anyway
    if all(means.values()):
        ratio = means["mean-pose", tip] / means["mean-pose", base]
        share = means["msff", base] / means["mean-pose", base]
    metrics = {tip: -1, base: ratio}
    parts = msff("full", metrics), Part("mean-pose", {"full": -share}, metrics)
    where = "" if layout == RHD else ", interacting"
    return Contrast(f"bases - fingertips, by the mean pose's ratio{where}", layout, parts, ("msff", "full"))


def _mean_error(results: Results, cell: Cell, metric: str, track: str = "T2") -> float | None:
    """The mean over all seeds of a cell, mm; None without a run or a sample."""
    found = [AVERAGES[JOINT_MEANS](e) for e in results.errors(cell, track, metric)]
    return float(np.mean(found)) if found and None not in found else None


# From runs to findings


def find(results: Results, contrast: Contrast) -> Finding:
    """Return what the stored runs say about a contrast, by its own p-value."""
    dataset = results.dataset(contrast.layout)
    cells = [(part, w, Cell(dataset, part.method, v)) for part in contrast.parts for v, w in part.variants.items()]
    trained = [cell for part, _, cell in cells if part.method not in FLOORS]
    missing = _missing(results, trained)
    stored = [set(results.seeds(cell)) for cell in trained]
    seeds = tuple(sorted(set.intersection(*stored)))
    floors = [cell for _, _, cell in cells if cell not in trained and not results.runs(cell)]
    if floors:
        missing = "; ".join(filter(None, [missing, "runs missing: " + ", ".join(map(_named, floors))]))
    if floors or not seeds:
        return Finding(contrast, dataset, OPEN, missing or "no seed is common to all runs")
    if fault := withheld(results, *trained):
        return Finding(contrast, dataset, OPEN, f"withheld: {fault}")
    if precisions := _mixed_precisions(results, trained, seeds):
        return Finding(contrast, dataset, OPEN, precisions)
    scores = {cell: _Scores(results, cell, contrast, part.metrics) for part, _, cell in cells}
    if empty := [_named(cell) for cell, score in scores.items() if not score.known]:
        return Finding(contrast, dataset, OPEN, f"no sample or no such output: {', '.join(empty)}")
    value = sum(w * scores[cell].mean(_seeds_of(results, cell, seeds)) for _, w, cell in cells)
    margin = RELATIVE_MARGIN * _reference_error(results, contrast, dataset, seeds)
    known = {"estimate": value, "seeds": seeds, "margin": margin}
    if len(seeds) < 2:
        return Finding(contrast, dataset, OPEN, "; ".join(filter(None, [ONE_SEED, missing])), **known)
    image = _image_part(cells, scores, seeds, results)
    if np.isnan(image.variance):
        return Finding(contrast, dataset, OPEN, "all test images are of one sequence", **known)
    parts = [part for part in contrast.parts if part.method not in FLOORS]
    trainings = [_seed_part(results, contrast, part, dataset, seeds) for part in parts]
    found = interval(value, [*trainings, image])
    squares = sum(w**2 for part in parts for w in part.variants.values())
    sigma = float(np.sqrt(sum(term.variance for term in trainings) * len(seeds) / squares))
    reason = f"seeds {_listed(seeds)}" + (f"; {missing}" if missing else "")
    return _decided(Finding(contrast, dataset, "", reason, interval=found, sigma_seed=sigma, **known))


def find_registered(results: Results) -> dict[str, Finding]:
    """Return the primary findings by name, decided by p-values that are adjusted for their number."""
    found = [find(results, contrast) for contrast in REGISTERED]
    adjusted = holm([f.interval.p if f.interval else np.nan for f in found])
    return {
        f.contrast.name: _decided(replace(f, p_holm=float(p))) if f.interval else f
        for f, p in zip(found, adjusted, strict=True)
    }


def find_all(results: Results) -> list[Finding]:
    """Return the findings of all contrasts, the primary ones first."""
    others = [*secondary(), *(fingertips(results, layout) for layout in (RHD, INTERHAND))]
    return [*find_registered(results).values(), *(find(results, contrast) for contrast in others)]


def _decided(finding: Finding) -> Finding:
    """The finding with its verdict, and with what the verdict leaves unsaid in its reason."""
    found, adjusted = finding.interval, finding.p_holm
    p = float(found.p) if np.isnan(adjusted) else adjusted
    outcome, extra = verdict(found, finding.margin, p), ""
    if outcome == OPEN and found.p < ALPHA:
        extra = f"; the interval excludes 0, but p is {p:.3f} after Holm's adjustment"
    elif outcome != OPEN and p < ALPHA and found.equivalence_p(finding.margin) < ALPHA:
        extra = "; by less than the margin"
    return replace(finding, verdict=outcome, reason=finding.reason + extra)


class _Scores:
    """The number that a contrast needs of each run of a cell, and its influences, by seed."""

    def __init__(self, results: Results, cell: Cell, contrast: Contrast, metrics: Mapping[str, float]):
        self._weights, self.average = list(metrics.values()), contrast.average
        errors = [_errors(results, cell, contrast.track, name) for name in metrics]
        self.known = all(found and all(e.valid.any() for e in found) for found in errors)
        self._by_seed = dict(zip(results.seeds(cell), zip(*errors, strict=True), strict=True)) if self.known else {}

    def mean(self, seeds: Sequence[int]) -> float:
        """The mean over those seeds, mm."""
        return float(np.mean([self.of(seed) for seed in seeds]))

    def of(self, seed: int) -> float:
        """The number of one run, mm."""
        return sum(w * AVERAGES[self.average](e) for w, e in zip(self._weights, self._by_seed[seed], strict=True))

    def influence(self, seeds: Sequence[int], of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Each image's influence on the mean over those seeds. -> (N,)."""
        return sum(
            w * of(e.value.numpy(), e.valid.numpy()) / len(seeds)
            for seed in seeds for w, e in zip(self._weights, self._by_seed[seed], strict=True)
        )  # fmt: skip

    def draws(self, seeds: Sequence[int]) -> np.ndarray:
        """The mean over those seeds in each resample of the test set. -> (R,)."""
        return sum(
            w * bootstrap_means(e, average=self.average).numpy() / len(seeds)
            for seed in seeds for w, e in zip(self._weights, self._by_seed[seed], strict=True)
        )  # fmt: skip

    @property
    def cluster(self) -> np.ndarray | None:
        cluster = next(iter(self._by_seed.values()))[0].cluster
        return None if cluster is None else cluster.numpy()

    @property
    def clusters(self) -> int:
        return next(iter(self._by_seed.values()))[0].clusters


_INFLUENCE = {JOINT_MEANS: joint_mean_influence, "pooled": pooled_influence}


def _image_part(cells, scores: Mapping[Cell, _Scores], seeds: Sequence[int], results: Results) -> VarianceTerm:
    """The paired image part: the same images for every cell, averaged over the seeds. Medians are resampled."""
    first = next(iter(scores.values()))
    of = _INFLUENCE.get(first.average)
    rows = [(w, scores[cell], _seeds_of(results, cell, seeds)) for _, w, cell in cells]
    if of:
        return image_term(sum(w * score.influence(own, of) for w, score, own in rows), first.cluster)
    draws = sum(w * score.draws(own) for w, score, own in rows)
    return VarianceTerm(float(np.nanvar(draws)) if first.clusters > 1 else np.nan, first.clusters - 1)


def _seed_part(results: Results, contrast: Contrast, part: Part, dataset: str, seeds: Sequence[int]) -> VarianceTerm:
    """A method's seed part. Its spread is that of all its variants that were repeated at the same precision."""
    weights = list(part.variants.values())
    return _spread(results, contrast, part, dataset, seeds).of_mean(weights, len(seeds))


def _spread(results: Results, contrast: Contrast, part: Part, dataset: str, seeds: Sequence[int]) -> Spread:
    precision = _precision(results, Cell(dataset, part.method, next(iter(part.variants))), seeds[0])
    labels, blocks, errors = [], [], []
    for cell in results.cells():
        if (cell.dataset, cell.method) != (dataset, part.method) or len(results.runs(cell)) < 2:
            continue
        score = _Scores(results, cell, contrast, part.metrics)
        for seed in results.seeds(cell) if score.known else ():
            if _precision(results, cell, seed) == precision:
                labels.append(cell.variant)
                blocks.append(seed)
                errors.append(score.of(seed))
    return fit_spread(labels, blocks, errors)


def _errors(results: Results, cell: Cell, track: str, metric: str) -> list[JointErrors]:
    """The errors behind "name", or behind "name:j" at joint type j of both hands; one per seed."""
    name, _, joint = metric.partition(":")
    found = results.errors(cell, track, name)
    return [e.joints([int(joint), int(joint) + JOINTS_PER_HAND]) for e in found] if joint else found


def _reference_error(results: Results, contrast: Contrast, dataset: str, seeds: Sequence[int]) -> float:
    """The error that the margin is a share of: the reference cell's, in the first metric of its method's part."""
    method, variant = contrast.reference
    metric = next(part.metrics for part in contrast.parts if part.method == method)
    score = _Scores(results, Cell(dataset, method, variant), contrast, {next(iter(metric)): 1})
    return score.mean(seeds)


def _seeds_of(results: Results, cell: Cell, seeds: Sequence[int]) -> Sequence[int]:
    """The seeds to average over: a floor knows no chance and has one run for all."""
    return results.seeds(cell)[:1] if cell.method in FLOORS else seeds


def _precision(results: Results, cell: Cell, seed: int) -> str | None:
    return results.runs(cell)[results.seeds(cell).index(seed)].record.get("precision")


def _mixed_precisions(results: Results, cells: Sequence[Cell], seeds: Sequence[int]) -> str:
    """Which runs were computed in which precision, where they differ; else ""."""
    found: dict[str | None, dict[Cell, list[int]]] = {}
    for cell in cells:
        for seed in seeds:
            found.setdefault(_precision(results, cell, seed), {}).setdefault(cell, []).append(seed)
    if len(found) < 2:
        return ""
    return "precisions differ: " + "; ".join(f"{name or 'unknown'} for {_runs(runs)}" for name, runs in found.items())


def _missing(results: Results, cells: Sequence[Cell]) -> str:
    """Which runs a contrast lacks, by name: those that the profile plans or has for other cells; "" if none."""
    planned = _planned(results.profile)
    wanted = {cell: planned.get(cell, frozenset()) | set(results.seeds(cell)) for cell in cells}
    unplanned = [cell for cell, seeds in wanted.items() if not seeds]
    if unplanned:
        return f"not part of profile {results.profile}: {', '.join(map(_named, unplanned))}"
    expected = set.intersection(*map(set, wanted.values()))
    lacking = {cell: sorted(expected - set(results.seeds(cell))) for cell in cells}
    lacking = {cell: seeds for cell, seeds in lacking.items() if seeds}
    return f"runs missing: {_runs(lacking)}" if lacking else ""


@cache
def _planned(profile: str) -> Mapping[Cell, frozenset[int]]:
    """The seeds of each cell of a profile's grid; empty for a profile that is none."""
    found: dict[Cell, set[int]] = {}
    for e in experiments(PROFILES[profile]) if profile in PROFILES else ():
        found.setdefault(Cell(e.dataset, e.method, e.variant), set()).add(e.seed)
    return {cell: frozenset(seeds) for cell, seeds in found.items()}


def _runs(runs: Mapping[Cell, Sequence[int]]) -> str:
    """ "msff/ccm seeds 1, 2; msff/grm seed 0"."""
    return "; ".join(f"{_named(cell)} seed{'s' * (len(s) > 1)} {_listed(s)}" for cell, s in runs.items())


def _named(cell: Cell) -> str:
    return f"{cell.method}/{cell.variant}"


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


# The table


COLUMNS = [
    "contrast", "registered", "dataset", "estimate_mm", "low", "high", "p_holm", "df", "sigma_seed", "seeds",
    "margin_mm", "verdict", "reason",
]  # fmt: skip


def contrasts_table(results: Results) -> pd.DataFrame:
    """Return every contrast with its estimate, interval and verdict."""
    rows = []
    for f in find_all(results):
        value, low, high = f.bounds
        rows.append({
            "contrast": f.contrast.name, "registered": "yes" if f.contrast.registered else "no", "dataset": f.dataset,
            "estimate_mm": value, "low": low, "high": high, "p_holm": f.p_holm,
            "df": float(f.interval.df) if f.interval else np.nan, "sigma_seed": f.sigma_seed,
            "seeds": _listed(f.seeds), "margin_mm": f.margin, "verdict": f.verdict, "reason": f.reason,
        })  # fmt: skip
    caption = (
        "Contrasts in mm, negative is better (T2 and wrist20 unless named). Brackets: 95 % over seeds and test images. "
        f"Registered ones are decided by Holm's p. {results.describe_data(*map(results.dataset, (RHD, INTERHAND)))}"
    )
    return finish(rows, COLUMNS, caption)
