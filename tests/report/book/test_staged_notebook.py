"""Executed notebooks as pages: title, banner, folds, and the sources of figures and tables."""

import json

import nbformat
import pandas as pd
import pytest
from made_up_book import page

from msff.report import tables
from msff.report.book.staged_notebook import page_of, source_markdown, stage_notebook
from msff.report.display import provenance


def staged_page(notebook, banner="", title="{}"):
    """The cells of a notebook as a page."""
    made = nbformat.from_dict(notebook)
    page_of(made, banner, title)
    return made.cells


def test_parameters_are_hidden_and_the_banner_stands_under_the_title():
    cells = staged_page(page(), ":::{note}\nbanner\n:::")
    tags = [cell.metadata.get("tags", []) for cell in cells]
    assert tags == [[], ["parameters", "remove-cell"], ["injected-parameters", "hide-input"], []]
    assert cells[0].source.startswith("# A page\n\n:::{note}\nbanner\n:::\n\nMass is")
    assert cells[3].source == "table"  # nbval's mark is not for readers


def test_without_injected_parameters_the_defaults_are_only_folded():
    notebook = page()
    del notebook["cells"][2]
    assert staged_page(notebook)[1].metadata.tags == ["parameters", "hide-input"]


def test_folded_cells_that_show_nothing_join_the_next_folded_one_that_does():
    """One line to unfold above a figure, with the imports, the hidden checks and the drawing in it."""
    notebook = page()
    cells = notebook["cells"]
    table = cells.pop()
    silent = {**table, "id": "silent", "outputs": [], "source": "x = 1", "metadata": {"tags": ["hide-input"]}}
    checks = {**table, "id": "checks", "source": "check", "metadata": {"tags": ["hide-input", "remove-output"]}}
    drawing = {**table, "id": "drawing", "source": "draw", "metadata": {"tags": ["hide-input"]}}
    text = {"cell_type": "markdown", "id": "text", "metadata": {}, "source": "## Result"}
    cells += [silent, text, checks, drawing, {**silent, "id": "alone"}, {**table, "id": "open"}]
    kept = staged_page(notebook)[2:]
    assert [cell.id for cell in kept] == ["text", "drawing", "alone", "open"]
    assert kept[1].source.split("\n\n\n") == [cells[2]["source"], "x = 1", "check", "draw"]


def test_an_error_output_never_becomes_a_page():
    notebook = page()
    notebook["cells"][3]["outputs"] = [{"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}]
    with pytest.raises(ValueError, match="cell 3 ended with an error"):
        staged_page(notebook)


def test_a_notebook_that_was_not_executed_never_becomes_a_page():
    notebook = page()
    notebook["cells"][3] |= {"outputs": [], "execution_count": None}
    with pytest.raises(ValueError, match="cell 3 was never executed"):
        staged_page(notebook)
    notebook["cells"][3]["source"] = "\n"  # nothing to execute
    staged_page(notebook)


def test_a_page_may_keep_its_own_title_in_a_longer_one():
    assert staged_page(page(), title="{}, elsewhere")[0].source.startswith("# A page, elsewhere\n")


def test_a_page_needs_a_title():
    notebook = page()
    notebook["cells"][0]["source"] = "no heading"
    with pytest.raises(ValueError, match="page's title"):
        staged_page(notebook)


def test_a_staged_page_has_the_line_as_a_cell_with_links_to_the_pages_of_its_runs(made_results, tmp_path):
    content = provenance(
        made_results("cpu", (0, 1)),
        "rhd",
        tables.table1,
        pd.DataFrame({"a": [1]}),
        "table1",
        methods=("msff",),
        variants=("full",),
    )._repr_mimebundle_()
    notebook = page()
    notebook["cells"][3]["outputs"] = [
        {"output_type": "display_data", "data": {"image/png": ""}, "metadata": {}},
        {"output_type": "display_data", "data": content, "metadata": {}},
    ]
    (tmp_path / "source.ipynb").write_text(json.dumps(notebook))
    links = {
        "cpu": {"standin-rhd/msff/full/seed0": "/a-page.md"},
        "smoke": {"standin-rhd/msff/full/seed1": "/other.md"},
    }
    stage_notebook(tmp_path / "source.ipynb", tmp_path, "page", "", links)
    *_, shown, text = json.loads((tmp_path / "page.ipynb").read_text())["cells"]
    assert len(shown["outputs"]) == 1
    line = "".join(text["source"])
    assert "{download}`table1.csv </book/_executed/csv/cpu/table1.csv>`" in line
    assert (tmp_path / "csv" / "cpu" / "table1.csv").read_text() == "a\n1\n"
    assert "[standin-rhd/msff/full/seed0](/a-page.md)" in line
    assert "`standin-rhd/msff/full/seed1`" in line and "other" not in line  # which has no page


def test_a_line_without_numbers_or_runs_offers_neither():
    content = {"profile": "cpu", "runs": [], "drawn_by": "msff.f", "name": "", "csv": ""}
    text = source_markdown(content, "", {})
    assert "no run yet" in text and "download" not in text and "dropdown" not in text
