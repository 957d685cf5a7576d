"""The line that names a copy of the book, and the page of execution statistics."""

import json

from msff.report.book import edition as module
from msff.report.book.edition import edition, executions, executions_fragment

CITATION = """title: A study
version: 1.2.0
authors: [{name: the authors}, {family-names: Doe}]
references: [{title: no doi}, {doi: 10.1/paper}]
"""


def test_the_edition_has_version_commit_profile_and_dois(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "commit", lambda root: "abc123+changes")
    (tmp_path / "CITATION.cff").write_text(CITATION)
    line = edition(tmp_path, "cpu")
    for part in (
        "Version 1.2.0",
        "<code>abc123+changes</code>",
        "<code>cpu</code>",
        "the authors, Doe, <i>A study</i>",
    ):
        assert part in line
    assert line.count("doi:") == 1 and 'href="https://doi.org/10.1/paper"' in line and "/commit/" not in line
    (tmp_path / "CITATION.cff").write_text(f"{CITATION}doi: 10.5/own\n")
    line = edition(tmp_path, "cpu", "https://host/me/study")
    assert "doi:10.5/own" in line and 'href="https://host/me/study/commit/abc123"' in line


def test_statistics_have_a_row_per_executed_page_with_its_own_time(tmp_path):
    code, title = {"cell_type": "code"}, {"cell_type": "markdown", "source": ["# A page\n", "text"]}
    facts = {"seconds": 61.25, "executed": "2026-01-02 03:04", "parameters": {"profile": "cpu"}}
    for name, metadata in (("a", {"msff": facts}), ("runs/b", {})):
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"metadata": metadata, "cells": [title, code, code]}))
    first, second = executions(tmp_path).to_dict("records")
    assert first == {
        "page": "[A page](/book/_executed/a.ipynb)", "profile": "`cpu`", "code cells": 2, "seconds": 61.25,
        "executed (UTC)": "2026-01-02 03:04",
    }  # fmt: skip
    assert second["page"] == "[A page](/book/_executed/runs/b.ipynb)" and second["executed (UTC)"] == ""
    text = executions_fragment(tmp_path)
    assert "2 notebooks, 4 code cells; together 1.0 minutes for the 1 whose time is stored." in text
    assert "nan" not in text and "jupyter-book 1." in text
