"""What a reader needs to cite and to redo this copy of the book: its version and commit, and how its pages ran."""

from __future__ import annotations

import json
from html import escape
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from msff.report.formatting import markdown, with_digits
from msff.study.machine import commit

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "matplotlib", "papermill", "jupyter-book", "sphinx")
"""Packages whose versions the page of execution statistics lists."""


def edition(root: Path, profile: str, repository: str = "") -> str:
    """Return a line in HTML: version, commit, profile, how to cite. The commit is a link if there is a repository."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    made_at = commit(root)
    shown = f"<code>{escape(made_at)}</code>"
    if repository and made_at != "unknown":
        shown = f'<a href="{escape(repository)}/commit/{made_at.partition("+")[0]}">{shown}</a>'
    authors = ", ".join(author.get("name") or author["family-names"] for author in cited["authors"])
    own = f", doi:{cited['doi']}" if "doi" in cited else ""
    paper = next(r["doi"] for r in cited["references"] if "doi" in r)
    return (
        f'<p class="msff-edition">Version {escape(str(cited["version"]))}, commit {shown}, profile '
        f"<code>{escape(profile)}</code>. Cite as: {escape(authors)}, <i>{escape(cited['title'])}</i>{own}; "
        f'the paper under study: <a href="https://doi.org/{paper}">doi:{paper}</a>.</p>'
    )


def executions(folder: Path) -> pd.DataFrame:
    """Return a row per executed notebook among the staged pages: page, profile, cells, seconds, when (UTC)."""
    rows = []
    for path in sorted(folder.rglob("*.ipynb"), key=lambda path: path.with_suffix("")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        facts = notebook["metadata"].get("msff", {})
        title = "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")
        rows.append({
            "page": f"[{title}](/book/_executed/{path.relative_to(folder).as_posix()})",
            "profile": f"`{facts['parameters']['profile']}`" if "parameters" in facts else "",
            "code cells": sum(cell["cell_type"] == "code" for cell in notebook["cells"]),
            "seconds": facts.get("seconds"),
            "executed (UTC)": facts.get("executed", ""),
        })  # fmt: skip
    return pd.DataFrame(rows)


def executions_fragment(folder: Path) -> str:
    """Return the table of executed pages, their sum and the versions of the packages, as Markdown."""
    table = executions(folder)
    known = table.seconds.dropna()
    total = f"{len(table)} notebooks, {table['code cells'].sum()} code cells; together {known.sum() / 60:.1f} minutes"
    if len(known) < len(table):
        total += f" for the {len(known)} whose time is stored"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{markdown(with_digits(table, {'seconds': 1}))}\n\n{total}.\n\nPackages: {versions}."
