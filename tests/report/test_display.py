"""Pictures with a text alternative, and source lines: what they hold and what a page makes of them."""

import base64

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from msff.report import notebook, tables
from msff.report.display import SOURCE_MIME, Picture, provenance
from msff.report.formatting import PAGE_COLUMNS, formatted, lowest, on_page
from msff.report.results import Results

MSFF = {"methods": ("msff",), "variants": ("full",)}


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
    content = provenance(results, "rhd", tables.table1, table, "thirds", **MSFF)._repr_mimebundle_()[SOURCE_MIME]
    assert [run["id"] for run in content["runs"]] == [f"standin-rhd/msff/full/seed{seed}" for seed in (0, 1)]
    assert {run["config_hash"] for run in content["runs"]} == {"made up"}
    assert content["drawn_by"] == "msff.report.tables.table1" and content["csv"] == "value\n0.333333\n"
    with pytest.raises(ValueError, match="go together"):
        provenance(results, "rhd", tables.table1, table, **MSFF)


def test_without_runs_a_source_line_says_so(results):
    assert "no run yet, profile cpu" in provenance(results, "rhd", tables.table1, variants=("scratch",)).text


def test_provenance_chooses_rows_by_method_and_variant(results):
    def rows(**chosen):
        runs = provenance(results, "rhd", tables.table1, **chosen).runs
        return {run["id"].rsplit("/", 1)[0].removeprefix("standin-rhd/") for run in runs}

    assert rows(methods=("msff",)) >= {"msff/bare", "msff/full"} and "internet/full" not in rows(methods=("msff",))
    assert rows(methods=("msff", "internet"), variants=("full",)) == {"msff/full", "internet/full"}
    assert "msff/bare" not in rows() and {"spurr/plain", "mean-pose/full"} <= rows()


@pytest.fixture
def displayed(monkeypatch):
    """What a cell displays."""
    objects = []
    monkeypatch.setattr(notebook, "display", lambda *shown: objects.extend(shown))
    return objects


def test_a_table_stands_between_its_caption_and_its_source(results, displayed):
    table = tables.fig5(results)
    notebook.show_table(results, "interhand", tables.fig5, table, "joints", page="fig5", shown_as=table.iloc[:2])
    caption, text, line = displayed
    assert caption.data == table.attrs["caption"] and text.data == notebook.shown(table.iloc[:2], "fig5").data
    assert line.name == "joints" and len(line.csv.splitlines()) == len(table) + 1
    notebook.show_table(results, "interhand", tables.fig5, table, "joints", page="fig5", fold="the joints")
    folded = displayed[4].data
    assert "<summary>the joints</summary>" in folded and notebook.shown(table, "fig5").data in folded
    first, rest = table.iloc[:2], table.iloc[2:]
    notebook.show_table(
        results, "interhand", tables.fig5, table, "joints", page="fig5", shown_as=first, more=rest, fold="the rest"
    )
    _, opened, behind, _ = displayed[6:]
    assert opened.data == notebook.shown(first, "fig5").data and notebook.shown(rest, "fig5").data in behind.data


def test_a_figure_stands_above_its_source_and_is_saved_if_it_has_a_file(copied, displayed, drawn):
    results = Results(copied())
    notebook.show_figure(results, "rhd", tables.table1, drawn, "A line", "line", withheld=True, methods=("msff",))
    picture, note, line = displayed
    assert picture.alt == "A line" and "plausibility check" in note.data and "msff" in line.runs[0]["id"]
    assert [path.name for path in results.store.figures.iterdir()] == ["line.png"]


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
