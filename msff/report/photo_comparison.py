"""Errors on real photographs across profiles, beside those of MediaPipe Hands: the page of the photographs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from msff.report.drawing import METHOD_COLOURS, METHOD_MARKERS, PAPER_COLOUR, style
from msff.report.photos import realworld
from msff.report.results import Results
from msff.study.landmarks import ERRORS
from msff.study.photos import TRACK
from msff.study.store import Store

MEDIAPIPE = "MediaPipe Hands"
COLUMNS = ["profile", "method", "trained_on", "metric", "value", "low", "high", "seeds", "photos"]
SHOWN = {"wrist20": "wrist20, mm", "pa21": "PA21, mm", "pa21_pck_30": "PA21 below 30 mm"}


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
    frames = [_rows_of(r).assign(photos=photos["count"]) for r in results if r.photo_set == photos]
    path = mediapipe / ERRORS
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["photos"] == photos:
            frames.append(_mediapipe_rows(record))
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def _rows_of(results: Results) -> pd.DataFrame:
    table = realworld(results)
    table = table[table.metric.isin(SHOWN) & table.value.notna()]
    return table.assign(profile=results.profile)


def _mediapipe_rows(record: dict) -> pd.DataFrame:
    rows = [
        {"profile": "", "method": MEDIAPIPE, "trained_on": "its own photographs", "metric": metric, "seeds": 1,
         "photos": record["found"], **{key: record["metrics"][TRACK][metric][key] for key in ("value", "low", "high")}}
        for metric in SHOWN
    ]  # fmt: skip
    return pd.DataFrame(rows)


def photo_section(errors: pd.DataFrame) -> str:
    """Return the figure's caption and the table as Markdown; a sentence if no run has predicted the photographs."""
    if errors.empty:
        return "No stored run has predicted real photographs."
    found = errors.photos.iloc[0]
    table = photo_table(errors).to_markdown(index=False, disable_numparse=True)
    return f"""```{{figure}} /book/_executed/figures/photos.png
:alt: Errors on real photographs with 95 % intervals, a row for each method and profile
:width: 100%

Errors on {found} real photographs in mm, networks trained on rendered hands in the RHD layout; bars: 95 %, bootstrap
over images, mean over seeds. MediaPipe's joints are defined differently, so its gap is approximate.
```

::::{{container}} msff-lines
{table}
::::
"""


def photo_table(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a row per method, training set and profile, the smallest error first, with 95 % intervals as text."""
    wide = {
        key: {"method": key[0], "trained on": key[1], "profile": f"`{key[2]}`" if key[2] else "",
              **{SHOWN[r.metric]: _text(r) for r in rows.itertuples()},
              "seeds": rows.seeds.iloc[0]}
        for key, rows in errors.groupby(["method", "trained_on", "profile"], sort=False)
    }  # fmt: skip
    order = errors[errors.metric == "wrist20"].sort_values("value", kind="stable")
    return pd.DataFrame([wide[key] for key in zip(order.method, order.trained_on, order.profile, strict=True)])


def _text(row) -> str:
    digits = 2 if row.metric.endswith("pck_30") else 1
    return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"


def photo_figure(errors: pd.DataFrame) -> Figure:
    """Draw wrist20 and PA21 with 95 % intervals: networks trained on the RHD layout, a line per method and profile."""
    errors = errors[~errors.trained_on.str.contains("InterHand")]
    keys = photo_table(errors)[["method", "trained on", "profile"]].itertuples(index=False)
    keys = [(method, trained, profile.strip("`")) for method, trained, profile in keys]
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(8.2, 1.0 + 0.27 * len(keys)), sharey=True)
        for ax, metric in zip(axes, ("wrist20", "pa21"), strict=True):
            rows = errors[errors.metric == metric].set_index(["method", "trained_on", "profile"])
            for place, key in enumerate(keys):
                row = rows.loc[key]
                colour = METHOD_COLOURS.get(key[0], PAPER_COLOUR)
                spread = [[row.value - row.low], [row.high - row.value]]
                ax.errorbar(row.value, place, xerr=spread, color=colour, ls="", marker=_marker(key[0]), ms=5, capsize=2)
            ax.set_xlabel(SHOWN[metric])
            ax.set_xlim(left=0)
        axes[0].set_yticks(range(len(keys)), [_label(method, profile) for method, _, profile in keys])
        axes[0].invert_yaxis()
        axes[0].set_title("each joint relative to the wrist")
        axes[1].set_title("after Procrustes alignment")
    return figure


def _marker(method: str) -> str:
    marker = METHOD_MARKERS.get(method, "*")
    return "|" if marker == "_" else marker


def _label(method: str, profile: str) -> str:
    if not profile:
        return method
    return f"{method}, {profile}"
