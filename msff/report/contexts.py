"""Where the errors are: the same predictions on harder and easier parts of the test set, method by method."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.evaluation.bootstrap import estimate_difference
from msff.evaluation.tracks import RANKING_TRACK
from msff.report.contrasts import INTERHAND, OCCLUDED, RHD, VISIBLE
from msff.report.drawing import NOTE_COLOUR, draw_interval, method_points, name_rows, style
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, MISSING, NO_OUTPUT, OK, PAPER_ORDER, bounds, finish, status_of


@dataclass(frozen=True)
class Comparison:
    """Two metrics of the same predictions, the second on the harder part."""

    name: str
    layout: str
    easier: tuple[str, str]  # words, metric
    harder: tuple[str, str]


COMPARISONS = (
    Comparison("occlusion", RHD, ("visible joints", VISIBLE), ("hidden joints", OCCLUDED)),
    Comparison("fingertips", RHD, ("finger bases", "wrist20_base"), ("fingertips", "wrist20_fingertip")),
    Comparison("handedness", RHD, ("annotated hand", "wrist20"), ("predicted hand", "wrist20_pred_side")),
    Comparison(
        "two hands", INTERHAND, ("single hands", "mpjpe_single_no_wrist"),
        ("interacting hands", "mpjpe_interacting_no_wrist"),
    ),
)  # fmt: skip
DRAWN = (*PAPER_ORDER[::-1], "mean-pose")
"""The rows of each comparison; the oracle has no network whose errors could depend on the image."""


def contexts(results: Results) -> pd.DataFrame:
    """Return a row per comparison and method: error on the easier and the harder part in mm, and their difference.

    The difference is within a method and paired by image. Implausible methods are withheld, and the status says why.
    """
    rows = [
        {"comparison": c.name, "dataset": results.dataset(c.layout), **_row(results, c, method)}
        for c in COMPARISONS
        for method in DRAWN
    ]
    caption = f"Mean error in mm, {RANKING_TRACK}: easier part, harder part, difference. "
    return finish(rows, list(rows[0]), caption + results.describe(*map(results.dataset, (RHD, INTERHAND))))


def _row(results: Results, comparison: Comparison, method: str) -> dict:
    cell = Cell(results.dataset(comparison.layout), method)
    metrics = comparison.easier[1], comparison.harder[1]
    easier, harder = (results.estimate(cell, RANKING_TRACK, metric) for metric in metrics)
    fault = withheld(results, cell)
    status = f"withheld: {fault}" if fault else status_of(results, cell, easier and harder)
    difference = None
    if status == OK:
        difference = estimate_difference(*(results.errors(cell, RANKING_TRACK, metric) for metric in metrics[::-1]))
    else:
        easier = harder = None
    return {
        "method": LABELS[method], **bounds(easier, "easier"), **bounds(harder, "harder"), **bounds(difference),
        "seeds": harder.seeds if harder else 0, "samples": harder.samples if harder else 0, "status": status,
    }  # fmt: skip


def of(results: Results, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of one comparison in the table ``contexts``, its two columns named by what they measure."""
    comparison = next(c for c in COMPARISONS if c.name == name)
    (easier, first), (harder, second) = comparison.easier, comparison.harder
    rows = table[table["comparison"] == name].drop(columns=["comparison", "samples"]).reset_index(drop=True)
    rows.columns = [re.sub("^easier", easier, re.sub("^harder", harder, column)) for column in rows]
    rows.attrs["caption"] = (
        f"{easier.capitalize()} (metric {first}), {harder} (metric {second}), difference; {RANKING_TRACK}, mm. "
        + results.describe(results.dataset(comparison.layout))
    )
    return rows


def context_figure(table: pd.DataFrame, data: str) -> Figure:
    """Draw the easier (open) and the harder part (filled) of each comparison with intervals.

    A row per method that has a run for any of them.
    """
    runs = table[~table["status"].isin((MISSING, NO_OUTPUT))]
    table = table[table["method"].isin(runs["method"])] if len(runs) else table
    with style():
        size = 4.2, 0.6 + len(COMPARISONS) * (0.9 + 0.2 * table["method"].nunique())
        figure, axes = plt.subplots(len(COMPARISONS), 1, figsize=size)
        for ax, comparison in zip(axes, COMPARISONS, strict=True):
            _panel(ax, table[table["comparison"] == comparison.name], comparison)
        figure.suptitle(textwrap.fill(f"Where the errors are ({data})", 60), fontsize=9)
        figure.get_layout_engine().set(h_pad=0.1)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, comparison: Comparison) -> None:
    for y, row in enumerate(rows.itertuples()):
        if row.status != OK:
            where = ax.get_yaxis_transform()
            ax.text(0.02, y, row.status.partition(":")[0], transform=where, fontsize=7, va="center", color=NOTE_COLOUR)
            continue
        look = method_points(row.method)
        ax.plot([row.easier, row.harder], [y, y], color=look["color"], lw=1, alpha=0.5, zorder=1)
        draw_interval(ax, y, (row.easier, row.easier_low, row.easier_high), **look, markerfacecolor="white", ms=6)
        draw_interval(ax, y, (row.harder, row.harder_low, row.harder_high), **look, ms=6)
    name_rows(ax, rows["method"], fontsize=8)
    ax.set_xlabel("mean error, mm")
    if not (rows["status"] == OK).any():
        ax.set(xticks=[], xlabel="")
    ax.set_title(f"{comparison.name}\n{comparison.easier[0]} (open), {comparison.harder[0]} (filled)", fontsize=8.5)
