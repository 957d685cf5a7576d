"""The plausibility check of every row of the study: what is withheld from verdicts and figures, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msff.evaluation.plausibility import LEAST_HANDEDNESS_PERCENT, LEAST_PALM_WIDTH, Plausibility, check
from msff.report.results import Cell, Results, once
from msff.report.rows import LABELS, finish, name_of
from msff.study.grid import BASELINES

PLAUSIBLE, WITHHELD, EXEMPT = "plausible", "withheld", "exempt"


def plausibility(results: Results) -> pd.DataFrame:
    """Return the check of every stored row: palm width, handedness, verdict and reason."""
    order = {method: i for i, method in enumerate(LABELS)}
    cells = sorted(results.cells(), key=lambda cell: (cell.dataset, order[cell.method], cell.variant))
    columns = [
        "network", "method", "variant", "dataset", "seeds", "hands", "palm_width_ratio", "handedness_percent",
        "verdict", "reason",
    ]  # fmt: skip
    one, two = LEAST_PALM_WIDTH["rhd"], LEAST_PALM_WIDTH["interhand"]
    caption = (
        f"Plausibility: worst seed of each row. Required palm width, predicted over true: {one:.2f} (interacting hands "
        f"{two:.2f}); right handedness: {LEAST_HANDEDNESS_PERCENT['rhd']:.0f} % on the RHD layout."
    )
    datasets = [results.dataset(layout) for layout in ("rhd", "interhand")]
    return finish([_row(results, cell) for cell in cells], columns, f"{caption} {results.describe_data(*datasets)}")


def _row(results: Results, cell: Cell) -> dict:
    found, reason = _check(results, cell), withheld(results, cell)
    return {
        "network": name_of(cell), "method": LABELS[cell.method], "variant": cell.variant, "dataset": cell.dataset,
        "seeds": len(results.runs(cell)), "hands": found.hands, "palm_width_ratio": found.palm_width_ratio,
        "handedness_percent": found.handedness_percent,
        "verdict": EXEMPT if cell.method in BASELINES else WITHHELD if reason else PLAUSIBLE, "reason": reason,
    }  # fmt: skip


def withheld(results: Results, *cells: Cell) -> str:
    """Return why the cells support no verdict and are in no figure; "" if they are plausible.

    With several cells, as in a contrast, each fault names its row. Cells without runs, mean pose and oracle have none.
    """
    faults = {cell: _fault(results, cell) for cell in cells}
    return "; ".join(
        f"{name_of(cell)}, {fault}" if len(cells) > 1 else fault for cell, fault in faults.items() if fault
    )


def withheld_methods(results: Results, layout: str) -> dict[str, str]:
    """Return label -> reason of each method that is withheld on the profile's dataset of a layout."""
    dataset = results.dataset(layout)
    faults = {LABELS[method]: withheld(results, Cell(dataset, method)) for method in LABELS}
    return {label: fault for label, fault in faults.items() if fault}


def _fault(results: Results, cell: Cell) -> str:
    if cell.method in BASELINES or not results.runs(cell):
        return ""
    mean_pose = Cell(cell.dataset, "mean-pose")
    beside = _check(results, mean_pose).palm_width_ratio if results.runs(mean_pose) else np.nan
    return _check(results, cell).fault(beside)


@once
def _check(results: Results, cell: Cell) -> Plausibility:
    return check(results.truth(cell.dataset), [run.predictions for run in results.runs(cell)])
