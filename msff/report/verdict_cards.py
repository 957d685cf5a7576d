"""Every claim on a card: the claim, the answer, the estimate with what it excludes, related contrasts, and what would
change our mind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.claims import FALSE_AS_PRINTED, NOT_TESTABLE, PRINTED_SCOPE, TRUE_AS_PRINTED
from msff.report.findings import ONE_SEED

SIGN = "an interval that includes 0 after more seeds, or the opposite sign on the real data"
CHANGE: Mapping[str, str] = {
    BETTER: SIGN,
    WORSE: SIGN,
    SMALLER: "an interval that extends beyond the margin after more seeds, or a larger effect on the real data",
    OPEN: "an interval that excludes 0 or lies within the margin, after more seeds",
    TRUE_AS_PRINTED: "another printed table, such as that of the published version",
    FALSE_AS_PRINTED: "another printed table, such as that of the published version",
    NOT_TESTABLE: "a public text or code of Song(2022), and the real data",
}
HOLM = re.compile(r"p is \S+ after Holm's adjustment")
"""In the reason of a contrast whose interval excludes 0 and which stays open."""
LACKS = re.compile(r"(, |; |^)runs missing: ")
BESIDE = re.compile(r".+ is [+-]\d.* mm( \(one seed\))?")
"""A part of a reason that quotes another contrast, see `msff.report.claims.by_contrast`."""
METRICS = re.compile(r" \([^()]*\)$")
"""At the end of the evidence of a contrast."""


def lacks_runs(row: Mapping) -> bool:
    """Return True if a claim is open because no stored run measures it."""
    return row["verdict"] == OPEN and np.isnan(row["value"]) and "withheld" not in row["reason"]


def verdict_cards(claims: pd.DataFrame) -> str:
    """Return the rows of `msff.report.claims.claims_table` as Markdown, in mm, without `waiting_claims`."""
    return "\n\n".join(_card(row) for row in claims.to_dict("records") if not lacks_runs(row))


def waiting_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the claims that only lack runs, with these runs."""
    rows = [row for row in claims.to_dict("records") if lacks_runs(row)]
    waiting = [(r["claim"], r["where"], r["scope"].partition(",")[0], _runs(r["reason"])) for r in rows]
    return pd.DataFrame(waiting, columns=["not measured yet", "where", "on", "runs missing"])


def _runs(reason: str) -> str:
    """Return the runs that a reason names as missing, by comparison if it has several."""
    return LACKS.sub(lambda found: ": " if found[1] == ", " else found[1], reason)


def _card(row: Mapping) -> str:
    printed = row["scope"] == PRINTED_SCOPE
    on = "" if printed or row["verdict"] == NOT_TESTABLE else f", on {row['scope'].partition(',')[0]}"
    then = "; " if np.isnan(row["value"]) else ", a difference of " if printed else ": "
    evidence = METRICS.sub("", f"{row['evidence'][0].upper()}{row['evidence'][1:]}")
    beside = "; ".join(filter(BESIDE.fullmatch, row["reason"].split("; ")))
    lines = (
        f"**{row['claim']}** ({row['where']}).",
        f"*{row['verdict'].capitalize()}*{on}.",
        f"{evidence}{then}{excluded(row['value'], row['low'], row['high'], row['reason'])}",
        beside and f"Beside it: {beside}.",
        f"What would change our mind: {change(row['verdict'], row['reason'])}.",
    )
    return "\\\n".join(filter(None, lines))


def excluded(value: float, low: float, high: float, reason: str) -> str:
    """Return the estimate in mm and the effects that its interval excludes, or why there is none."""
    if np.isnan(value):
        return f"{reason}."
    if np.isnan(low):
        why = "one seed, no verdict yet" if ONE_SEED in reason else reason
        return f"{value:+.2f} mm; {why}."
    side = "gain" if high < 0 else "loss"
    least = f"the {side} is at least {min(abs(low), abs(high)):.2f} mm"
    either = f"either sign remains possible, but no effect beyond {max(-low, high):.2f} mm"
    signs = either if low < 0 < high else least
    if adjusted := HOLM.search(reason):
        signs = f"0 is excluded, but {adjusted[0]}"
    return f"{value:+.2f} mm [{low:+.2f}, {high:+.2f}]; {signs}."


def change(verdict: str, reason: str) -> str:
    """Return which evidence would change a verdict."""
    if verdict == OPEN and ONE_SEED in reason:
        return "a second seed, without which there is no interval"
    if verdict == OPEN and "withheld" in reason:
        return "networks whose hands pass the plausibility check"
    if verdict == OPEN and HOLM.search(reason):
        return "p below 0.05 after the adjustment, with more seeds"
    return CHANGE[verdict]
