"""One name, several metrics: how the choice of convention alone changes a number, from the same stored predictions.

A convention is a metric (alignment and joints), a track (test-time inputs) and an average. Each is compared with the
first of its group on the same images.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.evaluation.bootstrap import JOINT_MEANS, Estimate, estimate, estimate_difference
from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.evaluation.joint_errors import pck, thresholds_mm
from msff.evaluation.tracks import PAPER_PROTOCOLS
from msff.report import drawing
from msff.report.contrasts import lead
from msff.report.findings import find
from msff.report.formatting import with_minus
from msff.report.front_figure import set_names_above
from msff.report.published import TABLE1, lead_mm, lead_share
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS, MISSING, OK, bounds, finish

EMPTY, UNKNOWN = "no such sample", "not known"


@dataclass(frozen=True)
class Convention:
    """One way to turn stored predictions into a number."""

    name: str  # what differs from the first of its group
    metric: str
    track: str = "T2"
    average: str = JOINT_MEANS

    @property
    def layout(self) -> str:
        """Return the layout that the metric belongs to."""
        return "interhand" if self.metric.startswith(("mpjpe", "mrrpe")) else "rhd"


RHD = (
    Convention("wrist as root, 20 joints (headline)", "wrist20"),
    Convention("the wrist counted with its zero", "wrist21"),
    Convention("palm centre as root, counted as zero", "palm21"),
    Convention("true palm as root of both", "palm21_true_root"),
    Convention("visible joints only", "wrist20_vis"),
    Convention("visible, pooled over joints", "wrist20_vis", average="pooled"),
    Convention("visible, palm centre as root", "palm21_vis"),
    Convention("true bone length", "wrist20_scaled"),
    Convention("true bone length, visible, palm", "palm21_vis_scaled"),
    Convention("true wrist depth", "wrist20", track="T1"),
    Convention("hand chosen by predicted handedness", "wrist20_pred_side"),
    Convention("median of each joint, then mean", "wrist20", average="joint medians"),
    Convention("median over all joints", "wrist20", average="pooled median"),
    Convention("similarity alignment", "pa21"),
)
INTERHAND = (
    Convention("each hand's wrist, 42 joint means (official)", "mpjpe_all"),
    Convention("pooled over joints and images", "mpjpe_all", average="pooled"),
    Convention("without the two zero wrists", "mpjpe_all_no_wrist"),
    Convention("without wrists, pooled", "mpjpe_all_no_wrist", average="pooled"),
    Convention("true wrist depth", "mpjpe_all", track="T1"),
    Convention("median of each joint, then mean", "mpjpe_all", average="joint medians"),
    Convention("single hands only", "mpjpe_single"),
    Convention("interacting hands only", "mpjpe_interacting"),
)
MRRPE = (
    Convention("left wrist at the predicted relative depth", "mrrpe"),
    Convention("left wrist's own heat-map depth kept (InterNet's code)", "mrrpe_own_offset"),
    Convention("true depth of the right wrist", "mrrpe", track="T1"),
)
"""Three groups; the first of each is the reference of the others."""
DRAWN = {"RHD layout": RHD, "InterHand2.6M layout": INTERHAND[:6]}
"""Panel of the figure -> group, without the conventions that score other images."""
COMPARED = ("msff", "internet")


def leads_mm() -> tuple[float, float]:
    """Return the paper's leads over Song(2022) and over InterNet(2020), mm."""
    return lead_mm("song"), lead_mm("internet")


def leads_percent() -> tuple[float, float]:
    """Return the same leads as shares of the other method's error, %."""
    return 100 * lead_share("song"), 100 * lead_share("internet")


# Tables


def conventions_table(results: Results, group: Sequence[Convention]) -> pd.DataFrame:
    """Return MS-FF's predictions under every convention of a group, each against the first, paired by image."""
    dataset = results.dataset(group[0].layout)
    rows = [{"convention": c.name} | _row(results, Cell(dataset, "msff"), c, group[0]) for c in group]
    (song, internet), shares = leads_mm(), leads_percent()
    caption = (
        f"MS-FF's predictions under each convention, mm; differences from the first row, paired by image. Leads in "
        f"Table 1: {song:.2f} mm ({shares[0]:.1f} %) over Song(2022), {internet:.2f} mm ({shares[1]:.1f} %) over "
        "InterNet. "
    )
    return finish(rows, list(rows[0]), caption + results.describe(dataset))


def table1_conventions(results: Results) -> pd.DataFrame:
    """Return MS-FF's predictions scored as each row of the paper's Table 1 was, according to public code."""
    dataset = results.dataset("rhd")
    cell, reference = Cell(dataset, "msff"), Convention("", PAPER_PROTOCOLS["msff"].metric)
    rows = []
    for published in TABLE1:
        native = PAPER_PROTOCOLS[published.method]
        unknown = {"metric": UNKNOWN, "status": UNKNOWN} | bounds(None, "value", "low", "high") | bounds(None)
        scored = _row(results, cell, Convention("", native.metric), reference) if native.metric else unknown
        rows.append({"row of Table 1": published.label, "printed": published.epe_mm, "source": native.source} | scored)
    columns = [
        "row of Table 1", "printed", "metric", "value", "low", "high", "difference", "difference_low",
        "difference_high", "source", "status",
    ]  # fmt: skip
    caption = (
        "MS-FF's predictions on T2 in the metric of each row of Table 1, mm. Printed: that row's method on the real "
        f"RHD. Difference: from {reference.metric}, presumably the metric of the row MS-FF, paired by image. "
    )
    return finish(rows, columns, caption + results.describe(dataset))


def order_table(results: Results) -> pd.DataFrame:
    """Return whether the convention changes which of MS-FF and InterNet has the lower error."""
    dataset = results.dataset("rhd")
    ours, theirs = LABELS["msff"], LABELS["internet"]
    rows = []
    for convention in RHD:
        numbers = [_estimate(results, Cell(dataset, method), convention) for method in ("msff", "internet")]
        values = {label: n.value if n else np.nan for label, n in zip((ours, theirs), numbers, strict=True)}
        fields = {"layout": convention.layout, "track": convention.track, "average": convention.average}
        gap = find(results, lead(convention.name, metrics=convention.metric, **fields))
        lower = {BETTER: ours, WORSE: theirs}.get(gap.verdict, MISSING if not gap.known else gap.verdict)
        rows.append({"convention": convention.name} | values | bounds(gap) | {"lower": lower})
    caption = (
        f"Both methods under each convention, mm. Difference: {ours} - {theirs}, its bracket over seeds and images. "
        "Lower: by the rule of the claims. "
    )
    return finish(rows, list(rows[0]), caption + results.describe_data(dataset))


# Numbers


def _estimate(results: Results, cell: Cell, convention: Convention) -> Estimate | None:
    errors = results.errors(cell, convention.track, convention.metric)
    return estimate(errors, average=convention.average) if errors else None


def convention_difference(results: Results, cell: Cell, convention: Convention, base: Convention) -> Estimate | None:
    """Return a convention's number minus the base's, of one method on the same images."""
    ours, theirs = (results.errors(cell, c.track, c.metric) for c in (convention, base))
    averages = (convention.average, base.average)
    return estimate_difference(ours, theirs, average=averages) if ours and theirs else None


def _row(results: Results, cell: Cell, convention: Convention, base: Convention) -> dict:
    number = _estimate(results, cell, convention)
    gap = None if convention == base else convention_difference(results, cell, convention, base)
    percent = 100 * gap.value / (number.value - gap.value) if gap else np.nan
    return {
        "metric": convention.metric, "track": convention.track, "average": convention.average,
        **bounds(number, "value", "low", "high"), **bounds(gap), "percent": percent,
        "beyond the leads": beyond_the_leads(gap.value, percent) if gap else "",
        "samples": number.samples if number else 0,
        "status": OK if number else (EMPTY if results.runs(cell) else MISSING),
    }  # fmt: skip


def beyond_the_leads(mm: float, percent: float) -> str:
    """Return in which units a change exceeds the paper's larger lead: "mm", "%", "mm and %" or "neither"."""
    units = [u for u, far in (("mm", abs(mm) > max(leads_mm())), ("%", abs(percent) > max(leads_percent()))) if far]
    return " and ".join(units) or "neither"


# Figures


def conventions_figure(results: Results) -> Figure:
    """Draw the change that each convention makes to each method's number, beside the paper's leads.

    The axis is linear within 1 mm of 0 and logarithmic beyond. A layout without any run has no panel. Narrow enough for
    a phone.
    """
    gaps = {
        title: [
            [convention_difference(results, Cell(results.dataset(base.layout), method), c, base) for c in group]
            for method in COMPARED
        ]
        for title, (base, *group) in DRAWN.items()
    }
    panels = {title: group for title, group in DRAWN.items() if any(map(any, gaps[title]))} or DRAWN
    heights = [len(group) - 1 for group in panels.values()]
    with drawing.style():
        shape = {"figsize": (4.2, 0.44 * sum(heights) + 2.2), "sharex": True, "squeeze": False}
        figure, axes = plt.subplots(len(panels), 1, height_ratios=heights, **shape)
        for ax, (title, (base, *group)) in zip(axes[:, 0], panels.items(), strict=True):
            _draw_leads(ax)
            for method, offset, changes in zip(COMPARED, (0.02, 0.26), gaps[title], strict=True):
                look = drawing.method_points(LABELS[method]) | {"marker": "o", "ms": 4}
                for y, gap in enumerate(changes):
                    if gap:
                        drawing.draw_interval(ax, y + offset, gap.bounds, **look)
                    else:
                        ax.text(0, y + offset, "  no number", fontsize=7, va="center", color=drawing.NOTE_COLOUR)
                ax.plot([], [], "o", color=look["color"], label=f"ours, {LABELS[method]}")
            drawing.name_rows(ax, [c.name for c in group])
            set_names_above(ax, 0.28)
            ax.set_title(f"{title}, against:\n{base.name}", fontsize=9)
        _scale_mm(ax)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", fontsize=8)
        data = ", ".join(label_of(results.dataset(group[0].layout)) for group in panels.values())
        data = textwrap.fill(f"({data}; profile {results.profile})", 60)
        figure.suptitle(f"Change of the error by the convention alone\n{data}", fontsize=9)
    return figure


def _draw_leads(ax: Axes) -> None:
    """Draw the paper's leads as bands on either side of zero."""
    small, large = leads_mm()
    label = f"MS-FF's leads in the paper: {small:.2f}, {large:.2f} mm"
    ax.axvspan(-large, large, color=drawing.BAND_COLOUR, zorder=0, label=label)
    ax.axvspan(-small, small, color="#C2C2C2", zorder=0)
    ax.axvline(0, color=drawing.PAPER_COLOUR, lw=0.9)


def _scale_mm(ax: Axes) -> None:
    ax.set_xscale("symlog", linthresh=1.0)
    low, high = ax.get_xlim()
    ticks = [t for t in (-100, -30, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 30, 100) if low <= t <= high]
    ax.set_xticks(ticks, [with_minus(f"{t:+g}") if t else "0" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("change, mm (linear within 1 mm, logarithmic beyond)")


def pck_figure(results: Results, data: str) -> Figure:
    """Draw the share of joints within a threshold, by wrist20 (solid) and palm21_vis (dashed), track T2."""
    thresholds = np.linspace(0, 50, 101)
    dataset = results.dataset("rhd")
    with drawing.style():
        figure, ax = plt.subplots(figsize=(4.2, 4.2))
        for method in (*COMPARED, "mean-pose"):
            for metric, line in (("wrist20", "-"), ("palm21_vis", "--")):
                curves = [
                    pck(e, torch.as_tensor(thresholds)) for e in results.errors(Cell(dataset, method), "T2", metric)
                ]
                known = [curve for curve in curves if curve is not None]
                if known:
                    look = {"color": drawing.METHOD_COLOURS[LABELS[method]], "lw": 1.4}
                    ax.plot(thresholds, np.mean(known, axis=0), line, label=f"{LABELS[method]}, {metric}", **look)
        ax.axvspan(float(thresholds_mm()[8]), 50, color="#F2F2F2", zorder=0)
        ax.text(49.5, 0.02, "range of AUC 20-50", ha="right", fontsize=8, color="#777777")
        ax.set(xlabel="threshold, mm", ylabel="share of joints within it", xlim=(0, 50), ylim=(0, 1))
        ax.set_title(f"PCK curves\n({data})", fontsize=9)
        if ax.lines:
            figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        else:
            drawing.say(ax)
    return figure
