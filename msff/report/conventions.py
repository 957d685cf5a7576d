"""One name, several metrics: how the choice of convention alone changes a number, from the same stored predictions.

A convention is a metric (alignment and joints), a track (test-time inputs) and an average. Each is compared with the
first of its group on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import JOINT_MEANS, Estimate, estimate, estimate_difference
from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.evaluation.tracks import PAPER_PROTOCOLS
from msff.report.contrasts import lead
from msff.report.findings import find
from msff.report.published import TABLE1, published_row
from msff.report.results import Cell, Results
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


def leads_mm() -> tuple[float, float]:
    """Return the lead of the paper's MS-FF over Song(2022) and over InterNet(2020) in its Table 1, mm."""
    ours = published_row("msff").epe_mm
    return tuple(round(published_row(rival).epe_mm - ours, 2) for rival in ("song", "internet"))


def leads_percent() -> tuple[float, float]:
    """Return the same leads as shares of the other method's error, %."""
    ours = published_row("msff").epe_mm
    return tuple(100 * (1 - ours / published_row(rival).epe_mm) for rival in ("song", "internet"))


# Tables


def conventions_table(results: Results, group: Sequence[Convention]) -> pd.DataFrame:
    """Return MS-FF's predictions under every convention of a group, each against the first, paired by image."""
    dataset = results.dataset(group[0].layout)
    rows = [{"convention": c.name} | _row(results, Cell(dataset, "msff"), c, group[0]) for c in group]
    (song, internet), shares = leads_mm(), leads_percent()
    caption = (
        f"MS-FF's predictions under each convention, mm; differences to the first row, paired by image. Leads in Table "
        f"1: {song:.2f} mm ({shares[0]:.1f} %) over Song(2022), {internet:.2f} mm ({shares[1]:.1f} %) over InterNet. "
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
        f"RHD. Difference: to {reference.metric}, presumably the metric of the row MS-FF, paired by image. "
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
        lower = {BETTER: ours, WORSE: theirs}.get(gap.verdict, MISSING if np.isnan(gap.estimate) else gap.verdict)
        rows.append({"convention": convention.name} | values | bounds(gap) | {"lower": lower})
    caption = (
        f"Both methods under each convention, mm; difference {ours} - {theirs}, its bracket over seeds and images. "
        "lower: by the rule of the claims. "
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
