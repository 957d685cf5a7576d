"""Paired comparisons: of the methods with each other, and of each method's variants with its headline variant."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.evaluation.tracks import TRACKS
from msff.models.registry import METHODS
from msff.report.claims import decide_both
from msff.report.contrasts import RHD, by_predicted_handedness, versus
from msff.report.findings import find
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, PAPER_ORDER, RANKING_METRIC, RANKING_TRACK, bounds, finish, metric_row

BEST = 4  # all pairs of the methods with the lowest errors are compared
PAIR_VERDICTS = {BETTER: "a better", WORSE: "b better"}
SCHEDULE_WORDS: Mapping[str, str] = {
    "full": "the profile's schedule", "other-rate": "the other network's learning rate",
    "scratch": "trunk without ImageNet weights", "scratch-x2": "the same, trained twice as long",
    "batch-x4": "four times the batch, twice the rate",
    "images-x2": "twice the images per epoch", "epochs-x2": "twice the epochs",
}  # fmt: skip
VARIANT_WORDS: Mapping[str, Mapping[str, str]] = {
    "posenet": {"full": "box from the annotation", "segmented": "box found by HandSegNet"},
    "chen": {"full": "with tonality augmentation", "plain": "without augmentation"},
    "spurr": {
        "plain": "neither handedness nor scale", "side": "handedness given", "scale": "pose in units of the scale bone",
        "scale-side": "both",
    },
    "internet": SCHEDULE_WORDS,
    "msff": SCHEDULE_WORDS | {"scratch-bare": "no module, trunk without ImageNet weights"},
    "song": {"full": "after test-time optimisation", "regressed": "before it"},
}  # fmt: skip
"""The compared variants and what they are; MS-FF's other variants are in the ablation."""


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
        f"images. {LABELS['song']} is no published method. {results.sidenet_accuracy(dataset)}"
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
    for method, words in VARIANT_WORDS.items():
        headline = METHODS[method].headline
        present = [v for v in words if results.runs(Cell(dataset, method, v))]
        if set(present) <= {headline}:
            continue
        for track in reversed(TRACKS):
            rows += [_variant_row(results, Cell(dataset, method, v), headline, track, words[v]) for v in present]
    columns = [
        "method", "variant", "what", "track", "metric", "value", "low", "high", "compared_with", "difference",
        "difference_low", "difference_high", "seeds", "samples", "given", "status",
    ]  # fmt: skip
    caption = (
        f"Variants of the methods: mean joint error ({RANKING_METRIC}), mm. Differences are against the headline "
        "variant, paired by image; positive is worse. "
    )
    if not rows:
        caption += "The store holds no second variant of any method. "
    return finish(rows, columns, caption + results.describe(dataset))


def _variant_row(results: Results, cell: Cell, headline: str, track: str, what: str) -> dict:
    against = None
    if cell.variant != headline:
        against = results.difference(cell, Cell(cell.dataset, cell.method), track, RANKING_METRIC)
    return {
        "method": LABELS[cell.method], "variant": cell.variant, "what": what,
        **metric_row(results, cell, track, RANKING_METRIC), **bounds(against),
        "compared_with": "" if cell.variant == headline else headline,
    }  # fmt: skip
