"""The checked outputs of notebooks follow the executed pages, and what changed is shown."""

import json

import pytest
from tiny_study import tiny_study

from msff.study.execution import PageError, refresh
from msff.study.pages import all_pages, fingerprint


def notebook(outputs):
    """A parameters cell, a checked cell and a plain one; ``outputs`` of the two as they print them."""
    sources = ['profile = "smoke"', "# NBVAL_CHECK_OUTPUT\nprint(1 + 1)", "print(3)"]
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {"tags": ["parameters"] * (i == 0)}, "source": source,
         "outputs": [{"output_type": "stream", "name": "stdout", "text": [text]}] if text else [],
         "execution_count": i or None}
        for i, (source, text) in enumerate(zip(sources, ["", *outputs], strict=True))
    ]  # fmt: skip
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def study(tmp_path):
    study = tiny_study(tmp_path)
    for path in (tmp_path / "notebooks").glob("*.ipynb"):
        path.unlink()
    (tmp_path / "notebooks" / "01-data.ipynb").write_text(json.dumps(notebook(["1\n", ""])))
    return study


def test_refresh_takes_over_the_outputs_of_checked_cells_only_and_shows_old_and_new(study):
    source = study.root / "notebooks" / "01-data.ipynb"
    with pytest.raises(PageError, match="01-data has not been executed since it changed"):
        refresh(study)
    page = next(page for page in all_pages(study) if page.output == "01-data")
    before = fingerprint(study, page)
    page.path(study).parent.mkdir(parents=True)
    executed = notebook(["2\n", "3\n"]) | {"metadata": {"msff": {"inputs": before}}}
    page.path(study).write_text(json.dumps(executed))
    (moved,) = refresh(study)
    assert moved.splitlines() == ["--- 01-data, cell c1, old", "+++ 01-data, cell c1, new", "@@ -1 +1 @@", "-1", "+2"]
    cells = json.loads(source.read_text())["cells"]
    assert [cell["outputs"] for cell in cells[::2]] == [[], []] and cells[1]["outputs"][0]["text"] == ["2\n"]
    assert [cell["execution_count"] for cell in cells] == [None, 1, None]  # nbval compares counted cells only
    assert fingerprint(study, page) == before  # outputs are no part of the source
    assert refresh(study) == []
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    with pytest.raises(PageError, match="01-data has not been executed since it changed"):
        refresh(study)
