"""The study's figures. Each takes a table or arrays and returns a matplotlib figure; ``save`` writes it.

Titles name the data, for example "stand-in in RHD format, profile cpu". Nothing here reads files.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from msff.report.drawing import (
    METHOD_COLOURS,
    METHOD_MARKERS,
    PAPER_COLOUR,
    contact_sheet,
    cube_limits,
    draw_skeleton,
    draw_skeleton_3d,
    finger_legend,
    joint_colour,
    keep_frame,
    save,
    show_image,
    show_maps,
    show_weights,
    style,
)
from msff.report.published import TABLE1
from msff.report.rows import LABELS
from msff.skeleton import JOINT_NAMES, ROOTS, WRIST
from msff.study.grid import FLOORS

__all__ = [
    "ablation_figure", "contact_sheet", "draw_skeleton", "draw_skeleton_3d", "fig5_figure", "fig6_figure",
    "learning_curves", "save", "show_maps", "show_weights", "style", "table1_figure",
]  # fmt: skip
FLOOR_LABELS = tuple(LABELS[method] for method in FLOORS)
_NOTE = {"fontsize": 8, "color": "#777777", "va": "center"}


def fig5_figure(
    table: pd.DataFrame, data: str, *, floor: bool = False, withheld: Mapping[str, str] | None = None
) -> Figure:
    """The paper's Fig. 5 from the table ``fig5``: a point with its interval per joint and method.

    The wrist is 0 by construction and left out. ``floor`` adds mean pose and oracle, which stretch the axis. Methods
    in ``withheld`` (label -> reason) have no points, and the legend states the reason.
    """
    withheld = withheld or {}
    table = table[(table["joint"] != JOINT_NAMES[WRIST]) & table["value"].notna()]
    listed = [m for m in dict.fromkeys(table["method"]) if floor or m not in FLOOR_LABELS]
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


def table1_figure(
    table: pd.DataFrame, data: str, *, metric: str = "wrist21", withheld: Mapping[str, str] | None = None
) -> Figure:
    """Table 1 as dots: the paper's value (open diamond, real RHD) and ours per track, with intervals.

    The floors are lines across all rows, shaded over their interval (track T2). Methods in ``withheld`` (label ->
    reason) have the reason in place of our dots.
    """
    withheld = withheld or {}
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
        for method in FLOOR_LABELS:
            _floor_line(ax, rows[(rows["method"] == method) & (rows["track"] == "T2")], method)
        ax.axhline(0.5, color="#999999", lw=0.8)  # below it: the surrogate
        ax.set_yticks(list(heights.values()), list(heights))
        ax.set(xlabel=f"mean joint error ({metric}), mm", ylim=(-0.7, len(order) - 0.5))
        right = np.nanmax([*printed.values(), *rows["high"]]) if len(rows) else max(printed.values())
        ax.set_xlim(0, 1.12 * right)
        ax.grid(axis="y", visible=False)
        ax.set_title("Table 1: the paper on RHD, ours on the data named below", pad=24)
        figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    return figure


def _floor_line(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """A vertical line at the value with its interval shaded, and its name above the axes."""
    for value, low, high in rows[["value", "low", "high"]].itertuples(index=False):
        colour = METHOD_COLOURS[label]
        ax.axvspan(low, high, color=colour, alpha=0.2, lw=0, zorder=0)
        ax.axvline(value, color=colour, lw=1, ls=(0, (4, 2)), zorder=1)
        name = label.replace(" (", "\n(")
        ax.text(value, 1.01, name, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
                color=colour)  # fmt: skip


def ablation_figure(
    table: pd.DataFrame,
    data: str,
    *,
    metric: str = "wrist20",
    track: str = "T2",
    withheld: Mapping[str, str] | None = None,
) -> Figure:
    """Left: error of each variant. Right: the difference to the variant it is compared with, over seeds and images.

    The floors, which would stretch the axis, are in the table alone. Variants in ``withheld`` (variant -> reason) have
    the reason in place of their error, and no difference is drawn from or to them.
    """
    withheld = withheld or {}
    rows = table[(table["metric"] == metric) & (table["track"] == track) & ~table["variant"].isin(FLOOR_LABELS)]
    rows = rows.reset_index(drop=True)
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
        left.set(xlabel=f"mean joint error ({metric}, {track}), mm", ylim=(-0.6, len(rows) - 0.4))
        right.axvline(0, color=PAPER_COLOUR, lw=0.9)
        right.set(xlabel="difference to bare (printed: to full), mm\nleft of 0 is better")
        figure.suptitle(f"MS-FF module by module ({data})", fontsize=10)
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame], data: str, *, column: str = "loss") -> Figure:
    """A loss per epoch, one line per run and one panel per phase, whose losses are different quantities.

    Dashed verticals mark where the learning rate of the first run drops.
    """
    shown = {label: h for label, h in histories.items() if len(h) and column in h}
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
                    x, y = parts[label]["epoch"], parts[label][column]
                    ax.plot(x, y, marker="o", ms=2.5, lw=1.3, color=colour, label=label)
            for epoch in _rate_drops(next(iter(parts.values()), pd.DataFrame())):
                ax.axvline(epoch - 0.5, color="#999999", lw=0.8, ls="--")
            if _spans(parts.values(), column, 3):
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
                ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set(xlabel="epoch", title=f"phase {phase}" if phase else "")
        axes[0, 0].set_ylabel(f"training {column.replace('_', ' ')}")
        figure.suptitle(f"Learning curves ({data})", fontsize=10)
        if shown:
            lines = {line.get_label(): line for ax in axes[0] for line in ax.get_legend_handles_labels()[0]}
            figure.legend(lines.values(), lines, loc="outside lower center", fontsize=8, ncols=min(len(lines), 2))
        else:
            _empty(axes[0, 0], "nothing was trained")
    return figure


def _spans(histories: Iterable[pd.DataFrame], column: str, ratio: float) -> bool:
    """Whether a log axis says more than a linear one: all values positive, the largest ``ratio`` times the least."""
    values = pd.concat([h[column].dropna() for h in histories] or [pd.Series(dtype=float)])
    return bool((values > 0).all() and values.max() > ratio * values.min())


def _by_phase(histories: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    """Run -> phase -> its epochs; one phase without a name where no run has several, or none is recorded."""
    several = any(h["phase"].nunique() > 1 for h in histories.values() if "phase" in h)
    return {
        label: dict(tuple(h.groupby("phase", sort=False))) if several and "phase" in h else {"": h}
        for label, h in histories.items()
    }


def _rate_drops(history: pd.DataFrame) -> pd.Series | tuple:
    return history["epoch"][history["lr"].diff() < 0] if {"epoch", "lr"} <= set(history.columns) else ()


def fig6_figure(
    images: Sequence[np.ndarray],
    truth: tuple[np.ndarray, np.ndarray],
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray] | str],
    valid: np.ndarray,
    data: str,
    *,
    labels: Sequence[str] | None = None,
) -> Figure:
    """The paper's Fig. 6: per image a row of input, ground truth and each method over the image, and a 3D row below.

    images N x (H, W, 3); truth and each prediction are ((N, 42, 2) crop px, (N, 42, 3) camera mm); valid (N, 42) bool
    says which joints the annotation has; predictions are drawn for the same joints. A method that is withheld has the
    reason in place of its prediction, in an empty panel. The 3D views are wrist-relative and share the truth's cube
    within a row.
    """
    panels = {"ground truth": truth, **predictions}
    n, columns = len(images), len(panels) + 1
    with style():
        cell = min(1.75, 12 / columns)  # inches; many methods get smaller ones
        height = 2 * cell * n + 0.9  # square cells, 0.5 on top and 0.4 for the legend
        figure = plt.figure(figsize=(cell * columns, height), layout="none")
        grid = figure.add_gridspec(
            2 * n, columns, left=0.01, right=0.99, top=1 - 0.5 / height, bottom=0.4 / height, wspace=0.03, hspace=0.1
        )
        for i in range(n):
            ax = figure.add_subplot(grid[2 * i, 0])
            show_image(ax, images[i])
            title = labels[i] if labels is not None else ""
            ax.set_title("input" + (f", {title}" if title else "") if i == 0 or title else "", fontsize=8)
            for k, (name, panel) in enumerate(panels.items(), start=1):
                if isinstance(panel, str):
                    if i == 0:
                        _withheld_column(figure.add_subplot(grid[:, k]), textwrap.fill(name, 14), panel)
                    continue
                joints_px, joints_mm = panel
                ax = figure.add_subplot(grid[2 * i, k])
                show_image(ax, images[i])
                draw_skeleton(ax, joints_px[i], valid[i], width=1.5)
                keep_frame(ax, images[i])
                ax.set_title(textwrap.fill(name, 14) if i == 0 else "", fontsize=8)
                view = figure.add_subplot(grid[2 * i + 1, k], projection="3d")
                draw_skeleton_3d(view, joints_mm[i] - _origin(joints_mm[i], valid[i]), valid[i])
                _same_cube(view, truth[1][i] - _origin(truth[1][i], valid[i]), valid[i])
        finger_legend(figure)
        figure.suptitle(f"Predictions on the test set ({data})", fontsize=10, y=1 - 0.06 / height, va="top")
    return figure


def _withheld_column(ax: Axes, title: str, reason: str) -> None:
    ax.set_axis_off()
    ax.set_title(title, fontsize=8)
    text = textwrap.fill(f"withheld: {reason}", 20)
    ax.text(0.5, 0.97, text, ha="center", transform=ax.transAxes, **_NOTE | {"va": "top"})


def _origin(joints_mm: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The wrist (right if annotated, else left) of ``joints_mm`` at which a 3D view is centred. -> (3,)."""
    side = "right" if valid[ROOTS["right"]] else "left"
    return np.asarray(joints_mm)[ROOTS[side]]


def _same_cube(ax: Axes, truth_mm: np.ndarray, valid: np.ndarray) -> None:
    cube_limits(ax, (truth_mm[:, [0, 2, 1]] * [1, 1, -1])[valid])
