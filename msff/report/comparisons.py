"""Paired comparisons: of the methods, of their variants, and of what else could explain the ablation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations, product

import pandas as pd

from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.evaluation.tracks import RANKING_TRACK, TRACKS
from msff.models.registry import (
    FACTORIAL,
    METHODS,
    READINGS,
    SCHEDULE_VARIANTS,
    SCRATCH_VARIANTS,
    SPURR_VARIANTS,
    VARIANT_WORDS,
    network_name,
)
from msff.report.claims import decide_both
from msff.report.contrasts import (
    GAUSSIAN_BARE_LEAD,
    GAUSSIAN_LEAD,
    GAUSSIAN_TOGETHER,
    LEAD,
    MODULES,
    NORM_GRM,
    NORM_LEAD,
    NORM_TOGETHER,
    OWN_TARGET_LEAD,
    RHD,
    between,
    by_predicted_handedness,
    lead,
    secondary,
    versus,
)
from msff.report.findings import Contrast, find, listed
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, PAPER_ORDER, RANKING_METRIC, bounds, finish, metric_row

NO_RUN = "no run yet"
BEST = 4  # all pairs of the methods with the lowest errors are compared
PAIR_VERDICTS = {BETTER: "a better", WORSE: "b better"}
_TRAINED_OTHERWISE = ("full", *SCHEDULE_VARIANTS, *SCRATCH_VARIANTS)
COMPARED: Mapping[str, Collection[str]] = {
    "posenet": ("full", "segmented"), "chen": ("full", "plain"), "spurr": SPURR_VARIANTS,
    "internet": _TRAINED_OTHERWISE, "msff": (*_TRAINED_OTHERWISE, "scratch-bare", "gaussian-bare", "gaussian-norm"),
    "song": ("full", "regressed"),
}  # fmt: skip
"""The compared variants of each method; MS-FF's other variants are in the ablation."""

READING_WORDS = {variant: VARIANT_WORDS["msff"][variant].removeprefix("with ") for variant in READINGS}
READING_WORDS["grm-norm"] = "batch norm in Eq. (6)"
"""Variants that read the text otherwise, in words."""
ABLATION_WORDS = {
    variant: " and ".join(name for name, there in zip(MODULES.values(), has, strict=True) if there)
    for variant, has in FACTORIAL.items()
} | {
    "bare": "none (trunk, plain upsampling and heads)", "full": "all three",
    **{variant: f"all three, {words}" for variant, words in READING_WORDS.items()},
    "no-grm-norm": "channel conversion and local optimisation, with batch norm in Eq. (6)",
    "bare-norm": "none, with batch norm in Eq. (6)",
}  # fmt: skip
"""The modules of each variant of the ablation: the 2^3 factorial, then other readings of the text, their controls."""


def pairs(results: Results) -> pd.DataFrame:
    """Return all pairs of the four lowest methods, and MS-FF against each other method; baselines are left out."""
    dataset = results.dataset(RHD)
    rows = []
    for ours, theirs in _chosen(results, dataset):
        contrast = versus(ours, theirs)
        finding, by_handedness = find(results, contrast), None
        if not (METHODS[ours].single_hand and METHODS[theirs].single_hand):
            by_handedness = find(results, by_predicted_handedness(contrast))
        verdict, reason = decide_both(finding, by_handedness)
        if verdict == finding.verdict:
            reason = finding.reason  # the other number has a column of its own
        rows.append({
            "a": LABELS[ours], "b": LABELS[theirs], **bounds(finding),
            **bounds(by_handedness, "difference_pred_side"), "seeds": len(finding.seeds),
            "samples": len(results.truth(dataset)), "verdict": PAIR_VERDICTS.get(verdict, verdict), "reason": reason,
        })  # fmt: skip
    columns = [
        "a", "b", "difference", "difference_low", "difference_high", "difference_pred_side",
        "difference_pred_side_low", "difference_pred_side_high", "seeds", "samples", "verdict", "reason",
    ]  # fmt: skip
    caption = (
        f"Differences a - b ({RANKING_METRIC}, {RANKING_TRACK}), mm, on common seeds; brackets: 95 % over seeds and "
        f"images. {LABELS['song']} is not a published method. {results.sidenet_accuracy(dataset)}"
    )
    return finish(rows, columns, caption + results.describe_data(dataset))


def _chosen(results: Results, dataset: str) -> list[tuple[str, str]]:
    """Return pairs of methods, the lower one first, MS-FF always first."""
    found = {m: results.estimate(Cell(dataset, m), RANKING_TRACK, RANKING_METRIC) for m in PAPER_ORDER}
    order = sorted((m for m, number in found.items() if number), key=lambda m: found[m].value)
    chosen = list(combinations(order[:BEST], 2))
    if "msff" in order:
        chosen = [("msff", a) if b == "msff" else (a, b) for a, b in chosen]
        chosen += [("msff", m) for m in order if m != "msff" and ("msff", m) not in chosen]
    return chosen


def variants(results: Results) -> pd.DataFrame:
    """Return what a method's variants change, each against its headline variant."""
    dataset = results.dataset("rhd")
    rows = []
    for method, compared in COMPARED.items():
        headline = Cell(dataset, method)
        present = [cell for v in compared if results.runs(cell := Cell(dataset, method, v))]
        if set(present) <= {headline}:
            continue
        for track, cell in product(reversed(TRACKS), present):
            other = cell != headline
            against = results.difference(cell, headline, track, RANKING_METRIC) if other else None
            rows.append({
                "network": network_name(method, cell.variant), "method": LABELS[method], "variant": cell.variant,
                **metric_row(results, cell, track, RANKING_METRIC), **bounds(against),
                "compared_with": network_name(method, headline.variant) if other else "",
            })  # fmt: skip
    columns = [
        "network", "method", "variant", "track", "metric", "value", "low", "high", "compared_with",
        "difference", "difference_low", "difference_high", "seeds", "samples", "given", "status",
    ]  # fmt: skip
    caption = (
        f"Variants of the methods: mean joint error ({RANKING_METRIC}), mm. Differences are against the headline "
        "variant, paired by image; positive is worse. "
    )
    if not rows:
        caption += "No method has a second stored variant. "
    return finish(rows, columns, caption + results.describe(dataset))


# Alternatives


def reading(variant: str) -> Contrast:
    """Return the contrast of a variant that reads the text otherwise with MS-FF."""
    return between(f"{network_name('msff', variant)} - MS-FF", variant, "full")


SECONDARY = {contrast.name: contrast for contrast in secondary()}
ALTERNATIVES: tuple[tuple[str, str, Contrast], ...] = (
    *(("A reading of the text?", f"{r} - the default", reading(v)) for v, r in READING_WORDS.items()),
    ("The target?", "Gaussian volumes of Eq. (15) - integral loss", between("Gaussian - integral", "gaussian", "full")),
    ("The target?", "MS-FF - InterNet, both with Gaussian volumes", SECONDARY[GAUSSIAN_LEAD]),
    ("The target?", "MS-FF with Gaussian volumes - InterNet with the integral loss", SECONDARY[OWN_TARGET_LEAD]),
    ("The target?", "MS-FF - InterNet, change by Gaussian volumes", SECONDARY[f"{LEAD}, change by Gaussian volumes"]),
    ("The target?", "the three modules together, with Gaussian volumes", SECONDARY[GAUSSIAN_TOGETHER]),
    ("The target?", "MS-FF without its modules - InterNet, both with Gaussian volumes", SECONDARY[GAUSSIAN_BARE_LEAD]),
    ("The target?", "MS-FF with batch norm - InterNet, both with Gaussian volumes",
     SECONDARY[f"{NORM_LEAD}, Gaussian volumes"]),
    ("A single scale?", "heat maps of scale 1/32 alone - all four scales, both without modules",
     between("one scale - four", "one-scale", "bare")),
    *((question, name, SECONDARY[name]) for question, name in (
        *(("Batch norm?", name) for name in (NORM_LEAD, NORM_GRM, NORM_TOGETHER)),
        ("Pre-training?", "the three modules together, from scratch"),
        ("Pre-training?", "MS-FF - InterNet, from scratch"),
        ("The learning rate?", "MS-FF - InterNet, both at InterNet's learning rate"),
        ("The learning rate?", "MS-FF - InterNet, both at MS-FF's learning rate"),
    )),
    ("The budget?", "twice the epochs - once", between("twice the epochs - once", "epochs-x2", "full")),
    ("The budget?", "MS-FF - InterNet, both with twice the epochs",
     lead("MS-FF - InterNet, twice the epochs", variants=("epochs-x2", "epochs-x2"))),
    ("The budget?", "twice the images per epoch - once", between("twice the images - once", "images-x2", "full")),
    ("The budget?", "from scratch, twice the steps - once",
     between("from scratch, twice the steps - once", "scratch-x2", "scratch")),
    ("The budget?", "MS-FF - InterNet, both from scratch with twice the steps",
     lead("MS-FF - InterNet, from scratch with twice the steps", variants=("scratch-x2", "scratch-x2"))),
)  # fmt: skip
"""Question, what is compared, and the contrast that answers."""


def alternatives(results: Results) -> pd.DataFrame:
    """Return a row per alternative explanation: question, contrast, estimate with interval in mm, seeds, status."""
    rows = []
    for question, what, contrast in ALTERNATIVES:
        found = find(results, contrast)
        status = found.verdict if found.known else found.reason
        if status.startswith(("runs missing", "not part", "no seed")):
            status = NO_RUN
        numbers = bounds(found, "estimate_mm", "low", "high")
        rows.append({"question": question, "contrast": what, **numbers, "seeds": listed(found.seeds), "status": status})
    caption = (
        f"What else could explain the ablation. Change of {RANKING_METRIC} on {RANKING_TRACK} in mm; negative is lower "
        f"for what is named first. Brackets: 95 % over seeds and images. "
    )
    return finish(rows, list(rows[0]), caption + results.describe_data(results.dataset("rhd")))


def alternative_variants() -> list[tuple[str, str]]:
    """Return method and variant of every network that the table compares."""
    parts = [part for *_, contrast in ALTERNATIVES for part in contrast.parts]
    return list(dict.fromkeys((part.method, variant) for part in parts for variant in part.variants))
