"""Pictures with a text alternative, and source lines: what they hold and what a page makes of them."""

import base64
import json

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from msff.report import notebook, tables
from msff.report.book.exhibits import source_markdown, stage_exhibits
from msff.report.display import SOURCE_MIME, Picture, source
from msff.report.formatting import PAGE_COLUMNS, formatted, lowest, on_page
from msff.report.results import Cell

MSFF = Cell("standin-rhd", "msff")


@pytest.fixture
def results(made_results):
    return made_results("cpu", (0, 1))


@pytest.fixture
def drawn():
    return plt.subplots(figsize=(2, 1))[0]


def test_a_picture_has_twice_the_pixels_of_its_width_and_its_alternative(drawn):
    data, metadata = Picture(drawn, "Two  lines\nof words")._repr_mimebundle_()
    assert metadata["image/png"] == {"width": round(2 * drawn.dpi), "alt": "Two lines of words"}
    png = base64.b64decode(data["image/png"])
    assert int.from_bytes(png[16:20], "big") == 2 * round(2 * drawn.dpi)
    assert not plt.get_fignums()


def test_a_picture_without_an_alternative_is_refused(drawn):
    with pytest.raises(ValueError, match="text alternative"):
        Picture(drawn, " ")


def test_a_source_line_names_runs_hashes_function_and_numbers(results):
    table = pd.DataFrame({"value": [1 / 3]})
    content = source(results, [MSFF, MSFF], tables.table1, table, "thirds")._repr_mimebundle_()[SOURCE_MIME]
    assert [run["id"] for run in content["runs"]] == [f"standin-rhd/msff/full/seed{seed}" for seed in (0, 1)]
    assert {run["config_hash"] for run in content["runs"]} == {"made up"}
    assert content["drawn_by"] == "msff.report.tables.table1" and content["csv"] == "value\n0.333333\n"
    with pytest.raises(ValueError, match="go together"):
        source(results, [MSFF], tables.table1, table)


def test_without_runs_a_source_line_says_so(results):
    assert "no run yet, profile cpu" in source(results, [Cell("standin-rhd", "msff", "scratch")], tables.table1).text


def test_provenance_chooses_rows_by_method_and_variant(results):
    def rows(**chosen):
        runs = notebook.provenance(results, "rhd", tables.table1, **chosen).runs
        return {run["id"].rsplit("/", 1)[0].removeprefix("standin-rhd/") for run in runs}

    assert rows(methods=("msff",)) >= {"msff/bare", "msff/full"} and "internet/full" not in rows(methods=("msff",))
    assert rows(methods=("msff", "internet"), variants=("full",)) == {"msff/full", "internet/full"}
    assert "msff/bare" not in rows() and {"spurr/plain", "mean-pose/full"} <= rows()


def test_a_staged_page_has_the_line_as_a_cell_with_links_that_exist(results, tmp_path):
    content = source(results, [MSFF], tables.table1, pd.DataFrame({"a": [1]}), "table1")._repr_mimebundle_()
    picture = {"data": {"image/png": ""}, "metadata": {"image/png": {"alt": "A cube"}}, "output_type": "display_data"}
    line = {"data": content, "metadata": {}, "output_type": "display_data"}
    cell = {"cell_type": "code", "id": "c", "metadata": {}, "source": "", "outputs": [picture, line]}
    (tmp_path / "page.ipynb").write_text(json.dumps({"cells": [cell]}))
    (tmp_path / "runs").mkdir()
    run_page = tmp_path / "runs" / "standin-rhd--msff--full--seed0.md"
    run_page.write_text("Results of profile `cpu`: one run")
    stage_exhibits(tmp_path)
    shown, text = json.loads((tmp_path / "page.ipynb").read_text())["cells"]
    assert shown["outputs"] == [picture] and shown["metadata"]["mystnb"]["image"]["alt"] == "A cube"
    assert "{download}`table1.csv </book/_executed/csv/cpu/table1.csv>`" in text["source"]
    assert (tmp_path / "csv" / "cpu" / "table1.csv").read_text() == "a\n1\n"
    assert "[standin-rhd/msff/full/seed0](/book/_executed/runs/standin-rhd--msff--full--seed0.md)" in text["source"]
    assert "`standin-rhd/msff/full/seed1`" in text["source"]  # which has no page
    run_page.write_text("Results of profile `smoke`: another profile's run of that name")
    (tmp_path / "page.ipynb").write_text(json.dumps({"cells": [cell]}))
    stage_exhibits(tmp_path)
    assert "](/book" not in (tmp_path / "page.ipynb").read_text()


def test_a_line_without_numbers_or_runs_offers_neither():
    content = {"profile": "cpu", "runs": [], "drawn_by": "msff.f", "name": "", "csv": ""}
    text = source_markdown(content, "", lambda profile, run: "")
    assert "no run yet" in text and "download" not in text and "dropdown" not in text


@pytest.mark.parametrize("name", ["table1", "ablation", "pairs", "variants", "efficiency", "fig5", "interhand"])
def test_a_table_on_a_page_has_at_most_seven_columns_and_every_listed_one(results, name):
    table = tables.BUILDERS[name](results)
    shown = on_page(table, name)
    assert len(shown.columns) <= 7 and len(shown) == len(formatted(table))
    optional = {"dataset"}  # left out where it is constant
    assert set(PAGE_COLUMNS[name]) - optional <= set(shown.columns) | {"dataset"}


def test_the_lowest_method_is_in_bold_with_its_interval(results):
    table = tables.table1(results)
    best = lowest(table, leaving_out=("mean pose (baseline)", "oracle (lower bound)"))
    assert best == "MS-FF" and lowest(table) == "oracle (lower bound)"
    html = notebook.shown(table, "table1", bold=best).data
    row = html[html.index("<b>MS-FF</b>") :].split("</tr>")[0]
    assert row.count("<b>") == html.count("<b>") == 2 and "[" in row.split("<b>")[2].split("</b>")[0]
