"""Every claim in four lines: the claim, the answer, the estimate with what it excludes, what would change our mind."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.claims import FALSE_AS_PRINTED, NOT_TESTABLE, TRUE_AS_PRINTED
from msff.report.findings import ONE_SEED

CHANGE: Mapping[str, str] = {
    BETTER: "more seeds whose interval reaches 0, or the same comparison on the real data with the other sign",
    WORSE: "more seeds whose interval reaches 0, or the same comparison on the real data with the other sign",
    SMALLER: "more seeds whose interval leaves the margin, or the same comparison on the real data",
    OPEN: "more seeds, until the interval leaves 0 or lies within the margin",
    TRUE_AS_PRINTED: "another printed table, such as that of the published version",
    FALSE_AS_PRINTED: "another printed table, such as that of the published version",
    NOT_TESTABLE: "public text or code of the method that it compares, and the real data",
}
RUNS_MISSING = "runs missing"
HOLM = re.compile(r"p is \S+ after Holm's adjustment")
"""In the reason of a contrast whose interval excludes 0 and which stays open."""


def verdict_cards(claims: pd.DataFrame) -> str:
    """Return the rows of `msff.report.claims.claims_table` as Markdown, four lines a claim; mm."""
    return "\n\n".join(_card(row) for row in claims.to_dict("records"))


def _card(row: Mapping) -> str:
    lines = (
        f"**{row['claim']}** ({row['where']}).",
        f"*{row['verdict'].capitalize()}*, for {row['scope']}.",
        excluded(row["value"], row["low"], row["high"], row["reason"]),
        f"What would change our mind: {change(row['verdict'], row['reason'])}.",
    )
    return "\\\n".join(lines)


def excluded(value: float, low: float, high: float, reason: str) -> str:
    """Return the estimate in mm and the effects that its interval excludes, or why there is none."""
    if np.isnan(value):
        return "No estimate: its runs are missing." if RUNS_MISSING in reason else f"No estimate: {reason}."
    if np.isnan(low):
        why = "one seed, so it excludes nothing" if ONE_SEED in reason else reason
        return f"{value:+.2f} mm; {why}."
    signs = "both signs remain possible" if low < 0 < high else f"0 is excluded, by {min(abs(low), abs(high)):.2f} mm"
    if adjusted := HOLM.search(reason):
        signs = f"0 is excluded, but {adjusted[0]}"
    return f"{value:+.2f} mm [{low:+.2f}, {high:+.2f}]; {signs}."


def change(verdict: str, reason: str) -> str:
    """Return which evidence would change a verdict."""
    if verdict == OPEN and RUNS_MISSING in reason:
        return "the missing runs, listed with its contrast below"
    if verdict == OPEN and "withheld" in reason:
        return "networks whose hands pass the plausibility check"
    if verdict == OPEN and HOLM.search(reason):
        return "more seeds, until p is below 0.05 after the adjustment"
    if verdict == OPEN and "not part of profile" in reason:
        return "the runs of a larger profile"
    return CHANGE[verdict]
