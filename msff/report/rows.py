"""What the tables share: labels, the values of the column status, the numbers of a row, the caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import Estimate
from msff.evaluation.tracks import RANKING_TRACK
from msff.models.registry import METHODS, network_name
from msff.report.formatting import Wide
from msff.report.published import TABLE1
from msff.report.results import Cell, Results
from msff.study.grid import BASELINES

LABELS = {name: method.label for name, method in METHODS.items()} | {
    "mean-pose": "mean pose (baseline)",
    "oracle": "oracle (lower bound)",
}
PAPER_ORDER = tuple(row.method for row in TABLE1)
"""The study's methods in the order of the paper's Table 1; "song" is the surrogate."""

RANKING_METRIC = "wrist20"
"""The track and the metric of the RHD layout by which methods are ranked."""
OK, MISSING = "ok", "run missing"
NO_OUTPUT = "no such output"

_FROM_ANNOTATION = {
    "crop": {
        "true box": "box", "true box per hand": "box per hand", "true joints": "box about joints", "unknown": "crop?",
    },
    "root_depth": {"true": "wrist depth", "unknown": "depth?"},
    "scale": {"true bone": "scale", "unknown": "scale?"},
    "side_input": {"true": "handedness", "unknown": "handedness?"},
    "side_slot": {"true": "scored hand", "unknown": "scored hand?"},
}  # fmt: skip
"""Short words for the test-time inputs that come from the annotation, except the camera."""


def inputs_from_annotation(given: Mapping[str, str], method: str) -> str:
    """Return the test-time inputs that come from the annotation: "box, scale", "nothing", or "" without a record.

    The scored hand counts for methods that estimate both hands; a single-hand method has one output.
    """
    if given and method == "oracle":
        return "the annotation itself"
    names = [name for name in _FROM_ANNOTATION if name != "side_slot" or not METHODS[method].single_hand]
    words = [_FROM_ANNOTATION[name][given[name]] for name in names if given and given[name] in _FROM_ANNOTATION[name]]
    return ", ".join(words) or ("nothing" if given else "")


def name_of(cell: Cell) -> str:
    """Return the network of a cell as tables show it: "MS-FF without global regression", "mean pose (baseline)"."""
    return LABELS[cell.method] if cell.method in BASELINES else network_name(cell.method, cell.variant)


def metric_row(results: Results, cell: Cell, track: str, metric: str) -> dict:
    """Return the columns of one number of a cell: its place, value and interval, inputs, status and single seeds."""
    number = results.estimate(cell, track, metric)
    by_seed = zip(results.seeds(cell), number.per_seed, strict=True) if number else ()
    return {
        "track": track, "metric": metric, **values(number), **{f"seed{seed}": value for seed, value in by_seed},
        "given": inputs_from_annotation(results.inputs(cell, track), cell.method),
        "status": status_of(results, cell, number),
    }  # fmt: skip


def status_of(results: Results, cell: Cell, number: object) -> str:
    """Return the status of a cell's ``number``, which is None if there is none."""
    return OK if number else NO_OUTPUT if results.runs(cell) else MISSING


def run_errors(results: Results, cell: Cell, metric: str = RANKING_METRIC) -> tuple[float, ...]:
    """Return the mean error of each stored run of a cell on the ranking track, mm, by seed."""
    number = results.estimate(cell, RANKING_TRACK, metric)
    return number.per_seed if number else ()


def values(number: Estimate | None) -> dict:
    """Return the columns value, low, high, seeds and samples."""
    counts = {"seeds": number.seeds, "samples": number.samples} if number else {"seeds": 0, "samples": 0}
    return bounds(number, "value", "low", "high") | counts


def bounds(number, value: str = "difference", low: str = "", high: str = "") -> dict:
    """Return value and interval of an `Estimate` or a `Finding` as columns; NaN for None.

    They are named ``value``, ``value``_low and ``value``_high, or as given.
    """
    found = (np.nan,) * 3 if number is None else number.bounds
    return dict(zip((value, low or f"{value}_low", high or f"{value}_high"), found, strict=True))


def seed_columns(rows: Iterable[Mapping]) -> list[str]:
    """Return the columns seed0, seed1, ... that some row has, in the order of the seeds."""
    found = {column for row in rows for column in row if re.fullmatch(r"seed\d+", column)}
    return sorted(found, key=lambda column: int(column.removeprefix("seed")))


def finish(rows: list[dict], columns: list[str], caption: str, wide: Wide | None = None) -> pd.DataFrame:
    """Return the table with its caption, and how it is shown if not row by row."""
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["caption"] = caption.strip()
    if wide is not None:
        table.attrs["wide"] = wide
    return table
