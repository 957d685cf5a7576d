"""The table ``realworld``: errors on real photographs, from the runs' records."""

from __future__ import annotations

import pandas as pd

from msff.data.datasets import DATASETS
from msff.data.realworld import PUBLISHED_COUNT
from msff.evaluation.bootstrap import Estimate
from msff.report.formatting import Wide
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS, OK, PAPER_ORDER, finish, values
from msff.study.photos import METRICS, PHOTOS, TRACK

NOT_PREDICTED = "not predicted"
_WIDE = Wide(
    before={"trained_on": "trained on"},
    numbers={
        "wrist20": (TRACK, "wrist20"), "wrist20, predicted handedness": (TRACK, "wrist20_pred_side"),
        "palm21": (TRACK, "palm21"), "pa21": (TRACK, "pa21"), "PCK 30 wrist20": (TRACK, "wrist20_pck_30"),
        "AUC 0-50 wrist20": (TRACK, "wrist20_auc_0_50"), "AUC 20-50 wrist20": (TRACK, "wrist20_auc_20_50"),
        "PCK 30 pa21": (TRACK, "pa21_pck_30"), "AUC 0-50 pa21": (TRACK, "pa21_auc_0_50"),
        "AUC 20-50 pa21": (TRACK, "pa21_auc_20_50"),
    },
    after={"side": "handedness input", "scale": "scale input", "root_depth": "wrist depth", "seeds": "seeds"},
    by="trained_on",
)  # fmt: skip
_INPUTS = {"side": "side_input", "scale": "scale", "root_depth": "root_depth"}  # column -> name in ``TestTimeInputs``
_COLUMNS = [
    "method", "trained_on", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", *_INPUTS,
    "status",
]  # fmt: skip
_NONE = "No run of this profile predicted real photographs: they were not present when it was trained. "


def realworld(results: Results) -> pd.DataFrame:
    """Return every method's errors on real photographs and the mean pose's, by training set; empty without any.

    Reads the runs' records only, neither photos nor annotation.
    """
    if results.photo_set is None:
        return finish([], _COLUMNS, f"{_NONE}Profile {results.profile}.", _WIDE)
    order = list(DATASETS)
    trained = sorted({cell.dataset for cell in results.cells()}, key=order.index)
    cells = [Cell(dataset, method) for dataset in trained for method in (*PAPER_ORDER, "mean-pose")]
    cells = [cell for cell in cells if results.runs(cell)]
    rows = [_row(results, cell, metric) for cell in cells for metric in METRICS]
    return finish(rows, _COLUMNS, _caption(results, trained), _WIDE)


def _row(results: Results, cell: Cell, metric: str) -> dict:
    records = results.photos(cell)
    given = records[0]["given"][TRACK] if records else {}
    return {
        "method": LABELS[cell.method], "trained_on": label_of(cell.dataset), "dataset": PHOTOS, "track": TRACK,
        "metric": metric, **values(_over_seeds(records, metric)),
        **{column: given.get(name, "") for column, name in _INPUTS.items()}, "status": OK if records else NOT_PREDICTED,
    }  # fmt: skip


def _over_seeds(records: list[dict], metric: str) -> Estimate | None:
    """Return the means over seeds of value and bounds: the errors behind a common interval are not stored."""
    found = [record["metrics"][TRACK][metric] for record in records]
    found = [number for number in found if number is not None]
    if not found:
        return None
    value, low, high = (sum(number[key] for number in found) / len(found) for key in ("value", "low", "high"))
    samples = min(number["samples"] for number in found)
    return Estimate(value, low, high, samples, tuple(number["value"] for number in found))


def _caption(results: Results, trained: list[str]) -> str:
    return (
        f"{results.photo_set['count']} of the {PUBLISHED_COUNT} real photographs of Ge et al. (CVPR 2019), {TRACK}. "
        f"Trained on: {'; '.join(_training(results, name) for name in trained)}. No training used a photo, but the "
        f"stand-in was improved while looking at some. Brackets: 95 %, bootstrap over images. Profile {results.profile}"
        "."
    )


def _training(results: Results, dataset: str) -> str:
    """Return a dataset's number of training images and generator version; the runs of a store share them."""
    run = next(run for cell in results.cells() if cell.dataset == dataset for run in results.runs(cell))
    version = run.record.config["data"].get("generator_version")
    rendered = "" if version is None else f" rendered by generator version {version}"
    return f"{label_of(dataset)}, {run.record.train_images} images{rendered}"
