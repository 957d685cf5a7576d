"""Easier and harder parts of the test set."""

import numpy as np
import pytest

from msff.report import contexts
from msff.report.formatting import on_page
from msff.report.results import Cell
from msff.report.rows import MISSING, OK


@pytest.fixture
def results(made_results):
    return made_results()


def test_each_comparison_has_every_method_beside_the_mean_pose(results):
    table = contexts.contexts(results)
    assert table.groupby("comparison").size().tolist() == [8, 8, 8, 8]
    row = table.query("comparison == 'fingertips' and method == 'MS-FF'").iloc[0]
    cell = Cell("standin-rhd", "msff")
    easy, hard = (results.estimate(cell, "T2", f"wrist20_{part}").value for part in ("base", "fingertip"))
    assert (row["easier"], row["harder"]) == (easy, hard)
    assert row["difference"] == pytest.approx(hard - easy) and row["difference_low"] > 0
    assert row["status"] == OK


def test_a_missing_run_is_named_and_never_filled(empty):
    table = contexts.contexts(empty)
    assert (table["status"] == MISSING).all() and table["harder"].isna().all()
    figure = contexts.context_figure(table, "data")
    assert sum(t.get_text() == MISSING for ax in figure.axes for t in ax.texts) == len(table)


def test_one_comparison_on_a_page_names_its_parts_and_fits(results):
    rows = contexts.of(results, contexts.contexts(results), "occlusion")
    assert "hidden joints (metric wrist20_occluded)" in rows.attrs["caption"] and len(rows) == 8
    assert "40 test images" in rows.attrs["caption"] and f"Profile {results.profile}" in rows.attrs["caption"]
    assert [*on_page(rows, "").columns][:4] == ["method", "visible joints", "hidden joints", "difference"]
    assert len(on_page(rows, "").columns) <= 7


def test_the_figure_draws_both_parts_of_every_method(results):
    table = contexts.contexts(results)
    panel = contexts.context_figure(table, "data").axes[1]
    drawn = sorted(float(c.lines[0].get_xdata()[0]) for c in panel.containers)
    rows = table.query("comparison == 'fingertips' and status == 'ok'")
    assert np.allclose(drawn, sorted([*rows["easier"], *rows["harder"]]))
