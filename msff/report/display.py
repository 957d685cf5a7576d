"""Figures and their provenance as notebooks show them: sharp pictures with a text alternative, and the source line.

Both are display objects: in Jupyter they appear as they are, and `msff.report.book.staged_notebook` turns them into
parts of a page, with links to the pages of the runs and to the numbers as CSV.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from msff.report.drawing import SHARPNESS, encoded
from msff.report.results import Cell, Results

SOURCE_MIME = "application/vnd.msff.source+json"
"""The mime type of a source line's content."""


class Picture:
    """A figure as a PNG of twice the resolution at which pages show it, with its text alternative in its note."""

    def __init__(self, figure: Figure, alt: str):
        """Render and close ``figure``; ValueError without a text alternative."""
        if not alt.strip():
            raise ValueError("a figure needs a text alternative for readers who cannot see it")
        self.alt, self.width = " ".join(alt.split()), round(figure.get_figwidth() * figure.dpi)
        self.figure, self.png = figure, encoded(figure, SHARPNESS * figure.dpi, alt=self.alt)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": self.width, "alt": self.alt}}


@dataclass(frozen=True)
class Source:
    """Where the numbers of a figure or a table come from."""

    profile: str
    runs: tuple[dict, ...]  # id, config_hash and commit of each
    drawn_by: str  # dotted name of a function of the package
    name: str = ""  # of the CSV file, without its ending
    csv: str = ""

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        html = f"<small>{escape(self.text)}</small>"
        return {SOURCE_MIME: asdict(self), "text/html": html, "text/plain": self.text}

    @property
    def text(self) -> str:
        """The line without links."""
        return f"Source: {described(self.profile, self.runs)}, {self.drawn_by}"


def described(profile: str, runs: Sequence[dict]) -> str:
    """Return number of runs, profile and commits in words."""
    text = f"{len(runs)} run{'s' * (len(runs) > 1)}" if runs else "no run yet"
    text += f", profile {profile}"
    if commits := list(dict.fromkeys(run["commit"][:7] for run in runs if run["commit"] != "unknown")):
        text += f", trained at commit{'s' * (len(commits) > 1)} {', '.join(commits[:3])}"
    return text + " and others" * (len(commits) > 3)


def source_line(
    profile: str, runs: Iterable[dict], drawn_by: Callable, table: pd.DataFrame | None = None, name: str = ""
) -> Source:
    """Return the source line of what ``drawn_by`` made of these runs (id, config_hash and commit of each).

    ``table`` with its ``name`` becomes a CSV file to download: the numbers that the reader sees, in full precision.
    """
    if (table is None) == bool(name):
        raise ValueError("a table and its name go together")
    text = "" if table is None else table.to_csv(index=False, float_format="%.6g")
    return Source(profile, tuple(runs), f"{drawn_by.__module__}.{drawn_by.__qualname__}", name, text)


def provenance(
    results: Results, layout: str, drawn_by: Callable, table: pd.DataFrame | None = None, name: str = "",
    methods: Collection[str] = (), variants: Collection[str] = (),
) -> Source:  # fmt: skip
    """Return the source line of a figure or table of a layout's runs, by default of all methods' headline variants.

    ``methods`` and ``variants`` choose the rows: with either alone, every stored value of the other.
    """
    dataset, runs = results.dataset(layout), []
    for cell in results.cells():
        chosen = cell.variant in variants if variants else bool(methods) or cell == Cell(dataset, cell.method)
        if cell.dataset == dataset and (not methods or cell.method in methods) and chosen:
            records = [run.record for run in results.runs(cell)]
            runs += [{"id": r.run_id, "config_hash": r.config_hash, "commit": r.commit} for r in records]
    return source_line(results.profile, runs, drawn_by, table, name)
