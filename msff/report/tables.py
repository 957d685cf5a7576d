"""The study's tables: each builder is a pure function of the results and returns a DataFrame with a caption.

``table.attrs["caption"]`` states data, profile, samples and seeds. A run that is not in the store leaves its row with
the status "run missing".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from msff.evaluation.bootstrap import estimate
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK, TRACKS
from msff.files import atomic_file
from msff.models.registry import FACTORIAL, METHODS
from msff.report.claims import claims_table
from msff.report.comparisons import pairs, variants
from msff.report.contrasts import (
    HEADLINE_METRIC,
    OCCLUDED,
    VISIBLE,
    between,
    contrasts_table,
    find,
)
from msff.report.costs import efficiency
from msff.report.formatting import Wide, to_markdown
from msff.report.photos import realworld
from msff.report.plausibility import plausibility
from msff.report.published import INTERNET_INTERHAND, TABLE1, published_row, wrist20_equivalent
from msff.report.results import Cell, Results
from msff.report.rows import (
    HEADLINE_TRACK,
    LABELS,
    MISSING,
    NO_OUTPUT,
    OK,
    PAPER_ORDER,
    by_seed,
    finish,
    given_words,
    seed_columns,
    tracks,
    values,
)
from msff.report.rule_figure import rule_table
from msff.skeleton import JOINT_NAMES, JOINTS_PER_HAND
from msff.study.grid import FLOORS
from msff.study.profiles import LADDER
from msff.study.store import Store

TABLE1_METRICS = ("wrist20", "wrist21", "pa21", "wrist20_pred_side")
COMPARABLE = ("wrist20", "wrist21")
"""Metrics beside which the paper's value is printed; the convention of its InterNet row is wrist21 on track T2."""
SURROGATE_OF = published_row("song").label
BORROWED = "SideNet's answer, not its own"
UNTRACED = "untraced: no run can stand for it"
CUMULATIVE = tuple(row.removeprefix("msff/") for row in (*LADDER, "full"))
"""MS-FF module by module, as the module pages build it."""
ABLATION_WORDS = {
    "bare": "none (trunk, plain upsampling and heads)",
    "ccm": "channel conversion",
    "grm": "global regression",
    "lom": "local optimisation",
    "no-lom": "channel conversion and global regression",
    "no-ccm": "global regression and local optimisation",
    "no-grm": "channel conversion and local optimisation",
    "full": "all three",
    "printed": "all three, Eq. (4) as printed",
}
"""Which modules each variant of the ablation has: the 2^3 factorial, then other readings."""
FLOOR_WORDS = {"mean-pose": "looks at no pixel", "oracle": "decodes the true volume"}
ABLATION_BESIDE = {
    "occluded": ("T2", OCCLUDED), "visible": ("T2", VISIBLE), "fingertip": ("T2", "wrist20_fingertip"),
    "t1": ("T1", HEADLINE_METRIC),
}  # fmt: skip
"""Columns of the ablation beside its headline: (track, metric)."""
FIG5_METHODS = ("posenet", "internet", "msff")
INTERHAND_METRICS = ("mpjpe_single", "mpjpe_interacting", "mpjpe_all", "mpjpe_all_no_wrist", "mrrpe")
_TABLE1_WIDE = Wide(
    before={"gt_scale": "GT S", "gt_side": "GT H", "paper": "paper, RHD"},
    numbers={
        "T2 wrist20": ("T2", "wrist20"), "T1 wrist20": ("T1", "wrist20"), "T2 wrist21": ("T2", "wrist21"),
        "T2 pa21": ("T2", "pa21"), "T2 wrist20, predicted side": ("T2", "wrist20_pred_side"),
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
    """Every table of the study by the name of its file."""
    return {name: build(results) for name, build in BUILDERS.items()}


def table1(results: Results) -> pd.DataFrame:
    """The paper's Table 1: its seven printed values beside ours, the surrogate of one method, and the two floors."""
    dataset = results.dataset("rhd")
    rows = []
    for published in TABLE1:
        marks = {"gt_scale": "Y" if published.gt_scale else "N", "gt_side": "Y" if published.gt_side else "N"}
        common = {"method": published.label, "dataset": dataset, "block": ""} | marks
        if published.label == SURROGATE_OF:
            nothing = {"track": "", "metric": "", "given": ""} | values(None)
            rows.append(common | nothing | {"paper": published.epe_mm, "status": UNTRACED})
            continue
        rows += _metric_rows(results, Cell(dataset, published.method), common, TABLE1_METRICS, published.epe_mm)
        rows += _native_rows(results, dataset, published.method, common, published.epe_mm)
    apart = {"song": f"surrogate, no reproduction of {SURROGATE_OF}:"} | dict.fromkeys(FLOORS, "floors, no methods:")
    for method, block in apart.items():
        common = {"method": LABELS[method], "dataset": dataset, "block": block, "gt_scale": "", "gt_side": ""}
        names = TABLE1_METRICS[:3] if method in FLOORS else TABLE1_METRICS
        rows += _metric_rows(results, Cell(dataset, method), common, names, None)
    columns = [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "paper", "gt_scale",
        "gt_side", "given", "block", "status", *seed_columns(rows),
    ]  # fmt: skip
    caption = _table1_caption() + results.side_note(dataset) + results.describe(dataset)
    return finish(rows, columns, caption, _TABLE1_WIDE)


def _table1_caption() -> str:
    ours, song = published_row("msff").epe_mm, published_row("song")
    return (
        "Mean joint error in mm on the RHD layout. wrist20 is the headline (wrist-aligned, the wrist itself left out); "
        "wrist21 counts the wrist as zero, as InterNet's code does and the paper is presumed to; "
        "pa21 is after similarity alignment; with the predicted side (wrist20_pred_side) the hand is the one "
        f"that the method names, else the true one. {tracks()} The last column says what comes from the annotation "
        "on T2, the camera aside; which hand, of the two that a network of both answers for, favours such a network "
        "over the methods that pay for a side told wrongly by SideNet. The paper's column repeats what it prints for "
        "the real RHD, with its marks of a given scale (GT S) and side (GT H); if its "
        f"{ours:.2f} is a wrist21, it is {wrist20_equivalent(ours):.2f} as wrist20. On a stand-in only the order of "
        f"methods can be compared. {LABELS['song']} is built from the idea of "
        f"{song.label}, whose text was not available: it is no reproduction, and the source of the printed "
        f"{song.epe_mm:.2f} could not be traced. The oracle decodes the true volume, so that on T1 it "
        "loses what bins and decoder lose, and on T2 what the estimate of the wrist's depth costs besides; no method "
        "of this output can be expected below it. The mean pose looks at no pixel. "
    )


def _metric_rows(results: Results, cell: Cell, common: dict, names: tuple[str, ...], paper: float | None) -> list[dict]:
    rows = []
    for track in reversed(TRACKS):  # the headline track first
        given = given_words(results.given(cell, track), cell.method)
        for metric in names:
            printed = paper if metric in COMPARABLE and paper is not None else np.nan
            number = results.estimate(cell, track, metric)
            status = OK if number else (NO_OUTPUT if results.runs(cell) else MISSING)
            row = common | {"track": track, "metric": metric} | values(number) | by_seed(number, results.seeds(cell))
            rows.append(row | {"paper": printed, "given": given, "status": status})
    return rows


def _native_rows(results: Results, dataset: str, method: str, common: dict, paper: float) -> list[dict]:
    """The row of a paper's own recipe in its own metric, where there is such a run."""
    cell = Cell(dataset, method, "native")
    if not results.runs(cell):
        return []
    metric = PAPER_PROTOCOLS[method].own_metric
    number = results.estimate(cell, PAPER_TRACK, metric) if metric else None
    status = OK if number else "its metric is not known" if metric is None else NO_OUTPUT
    row = common | {"track": PAPER_TRACK, "metric": metric or ""} | values(number)
    row |= by_seed(number, results.seeds(cell))
    return [row | {"paper": paper, "given": given_words(results.given(cell, PAPER_TRACK), method), "status": status}]


def ablation(results: Results) -> pd.DataFrame:
    """MS-FF's 2^3 factorial, one row per combination of modules, then other readings that have runs and the floors."""
    dataset = results.dataset("rhd")
    present = {cell.variant for cell in results.cells() if (cell.dataset, cell.method) == (dataset, "msff")}
    others = [v for v in ABLATION_WORDS if v not in FACTORIAL and v in present]
    others += sorted(v for v in present if v.startswith("headless-"))
    rows = [_ablation_row(results, Cell(dataset, "msff", v), v, "bare") for v in FACTORIAL]
    rows += [_ablation_row(results, Cell(dataset, "msff", v), v, "full") for v in others]
    rows += [_ablation_row(results, Cell(dataset, method), LABELS[method], "") for method in FLOORS]
    columns = [
        "variant", "track", "metric", "value", "low", "high", *seed_columns(rows), "difference", "difference_low",
        "difference_high", "compared_with", "adds", *ABLATION_BESIDE, "dataset", "seeds", "samples", "parameters",
        "status",
    ]  # fmt: skip
    caption = (
        f"MS-FF with each combination of its modules: {HEADLINE_METRIC} on {HEADLINE_TRACK}, mm; beside it hidden and "
        "visible joints, fingertips, and T1. Difference: on common seeds, bracket over seeds and images. Parameters in "
        "millions. "
    )
    return finish(rows, columns, caption + results.describe_data(dataset))


def _ablation_row(results: Results, cell: Cell, name: str, reference: str) -> dict:
    number, runs = results.estimate(cell, HEADLINE_TRACK, HEADLINE_METRIC), results.runs(cell)
    compared = reference if name not in (reference, *FLOORS) and not name.startswith("headless-") else ""
    against = find(results, between(name, name, reference)).bounds if compared else (np.nan,) * 3
    beside = {column: results.estimate(cell, *place) for column, place in ABLATION_BESIDE.items()}
    return {
        "variant": name, "adds": ABLATION_WORDS.get(name, FLOOR_WORDS.get(cell.method, "without heads")),
        "dataset": cell.dataset, "track": HEADLINE_TRACK, "metric": HEADLINE_METRIC, **values(number),
        **by_seed(number, results.seeds(cell)), "compared_with": compared,
        **dict(zip(("difference", "difference_low", "difference_high"), against, strict=True)),
        **{column: found.value if found else np.nan for column, found in beside.items()},
        "parameters": runs[0].record["parameters"] / 1e6 if runs and cell.method == "msff" else np.nan,
        "status": OK if number else ("no such sample" if runs else MISSING),
    }  # fmt: skip


def fig5(
    results: Results, track: str = HEADLINE_TRACK, methods: Sequence[str] = (*FIG5_METHODS, *FLOORS)
) -> pd.DataFrame:
    """The paper's Fig. 5: error of each joint type on interacting images, left and right hand averaged."""
    dataset = results.dataset("interhand")
    rows = []
    for method in methods:
        errors = results.errors(Cell(dataset, method), track, "mpjpe_interacting")
        for j, joint in enumerate(JOINT_NAMES):
            number = estimate([e.joints([j, j + JOINTS_PER_HAND]) for e in errors]) if errors else None
            row = {"joint": joint, "method": LABELS[method], "dataset": dataset, "track": track}
            rows.append(row | values(number) | {"status": OK if number else MISSING})
    columns = ["joint", "method", "value", "low", "high", "dataset", "track", "seeds", "samples", "status"]
    one_crop = _crop_per_hand([method for method in methods if method not in FLOORS])
    caption = (
        "Mean error of each joint in mm on interacting hands, left and right averaged, each hand aligned at its own "
        f"wrist (which is therefore 0). {one_crop}{tracks(track)} "
    )
    return finish(rows, columns, caption + results.describe(dataset))


def interhand(results: Results) -> pd.DataFrame:
    """MPJPE by kind of sequence, MRRPE and handedness on the InterHand2.6M layout, for all methods that have runs."""
    dataset = results.dataset("interhand")
    rows = []
    for method in (*PAPER_ORDER, *FLOORS):
        cell, common = Cell(dataset, method), {"method": LABELS[method], "dataset": dataset}
        if not results.runs(cell) and method not in ("internet", "msff"):
            continue
        printed = INTERNET_INTERHAND[0] if method == "internet" else None
        for track in reversed(TRACKS):
            given = given_words(results.given(cell, track), method)
            for metric in INTERHAND_METRICS:
                number = results.estimate(cell, track, metric)
                status = OK if number else (NO_OUTPUT if results.runs(cell) else MISSING)
                paper = getattr(printed, metric.removeprefix("mpjpe_"), None)
                row = common | {"track": track, "metric": metric, "given": given} | values(number)
                row |= by_seed(number, results.seeds(cell))
                rows.append(row | {"published": np.nan if paper is None else paper, "status": status})
        rows.append(_handedness_row(results, cell, common))
    columns = [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "published", "given",
        "status", *seed_columns(rows),
    ]  # fmt: skip
    apart = _crop_per_hand([m for m in PAPER_ORDER if results.runs(Cell(dataset, m))])
    caption = (
        "InterHand2.6M layout: MPJPE in mm with the official averaging (42 joint means, wrists as zero; all is pooled "
        "per joint over single and interacting), without wrists, MRRPE in mm, and handedness, the share of images "
        f"whose hands are all named. published: {INTERNET_INTERHAND[0].source}, on the real InterHand2.6M. {apart}"
        "Handedness is blank for methods that SideNet tells the side, and of the others of one hand it counts images "
        f"of a single hand. {results.side_note(dataset)}{tracks()} "
    )
    return finish(rows, columns, caption + results.describe(dataset), _INTERHAND_WIDE)


def _crop_per_hand(methods: Sequence[str]) -> str:
    """Which of the methods are given more than one box for two hands, for captions."""
    labels = [METHODS[method].label for method in methods if METHODS[method].single_hand]
    if not labels:
        return ""
    return f"One box per hand, two for an interacting image: {', '.join(labels)}; the others have one box for both. "


def _handedness_row(results: Results, cell: Cell, common: dict) -> dict:
    found = results.evaluations(cell, HEADLINE_TRACK)
    borrowed = results.given(cell, HEADLINE_TRACK).get("side_input") == "predicted"
    known = [] if borrowed else [e for e in found if e.handedness.samples]
    status = OK if known else BORROWED if borrowed else NO_OUTPUT if found else MISSING
    row = values(None)
    if known:
        shares = [e.summary()["handedness_accuracy"] for e in known]
        row |= {"value": float(np.mean(shares)), "seeds": len(known), "samples": known[0].handedness.samples}
        if len(known) == len(found):
            row |= {f"seed{seed}": share for seed, share in zip(results.seeds(cell), shares, strict=True)}
    named = {"track": "", "metric": "handedness_accuracy", "given": "", "published": np.nan, "status": status}
    return common | named | row


BUILDERS: dict[str, Callable[[Results], pd.DataFrame]] = {
    "table1": table1,
    "pairs": pairs,
    "variants": variants,
    "ablation": ablation,
    "fig5": fig5,
    "interhand": interhand,
    "realworld": realworld,
    "efficiency": efficiency,
    "plausibility": plausibility,
    "contrasts": contrasts_table,
    "claims": claims_table,
    "rule": lambda results: rule_table(),
}


def write_tables(store: Store) -> list[Path]:
    """Write every table as CSV (full) and Markdown (rounded, with its caption) into the store, each file atomically."""
    paths = []
    for name, table in build_tables(Results(store)).items():
        for suffix, text in ((".csv", table.to_csv(index=False, float_format="%.6g")), (".md", to_markdown(table))):
            path = store.tables / f"{name}{suffix}"
            with atomic_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths
