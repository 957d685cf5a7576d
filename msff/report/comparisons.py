"""Paired comparisons of the study's methods with each other, and of each method's variants with its headline."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from msff.evaluation.protocol import TRACKS
from msff.models.registry import METHODS
from msff.report.claims import decide_both
from msff.report.results import SHARED_SEEDS, Cell, Results
from msff.report.rows import (
    HEADLINE_TRACK,
    LABELS,
    NO_OUTPUT,
    OK,
    PAPER_ORDER,
    differences,
    finish,
    given_words,
    tracks,
    values,
)

HEADLINE_METRIC = "wrist20"
BEST = 4  # so many of the lowest methods are compared each with each
PAIR_VERDICTS = {-1: "a better", 0: "undecided", 1: "b better"}
SCHEDULE_WORDS: Mapping[str, str] = {
    "full": "the profile's schedule", "batch-x4": "four times the batch, twice the rate",
    "images-x2": "twice the images per epoch",
}  # fmt: skip
VARIANT_WORDS: Mapping[str, Mapping[str, str]] = {
    "posenet": {"full": "box from the annotation", "segmented": "box found by HandSegNet"},
    "chen": {"full": "with tonality augmentation", "plain": "without augmentation"},
    "spurr": {
        "plain": "neither side nor scale", "side": "told the side", "scale": "pose in units of the scale bone",
        "scale-side": "both",
    },
    "internet": SCHEDULE_WORDS,
    "msff": SCHEDULE_WORDS,
    "song": {"full": "after test-time optimisation", "regressed": "before it"},
}  # fmt: skip
"""Methods whose variants are compared; what each variant is. MS-FF's other variants are the ablation's."""


def pairs(results: Results) -> pd.DataFrame:
    """Each two of the four lowest methods, and MS-FF against each of the others; floors are no methods."""
    dataset = results.dataset("rhd")
    rows = []
    for ours, theirs in _chosen(results, dataset):
        a, b = Cell(dataset, ours), Cell(dataset, theirs)
        difference = results.difference(a, b, HEADLINE_TRACK, HEADLINE_METRIC)
        by_side = results.pred_side_difference(a, b, HEADLINE_TRACK, HEADLINE_METRIC)
        if difference is None:
            continue
        sign, reason = decide_both(difference, by_side)
        rows.append({
            "a": LABELS[ours], "b": LABELS[theirs], **differences(difference),
            **differences(by_side, "difference_pred_side"), "seeds": difference.seeds,
            "samples": difference.samples, "verdict": PAIR_VERDICTS[sign], "reason": reason,
        })  # fmt: skip
    columns = [
        "a", "b", "difference", "difference_low", "difference_high", "difference_pred_side",
        "difference_pred_side_low", "difference_pred_side_high", "seeds", "samples", "verdict", "reason",
    ]  # fmt: skip
    both = " and ".join(METHODS[m].label for m in reversed(PAPER_ORDER) if not METHODS[m].one_hand)
    caption = (
        f"Differences a - b of the mean joint error ({HEADLINE_METRIC}, track {HEADLINE_TRACK}), mm, paired by image: "
        f"each two of the {BEST} lowest methods, and {LABELS['msff']} against each of the others. {both} answer for "
        "both hands, and the annotation picks the one that is scored, while a method that must be told the side pays "
        "for SideNet's mistakes; the difference by predicted side takes their hand by the side that they name "
        f"({HEADLINE_METRIC}_pred_side) and the only answer of a method of one hand, and is blank where both are such. "
        "One is better only if the 95 % interval, or where there are two each of them, excludes 0 on the same side, "
        "and so does Student's over at least two training seeds; else the pair is undecided. seeds counts those "
        "that both have. "
        "Nothing is corrected for the number of pairs. "
        f"{LABELS['song']} stands for no published method. {tracks(HEADLINE_TRACK)} {results.side_note(dataset)}"
    )
    return finish(rows, columns, caption + results.describe(dataset))


def _chosen(results: Results, dataset: str) -> list[tuple[str, str]]:
    """Pairs of methods, the lower one first, but MS-FF first in all of its own."""
    found = {m: results.estimate(Cell(dataset, m), HEADLINE_TRACK, HEADLINE_METRIC) for m in PAPER_ORDER}
    order = sorted((m for m, number in found.items() if number), key=lambda m: found[m].value)
    chosen = list(combinations(order[:BEST], 2))
    if "msff" in order:
        chosen = [("msff", a) if b == "msff" else (a, b) for a, b in chosen]
        chosen += [("msff", m) for m in order if m != "msff" and ("msff", m) not in chosen]
    return chosen


def variants(results: Results) -> pd.DataFrame:
    """What a method's variants change, each against the one that stands for the method."""
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
    listed = ", ".join(LABELS[m] for m in VARIANT_WORDS)
    caption = (
        f"Variants of {listed}: mean joint error ({HEADLINE_METRIC}), mm. Differences are against the variant "
        f"compared with, paired by image. {SHARED_SEEDS}"
        "Positive means that the variant is worse than the one that stands for the "
        f"method, so that for {LABELS['chen']} the row plain shows what its augmentation, which is the method's claim, "
        f"gains. {LABELS['song']} is a surrogate. {tracks()} "
    )
    if not rows:
        caption += "The store holds no second variant of any of them. "
    return finish(rows, columns, caption + results.describe(dataset))


def _variant_row(results: Results, cell: Cell, headline: str, track: str, what: str) -> dict:
    number = results.estimate(cell, track, HEADLINE_METRIC)
    against = None
    if cell.variant != headline:
        against = results.difference(cell, Cell(cell.dataset, cell.method), track, HEADLINE_METRIC)
    return {
        "method": LABELS[cell.method], "variant": cell.variant, "what": what, "track": track,
        "metric": HEADLINE_METRIC, **values(number), "compared_with": "" if cell.variant == headline else headline,
        **differences(against), "given": given_words(results.given(cell, track), cell.method),
        "status": OK if number else NO_OUTPUT,
    }  # fmt: skip
