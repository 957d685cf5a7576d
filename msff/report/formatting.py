"""Tables as text: rounded, intervals beside their value, below the caption."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from msff.data.datasets import DATASETS

_UNBROKEN = re.compile(r"(\[[^\s\]]+), ([^\s\]]+\])")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d)|(?<= )-(?= )")


@dataclass(frozen=True)
class Wide:
    """How to show a table with a row per method, track and metric: a line per method, a column per number.

    ``numbers`` is heading -> (track, metric); with metric None the method's only one on that track, named in the cell.
    """

    numbers: Mapping[str, tuple[str, str | None]]
    before: Mapping[str, str] = field(default_factory=dict)  # column -> heading, left of the numbers
    after: Mapping[str, str] = field(default_factory=dict)  # right of the numbers
    by: str | None = None  # second column with a line per value
    block: str | None = None  # column whose changes start a block, with its text as heading
    beside: str | None = None  # column of published numbers, shown behind ours on the first number's track


def markdown(table: pd.DataFrame) -> str:
    """Return a Markdown table with pipes and line breaks in cells escaped."""
    clean = table.map(lambda cell: " ".join(str(cell).split()).replace("|", "\\|"))
    return clean.to_markdown(index=False, disable_numparse=True)


def contained(text: str, kind: str) -> str:
    """Return Markdown in a container whose class ``kind`` the style sheet knows."""
    return f"::::{{container}} {kind}\n{text}\n::::"


def staged_figure(name: str, alt: str, caption: str, width: str = "100%") -> str:
    """Return Markdown that shows the staged picture ``name``.png, over the whole width or as wide as given."""
    return f":::{{figure}} /book/_executed/figures/{name}.png\n:alt: {alt}\n:width: {width}\n\n{caption}\n:::"


def unbroken(cell: str) -> str:
    """Return the text of a cell with its intervals kept on one line: a space that does not break after the comma."""
    return _UNBROKEN.sub("\\1,\N{NO-BREAK SPACE}\\2", cell)


def with_minus(text: str) -> str:
    """Return prose with a minus sign before negative numbers and in differences, such as "MS-FF - InterNet"."""
    return _MINUS.sub("\N{MINUS SIGN}", text)


def captioned(table: pd.DataFrame) -> str:
    """Return caption and rounded table as Markdown, of a table without rows the caption alone."""
    return f"{table.attrs['caption']}\n" + ("" if table.empty else f"\n{markdown(formatted(table))}\n")


def with_digits(table: pd.DataFrame, digits: Mapping[str, int]) -> pd.DataFrame:
    """Return the table with these columns as text of so many decimals, blank where a number is missing."""
    shown = {
        column: ["" if pd.isna(value) else f"{value:,.{places}f}" for value in table[column]]
        for column, places in digits.items() if column in table
    }  # fmt: skip
    return table.assign(**shown)


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text, in the shape of its kind."""
    if "wide" in table.attrs:
        return by_method(table, table.attrs["wide"])
    return wide(table) if {"joint", "method"} <= set(table.columns) else readable(table)


def by_method(table: pd.DataFrame, how: Wide) -> pd.DataFrame:
    """Return one line per method, and per value of ``how.by``.

    Empty columns of numbers are left out; the status of a missing run is in the first one.
    """
    lines, block = [], ""
    first, *_ = how.numbers.values()
    keys = ["method", *([how.by] if how.by else [])]
    for key, rows in table.groupby(keys, sort=False):
        method = key[0]
        head = rows[(rows["track"] == first[0]) & (rows["metric"] == first[1])]
        head = (head if len(head) else rows).iloc[0]
        if how.block and head[how.block] != block:
            block = head[how.block]
            lines.append({"method": block})
        line = {"method": method} | {heading: _text(head[column]) for column, heading in how.before.items()}
        numbers = {
            heading: _number(rows, *place, how.beside if place[0] == first[0] else None)
            for heading, place in how.numbers.items()
        }
        if any(numbers.values()):
            numbers |= {heading: _text(head[column]) for column, heading in how.after.items()}
        else:
            numbers[next(iter(numbers))] = head["status"]
        lines.append(line | numbers)
    columns = ["method", *how.before.values(), *how.numbers, *how.after.values()]
    shown = pd.DataFrame([dict.fromkeys(columns, "") | line for line in lines], columns=columns)
    return shown.drop(columns=[heading for heading in how.numbers if not shown[heading].any()])


def _number(rows: pd.DataFrame, track: str, metric: str | None, beside: str | None) -> str:
    found = rows[(rows["track"] == track) & ((rows["metric"] == metric) if metric else True)]
    if not len(found):
        return ""
    row = found.iloc[0]
    if pd.isna(row["value"]):
        return "" if metric else row["status"]
    text = with_interval(row["value"], row["low"], row["high"]) + ("" if metric else f" {row['metric']}")
    published = "" if beside is None or pd.isna(row[beside]) else f" (published {row[beside]:.2f})"
    return text + published


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per joint and one column per method of a table with joint, method, value, low, high.

    A method without any value has no column, unless all lack values.
    """
    with_value = table.groupby("method")["value"].transform("count") > 0
    table = table[with_value] if with_value.any() else table
    shown = readable(table)
    shown["value"] = shown["value"].where(shown["value"] != "", table["status"])
    joints, methods = (list(dict.fromkeys(table[column])) for column in ("joint", "method"))
    table = shown.pivot(index="joint", columns="method", values="value").loc[joints, methods]
    return table.rename_axis(columns=None).reset_index()


_HEADINGS = {
    "parameters_m": "parameters, M", "gmac": "GMAC", "images_per_s_train": "training, images/s",
    "images_per_s_predict": "prediction, images/s", "peak_mib": "peak, MiB", "seconds": "run, s",
    "size_mib": "weights, MiB", "compared_with": "compared with", "difference_pred_side": "by predicted handedness",
    "estimate_mm": "estimate, mm", "p_holm": "p (Holm)", "sigma_seed": "seed sd, mm", "margin_mm": "margin, mm",
    "half_width_mm": "half-width, mm", "learning_rate": "learning rate",
    "true_depth": "true depth", "estimated_depth": "estimated depth", "average_hand": "average hand",
    "palm_width_ratio": "palm width", "handedness_percent": "handedness, %",
    "own_variances": "own variances", "one_variance": "one variance",
    "equivalent_within_mm": "equivalent within, mm", "residual_sd_mm": "residual sd, mm", "residual_df": "residual df",
    "seed_sd_mm": "sd between seeds, mm", "seed_df": "df between seeds",
}  # fmt: skip
_SIGNED = ("difference", "difference_pred_side", "estimate_mm", "percent")
"""Columns of differences, whose numbers carry their sign; a table adds its own as ``attrs["signed"]``."""
_IN_NETWORK = ("method", "variant")  # what the column network says in words
_IN_CAPTION = ("dataset", "hardware", "track", "metric")  # left out if constant: the caption names the value


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same rows as text: value and interval in one cell, two decimals, blanks for missing values.

    Headings are words, and networks and datasets have their names. Constant columns that the caption names are left
    out, as is a status that is always ok.
    """
    shown = pd.DataFrame(index=table.index)
    signed = (*_SIGNED, *table.attrs.get("signed", ()))
    for column in table.columns:
        one = table[column].nunique() == 1
        if one and (column in _IN_CAPTION or (column == "status" and table[column].iloc[0] == "ok")):
            continue
        if "network" in table and column in _IN_NETWORK:
            continue
        if column in ("low", "high") or column.endswith(("_low", "_high")):
            continue
        prefix = "" if column in ("value", "estimate_mm") else f"{column}_"
        if f"{prefix}low" in table:
            bounded = table[[column, f"{prefix}low", f"{prefix}high"]]
            sign = "+" if column in signed else ""
            shown[column] = [with_interval(*row, sign) for row in bounded.itertuples(index=False)]
        elif column == "dataset":
            shown[column] = [DATASETS[name].label if name in DATASETS else name for name in table[column]]
        elif column in signed:
            shown[column] = [with_interval(value, np.nan, np.nan, "+") for value in table[column]]
        elif column == "p_holm":
            shown[column] = ["" if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.3f}" for p in table[column]]
        else:
            shown[column] = table[column].map(_text)
    shown = shown.rename(columns=_HEADINGS)
    shown.attrs = dict(table.attrs)
    return shown


def with_interval(value: float, low: float, high: float, sign: str = "", digits: int = 2) -> str:
    """Return "1.49 [0.82, 2.16]", the value alone if the bounds are missing, "" if it is missing itself.

    With ``sign`` "+" positive numbers show theirs.
    """
    if pd.isna(value):
        return ""
    number = f"{{:{sign}.{digits}f}}".format
    return number(value) if pd.isna(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def _text(value) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}")
    return "" if value is None or value is pd.NA else str(value)


PAGE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "table1": ("method", "GT S", "GT H", "paper, RHD", "T2 wrist20", "T1 wrist20", "T2 pa21"),
    "ablation": ("network", "adds", "value", "difference", "occluded", "visible", "fingertip"),
    "pairs": ("a", "b", "difference", "by predicted handedness", "verdict", "reason"),
    "variants": ("network", "track", "value", "difference", "seeds"),
    "efficiency": (
        "network", "dataset", "parameters, M", "GMAC", "training, images/s", "prediction, images/s",
    ),
    "fig5": (
        "joint", "PoseNet(2017)", "InterNet(2020)", "MS-FF", "mean pose (baseline)", "oracle (lower bound)",
    ),
    "interhand": ("method", "T2 single", "T2 interacting", "T2 all", "T2 MRRPE", "handedness", "seeds"),
    "conventions": ("convention", "metric", "track", "value", "difference", "percent", "beyond the leads"),
    "contrasts": ("contrast", "estimate, mm", "p (Holm)", "seeds", "margin, mm", "verdict", "reason"),
    "conventions-table1": ("row of Table 1", "printed", "metric", "value", "difference", "source"),
}  # fmt: skip
"""Table -> the headings that a page shows, at most seven; the CSV file beside it holds all columns."""


NAMED = 6
"""Of the rows without a number, how many a page names; the CSV file lists all."""
NUMBER_OF = {
    "contrasts": "estimate, mm", "efficiency": "parameters, M", "alternatives": "estimate, mm",
    "robustness": "own variances", "contexts-occlusion": "difference", "contexts-fingertips": "difference",
    "contexts-handedness": "difference", "contexts-two-hands": "difference",
}  # fmt: skip
"""Table -> the heading whose blank leaves a row without anything to show, unless it states another reason."""
WAITING = ("run missing", "runs missing", "no run yet", "not part of profile", "no seed is common")
"""What the reason or status of a row begins with that only waits for runs."""


def with_numbers(shown: pd.DataFrame, name: str) -> tuple[pd.DataFrame, str]:
    """Return a table as text without the rows that wait for runs, and a sentence that names these or ""."""
    number = NUMBER_OF.get(name)
    if number not in shown:
        return shown, ""
    waits = shown[number] == ""
    for column in {"reason", "status"} & set(shown.columns):
        waits &= shown[column].str.startswith(WAITING)
    blank, full = shown[waits], shown[~waits]
    if "status" in full and (full["status"] == "ok").all():
        full = full.drop(columns="status")
    names = blank["contrast"] if "contrast" in blank else blank.iloc[:, 0]
    if "dataset" in blank and "network" in blank:
        names = blank["network"] + ", " + blank["dataset"]
    waiting = list(dict.fromkeys(names))
    named = "; ".join(waiting[:NAMED]) + (f"; and {len(waiting) - NAMED} more" if len(waiting) > NAMED else "")
    return full, f"No value, since runs are missing ({len(waiting)}): {named}." if waiting else ""


def on_page(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table as text with the columns that a page shows; those that are left out or empty do not count."""
    shown = formatted(table)
    return shown[[column for column in PAGE_COLUMNS.get(name, shown.columns) if column in shown.columns]]


def lowest(table: pd.DataFrame, leaving_out: Collection[str] = ()) -> str | None:
    """Return the method with the lowest T2 wrist20 of a table by method, track and metric; None without a number."""
    rows = table[(table["track"] == "T2") & (table["metric"] == "wrist20") & ~table["method"].isin(leaving_out)]
    return None if rows["value"].isna().all() else rows.loc[rows["value"].idxmin(), "method"]
