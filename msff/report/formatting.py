"""Tables for reading: rounded, intervals beside their value, with the caption on top."""

from __future__ import annotations

import numpy as np
import pandas as pd


def to_markdown(table: pd.DataFrame) -> str:
    """Caption and rounded table."""
    shown = wide(table) if {"joint", "method"} <= set(table.columns) else readable(table)
    return f"{table.attrs['caption']}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n"


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row per joint, one column per method, of a table with the columns joint, method, value, low and high."""
    shown = readable(table)
    shown["value"] = shown["value"].where(shown["value"] != "", table["status"])
    joints, methods = (list(dict.fromkeys(table[column])) for column in ("joint", "method"))
    table = shown.pivot(index="joint", columns="method", values="value").loc[joints, methods]
    return table.rename_axis(columns=None).reset_index()


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows for reading: a value and its interval in one cell, two decimals, blanks for what is absent."""
    shown = pd.DataFrame(index=table.index)
    for column in table.columns:
        bounds = {"value": ("low", "high"), "difference": ("difference_low", "difference_high")}.get(column)
        if column in ("low", "high", "difference_low", "difference_high"):
            continue
        if bounds and set(bounds) <= set(table.columns):
            shown[column] = [_interval(*v) for v in zip(table[column], *(table[b] for b in bounds), strict=True)]
        else:
            shown[column] = [_text(v) for v in table[column]]
    shown.attrs = dict(table.attrs)
    return shown


def _interval(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if pd.isna(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _text(value) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}")
    return "" if value is None or value is pd.NA else str(value)
