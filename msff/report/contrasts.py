"""The study's contrasts: seven registered before their runs, and secondary ones; `findings` decides them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import JOINT_MEANS
from msff.evaluation.inference_statistics import holm
from msff.evaluation.joint_errors import AVERAGES
from msff.models.registry import FACTORIAL, METHODS
from msff.report.findings import Contrast, Finding, Part, decided, find, listed
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, RANKING_METRIC, finish

RHD, INTERHAND = "rhd", "interhand"
OCCLUDED, VISIBLE = "wrist20_occluded", "wrist20_vis"
HIDDEN_MINUS_VISIBLE: Mapping[str, float] = {OCCLUDED: 1, VISIBLE: -1}
MODULES = ("channel conversion", "global regression", "local optimisation")
OTHERS = ("posenet", "chen", "yang", "spurr", "song")
"""The methods of Table 1 beside MS-FF and InterNet; "song" is the surrogate."""


def msff(variants: Mapping[str, float] | str, metrics: Mapping[str, float] | str = RANKING_METRIC) -> Part:
    """Return MS-FF's part of a contrast; a name alone has weight 1."""
    return Part("msff", _weights(variants), _weights(metrics))


def lead(
    name: str, method: str = "internet", variants: tuple[str, str] | None = None,
    metrics: Mapping[str, float] | str = RANKING_METRIC, layout: str = RHD, **fields,
) -> Contrast:  # fmt: skip
    """Return the contrast MS-FF minus another method, by default of their headline variants."""
    ours, theirs = variants or (METHODS["msff"].headline, METHODS[method].headline)
    parts = msff(ours, metrics), Part(method, {theirs: -1}, _weights(metrics))
    return Contrast(name, layout, parts, (method, theirs), **fields)


def versus(ours: str, theirs: str) -> Contrast:
    """Return the headline contrast of any two different methods on the RHD layout."""
    parts = [Part(m, {METHODS[m].headline: w}, _weights(RANKING_METRIC)) for m, w in ((ours, 1), (theirs, -1))]
    return Contrast(f"{LABELS[ours]} - {LABELS[theirs]}", RHD, tuple(parts), (theirs, METHODS[theirs].headline))


def by_predicted_handedness(contrast: Contrast) -> Contrast:
    """Return the contrast with the hand chosen by predicted handedness, for methods that estimate both hands.

    A single-hand method has one output, which is scored in either case.
    """
    parts = [
        part if METHODS[part.method].single_hand
        else replace(part, metrics={f"{name}_pred_side": w for name, w in part.metrics.items()})
        for part in contrast.parts
    ]  # fmt: skip
    return replace(contrast, name=f"{contrast.name}, hand by predicted handedness", parts=tuple(parts))


def main_effect(module: int, name: str, metrics: Mapping[str, float] | str = RANKING_METRIC, **fields) -> Contrast:
    """Return a module's effect, averaged over the four settings of the other two modules."""
    weights = {variant: (2 * has[module] - 1) / 4 for variant, has in FACTORIAL.items()}
    return Contrast(name, RHD, (msff(weights, metrics),), ("msff", "bare"), **fields)


def _weights(of: Mapping[str, float] | str) -> Mapping[str, float]:
    return {of: 1} if isinstance(of, str) else of


def _primary(suffix: str = "", metric: str = RANKING_METRIC, **fields) -> list[Contrast]:
    """Return the contrasts that are registered for the ranking metric and repeated for others."""
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


def between(name: str, ours: str, theirs: str, metrics=RANKING_METRIC, **fields) -> Contrast:
    """Return one variant of MS-FF minus another, on the RHD layout."""
    return Contrast(name, RHD, (msff({ours: 1, theirs: -1}, metrics),), ("msff", theirs), **fields)


OCCLUSION = "MS-FF - InterNet, hidden - visible joints"
REGISTERED = (
    *_primary(registered=True),
    lead(OCCLUSION, metrics=HIDDEN_MINUS_VISIBLE, registered=True),
)
"""The seven primary contrasts, whose p-values are adjusted for each other."""


def interactions() -> Iterable[Contrast]:
    """Yield the interactions of two modules and of all three."""
    for i, j in ((0, 1), (0, 2), (1, 2)):
        weights = {v: (2 * has[i] - 1) * (2 * has[j] - 1) / 2 for v, has in FACTORIAL.items()}
        name = f"interaction of {MODULES[i]} and {MODULES[j]}"
        yield Contrast(name, RHD, (msff(weights),), ("msff", "bare"))
    weights = {v: float(np.prod([2 * h - 1 for h in has])) for v, has in FACTORIAL.items()}
    yield Contrast("interaction of all three modules", RHD, (msff(weights),), ("msff", "bare"))


def secondary() -> list[Contrast]:
    """Return the contrasts without adjusted p-values: they explain the primary ones and decide no claim alone."""
    interacting, single = "mpjpe_interacting", "mpjpe_single"
    found = [
        *(between(f"{m} alone ({v} - bare)", v, "bare") for m, v in zip(MODULES, ("ccm", "grm", "lom"), strict=True)),
        *(between(f"{m} in the whole network (full - {v})", "full", v)
          for m, v in zip(MODULES, ("no-ccm", "no-grm", "no-lom"), strict=True)),
        *interactions(),
        main_effect(1, GRM_FINGERTIPS, "wrist20_fingertip"),
        main_effect(2, LOM_OCCLUSION, HIDDEN_MINUS_VISIBLE),
        lead("bare - InterNet", variants=("bare", "full")),
        lead("MS-FF - InterNet, from scratch", variants=("scratch", "scratch")),
        lead("bare - InterNet, from scratch", variants=("scratch-bare", "scratch")),
        between("the three modules together, from scratch", "scratch", "scratch-bare"),
        lead("MS-FF - InterNet, both at MS-FF's learning rate", variants=("full", "other-rate")),
        lead("MS-FF - InterNet, both at InterNet's learning rate", variants=("other-rate", "full")),
        *(c for method in OTHERS for c in _both_choices(lead(f"MS-FF - {LABELS[method]}", method))),
        *_primary(", T1", track="T1"), *_primary(", pa21", "pa21"), *_primary(", palm21", "palm21"),
    ]  # fmt: skip
    for metric, words in ((interacting, "interacting"), (single, "single hands")):
        found.append(lead(f"MS-FF - InterNet, {words}", metrics=metric, layout=INTERHAND))
        found.append(lead(f"bare - InterNet, {words}", variants=("bare", "full"), metrics=metric, layout=INTERHAND))
    others = [method for method in OTHERS if method != "chen"]  # which needs masks of the hands
    found += [lead(f"MS-FF - {LABELS[m]}, interacting", m, metrics=interacting, layout=INTERHAND) for m in others]
    return found


def _both_choices(contrast: Contrast) -> tuple[Contrast, Contrast]:
    return contrast, by_predicted_handedness(contrast)


GRM_FINGERTIPS = "global regression, main effect at the fingertips"
LOM_OCCLUSION = "local optimisation, main effect on hidden - visible joints"


def fingertips(results: Results, layout: str) -> Contrast:
    """Return how much harder the fingertips are for MS-FF than for the mean pose; negative if they are harder.

    Errors relative to the wrist grow towards the tips for any method. With r the mean pose's ratio of tips to bases,
    the contrast is r base - tip of MS-FF. The mean pose's own part is 0 by this choice of r; its weights are the
    derivative of r, so that the image part includes the variance of r.
    """
    prefix = RANKING_METRIC if layout == RHD else "mpjpe_interacting"
    tip, base = f"{prefix}_fingertip", f"{prefix}_base"
    dataset = results.dataset(layout)
    means = {
        (method, name): _mean_error(results, Cell(dataset, method), name)
        for method in ("msff", "mean-pose") for name in (tip, base)
    }  # fmt: skip
    ratio, share = 1.0, 1.0  # placeholders: without these runs the contrast is open
    if all(means.values()):
        ratio = means["mean-pose", tip] / means["mean-pose", base]
        share = means["msff", base] / means["mean-pose", base]
    metrics = {tip: -1, base: ratio}
    parts = msff("full", metrics), Part("mean-pose", {"full": -share}, metrics)
    where = "" if layout == RHD else ", interacting"
    return Contrast(f"bases - fingertips, by the mean pose's ratio{where}", layout, parts, ("msff", "full"))


def _mean_error(results: Results, cell: Cell, metric: str, track: str = "T2") -> float | None:
    """Return the mean over all seeds of a cell, mm; None without a run or a sample."""
    found = [AVERAGES[JOINT_MEANS](e) for e in results.errors(cell, track, metric)]
    return float(np.mean(found)) if found and None not in found else None


# Findings


def find_registered(results: Results) -> dict[str, Finding]:
    """Return the registered findings by name, decided by Holm-adjusted p-values."""
    found = [find(results, contrast) for contrast in REGISTERED]
    adjusted = holm([f.interval.p if f.interval else np.nan for f in found])
    return {
        f.contrast.name: decided(replace(f, p_holm=float(p))) if f.interval else f
        for f, p in zip(found, adjusted, strict=True)
    }


def find_all(results: Results) -> list[Finding]:
    """Return the findings of all contrasts, the registered ones first."""
    return results.once(_find_all)


def _find_all(results: Results) -> list[Finding]:
    others = [*secondary(), *(fingertips(results, layout) for layout in (RHD, INTERHAND))]
    return [*find_registered(results).values(), *(find(results, contrast) for contrast in others)]


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
            "seeds": listed(f.seeds), "margin_mm": f.margin, "verdict": f.verdict, "reason": f.reason,
        })  # fmt: skip
    caption = (
        "Contrasts in mm, negative is better (T2 and wrist20 unless named). Brackets: 95 %, seeds and images. "
        f"Registered ones are decided by Holm's p. {results.describe_data(*map(results.dataset, (RHD, INTERHAND)))}"
    )
    return finish(rows, COLUMNS, caption)
