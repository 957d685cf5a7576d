"""What each network costs, as its runs recorded it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msff.data.datasets import DATASETS
from msff.models.registry import AUXILIARY, METHODS, method_of
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS, MISSING, OK, PAPER_ORDER, finish
from msff.study.grid import FLOORS
from msff.study.store import Run

_ALWAYS_ON_INTERHAND = ("internet", "msff")
_MIB = 2**20


def efficiency(results: Results) -> pd.DataFrame:
    """Parameters, multiply-adds, speed and memory of every method and variant; means over seeds."""
    rhd, interhand = (results.dataset(layout) for layout in ("rhd", "interhand"))
    expected = [Cell(rhd, m) for m in PAPER_ORDER] + [Cell(interhand, m) for m in _ALWAYS_ON_INTERHAND]
    cells = set(expected) | {cell for cell in results.cells() if cell.method not in FLOORS}  # they have no network
    rows = [_cost_row(results, cell) for cell in sorted(cells, key=_place)]
    columns = [
        "method", "variant", "dataset", "parameters_m", "gmac", "images_per_s_train", "images_per_s_predict",
        "peak_mib", "seconds", "size_mib", "seeds", "hardware", "status",
    ]  # fmt: skip
    one_hand = ", ".join(METHODS[m].label for m in PAPER_ORDER if METHODS[m].single_hand)
    caption = (
        "Cost of each network at the profile's input size: parameters that a forward pass uses, in millions; "
        "multiply-accumulates of one crop in 1e9; images per second in training (median of the epochs, in the slowest "
        "phase) and in prediction; peak memory of the process (on a CPU runs before "
        "this one may have set it) and wall time of the run; weights as float32. Speed of prediction is "
        "that of all that a run predicts, on both tracks: crops, the network, decoding, SideNet where it tells the "
        f"side, and {LABELS['song']}'s optimisation on either track; a method of one hand makes up to two passes over "
        "every crop, as its input differs between the tracks. It does not compare networks, as msff bench infer does. "
        f"A crop shows one hand in {one_hand}: they run once per hand, twice for an interacting image; the others see "
        f"both hands at once. {_segmented_note(results)}{_helpers_note(results.store.helpers())}"
    )
    machines = " and ".join(sorted({row["hardware"] for row in rows} - {""})) or "none yet"
    return finish(rows, columns, caption + f"Profile {results.profile}, measured on: {machines}.")


def _place(cell: Cell) -> tuple:
    """The RHD layout first; methods as in the paper, each with its headline variant first."""
    method = method_of(cell.method)
    variants = (method.headline, *(v for v in method.variants if v != method.headline), cell.variant)
    return DATASETS[cell.dataset].layout != "rhd", PAPER_ORDER.index(cell.method), variants.index(cell.variant)


def _cost_row(results: Results, cell: Cell) -> dict:
    row = {"method": LABELS[cell.method], "variant": cell.variant, "dataset": cell.dataset}
    records = [run.record for run in results.runs(cell)]
    if not records:
        return row | {"seeds": 0, "hardware": "", "status": MISSING}
    parameters = records[0]["parameters"]
    return row | {
        "parameters_m": parameters / 1e6, "gmac": records[0]["macs"] / 1e9,
        "images_per_s_train": _mean(records, "images_per_s"),
        "images_per_s_predict": _mean(records, "predict_images_per_s"),
        "peak_mib": _mean(records, "peak_mib"), "seconds": _mean(records, "seconds"),
        "size_mib": parameters * 4 / _MIB, "seeds": len(records),
        "hardware": ", ".join(sorted({r.get("hardware", "") for r in records})), "status": OK,
    }  # fmt: skip


def _mean(records: list[dict], key: str) -> float:
    """Over the records that have it; older ones lack some."""
    found = [r[key] for r in records if r.get(key) is not None]
    return float(np.mean(found)) if found else np.nan


def _segmented_note(results: Results) -> str:
    if not any(cell.method == "posenet" and cell.variant == "segmented" for cell in results.cells()):
        return ""
    return "PoseNet's variant segmented is counted without HandSegNet, which finds the hand before the crop. "


def _helpers_note(runs: list[Run]) -> str:
    """Size of the networks that serve all methods and stand in no row."""
    names = " and ".join(helper.label for helper in AUXILIARY.values())
    sizes = [
        f"{method_of(run.experiment.method).label} {run.record['parameters'] / 1e6:.2f} million parameters, "
        f"{run.record['macs'] / 1e9:.2f} GMAC ({label_of(run.experiment.dataset)})"
        for run in runs
    ]
    known = f": {'; '.join(sizes)}" if sizes else "; this store holds no run of one"
    return f"Not counted are the helpers that methods share ({names}){known}. "
