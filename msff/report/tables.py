"""The study's tables: each builder is a pure function of the results and returns a DataFrame with a caption.

``table.attrs["caption"]`` states data, profile, samples and seeds; `book/metrics.md` explains how to read each table. A
run that is not stored leaves its row with the status "run missing".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import estimate
from msff.evaluation.joint_errors import pooled_mean
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK, RANKING_TRACK, TRACKS
from msff.files import atomic_file
from msff.models.registry import FACTORIAL, METHODS, network_name
from msff.report.claims import claims_table
from msff.report.comparisons import ABLATION_WORDS, pairs, variants
from msff.report.contexts import contexts
from msff.report.contrasts import OCCLUDED, VISIBLE, between, contrasts_table
from msff.report.costs import efficiency
from msff.report.findings import find
from msff.report.formatting import Wide, captioned
from msff.report.photos import realworld
from msff.report.plausibility import plausibility
from msff.report.published import INTERNET_INTERHAND, TABLE1, published_row
from msff.report.results import Cell, Results
from msff.report.robustness import depth_table, robustness_table, spread_table
from msff.report.rows import (
    LABELS,
    MISSING,
    NO_OUTPUT,
    OK,
    PAPER_ORDER,
    RANKING_METRIC,
    bounds,
    finish,
    metric_row,
    name_of,
    seed_columns,
    values,
)
from msff.skeleton import JOINT_NAMES, JOINTS_PER_HAND
from msff.study.grid import BASELINES
from msff.study.store import Store

TABLE1_METRICS = ("wrist20", "wrist21", "pa21", "wrist20_pred_side")
COMPARABLE = ("wrist20", "wrist21")
"""Metrics beside which the paper's value is shown; its InterNet row is presumably wrist21 on track T2."""
SURROGATE_OF = published_row("song").label
FROM_SIDENET = "predicted by SideNet, not by the method"
UNTRACED = "untraced: no run can stand for it"
BASELINE_WORDS = {"mean-pose": "constant pose", "oracle": "decodes the true volume"}
ABLATION_BESIDE = {
    "occluded": ("T2", OCCLUDED), "visible": ("T2", VISIBLE), "fingertip": ("T2", "wrist20_fingertip"),
    "t1": ("T1", RANKING_METRIC),
}  # fmt: skip
"""Further columns of the ablation: (track, metric)."""
FIG5_METHODS = ("posenet", "internet", "msff")
"""The methods of the paper's figure, which have rows also without a run; the others have rows if they have runs."""
INTERHAND_METRICS = ("mpjpe_single", "mpjpe_interacting", "mpjpe_all", "mpjpe_all_no_wrist", "mrrpe")
_TABLE1_WIDE = Wide(
    before={"gt_scale": "GT S", "gt_side": "GT H", "paper": "paper, RHD"},
    numbers={
        "T2 wrist20": ("T2", "wrist20"), "T1 wrist20": ("T1", "wrist20"), "T2 wrist21": ("T2", "wrist21"),
        "T2 pa21": ("T2", "pa21"), "T2 wrist20, predicted handedness": ("T2", "wrist20_pred_side"),
        "T0, the paper's own recipe and metric": (PAPER_TRACK, None),
    },
    after={"seeds": "seeds", "samples": "samples", "given": "given on T2"},
    block="block",
)  # fmt: skip
_INTERHAND_WIDE = Wide(
    numbers={
        "T2 single": ("T2", "mpjpe_single"), "T2 interacting": ("T2", "mpjpe_interacting"),
        "T2 all": ("T2", "mpjpe_all"), "T2 all, no wrists": ("T2", "mpjpe_all_no_wrist"), "T2 MRRPE": ("T2", "mrrpe"),
        "T1 all": ("T1", "mpjpe_all"), "T1 MRRPE": ("T1", "mrrpe"), "handedness": ("", "handedness_accuracy"),
    },
    after={"seeds": "seeds", "given": "given on T2"},
    beside="published",
)  # fmt: skip


def build_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Build every table of the study, by the name of its file."""
    return {name: build(results) for name, build in BUILDERS.items()}


def table1(results: Results) -> pd.DataFrame:
    """Return the paper's Table 1: its seven printed values beside ours, a surrogate, baseline and lower bound."""
    dataset = results.dataset("rhd")
    rows = []
    for published in TABLE1:
        marks = {"gt_scale": "Y" if published.gt_scale else "N", "gt_side": "Y" if published.gt_side else "N"}
        common = {"method": published.label, "dataset": dataset, "block": ""} | marks
        if published.label == SURROGATE_OF:
            nothing = {"track": "", "metric": "", "given": ""} | values(None)
            rows.append(common | nothing | {"paper": published.epe_mm, "status": UNTRACED})
            continue
        printed = dict.fromkeys(COMPARABLE, published.epe_mm)
        rows += _metric_rows(results, Cell(dataset, published.method), common, TABLE1_METRICS, "paper", printed)
        native = Cell(dataset, published.method, "native")
        if results.runs(native):  # the paper's own recipe in its own metric
            metric = PAPER_PROTOCOLS[published.method].own_metric
            row = common | metric_row(results, native, PAPER_TRACK, metric or "") | {"paper": published.epe_mm}
            rows.append(row if metric else row | {"status": "its metric is not known"})
    apart = {"song": f"surrogate, no reproduction of {SURROGATE_OF}:"}
    apart |= dict.fromkeys(BASELINES, "baseline and lower bound:")
    for method, block in apart.items():
        common = {"method": LABELS[method], "dataset": dataset, "block": block, "gt_scale": "", "gt_side": ""}
        names = TABLE1_METRICS[:3] if method in BASELINES else TABLE1_METRICS
        rows += _metric_rows(results, Cell(dataset, method), common, names, "paper", {})
    columns = [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "paper", "gt_scale",
        "gt_side", "given", "block", "status", *seed_columns(rows),
    ]  # fmt: skip
    caption = (
        "Table 1, mean joint error in mm, beside the values that the paper prints for the real RHD. "
        f"{LABELS['song']} is no reproduction of {SURROGATE_OF}, whose {published_row('song').epe_mm:.2f} is untraced. "
    )
    caption += results.sidenet_accuracy(dataset) + results.describe(dataset)
    return finish(rows, columns, caption, _TABLE1_WIDE)


def _metric_rows(
    results: Results, cell: Cell, common: dict, metrics: Sequence[str], column: str, published: Mapping[str, float]
) -> list[dict]:
    """Return a row per track and metric, the ranking track first, with the published numbers in ``column``."""
    return [
        common | metric_row(results, cell, track, metric) | {column: published.get(metric, np.nan)}
        for track in reversed(TRACKS)
        for metric in metrics
    ]


def ablation(results: Results) -> pd.DataFrame:
    """Return MS-FF's 2^3 factorial, one row per combination of modules, then other stored variants and baselines."""
    dataset = results.dataset("rhd")
    present = {cell.variant for cell in results.cells() if (cell.dataset, cell.method) == (dataset, "msff")}
    others = [v for v in ABLATION_WORDS if v not in FACTORIAL and v in present]
    others += sorted(v for v in present if v.startswith("headless-"))
    rows = [_ablation_row(results, Cell(dataset, "msff", v), v, "bare") for v in FACTORIAL]
    rows += [_ablation_row(results, Cell(dataset, "msff", v), v, "full") for v in others]
    rows += [_ablation_row(results, Cell(dataset, method), LABELS[method], "") for method in BASELINES]
    columns = [
        "network", "variant", "track", "metric", "value", "low", "high", *seed_columns(rows), "difference",
        "difference_low", "difference_high", "compared_with", "adds", *ABLATION_BESIDE, "dataset", "seeds", "samples",
        "parameters", "status",
    ]  # fmt: skip
    caption = (
        f"MS-FF with each combination of its modules: {RANKING_METRIC} on {RANKING_TRACK}, mm; further columns: "
        "occluded and visible joints, fingertips. Difference: of the eight combinations from MS-FF without its "
        "modules, of the others from MS-FF; common seeds, bracket over seeds and images. "
    )
    return finish(rows, columns, caption + results.describe_data(dataset))


def _ablation_row(results: Results, cell: Cell, name: str, reference: str) -> dict:
    runs = results.runs(cell)
    compared = reference if name not in (reference, *BASELINES) and not name.startswith("headless-") else ""
    beside = {column: results.estimate(cell, *place) for column, place in ABLATION_BESIDE.items()}
    return {
        "network": name_of(cell), "variant": name,
        "adds": ABLATION_WORDS.get(name, BASELINE_WORDS.get(cell.method, "without heads")),
        "dataset": cell.dataset, **metric_row(results, cell, RANKING_TRACK, RANKING_METRIC),
        "compared_with": network_name("msff", compared) if compared else "",
        **bounds(find(results, between(name, name, reference)) if compared else None),
        **{column: found.value if found else np.nan for column, found in beside.items()},
        "parameters": runs[0].record.parameters / 1e6 if runs and cell.method == "msff" else np.nan,
    }  # fmt: skip


def fig5(results: Results) -> pd.DataFrame:
    """Return the paper's Fig. 5: error of each joint type on interacting images, left and right hand averaged."""
    dataset, track = results.dataset("interhand"), RANKING_TRACK
    rows = []
    stored = [m for m in PAPER_ORDER if m in FIG5_METHODS or results.runs(Cell(dataset, m))]
    for method in (*stored, *BASELINES):
        errors = results.errors(Cell(dataset, method), track, "mpjpe_interacting")
        for j, joint in enumerate(JOINT_NAMES):
            number = estimate([e.joints([j, j + JOINTS_PER_HAND]) for e in errors]) if errors else None
            row = {"joint": joint, "method": LABELS[method], "dataset": dataset, "track": track}
            rows.append(row | values(number) | {"status": OK if number else MISSING})
    columns = ["joint", "method", "value", "low", "high", "dataset", "track", "seeds", "samples", "status"]
    absent = [LABELS[method] for method in FIG5_METHODS if not results.runs(Cell(dataset, method))]
    caption = (
        f"Error of each joint in mm, interacting hands, {track}, relative to its hand's wrist. "
        f"{_crop_per_hand([method for method in stored if results.runs(Cell(dataset, method))])}"
    )
    caption += f"Without a run: {', '.join(absent)}. " if absent else ""
    return finish(rows, columns, caption + results.describe(dataset))


def interhand(results: Results) -> pd.DataFrame:
    """Return MPJPE, MRRPE and handedness on the InterHand2.6M layout, for all methods that have runs."""
    dataset = results.dataset("interhand")
    rows = []
    for method in (*PAPER_ORDER, *BASELINES):
        cell, common = Cell(dataset, method), {"method": LABELS[method], "dataset": dataset}
        if not results.runs(cell) and method not in ("internet", "msff"):
            continue
        published = INTERNET_INTERHAND[0].by_metric if method == "internet" else {}
        rows += _metric_rows(results, cell, common, INTERHAND_METRICS, "published", published)
        rows.append(_handedness_row(results, cell, common))
    columns = [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "published", "given",
        "status", *seed_columns(rows),
    ]  # fmt: skip
    apart = _crop_per_hand([m for m in PAPER_ORDER if results.runs(Cell(dataset, m))])
    caption = (
        "MPJPE and MRRPE in mm, handedness as a share of images. Published: Moon et al. 2020, real InterHand2.6M. "
        f"{apart}{results.sidenet_accuracy(dataset)}"
    )
    return finish(rows, columns, caption + results.describe(dataset), _INTERHAND_WIDE)


def _crop_per_hand(methods: Sequence[str]) -> str:
    """Return a sentence on the methods that have a box for each of two hands, for captions; "" if there is none."""
    labels = [METHODS[method].label for method in methods if METHODS[method].single_hand]
    return f"One box per hand: {', '.join(labels)}. " if labels else ""


def _handedness_row(results: Results, cell: Cell, common: dict) -> dict:
    found = results.evaluations(cell, RANKING_TRACK)
    from_sidenet = results.inputs(cell, RANKING_TRACK).get("side_input") == "predicted"
    known = [] if from_sidenet else [e for e in found if e.handedness.samples]
    status = OK if known else FROM_SIDENET if from_sidenet else NO_OUTPUT if found else MISSING
    row = values(None)
    if known:
        shares = [pooled_mean(e.handedness) for e in known]
        row |= {"value": float(np.mean(shares)), "seeds": len(known), "samples": known[0].handedness.samples}
        if len(known) == len(found):
            row |= {f"seed{seed}": share for seed, share in zip(results.seeds(cell), shares, strict=True)}
    named = {"track": "", "metric": "handedness_accuracy", "given": "", "published": np.nan, "status": status}
    return common | named | row


BUILDERS: dict[str, Callable[[Results], pd.DataFrame]] = {
    "table1": table1, "pairs": pairs, "variants": variants, "ablation": ablation, "fig5": fig5, "contexts": contexts,
    "interhand": interhand, "realworld": realworld, "efficiency": efficiency, "plausibility": plausibility,
    "contrasts": contrasts_table, "claims": claims_table, "robustness": robustness_table, "spread": spread_table,
    "depths": depth_table,
}  # fmt: skip


def write_tables(store: Store) -> list[Path]:
    """Write every table as CSV (full precision) and Markdown (rounded, with caption) into the store, atomically."""
    paths = []
    for name, table in build_tables(Results(store)).items():
        for suffix, text in ((".csv", table.to_csv(index=False, float_format="%.6g")), (".md", captioned(table))):
            path = store.tables / f"{name}{suffix}"
            with atomic_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths
