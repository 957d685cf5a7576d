"""Errors on real photographs: the table ``realworld`` of a store, and all profiles beside MediaPipe Hands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from msff.data.datasets import DATASETS
from msff.data.realworld import PUBLISHED_COUNT
from msff.evaluation.bootstrap import Estimate
from msff.evaluation.tracks import RANKING_TRACK
from msff.models.registry import network_name
from msff.report.drawing import draw_interval, method_points, name_rows, style
from msff.report.formatting import Wide, contained, markdown, staged_figure, with_interval
from msff.report.front_figure import set_names_above
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS, OK, PAPER_ORDER, finish, values
from msff.study.photos import LANDMARK_ERRORS, METRICS, PHOTOS, SIZED
from msff.study.store import Store

NOT_PREDICTED = "not predicted"
VARIANTS = {
    network_name(*network): network
    for network in (
        ("msff", "grm-norm"), ("msff", "gaussian"), ("internet", "gaussian"), ("msff", "no-grm"), ("msff", "bare"),
        ("msff", "gaussian-bare"), ("msff", "scratch"), ("internet", "scratch"),
    )
}  # fmt: skip
"""Networks beside those that stand for the methods, by label."""
HOW = {"wrist20": "relative to the wrist", "pa21": "Procrustes-aligned"}
"""Metric of a panel of the figure -> its title."""
_WIDE = Wide(
    before={"trained_on": "trained on"},
    numbers={label: (RANKING_TRACK, metric) for label, metric in {
        "wrist20": "wrist20", "wrist20, predicted handedness": "wrist20_pred_side",
        "wrist20, average hand size": SIZED, "palm21": "palm21", "pa21": "pa21", "PCK 30 wrist20": "wrist20_pck_30",
        "AUC 0-50 wrist20": "wrist20_auc_0_50", "AUC 20-50 wrist20": "wrist20_auc_20_50",
        "PCK 30 pa21": "pa21_pck_30", "AUC 0-50 pa21": "pa21_auc_0_50", "AUC 20-50 pa21": "pa21_auc_20_50",
    }.items()},
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
    """Return the errors on real photographs by method and training set, from the runs' records; empty without any."""
    if results.photo_set is None:
        return finish([], _COLUMNS, f"{_NONE}Profile {results.profile}.", _WIDE)
    trained = sorted({cell.dataset for cell in results.cells()}, key=list(DATASETS).index)
    rows = []
    networks = {LABELS[method]: (method,) for method in (*PAPER_ORDER, "mean-pose")} | VARIANTS
    for dataset, (label, network) in product(trained, networks.items()):
        cell = Cell(dataset, *network)
        if results.runs(cell):
            records = results.photos(cell)
            given = records[0]["given"][RANKING_TRACK] if records else {}
            common = {"method": label, "trained_on": label_of(dataset), "dataset": PHOTOS, "track": RANKING_TRACK}
            common |= {column: given.get(name, "") for column, name in _INPUTS.items()}
            common["status"] = OK if records else NOT_PREDICTED
            rows += [common | {"metric": metric} | values(_over_seeds(records, metric)) for metric in (*METRICS, SIZED)]
    caption = (
        f"{results.photo_set['count']} of the {PUBLISHED_COUNT} real photographs of Ge et al. (CVPR 2019), "
        f"{RANKING_TRACK}. Trained on: {'; '.join(_training(results, name) for name in trained)}. No training used a "
        "photo, but the stand-in was improved while looking at some. Brackets: 95 %, bootstrap over images. "
        f"Profile {results.profile}."
    )
    return finish(rows, _COLUMNS, caption, _WIDE)


def _over_seeds(records: list[dict], metric: str) -> Estimate | None:
    """Return the means over seeds of value and bounds: the errors behind a common interval are not stored."""
    found = [record["metrics"][RANKING_TRACK].get(metric) for record in records]
    found = [number for number in found if number is not None]
    if not found:
        return None
    value, low, high = (sum(number[key] for number in found) / len(found) for key in ("value", "low", "high"))
    samples = min(number["samples"] for number in found)
    return Estimate(value, low, high, samples, tuple(number["value"] for number in found))


def _training(results: Results, dataset: str) -> str:
    """Return a dataset's number of training images and generator version; the runs of a store share them."""
    run = next(run for cell in results.cells() if cell.dataset == dataset for run in results.runs(cell))
    version = run.record.config["data"].get("generator_version")
    rendered = "" if version is None else f" rendered by generator version {version}"
    return f"{label_of(dataset)}, {run.record.train_images:,} images{rendered}"


# All profiles


MEDIAPIPE = "MediaPipe Hands"
COLUMNS = ["profile", "method", "trained_on", "metric", "value", "low", "high", "seeds", "photos"]
SHOWN = {"wrist20": "wrist20", SIZED: "at the average size", "pa21": "PA21", "pa21_pck_30": "PA21 up to 30 mm"}
"""Metric -> its column on the page; the last is a share of joints, the others are in mm."""


def photo_errors(stores: Iterable[Store], mediapipe: Path) -> pd.DataFrame:
    """Return one row per profile, method, training set and metric on one set of photographs; mm, shares in [0, 1].

    Runs and landmarks that were measured on other photographs than most are left out. ``mediapipe`` is the folder that
    `tools/mediapipe_photos.py` and `msff study photos` write.
    """
    results = [Results(store) for store in stores]
    sets = [r.photo_set for r in results if r.photo_set]
    if not sets:
        return pd.DataFrame(columns=COLUMNS)
    photos = max(sets, key=lambda found: (sets.count(found), found["count"]))
    frames = [realworld(r).assign(profile=r.profile, photos=photos["count"]) for r in results if r.photo_set == photos]
    path = mediapipe / LANDMARK_ERRORS
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if record.get("photos") == photos:
        known = record["metrics"][RANKING_TRACK]
        numbers = pd.DataFrame({metric: known[metric] for metric in SHOWN if metric in known}).T
        named = {"profile": "", "method": MEDIAPIPE, "trained_on": "its own photographs"}
        frames.append(numbers.rename_axis("metric").reset_index().assign(**named, seeds=1, photos=record["found"]))
    table = pd.concat(frames, ignore_index=True)[COLUMNS]
    return table[table.metric.isin(SHOWN) & table.value.notna()].reset_index(drop=True)


def photo_section(errors: pd.DataFrame, profile: str) -> str:
    """Return the figure of ``profile`` and the tables as Markdown; a sentence if no run predicted the photographs."""
    if errors.empty:
        return "No stored run has predicted real photographs."
    found = errors.photos.iloc[0]
    caption = (
        f"Errors on {found} real photographs in mm: networks of profile `{profile}` trained on rendered hands in the "
        "RHD layout, beside MediaPipe. Bars: 95 %, bootstrap over images, mean over seeds; hollow: variants. "
        "MediaPipe's joints are defined differently, so its gap is approximate."
    )
    alt = "Errors on real photographs with 95 % intervals, a row for each network"
    on_interhand = errors.trained_on.str.contains("InterHand")
    parts = [staged_figure("photos", alt, caption)]
    if not on_interhand.all():
        parts.append("All networks trained on the RHD layout, in mm, and the share of joints with PA21 up to 30 mm:")
        parts.append(contained(markdown(photo_table(errors[~on_interhand])), "msff-lines"))
    if on_interhand.any():
        table = contained(markdown(photo_table(errors[on_interhand])), "msff-lines")
        parts.append(f":::::{{dropdown}} Networks trained on the InterHand2.6M layout\n{table}\n:::::")
    return "\n\n".join(parts) + "\n"


def photo_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a row per network and profile, the smallest error first, with 95 % intervals as text."""
    cells = errors.assign(text=[
        with_interval(row.value, row.low, row.high, digits=2 if row.metric.endswith("pck_30") else 1)
        for row in errors.itertuples()
    ])  # fmt: skip
    rows = ["method", "profile", "seeds"]
    table = cells.pivot(index=rows, columns="metric", values="text").reindex(columns=list(SHOWN))
    order = errors[errors.metric == "wrist20"].sort_values("value", kind="stable")
    table = table.loc[list(order[rows].itertuples(index=False, name=None))].fillna("").reset_index()
    table.insert(0, "network", table.method + [f", `{profile}`" if profile else "" for profile in table.profile])
    return table.rename(columns=SHOWN).rename_axis(columns=None)[["network", *SHOWN.values(), "seeds"]]


def _look(label: str) -> dict[str, str]:
    """Return colour and marker of a method, hollow for one of ``VARIANTS``."""
    if label not in VARIANTS:
        return method_points(label)
    return method_points(LABELS[VARIANTS[label][0]]) | {"mfc": "white"}


def photo_figure(errors: pd.DataFrame, profile: str) -> Figure:
    """Draw wrist20 and PA21 with 95 % intervals: MediaPipe and the networks of ``profile`` trained on the RHD layout.

    Narrow enough for a phone.
    """
    errors = errors[errors.profile.isin(["", profile]) & ~errors.trained_on.str.contains("InterHand")]
    names = errors[errors.metric == "wrist20"].sort_values("value", kind="stable").method.tolist()
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(4.2, 1.0 + 0.36 * len(names)), sharey=True)
        for ax, metric in zip(axes, HOW, strict=True):
            rows = errors[errors.metric == metric].set_index("method")
            for place, name in enumerate(names):
                draw_interval(
                    ax, place, tuple(rows.loc[name, ["value", "low", "high"]]), **_look(name), ms=5, capsize=2
                )
            ax.set_xlabel(f"{SHOWN[metric]}, mm")
            ax.set_xlim(left=0)
            ax.set_title(HOW[metric], fontsize=9)
        name_rows(axes[0], names)
        set_names_above(axes[0])
        for name in axes[0].texts:
            name.set_in_layout(False)  # a long one reaches into the other panel
        axes[0].set_zorder(1)
        axes[0].patch.set_visible(False)
    return figure
