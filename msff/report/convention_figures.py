"""Figures of the chapter on conventions: the change that each makes to a number, and PCK curves of two metrics."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from msff.evaluation.bootstrap import Estimate
from msff.evaluation.joint_errors import JointErrors, pck, thresholds_mm
from msff.report.conventions import INTERHAND, RHD, Convention, convention_difference, leads_mm
from msff.report.drawing import (
    BAND_COLOUR,
    METHOD_COLOURS,
    NOTE_COLOUR,
    PAPER_COLOUR,
    draw_interval,
    method_points,
    say,
    style,
)
from msff.report.formatting import with_minus
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS

SHOWN = {"RHD layout": RHD, "InterHand2.6M layout": INTERHAND[:6]}
"""Panel -> group, without the conventions that score other images."""
CHANGED, CURVES = ("msff", "internet"), ("msff", "internet", "mean-pose")
"""The methods of either figure."""


def conventions_figure(results: Results) -> Figure:
    """Draw the change that each convention makes to each method's number, beside the paper's leads.

    The axis is linear within 1 mm of 0 and logarithmic beyond. A layout without any run has no panel.
    """
    gaps = {title: _gaps(results, *group) for title, group in SHOWN.items()}
    panels = {title: group for title, group in SHOWN.items() if any(gaps[title].values())} or SHOWN
    datasets = [results.dataset(group[0].layout) for group in panels.values()]
    heights = [len(group) - 1 for group in panels.values()]
    with style():
        shape = {"figsize": (8, 0.27 * sum(heights) + 1.7), "sharex": True, "squeeze": False}
        figure, axes = plt.subplots(len(panels), 1, height_ratios=heights, **shape)
        axes = axes[:, 0]
        for ax, (title, (base, *group)) in zip(axes, panels.items(), strict=True):
            _leads(ax)
            for method, offset in zip(CHANGED, (-0.15, 0.15), strict=True):
                look = method_points(LABELS[method]) | {"marker": "o", "ms": 4}
                for y, convention in enumerate(group):
                    if gap := gaps[title][method, convention.name]:
                        draw_interval(ax, y + offset, gap.bounds, **look)
                    else:
                        ax.text(0, y + offset, "  no number", fontsize=7, va="center", color=NOTE_COLOUR)
                ax.plot([], [], "o", color=look["color"], label=f"ours, {LABELS[method]}")
            ax.set_yticks(range(len(group)), [c.name for c in group], fontsize=8)
            ax.set(ylim=(len(group) - 0.5, -0.5), title=f"{title}, against: {base.name}")
            ax.grid(axis="y", visible=False)
        _mm_axis(axes[-1])
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
        data = f"{', '.join(map(label_of, datasets))}; profile {results.profile}"
        figure.suptitle(f"Change of the error by the convention alone\n({data})", fontsize=10)
    return figure


def _gaps(results: Results, base: Convention, *others: Convention) -> dict[tuple[str, str], Estimate | None]:
    """Return (method, name of a convention) -> the change that it makes to the number under ``base``."""
    dataset = results.dataset(base.layout)
    return {
        (method, other.name): convention_difference(results, Cell(dataset, method), other, base)
        for method in CHANGED
        for other in others
    }


def pck_figure(results: Results, data: str) -> Figure:
    """Draw the share of joints within a threshold, by wrist20 (solid) and palm21_vis (dashed), track T2."""
    thresholds = np.linspace(0, 50, 101)
    dataset = results.dataset("rhd")
    with style():
        figure, ax = plt.subplots(figsize=(6.5, 3.4))
        for method in CURVES:
            for metric, line in (("wrist20", "-"), ("palm21_vis", "--")):
                share = _mean_curve(results.errors(Cell(dataset, method), "T2", metric), thresholds)
                if share is not None:
                    colour = METHOD_COLOURS[LABELS[method]]
                    ax.plot(thresholds, share, line, color=colour, lw=1.4, label=f"{LABELS[method]}, {metric}")
        ax.axvspan(float(thresholds_mm()[8]), 50, color="#F2F2F2", zorder=0)
        ax.text(49.5, 0.02, "range of AUC 20-50", ha="right", fontsize=8, color="#777777")
        ax.set(xlabel="threshold, mm", ylabel="share of joints within it", xlim=(0, 50), ylim=(0, 1))
        ax.set_title(f"PCK curves ({data})")
        if ax.lines:
            figure.legend(loc="outside right upper", fontsize=8)
        else:
            say(ax)
    return figure


def _mean_curve(seeds: list[JointErrors], thresholds: np.ndarray) -> np.ndarray | None:
    curves = [pck(e, torch.as_tensor(thresholds)) for e in seeds]
    known = [c.numpy() for c in curves if c is not None]
    return np.mean(known, axis=0) if known else None


def _leads(ax: Axes) -> None:
    """Draw the paper's leads as bands on either side of zero."""
    small, large = leads_mm()
    label = f"MS-FF's leads in the paper: {small:.2f}, {large:.2f} mm"
    ax.axvspan(-large, large, color=BAND_COLOUR, zorder=0, label=label)
    ax.axvspan(-small, small, color="#C2C2C2", zorder=0)
    ax.axvline(0, color=PAPER_COLOUR, lw=0.9)


def _mm_axis(ax: Axes) -> None:
    ax.set_xscale("symlog", linthresh=1.0, linscale=1.0)
    low, high = ax.get_xlim()
    ticks = [t for t in (-100, -30, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 30, 100) if low <= t <= high]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(FixedLocator([]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda t, _: with_minus(f"{t:+g}") if t else "0"))
    ax.set_xlabel("change of the number, mm (linear within 1 mm, logarithmic beyond)")
