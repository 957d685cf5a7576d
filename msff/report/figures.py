"""The study's figures: each draws a table, and ``save`` writes it. Titles name data and profile."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullLocator

from msff.models.registry import METHODS
from msff.report.drawing import METHOD_COLOURS, METHOD_MARKERS, PAPER_COLOUR, joint_colour, save, style
from msff.report.published import TABLE1
from msff.report.rows import LABELS
from msff.skeleton import JOINT_NAMES, WRIST
from msff.study.grid import BASELINES

__all__ = ["ablation_figure", "fig5_figure", "learning_curves", "rate_figure", "save", "table1_figure"]
BASELINE_LABELS = tuple(LABELS[method] for method in BASELINES)
RATE_LINES = {"msff": "-", "msff/bare": ":", "internet": "-"}
"""Networks of the figure of learning rates; MS-FF without its modules has MS-FF's colour, dotted."""
_NOTE = {"fontsize": 8, "color": "#777777", "va": "center"}


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
    with style():
        figure, ax = plt.subplots(figsize=(9, 3.6))
        for i, method in enumerate(methods):
            rows = table[table["method"] == method]
            step = min(0.18, 0.72 / len(methods))
            x = np.array([positions[j] for j in rows["joint"]]) + (i - (len(methods) - 1) / 2) * step
            marker = {"fmt": METHOD_MARKERS.get(method, "o")}
            _interval_points(ax, x, rows, METHOD_COLOURS.get(method, PAPER_COLOUR), method, **marker)
        ax.set_xticks(list(positions.values()), [j.split()[1] for j in positions], rotation=45, ha="right", fontsize=8)
        for j, (joint, x) in enumerate(positions.items()):
            ax.get_xticklabels()[j].set_color(joint_colour(j))
            if j % 4 == 0:
                ax.text(x + 1.5, 1.0, joint.split()[0], transform=ax.get_xaxis_transform(), ha="center", va="bottom",
                        fontsize=8, color=joint_colour(j))  # fmt: skip
        ax.set(ylabel="mean error, mm", ylim=(0, None), xlim=(-0.7, max(positions.values()) + 0.7))
        ax.grid(axis="x", visible=False)
        ax.set_title(f"Error by joint on interacting hands ({data})", pad=18)
        faults = {method: withheld[method] for method in listed if method in withheld}
        for method, reason in faults.items():
            ax.plot([], [], " ", label=f"{method} withheld: {reason}")
        if listed:
            figure.legend(loc="outside lower center", fontsize=8, ncols=1 if faults else min(len(methods), 5))
        if not methods:
            _empty(ax, "all methods are withheld" if faults else "no finished run")
    return figure


def _interval_points(ax: Axes, x, rows: pd.DataFrame, colour: str, label: str, **marker) -> None:
    spread = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]]).clip(0)
    options = {"fmt": "o", "ms": 4, "capsize": 2, "lw": 1.2} | marker
    ax.errorbar(x, rows["value"], yerr=spread, color=colour, label=label, **options)


def _empty(ax: Axes, what: str = "no finished run") -> None:
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", color=PAPER_COLOUR)


def table1_figure(table: pd.DataFrame, data: str, *, withheld: Mapping[str, str] | None = None) -> Figure:
    """Draw Table 1, wrist21: the paper's value (open diamond, real RHD) and ours per track, with intervals.

    Mean pose and oracle are lines across all rows, shaded over their interval (T2). Methods in ``withheld`` (label ->
    reason) have the reason in place of our dots.
    """
    withheld, metric = withheld or {}, "wrist21"
    printed = {row.label: row.epe_mm for row in TABLE1}
    order = [*printed, LABELS["song"]]
    heights = {method: len(order) - 1 - i for i, method in enumerate(order)}
    rows = table[(table["metric"] == metric) & table["value"].notna() & ~table["method"].isin(withheld)]
    with style():
        figure, ax = plt.subplots(figsize=(8, 4.4))
        for i, track in enumerate(("T2", "T1")):
            found = rows[(rows["track"] == track) & rows["method"].isin(order)]
            if not len(found):
                continue
            y = found["method"].map(heights) - 0.2 * (i + 1)
            spread = np.stack([found["value"] - found["low"], found["high"] - found["value"]]).clip(0)
            colour, marker = (("#D55E00", "o"), ("#0072B2", "s"))[i]
            ax.errorbar(found["value"], y, xerr=spread, fmt=marker, ms=5, capsize=2.5, lw=1.2, color=colour,
                        label=f"ours, track {track}, {data}")  # fmt: skip
        paper = {"s": 38, "facecolors": "none", "edgecolors": PAPER_COLOUR, "linewidths": 1.3, "zorder": 3}
        y = [heights[method] for method in printed]
        ax.scatter(list(printed.values()), y, marker="D", label="printed in the paper, real RHD", **paper)
        for method in order:
            status = set(table.loc[table["method"] == method, "status"])
            at = (printed.get(method, 0.0), heights[method])
            if method in withheld:
                reason = textwrap.fill(f"withheld: {withheld[method]}", 70)
                ax.annotate(reason, at, xytext=(9, 0), textcoords="offset points", **_NOTE | {"fontsize": 7})
            elif "ok" not in status and status:
                ax.annotate(min(status), at, xytext=(9, 0), textcoords="offset points", **_NOTE)
        for method in BASELINE_LABELS:
            _baseline_line(ax, rows[(rows["method"] == method) & (rows["track"] == "T2")], method)
        ax.axhline(0.5, color="#999999", lw=0.8)  # below it: the surrogate
        ax.set_yticks(list(heights.values()), list(heights))
        ax.set(xlabel=f"mean joint error ({metric}), mm", ylim=(-0.7, len(order) - 0.5))
        right = np.nanmax([*printed.values(), *rows["high"]]) if len(rows) else max(printed.values())
        ax.set_xlim(0, 1.12 * right)
        ax.grid(axis="y", visible=False)
        ax.set_title("Table 1: the paper on RHD, ours on the data named below", pad=24)
        figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    return figure


def _baseline_line(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """Draw a vertical line at the value with its interval shaded, and its name above the axes."""
    for value, low, high in rows[["value", "low", "high"]].itertuples(index=False):
        colour = METHOD_COLOURS[label]
        ax.axvspan(low, high, color=colour, alpha=0.2, lw=0, zorder=0)
        ax.axvline(value, color=colour, lw=1, ls=(0, (4, 2)), zorder=1)
        name = label.replace(" (", "\n(")
        ax.text(value, 1.01, name, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
                color=colour)  # fmt: skip


def ablation_figure(table: pd.DataFrame, data: str, *, withheld: Mapping[str, str] | None = None) -> Figure:
    """Draw each variant's error, and its difference to the variant it is compared with, over seeds and images.

    Mean pose and oracle, which would stretch the axis, are in the table alone. Variants in ``withheld`` (variant ->
    reason) have the reason in place of their error, and no difference is drawn from or to them.
    """
    withheld = withheld or {}
    rows = table[~table["variant"].isin(BASELINE_LABELS)].reset_index(drop=True)
    hidden = rows["variant"].isin(withheld)
    rows.loc[hidden, "value"] = np.nan
    rows.loc[hidden | rows["compared_with"].isin(withheld), "difference"] = np.nan
    rows.loc[hidden, "status"] = [textwrap.fill(f"withheld: {withheld[v]}", 50) for v in rows.loc[hidden, "variant"]]
    y = len(rows) - 1 - np.arange(len(rows))
    labels = [f"{v}\n{textwrap.fill(a, 34)}" for v, a in zip(rows["variant"], rows["adds"], strict=True)]
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9, 0.62 * len(rows) + 1.2), sharey=True, width_ratios=[1.15, 1]
        )
        for ax, value, low, high, colour in (
            (left, "value", "low", "high", METHOD_COLOURS["MS-FF"]),
            (right, "difference", "difference_low", "difference_high", METHOD_COLOURS["InterNet(2020)"]),
        ):
            there = rows[value].notna()
            spread = np.stack([rows[value] - rows[low], rows[high] - rows[value]]).clip(0)
            ax.errorbar(rows.loc[there, value], y[there], xerr=spread[:, there], fmt="o", ms=5, capsize=3, lw=1.3,
                        color=colour)  # fmt: skip
            ax.grid(axis="y", visible=False)
        for i in np.flatnonzero(rows["value"].isna()):
            left.text(0.02, y[i], rows["status"][i], transform=left.get_yaxis_transform(), va="center", fontsize=8,
                      color="#777777")  # fmt: skip
        left.set_yticks(y, labels, fontsize=8)
        left.set(xlabel="mean joint error (wrist20, T2), mm", ylim=(-0.6, len(rows) - 0.4))
        right.axvline(0, color=PAPER_COLOUR, lw=0.9)
        right.set(xlabel="difference to bare (printed: to full), mm\nleft of 0 is better")
        figure.suptitle(f"MS-FF module by module ({data})", fontsize=10)
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame], data: str) -> Figure:
    """Draw the loss per epoch, one line per run and one panel per phase, whose losses are different quantities.

    Dashed verticals mark where the learning rate of the first run drops.
    """
    shown = {label: h for label, h in histories.items() if len(h)}
    colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, max(len(shown), 1)))
    by_phase = _by_phase(shown)
    phases = list(dict.fromkeys(name for parts in by_phase.values() for name in parts)) or [""]
    with style():
        size = max(8, 3.9 * len(phases)), 3.2 + 0.1 * len(shown)
        figure, axes = plt.subplots(1, len(phases), figsize=size, squeeze=False)
        for ax, phase in zip(axes[0], phases, strict=True):
            parts = {label: found[phase] for label, found in by_phase.items() if phase in found}
            for label, colour in zip(shown, colours, strict=False):
                if label in parts:
                    x, y = parts[label]["epoch"], parts[label]["loss"]
                    ax.plot(x, y, marker="o", ms=2.5, lw=1.3, color=colour, label=label)
            for epoch in _rate_drops(next(iter(parts.values()), pd.DataFrame())):
                ax.axvline(epoch - 0.5, color="#999999", lw=0.8, ls="--")
            if _spans(parts.values(), 3):
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
                ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set(xlabel="epoch", title=f"phase {phase}" if phase else "")
        axes[0, 0].set_ylabel("training loss")
        figure.suptitle(f"Learning curves ({data})", fontsize=10)
        if shown:
            lines = {line.get_label(): line for ax in axes[0] for line in ax.get_legend_handles_labels()[0]}
            figure.legend(lines.values(), lines, loc="outside lower center", fontsize=8, ncols=min(len(lines), 2))
        else:
            _empty(axes[0, 0], "nothing was trained")
    return figure


def _spans(histories: Iterable[pd.DataFrame], ratio: float) -> bool:
    """Return True if the losses suit a log axis: all positive, the largest above ``ratio`` times the smallest."""
    values = pd.concat([h["loss"].dropna() for h in histories] or [pd.Series(dtype=float)])
    return bool((values > 0).all() and values.max() > ratio * values.min())


def _by_phase(histories: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    """Return run -> phase -> its epochs; one phase without a name if no run has several or none is recorded."""
    several = any(h["phase"].nunique() > 1 for h in histories.values() if "phase" in h)
    return {
        label: dict(tuple(h.groupby("phase", sort=False))) if several and "phase" in h else {"": h}
        for label, h in histories.items()
    }


def _rate_drops(history: pd.DataFrame) -> pd.Series | tuple:
    return history["epoch"][history["lr"].diff() < 0] if {"epoch", "lr"} <= set(history.columns) else ()


def rate_figure(table: pd.DataFrame, data: str) -> Figure:
    """Draw the table of `msff.study.tuning.tune`: held-out error in mm over the learning rate, the lowest one filled.

    One training per point; ``data`` names profile, images and schedule.
    """
    with style():
        figure, ax = plt.subplots(figsize=(5.2, 3.4))
        for row, line in RATE_LINES.items():
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
        rates = sorted(table[table.row.isin(RATE_LINES)].rate.unique())
        ax.set_xscale("log")
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set(xlabel="learning rate", ylabel="held-out error (wrist20, T1), mm", title=data)
        ax.grid(axis="y", alpha=0.4)
        ax.legend()
    return figure
