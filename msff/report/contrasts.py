"""The study's contrasts: seven registered before their runs, and secondary ones; `findings` decides them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import JOINT_MEANS
from msff.evaluation.inference_statistics import holm
from msff.evaluation.joint_errors import AVERAGES
from msff.models.registry import FACTORIAL, METHODS, network_name
from msff.report.findings import Contrast, Finding, Part, decided, find, listed
from msff.report.results import Cell, Results, once
from msff.report.rows import LABELS, RANKING_METRIC, bounds, finish

RHD, INTERHAND = "rhd", "interhand"
OCCLUDED, VISIBLE = "wrist20_occluded", "wrist20_vis"
HIDDEN_MINUS_VISIBLE: Mapping[str, float] = {OCCLUDED: 1, VISIBLE: -1}
TOGETHER = "the three modules together"
MODULES: Mapping[str, str] = {
    "ccm": "channel conversion", "grm": "global regression", "lom": "local optimisation",
}  # fmt: skip
"""Modules by the variant that has this module alone; "no-ccm" has the other two. In the order of ``FACTORIAL``."""
MAIN, ALONE, WHOLE = "main effect", "alone", "in the whole network"
OTHERS = ("posenet", "chen", "yang", "spurr", "song")
"""The methods of Table 1 beside MS-FF and InterNet; "song" is the surrogate."""


def lead(
    name: str, method: str = "internet", variants: tuple[str, str] | None = None,
    metrics: Mapping[str, float] | str = RANKING_METRIC, layout: str = RHD, ours: str = "msff", **fields,
) -> Contrast:  # fmt: skip
    """Return the contrast MS-FF, or the method ``ours``, minus another, by default of their headline variants."""
    own, theirs = variants or (METHODS[ours].headline, METHODS[method].headline)
    parts = Part(ours, own, metrics), Part(method, {theirs: -1}, metrics)
    return Contrast(name, layout, parts, (method, theirs), **fields)


def versus(ours: str, theirs: str) -> Contrast:
    """Return the headline contrast of any two different methods on the RHD layout."""
    return lead(f"{LABELS[ours]} - {LABELS[theirs]}", theirs, ours=ours)


def by_predicted_handedness(contrast: Contrast) -> Contrast:
    """Return the contrast with the hand by predicted handedness where a method estimates both hands."""
    parts = [
        part if METHODS[part.method].single_hand
        else replace(part, metrics={f"{name}_pred_side": w for name, w in part.metrics.items()})
        for part in contrast.parts
    ]  # fmt: skip
    return replace(contrast, name=f"{contrast.name}, hand by predicted handedness", parts=tuple(parts))


def effect(
    name: str, modules: Collection[str], metrics: Mapping[str, float] | str = RANKING_METRIC, **fields
) -> Contrast:
    """Return the main effect of one module, or the interaction of several, averaged over the settings of the others."""
    settings = 2 ** (len(MODULES) - len(modules))
    places = [list(MODULES).index(module) for module in modules]
    weights = {v: float(np.prod([2 * has[m] - 1 for m in places])) / settings for v, has in FACTORIAL.items()}
    return Contrast(name, RHD, (Part("msff", weights, metrics),), ("msff", "bare"), **fields)


def module_effects(module: str, metric: str = RANKING_METRIC) -> dict[str, Contrast]:
    """Return what a module changes on average over the others' settings, added to the other two, and alone."""
    name, others = MODULES[module], f"no-{module}"
    return {
        MAIN: effect(f"{name}, main effect", [module], metric),
        WHOLE: between(f"{name} {WHOLE}", "full", others, metric),
        ALONE: between(f"{name} {ALONE}", module, "bare", metric),
    }


def interactions() -> list[Contrast]:
    """Return the interactions of two modules and of all three."""
    pairs = [effect(f"interaction of {MODULES[a]} and {MODULES[b]}", (a, b)) for a, b in combinations(MODULES, 2)]
    return [*pairs, effect("interaction of all three modules", tuple(MODULES))]


def _primary(suffix: str = "", metric: str = RANKING_METRIC, **fields) -> list[Contrast]:
    """Return the contrasts that are registered for the ranking metric and repeated for others."""
    return [
        lead(f"{LEAD}{suffix}", metrics=metric, **fields),
        change_of_lead(f"by pre-training{suffix}", "full", "scratch", metric, **fields),
        *(effect(f"{name}, main effect{suffix}", [m], metric, **fields) for m, name in MODULES.items()),
        between(f"{TOGETHER}{suffix}", "full", "bare", metric, **fields),
    ]


def change_of_lead(by: str, new: str, old: str, metric: str = RANKING_METRIC, **fields) -> Contrast:
    """Return MS-FF - InterNet with the variant ``new`` of both, minus the same with ``old``."""
    parts = Part("msff", {new: 1, old: -1}, metric), Part("internet", {new: -1, old: 1}, metric)
    return Contrast(f"{LEAD}, change {by}", RHD, parts, ("internet", "full"), **fields)


def between(name: str, ours: str, theirs: str, metrics=RANKING_METRIC, **fields) -> Contrast:
    """Return one variant of MS-FF minus another, on the RHD layout."""
    return Contrast(name, RHD, (Part("msff", {ours: 1, theirs: -1}, metrics),), ("msff", theirs), **fields)


LEAD = "MS-FF - InterNet"
OCCLUSION = f"{LEAD}, hidden - visible joints"
BARE_LEAD, NO_GRM_LEAD, NORM_LEAD = (
    f"{network_name('msff', variant)} - InterNet" for variant in ("bare", "no-grm", "grm-norm")
)
GAUSSIAN_LEAD, GAUSSIAN_BARE_LEAD = (f"{name}, Gaussian volumes" for name in (LEAD, BARE_LEAD))
OWN_TARGET_LEAD = f"{network_name('msff', 'gaussian')} - InterNet"
"""Each with the target that gives it the lower error: InterNet's is the integral loss."""
GAUSSIAN_TOGETHER = "the three modules together, with Gaussian volumes"
NORM_GRM = "global regression, with batch norm"
NORM_TOGETHER = "the three modules together, with batch norm"
GRM_FINGERTIPS = "global regression, main effect at the fingertips"
LOM_OCCLUSION = "local optimisation, main effect on hidden - visible joints"
REGISTERED = (*_primary(registered=True), lead(OCCLUSION, metrics=HIDDEN_MINUS_VISIBLE, registered=True))
"""The seven primary contrasts, whose p-values are adjusted for each other."""


def secondary() -> list[Contrast]:
    """Return the contrasts without adjusted p-values: they explain the primary ones and decide no claim alone."""
    interacting, single = "mpjpe_interacting", "mpjpe_single"
    found = [
        *(module_effects(module)[kind] for kind in (ALONE, WHOLE) for module in MODULES),
        *interactions(),
        effect(GRM_FINGERTIPS, ["grm"], "wrist20_fingertip"),
        effect(LOM_OCCLUSION, ["lom"], HIDDEN_MINUS_VISIBLE),
        lead(BARE_LEAD, variants=("bare", "full")),
        lead(NO_GRM_LEAD, variants=("no-grm", "full")),  # added after the first run of no-grm
        lead(NORM_LEAD, variants=("grm-norm", "full")),  # these three: added after the first run of grm-norm
        between(NORM_GRM, "grm-norm", "no-grm-norm"),
        between(NORM_TOGETHER, "grm-norm", "bare-norm"),
        lead(GAUSSIAN_LEAD, variants=("gaussian", "gaussian")),
        change_of_lead("by Gaussian volumes", "gaussian", "full"),
        lead(OWN_TARGET_LEAD, variants=("gaussian", "full")),  # added when both targets had three seeds
        between(GAUSSIAN_TOGETHER, "gaussian", "gaussian-bare"),  # these three: added after the first run of "gaussian"
        lead(GAUSSIAN_BARE_LEAD, variants=("gaussian-bare", "gaussian")),
        lead(f"{NORM_LEAD}, Gaussian volumes", variants=("gaussian-norm", "gaussian")),
        lead(f"{LEAD}, from scratch", variants=("scratch", "scratch")),
        lead(f"{BARE_LEAD}, from scratch", variants=("scratch-bare", "scratch")),
        between(f"{TOGETHER}, from scratch", "scratch", "scratch-bare"),
        lead(f"{LEAD}, both at MS-FF's learning rate", variants=("full", "other-rate")),
        lead(f"{LEAD}, both at InterNet's learning rate", variants=("other-rate", "full")),
        *(c for method in OTHERS for c in (versus("msff", method), by_predicted_handedness(versus("msff", method)))),
        *_primary(", T1", track="T1"), *_primary(", pa21", "pa21"), *_primary(", palm21", "palm21"),
    ]  # fmt: skip
    for metric, words in ((interacting, "interacting"), (single, "single hands")):
        for name, variant in ((LEAD, "full"), (BARE_LEAD, "bare")):
            title, variants = f"{name}, {words}", (variant, "full")
            found.append(lead(title, variants=variants, metrics=metric, layout=INTERHAND))
    others = [method for method in OTHERS if method != "chen"]  # which needs masks of the hands
    found += [lead(f"MS-FF - {LABELS[m]}, interacting", m, metrics=interacting, layout=INTERHAND) for m in others]
    return found


def fingertips(results: Results, layout: str) -> Contrast:
    """Return how much harder the fingertips are for MS-FF than for the mean pose; negative if they are harder.

    Errors relative to the wrist grow towards the tips for any method. With r the mean pose's ratio of tips to bases,
    the contrast is r base - tip of MS-FF. The mean pose's own part is 0 by this choice of r; its weights are the
    derivative of r, so that the image part includes the variance of r.
    """
    prefix, where = (RANKING_METRIC, "") if layout == RHD else ("mpjpe_interacting", ", interacting")
    tip, base = f"{prefix}_fingertip", f"{prefix}_base"
    means = {}  # over all seeds, mm
    for method, metric in product(("msff", "mean-pose"), (tip, base)):
        errors = results.errors(Cell(results.dataset(layout), method), "T2", metric)
        found = [AVERAGES[JOINT_MEANS](e) for e in errors]
        means[method, metric] = np.mean(found) if found and None not in found else None
    ratio, share = 1.0, 1.0  # placeholders: without these runs the contrast is open
    if all(means.values()):
        ratio = float(means["mean-pose", tip] / means["mean-pose", base])
        share = float(means["msff", base] / means["mean-pose", base])
    metrics = {tip: -1, base: ratio}
    parts = Part("msff", "full", metrics), Part("mean-pose", {"full": -share}, metrics)
    return Contrast(f"bases - fingertips, by the mean pose's ratio{where}", layout, parts, ("msff", "full"))


# Findings


def find_registered(results: Results) -> dict[str, Finding]:
    """Return the registered findings by name, decided by Holm-adjusted p-values."""
    found = [find(results, contrast) for contrast in REGISTERED]
    adjusted = holm([f.interval.p if f.interval else np.nan for f in found])
    return {
        f.contrast.name: decided(replace(f, p_holm=float(p))) if f.interval else f
        for f, p in zip(found, adjusted, strict=True)
    }


@once
def find_all(results: Results) -> dict[str, Finding]:
    """Return the findings of all contrasts by name, the registered ones first."""
    others = [*secondary(), *(fingertips(results, layout) for layout in (RHD, INTERHAND))]
    return find_registered(results) | {contrast.name: find(results, contrast) for contrast in others}


def contrasts_table(results: Results) -> pd.DataFrame:
    """Return every contrast with its estimate, interval and verdict."""
    rows = [row_of(finding) for finding in find_all(results).values()]
    caption = (
        "Contrasts in mm, negative is better (T2 and wrist20 unless named). Brackets: 95 %, seeds and images. "
        "Registered contrasts are decided by Holm-adjusted p. "
        f"{results.describe_data(*map(results.dataset, (RHD, INTERHAND)))}"
    )
    return finish(rows, list(rows[0]), caption)


def row_of(f: Finding) -> dict[str, object]:
    """Return the row of a finding in the table of contrasts."""
    return {
        "contrast": f.contrast.name, "registered": "yes" if f.contrast.registered else "no", "dataset": f.dataset,
        **bounds(f, "estimate_mm", "low", "high"), "p_holm": f.p_holm,
        "df": float(f.interval.df) if f.interval else np.nan, "sigma_seed": f.sigma_seed,
        "seeds": listed(f.seeds), "margin_mm": f.margin, "verdict": f.verdict, "reason": f.reason,
    }  # fmt: skip
