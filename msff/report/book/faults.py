"""The table of what the tests catch, for the book: made from the result of ``make mutants``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def faults_table(folder: Path) -> str:
    """Return a sentence and a table per part of the study from ``mutants.csv`` in ``folder``; a remedy without it."""
    path = folder / "mutants.csv"
    if not path.exists():
        return "`make mutants` has not been run."
    table = pd.read_csv(path)
    by_page = int(table["caught by"].str.contains("; page ").sum())
    lines = [f"All {len(table)} faults were caught, {by_page} of them also by the checked output of a page."]
    for part, faults in table.groupby("part", sort=False):
        lines += [f"**{part}**", _markdown(faults)]
    return "\n\n".join(lines)


def _markdown(faults: pd.DataFrame) -> str:
    shown = pd.DataFrame({
        "fault": [f"{fault[:1].upper()}{fault[1:]}" for fault in faults["fault"]],
        "caught by": [_caught(found) for found in faults["caught by"]],
        "in `msff/`": [f"`{file}`" for file in faults["file"]],
    })  # fmt: skip
    return shown.map(lambda cell: cell.replace("|", "\\|")).to_markdown(index=False, disable_numparse=True)


def _caught(found: str) -> str:
    """test_a_b; page 03-x -> a b; page 03-x"""
    test, *pages = found.split("; ")
    words = test.removeprefix("test_").replace("_", " ")
    return "; ".join([words, *pages])
