"""The book's tables of faults: those that the tests catch (``make mutants``) and that a study survives."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from msff.report.formatting import contained, markdown

NOT_TRIED = "not tried"
"""The exit code of a fault that the machine cannot have."""
LONGEST = 160  # characters of a message that are shown
WRITTEN = {
    "eqs": "Eqs.", "relu": "ReLU", "internets": "InterNet's", "imagenets": "ImageNet's", "gaussian": "Gaussian",
    "procrustes": "Procrustes", "holm": "Holm", "argmax": "arg-max", "2 5": "2.5", "p values": "p-values",
}  # fmt: skip
"""Words in names of tests -> how a sentence has them."""


def faults_table(folder: Path) -> str:
    """Return a sentence and a table per part of the study from ``mutants.csv`` in ``folder``; a remedy without it."""
    path = folder / "mutants.csv"
    if not path.exists():
        return "`make mutants` has not been run."
    table = pd.read_csv(path)
    by_page = int(table["caught by"].str.contains("; page ").sum())
    lines = [f"All {len(table)} faults were caught, {by_page} of them also by the checked output of a page."]
    table = pd.DataFrame({
        "part": table["part"], "fault": [f"{fault[:1].upper()}{fault[1:]}" for fault in table["fault"]],
        "caught by": [_caught(found) for found in table["caught by"]],
        "in `msff/`": [f"`{file}`" for file in table["file"]],
    })  # fmt: skip
    for part, faults in table.groupby("part", sort=False):
        lines += [f"**{part}**", markdown(faults.drop(columns="part"))]
    return "\n\n".join(lines)


def survived_table(path: Path) -> str:
    """Return a sentence and a table per part from ``survived.csv``, which ``make faults`` stores; a remedy without it.

    The columns of that file: name, part, fault, exit, message, lost, again (the exit code of the same command once
    more), equal ("-" where nothing is computed).
    """
    if not path.exists():
        return "`make faults` has not been run."
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    tried, compared = table[table.exit != NOT_TRIED], table[table.equal != "-"]
    foreign = tried[tried.equal == "-"]
    same, harmless = compared.equal.str.startswith("yes").sum(), foreign.lost.str.startswith("nothing").sum()
    lines = [
        f"{len(tried)} of {len(table)} faults were tried. {same} of {len(compared)} studies ended with the results of "
        f"an undisturbed one. In {harmless} of {len(foreign)} files from a stranger nothing was executed."
    ]
    for part, faults in table.groupby("part", sort=False):
        lines += [f"**{part}**", *_part(faults)]
    return "\n\n".join(lines)


def _part(faults: pd.DataFrame) -> list[str]:
    """Return what is the same in all rows as a sentence, and the rest as a table."""
    shown = pd.DataFrame({
        "fault": faults.fault, "message": faults.message.map(_as_code), "exit code": faults.exit, "lost": faults.lost,
        "same command again": faults.again, "results equal": faults.equal,
    })  # fmt: skip
    shown = shown[[name for name in shown if not shown[name].isin(("", "-")).all()]]
    same = [name for name in shown if len(shown) > 1 and shown[name].nunique() == 1]
    common = "; ".join(f"*{name}* {shown[name].iloc[0]}" for name in same)
    rows = contained(markdown(shown.drop(columns=same)), "msff-faults")
    return [f"In each row: {common}.", rows] if same else [rows]


def _as_code(message: str) -> str:
    short = message[:LONGEST] + " ..." * (len(message) > LONGEST)
    return f"`{short.replace('`', chr(39))}`" if message else ""


def _caught(found: str) -> str:
    """test_a_relu_b; page 03-x -> A ReLU b; page `03-x`"""
    test, *pages = found.split("; page ")
    words = test.removeprefix("test_").replace("_", " ")
    for plain, written in WRITTEN.items():
        words = re.sub(rf"\b{plain}\b", written, words)
    return "; page ".join([words[:1].upper() + words[1:], *(f"`{page}`" for page in pages)])
