"""The study's figures: each draws a table. Titles name data and profile."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from msff.report import drawing
from msff.report.published import TABLE1
from msff.report.rows import LABELS, RANKING_METRIC
from msff.skeleton import JOINT_NAMES, WRIST
from msff.study.grid import BASELINES

BASELINE_LABELS = tuple(LABELS[method] for method in BASELINES)
_REMARK = {"fontsize": 8, "color": drawing.NOTE_COLOUR, "va": "center", "zorder": 5}
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # keeps lines from crossing a remark
_NOTE = _REMARK | {"textcoords": "offset points"}


def fig5_figure(table: pd.DataFrame, data: str, *, withheld: Mapping[str, str] | None = None) -> Figure:
    """Draw the paper's Fig. 5 from the table ``fig5``: a point with its interval per joint and method.

    The wrist is 0 by construction and left out, as are mean pose and oracle, which would stretch the axis. Methods in
    ``withheld`` (label -> reason) have no points, and the legend states the reason.
    """
    withheld = withheld or {}
    table = table[(table["joint"] != JOINT_NAMES[WRIST]) & table["value"].notna()]
    listed = [m for m in dict.fromkeys(table["method"]) if m not in BASELINE_LABELS]
    methods = [m for m in listed if m not in withheld]
    positions = {joint: i + (i // 4) * 0.6 for i, joint in enumerate(JOINT_NAMES[:WRIST])}
    with drawing.style():
        figure, ax = plt.subplots(figsize=(9.6, 4))
        for i, method in enumerate(methods):
            rows = table[table["method"] == method]
            step = min(0.18, 0.72 / len(methods))
            x = np.array([positions[j] for j in rows["joint"]]) + (i - (len(methods) - 1) / 2) * step
            spread = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]).clip(0)
            look = drawing.method_points(method) | {"linestyle": "none", "ms": 4, "capsize": 2, "lw": 1.2}
            ax.errorbar(x, rows["value"], yerr=spread, elinewidth=1.2, label=method, **look)
        ax.set_xticks(list(positions.values()), [j.split()[1] for j in positions], rotation=45, ha="right", fontsize=8)
        for j, (joint, x) in enumerate(positions.items()):
            if j % 4 == 0:
                ax.text(x + 1.5, 1.0, joint.split()[0], transform=ax.get_xaxis_transform(), ha="center", va="bottom",
                        fontsize=8)  # fmt: skip
        ax.set(ylabel="mean error, mm", ylim=(0, None), xlim=(-0.7, max(positions.values()) + 0.7))
        ax.grid(axis="x", visible=False)
        ax.set_title(f"Error by joint on interacting hands ({data})", pad=18)
        faults = {method: withheld[method] for method in listed if method in withheld}
        for method, reason in faults.items():
            ax.plot([], [], " ", label=f"{method} withheld: {reason}")
        if listed:
            figure.legend(loc="outside lower center", fontsize=8, ncols=1 if faults else min(len(methods), 5))
        if not methods:
            drawing.say(ax, "all methods are withheld" if faults else "no finished run")
    return figure


def table1_figure(table: pd.DataFrame, data: str, *, withheld: Mapping[str, str] | None = None) -> Figure:
    """Draw Table 1 in two panels without a common axis: as printed for the real RHD, and as measured here.

    Ours are filled on track T2 and open on T1, with intervals; their range is that of the axis. Mean pose and oracle
    (T2) are lines across all rows, shaded over their interval, or numbers at the edge beyond which they lie. Methods in
    ``withheld`` (label -> reason) have the reason in place of our points.
    """
    withheld = withheld or {}
    printed = {row.label: row.epe_mm for row in TABLE1}
    order = [*printed, LABELS["song"]]
    heights = {method: len(order) - 1 - i for i, method in enumerate(order)}
    rows = table[(table["metric"] == RANKING_METRIC) & table["value"].notna() & ~table["method"].isin(withheld)]
    with drawing.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, width_ratios=[1, 1.6])
        for method, value in printed.items():
            look = drawing.method_points(method)
            left.plot(value, heights[method], look["marker"], color=look["color"], markerfacecolor="white", ms=6.5)
            left.annotate(f"{value:.2f}", (value, heights[method]), xytext=(8, 0), **_NOTE)
        ours = rows[rows["method"].isin(order)]
        for track, offset in (("T2", -0.12), ("T1", 0.16)):
            for row in ours[ours["track"] == track].itertuples():
                look = drawing.method_points(row.method) | {"markerfacecolor": None if track == "T2" else "white"}
                drawing.draw_interval(right, heights[row.method] + offset, (row.value, row.low, row.high), **look)
        for method in order:
            status = set(table.loc[table["method"] == method, "status"])
            note = f"withheld: {withheld[method]}" if method in withheld else ""
            note = note or ("" if "ok" in status or not status else min(status))
            if note:
                where = right.get_yaxis_transform()
                right.text(0.13, heights[method], textwrap.fill(note, 58), transform=where, bbox=_PLATE, **_REMARK)
        if len(ours):
            right.margins(x=0.1)
            right.set_xlim(right.get_xlim())
        for row in rows[rows["method"].isin(BASELINE_LABELS) & (rows["track"] == "T2")].itertuples():
            _draw_baseline(right, row)
        left.set(xlim=(18.5, 33.5), xlabel="printed EPE, mm (metrics differ by row)")
        left.set_title("printed in the paper: real RHD", pad=24)
        right.set(xlabel=f"mean error ({RANKING_METRIC}), mm: filled T2, open T1", ylim=(-0.7, len(heights) - 0.5))
        right.set_title(f"measured here: {data}", pad=24)
        left.set_yticks(list(heights.values()), list(heights))
        for ax in (left, right):
            ax.axhline(0.5, color="#999999", lw=0.8)  # below it: the surrogate
            ax.grid(axis="y", visible=False)
    return figure


def _draw_baseline(ax: Axes, row) -> None:
    """Draw a baseline's value and interval across the axes; beyond an edge, its value there."""
    colour, (low, high) = drawing.METHOD_COLOURS[row.method], ax.get_xlim()
    where = {"transform": ax.get_xaxis_transform(), "va": "bottom", "fontsize": 7, "color": colour}
    if row.value < low:
        ax.text(low, 1.01, f"\u2190 {row.method} {row.value:.1f}", ha="left", **where)
    elif row.value > high:
        ax.text(high, 1.01, f"{row.method} {row.value:.1f} \u2192", ha="right", **where)
    else:
        ax.axvspan(row.low, row.high, color=colour, alpha=0.2, lw=0, zorder=0)
        ax.axvline(row.value, color=colour, lw=1, ls=(0, (4, 2)), zorder=1)
        ax.text(row.value, 1.01, row.method.replace(" (", "\n("), ha="center", **where)


def learning_curves(history: pd.DataFrame, name: str, data: str) -> Figure:
    """Draw the loss per epoch, a panel per phase, whose losses differ in kind; dashed where the learning rate drops."""
    phases = dict(list(history.groupby("phase", sort=False))) if len(history) else {}
    with drawing.style():
        size = 4.2 * max(len(phases), 1), 3.3
        figure, axes = plt.subplots(1, max(len(phases), 1), figsize=size, squeeze=False)
        for ax, (phase, part) in zip(axes[0], phases.items(), strict=False):
            ax.plot(part["epoch"], part["loss"], marker="o", ms=2.5, lw=1.3, color="#471365")
            for epoch in part["epoch"][part["lr"].diff() < 0]:
                ax.axvline(epoch - 0.5, color="#999999", lw=0.8, ls="--")
            if (part["loss"].dropna() > 0).all() and part["loss"].max() > 3 * part["loss"].min():
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
                ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set(xlabel="epoch", title=f"phase {phase}" if len(phases) > 1 else "")
        axes[0, 0].set_ylabel("training loss")
        figure.suptitle(f"Training of {name}\n({data})", fontsize=9)
        if not phases:
            drawing.say(axes[0, 0], "nothing was trained")
    return figure
