"""Held-out error against learning rate: how far the choice of the rate alone moves a network, and their order."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from msff.models.registry import METHODS
from msff.report.drawing import METHOD_COLOURS, METHOD_MARKERS, style

ROWS = {"msff": "-", "msff/bare": ":", "internet": "-"}
"""Networks of the figure and their lines: MS-FF without its modules has its colour, dotted."""


def rate_figure(table: pd.DataFrame, data: str) -> Figure:
    """Draw the table of `msff.study.tuning.tune`: mm on held-out training images over the rate, the lowest one filled.

    One training per point; ``data`` names profile, images and schedule.
    """
    with style():
        figure, ax = plt.subplots(figsize=(5.2, 3.4))
        for row, line in ROWS.items():
            points = table[table.row == row].sort_values("rate")
            if points.empty:
                continue
            method, _, variant = row.partition("/")
            label = METHODS[method].label
            best = points.error_mm.idxmin()
            colour, marker = METHOD_COLOURS[label], METHOD_MARKERS[label]
            ax.plot(
                points.rate, points.error_mm, line, color=colour, marker=marker, markerfacecolor="white",
                label=f"{label}, no module" if variant == "bare" else label,
            )  # fmt: skip
            ax.plot(points.rate[best], points.error_mm[best], marker, color=colour)
        rates = sorted(table[table.row.isin(ROWS)].rate.unique())
        ax.set_xscale("log")
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set(xlabel="learning rate", ylabel="held-out error (wrist20, T1), mm", title=data)
        ax.grid(axis="y", alpha=0.4)
        ax.legend()
    return figure
