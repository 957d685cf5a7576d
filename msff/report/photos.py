"""What the trained networks make of real photographs: the table ``realworld``, from what the runs measured on them."""

from __future__ import annotations

import pandas as pd

from msff.data.datasets import DATASETS
from msff.data.realworld import PUBLISHED_COUNT
from msff.evaluation.bootstrap import REPLICATES, Estimate
from msff.report.formatting import Wide
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS, OK, PAPER_ORDER, finish, values
from msff.study.photos import METRICS, PHOTOS, TRACK

NOT_PREDICTED = "not predicted"
_WIDE = Wide(
    before={"trained_on": "trained on"},
    numbers={
        "wrist20": (TRACK, "wrist20"), "wrist20, predicted side": (TRACK, "wrist20_pred_side"),
        "palm21": (TRACK, "palm21"), "pa21": (TRACK, "pa21"), "PCK 30 wrist20": (TRACK, "wrist20_pck_30"),
        "AUC 0-50 wrist20": (TRACK, "wrist20_auc_0_50"), "AUC 20-50 wrist20": (TRACK, "wrist20_auc_20_50"),
        "PCK 30 pa21": (TRACK, "pa21_pck_30"), "AUC 0-50 pa21": (TRACK, "pa21_auc_0_50"),
        "AUC 20-50 pa21": (TRACK, "pa21_auc_20_50"),
    },
    after={"side": "side told", "scale": "scale told", "root_depth": "wrist depth", "seeds": "seeds"},
    by="trained_on",
)  # fmt: skip
_TOLD = {"side": "side_input", "scale": "scale", "root_depth": "root_depth"}  # column -> name in ``TestTimeInputs``
_COLUMNS = [
    "method", "trained_on", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", *_TOLD, "status",
]  # fmt: skip
_NONE = (
    "No run of this profile has seen real photographs: the set was not at hand when they were trained, and nothing "
    "else needs it. "
)


def realworld(results: Results) -> pd.DataFrame:
    """Every method on real photographs beside the mean pose, by what it was trained on; empty where none has seen any.

    Reads what the runs stored, and neither photos nor their annotation.
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
        **{column: given.get(name, "") for column, name in _TOLD.items()}, "status": OK if records else NOT_PREDICTED,
    }  # fmt: skip


def _over_seeds(records: list[dict], metric: str) -> Estimate | None:
    """The means over the trainings of what each measured: the errors behind a common interval are not stored."""
    found = [record["metrics"][TRACK][metric] for record in records]
    found = [number for number in found if number is not None]
    if not found:
        return None
    value, low, high = (sum(number[key] for number in found) / len(found) for key in ("value", "low", "high"))
    samples = min(number["samples"] for number in found)
    return Estimate(value, low, high, samples, tuple(number["value"] for number in found))


def _caption(results: Results, trained: list[str]) -> str:
    """What is shown, what the networks were trained on and told, and what the numbers are not."""
    seen = results.photo_set["count"]
    return (
        f"{seen} real photographs of one hand each, of the {PUBLISHED_COUNT} of the {DATASETS[PHOTOS].label} of Ge et "
        f"al. (CVPR 2019), predicted by the networks of profile {results.profile}. Trained on: "
        f"{'; '.join(_training(results, name) for name in trained)}. No training looks at a photo. But photos of this "
        "set were looked at to see errors and to mend the stand-in's realism, so that this is no test of "
        "generalisation in the strict sense. wrist20 and palm21 are mean joint errors in mm relative to wrist and palm "
        "(less is better), pa21 is after similarity alignment. PCK 30 is the share of joints within 30 mm, AUC the "
        "area under the PCK curve over 0 to 50 mm and over 20 to 50 mm, of the named error, both from 0 to 1 (more is "
        f"better). Track {TRACK}: the camera is given; scale, side and the wrist's depth are not. The hand's box is "
        "the central 1/1.25 of the published crop, so that a network sees that crop as it is; no annotation enters. "
        "side told: predicted, by the SideNet of the same training set, for methods that must be told it. scale told: "
        "the mean of the training hands (of that side, if one is predicted), for methods without a size of their own. "
        "wrist depth: from the box, by RootNet (network), the method's own, or none in a relative output. The set does "
        "not say which hand a photo shows: each is taken for a left one, and of a network of both hands the left one "
        "is scored, a help that the methods of one hand do not have; with the predicted side it is the hand that the "
        "network names. The mean pose of the training hands looks at no pixel: where a method's error is not below "
        f"its own, the photo was of no use. Brackets: 95 % percentile bootstrap over images, {REPLICATES} resamples, "
        "of one training; with several seeds value and bounds are their means."
    )


def _training(results: Results, dataset: str) -> str:
    """The training images of a dataset's runs in words; runs of one store share them."""
    run = next(run for cell in results.cells() if cell.dataset == dataset for run in results.runs(cell))
    version = run.record["config"]["data"].get("generator_version")
    made = "" if version is None else f" rendered by version {version} of the generator, none a photograph"
    return f"{label_of(dataset)}, {run.record['train_images']} images{made}"
