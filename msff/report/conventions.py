"""One name, several metrics: what the choice of convention alone does to a number, from the same stored predictions.

A convention is a metric (what is aligned, which joints count), a track (what ground truth was given) and an average.
Each is set beside the first of its group on the same images; nothing is trained or predicted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import JOINT_MEANS, Estimate, estimate, estimate_difference
from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.evaluation.joint_errors import JointErrors
from msff.evaluation.tracks import PAPER_PROTOCOLS, TRACKS, TestTimeInputs
from msff.report.book.methods import given_on
from msff.report.contrasts import Finding, find, lead
from msff.report.published import TABLE1, published_row, wrist20_equivalent
from msff.report.results import Cell, Results
from msff.report.rows import PAPER_ORDER
from msff.report.tables import LABELS, MISSING, OK

EMPTY, UNKNOWN = "no such sample", "not known"


@dataclass(frozen=True)
class Convention:
    """One way to turn stored predictions into a number."""

    name: str  # for readers: what differs from the first of its group
    metric: str
    track: str = "T2"
    average: str = JOINT_MEANS


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
    Convention("hand picked by predicted side", "wrist20_pred_side"),
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
"""Groups: the first of each is what the others are compared with."""


def leads_mm() -> tuple[float, float]:
    """By how much the paper's MS-FF is ahead of Song(2022) and of InterNet(2020) in its Table 1, mm."""
    ours = published_row("msff").epe_mm
    return tuple(round(published_row(rival).epe_mm - ours, 2) for rival in ("song", "internet"))


def leads_percent() -> tuple[float, float]:
    """The same as shares of the rival's error, %."""
    ours = published_row("msff").epe_mm
    return tuple(100 * (1 - ours / published_row(rival).epe_mm) for rival in ("song", "internet"))


# Tables


def conventions_table(results: Results, group: Sequence[Convention], method: str = "msff") -> pd.DataFrame:
    """Every convention of a group on one method's predictions, each against the first, paired by image."""
    dataset = dataset_of(results, group)
    rows = [_row(results, Cell(dataset, method), convention, group[0]) for convention in group]
    columns = [
        "convention", "metric", "track", "average", "value", "low", "high", "difference", "difference_low",
        "difference_high", "percent", "beyond the leads", "samples", "status",
    ]  # fmt: skip
    (song, internet), shares = leads_mm(), leads_percent()
    caption = (
        f"{LABELS[method]}: the same stored predictions under each convention, mm. difference: to the first row, "
        f"paired by image; percent: of the first row. In the paper's Table 1 MS-FF leads Song(2022) by {song:.2f} mm "
        f"({shares[0]:.1f} %) and InterNet(2020) by {internet:.2f} mm ({shares[1]:.1f} %); beyond the leads says in "
        f"which of the two units the convention moves the number by more than both. {_tracks()} "
    )
    return _finish(rows, columns, caption + results.describe(dataset))


def table1_conventions(results: Results, method: str = "msff") -> pd.DataFrame:
    """One method's predictions scored as each row of the paper's Table 1 was, as far as public code tells."""
    dataset = results.dataset("rhd")
    cell, reference = Cell(dataset, method), Convention("", PAPER_PROTOCOLS["msff"].metric)
    rows = []
    for published in TABLE1:
        native = PAPER_PROTOCOLS[published.method]
        row = {"row of Table 1": published.label, "printed": published.epe_mm, "source": native.source}
        if native.metric is None:
            rows.append(row | {"metric": UNKNOWN, "status": UNKNOWN} | _numbers(None, None))
        else:
            rows.append(row | _row(results, cell, Convention("", native.metric), reference))
    columns = [
        "row of Table 1", "printed", "metric", "value", "low", "high", "difference", "difference_low",
        "difference_high", "source", "status",
    ]  # fmt: skip
    caption = (
        f"One network in the metric of every row: the predictions of {LABELS[method]} on track T2, scored as each row "
        "of the paper's Table 1 was, mm. printed: the paper's value of that row's own method on the real RHD. "
        f"difference: to {reference.metric}, the convention presumed for the row MS-FF, paired by image. The "
        "prediction is re-centred on its own root throughout. "
    )
    return _finish(rows, columns, caption + results.describe(dataset))


def printed_table() -> pd.DataFrame:
    """Table 1's printed values with the metric of each row, and what a wrist21 would read as wrist20."""
    rows = []
    for row in TABLE1:
        metric = PAPER_PROTOCOLS[row.method].metric
        other = wrist20_equivalent(row.epe_mm) if metric == "wrist21" else np.nan
        rows.append({"method": row.label, "printed": row.epe_mm, "metric": metric or UNKNOWN, "as wrist20": other})
    caption = (
        "The paper's printed values, mm on the real RHD, the metric of each row, and InterNet's kind without its zero."
    )
    return _finish(rows, list(rows[0]), caption)


def order_table(results: Results, group: Sequence[Convention] = RHD, rival: str = "internet") -> pd.DataFrame:
    """Whether the convention changes which of two methods has the lower error."""
    dataset = dataset_of(results, group)
    ours, theirs = LABELS["msff"], LABELS[rival]
    rows = []
    for convention in group:
        values = [_estimate(results, Cell(dataset, m), convention) for m in ("msff", rival)]
        gap = _gap(results, rival, convention)
        row = {ours: _value(values[0]), theirs: _value(values[1]), "lower": _lower(gap, ours, theirs)}
        bounds = zip(("difference", "difference_low", "difference_high"), gap.bounds, strict=True)
        rows.append({"convention": convention.name} | row | dict(bounds))
    columns = ["convention", ours, theirs, "difference", "difference_low", "difference_high", "lower"]
    caption = (
        f"The two methods under each convention, mm; difference {ours} - {theirs}, its bracket over seeds and images. "
        "lower names one by the rule of the claims, else the verdict. "
    )
    return _finish(rows, columns, caption + results.describe_data(dataset))


def given_table(results: Results) -> pd.DataFrame:
    """What each track takes from the annotation: T0 by row of Table 1, T1 and T2 as the stored runs say.

    Methods that are given the same share a row; without a run it is what the profile paper would give.
    """
    rows = [{"track": "T0", "method": row.label, **asdict(PAPER_PROTOCOLS[row.method].inputs)} for row in TABLE1]
    for name in TRACKS:
        alike: dict[TestTimeInputs, list[str]] = {}
        for method in ("msff", *PAPER_ORDER[:-1]):
            found = results.evaluations(Cell(results.dataset("rhd"), method), name)
            alike.setdefault(found[0].inputs if found else given_on(method, name), []).append(LABELS[method])
        rows += [{"track": name, "method": ", ".join(labels), **asdict(given)} for given, labels in alike.items()]
    caption = (
        "Where each quantity came from at test time. true: from the annotation; own: the method's own estimate; box, "
        "network, training mean, predicted: estimated for it; none: not used. side_slot is which hand's output is "
        "scored; a method that knows one hand has one output, for either. T0 is each method's "
        "own recipe, as far as its public code or the marks of Table 1 tell; T1 and T2 are this study's. scale and "
        "side_input are the columns GT S and GT H of Table 1; the others have no column there."
    )
    return _finish(rows, list(rows[0]), caption)


# Numbers


def dataset_of(results: Results, group: Sequence[Convention]) -> str:
    """The profile's dataset of the layout that a group's metrics belong to."""
    return results.dataset("interhand" if group[0].metric.startswith(("mpjpe", "mrrpe")) else "rhd")


def _errors(results: Results, cell: Cell, convention: Convention) -> list[JointErrors]:
    return results.errors(cell, convention.track, convention.metric)


def _estimate(results: Results, cell: Cell, convention: Convention) -> Estimate | None:
    errors = _errors(results, cell, convention)
    return estimate(errors, average=convention.average) if errors else None


def convention_difference(results: Results, cell: Cell, convention: Convention, base: Convention) -> Estimate | None:
    """A convention's number minus the base's, of one method on the same images."""
    ours, theirs = _errors(results, cell, convention), _errors(results, cell, base)
    averages = (convention.average, base.average)
    return estimate_difference(ours, theirs, average=averages) if ours and theirs else None


def _gap(results: Results, rival: str, convention: Convention) -> Finding:
    """What the runs say about MS-FF minus the rival under one convention."""
    layout = "interhand" if convention.metric.startswith(("mpjpe", "mrrpe")) else "rhd"
    fields = {"layout": layout, "track": convention.track, "average": convention.average}
    return find(results, lead(convention.name, rival, metrics=convention.metric, **fields))


def _row(results: Results, cell: Cell, convention: Convention, base: Convention) -> dict:
    number = _estimate(results, cell, convention)
    gap = None if convention == base else convention_difference(results, cell, convention, base)
    status = OK if number else (EMPTY if results.runs(cell) else MISSING)
    row = {"convention": convention.name, "metric": convention.metric, "track": convention.track}
    row |= {"average": convention.average, "status": status, "samples": number.samples if number else 0}
    row |= _numbers(number, gap)
    percent = 100 * gap.value / (number.value - gap.value) if gap and number else np.nan
    return row | {"percent": percent, "beyond the leads": _beyond(gap.value, percent) if gap else ""}


def _numbers(number: Estimate | None, gap: Estimate | None) -> dict:
    bounds = [(e.value, e.low, e.high) if e else (np.nan,) * 3 for e in (number, gap)]
    names = ("value", "low", "high"), ("difference", "difference_low", "difference_high")
    return {n: v for keys, values in zip(names, bounds, strict=True) for n, v in zip(keys, values, strict=True)}


def _beyond(mm: float, percent: float) -> str:
    units = [u for u, far in (("mm", abs(mm) > max(leads_mm())), ("%", abs(percent) > max(leads_percent()))) if far]
    return " and ".join(units) or "neither"


def _lower(gap: Finding, ours: str, theirs: str) -> str:
    return {BETTER: ours, WORSE: theirs}.get(gap.verdict, MISSING if np.isnan(gap.estimate) else gap.verdict)


def _value(number: Estimate | None) -> float:
    return number.value if number else np.nan


def _tracks() -> str:
    return " ".join(f"{name}: {track.label}." for name, track in TRACKS.items())


def _finish(rows: list[dict], columns: list[str], caption: str) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["caption"] = caption.strip()
    return table
