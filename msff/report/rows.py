"""What the tables share: labels, the words of the column status, a row's numbers, a table's caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import Estimate
from msff.evaluation.tracks import TRACKS
from msff.models.registry import METHODS
from msff.report.formatting import Wide
from msff.report.published import TABLE1

LABELS = {name: method.label for name, method in METHODS.items()} | {
    "mean-pose": "mean pose (floor)",
    "oracle": "oracle (floor)",
}
PAPER_ORDER = tuple(row.method for row in TABLE1)
"""The study's methods in the order of the paper's Table 1; "song" is the surrogate."""

HEADLINE_TRACK = "T2"
OK, MISSING = "ok", "run missing"
NO_OUTPUT = "no such output"

_GIVEN = {
    "crop": {
        "true box": "box", "true box per hand": "box per hand", "true joints": "box about joints", "unknown": "crop?",
    },
    "root_depth": {"true": "wrist depth", "unknown": "depth?"},
    "scale": {"true bone": "scale", "unknown": "scale?"},
    "side_input": {"true": "side", "unknown": "side?"},
    "side_slot": {"true": "which hand", "unknown": "hand?"},
}  # fmt: skip
"""Short words for what comes from the annotation; the camera is not among them."""


def given_words(given: Mapping[str, str], method: str) -> str:
    """What a method was given, in short: "box, scale"; "nothing" where nothing was, "" without a record.

    Which hand is scored counts where the method answers for both; one that knows one hand has a single answer.
    """
    if given and method == "oracle":
        return "the annotation itself"
    names = [name for name in _GIVEN if name != "side_slot" or not METHODS[method].single_hand]
    words = [_GIVEN[name][given[name]] for name in names if given and given[name] in _GIVEN[name]]
    return ", ".join(words) or ("nothing" if given else "")


def values(number: Estimate | None) -> dict:
    """The columns value, low, high, seeds and samples."""
    if number is None:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "seeds": 0, "samples": 0}
    return {
        "value": number.value, "low": number.low, "high": number.high, "seeds": number.seeds, "samples": number.samples,
    }  # fmt: skip


def by_seed(number: Estimate | None, seeds: Sequence[int]) -> dict:
    """Return the columns seed0, seed1, ...: the number of each training seed alone."""
    return {} if number is None else {f"seed{s}": value for s, value in zip(seeds, number.per_seed, strict=True)}


def seed_columns(rows: Iterable[Mapping]) -> list[str]:
    """Return the columns of `by_seed` that some row has, in the order of the seeds."""
    found = {column for row in rows for column in row if re.fullmatch(r"seed\d+", column)}
    return sorted(found, key=lambda column: int(column.removeprefix("seed")))


def differences(number: Estimate | None, name: str = "difference") -> dict:
    """The columns difference, difference_low and difference_high, or by another name."""
    found = (np.nan,) * 3 if number is None else (number.value, number.low, number.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def tracks(*names: str) -> str:
    """What each track is, for captions."""
    return " ".join(f"{name}: {TRACKS[name].label}." for name in (names or TRACKS))


def finish(rows: list[dict], columns: list[str], caption: str, wide: Wide | None = None) -> pd.DataFrame:
    """The table with its caption, and how it is shown if not row by row."""
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["caption"] = caption.strip()
    if wide is not None:
        table.attrs["wide"] = wide
    return table
