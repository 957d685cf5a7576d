"""The chapter on conventions: same predictions, paired differences, the paper's leads as the yardstick."""

from dataclasses import replace

import numpy as np
import pytest
from make_results import add_run, make_predictions, make_truth
from report.reading import only, run_of, texts

from msff.evaluation.joint_errors import mean_of_joint_medians, pooled_mean
from msff.report import conventions
from msff.report.formatting import readable
from msff.report.results import Cell, Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu", (0, 1, 2))


@pytest.fixture(scope="module")
def rhd(results):
    return conventions.conventions_table(results, conventions.RHD)


def test_the_papers_leads():
    assert conventions.leads_mm() == (0.37, 0.68)
    assert conventions.leads_percent() == pytest.approx((100 * 0.37 / 20.58, 100 * 0.68 / 20.89))


def test_the_first_row_is_the_headline_and_the_reference(rhd):
    assert rhd["metric"][0] == "wrist20" and np.isnan(rhd["difference"][0]) and rhd["beyond the leads"][0] == ""
    assert rhd["difference"][1:].tolist() == pytest.approx((rhd["value"][1:] - rhd["value"][0]).tolist())
    assert rhd["percent"][1:].tolist() == pytest.approx((100 * rhd["difference"][1:] / rhd["value"][0]).tolist())


def test_the_free_zero_is_one_21st_of_the_headline(rhd):
    row = only(rhd, metric="wrist21")
    assert row["difference"] == pytest.approx(-rhd["value"][0] / 21) and row["percent"] == pytest.approx(-100 / 21)
    assert row["difference_high"] < 0  # paired: it is never above 0


def test_averages_are_those_of_the_sample_level(results, rhd):
    errors = results.errors(Cell("standin-rhd", "msff"), "T2", "wrist20_vis")
    expected = np.mean([pooled_mean(e) for e in errors])
    assert only(rhd, metric="wrist20_vis", average="pooled")["value"] == pytest.approx(expected)
    errors = results.errors(Cell("standin-rhd", "msff"), "T2", "wrist20")
    expected = np.mean([mean_of_joint_medians(e) for e in errors])
    assert only(rhd, average="joint medians")["value"] == pytest.approx(expected)


@pytest.mark.parametrize(("mm", "percent", "text"), [
    (0.5, 1.0, "neither"), (-0.7, 1.0, "mm"), (0.5, -4.0, "%"), (2.0, 9.0, "mm and %"),
])  # fmt: skip
def test_beyond_the_leads(mm, percent, text):
    assert conventions.beyond_the_leads(mm, percent) == text


def test_table_1_in_the_metric_of_each_row(results):
    table = conventions.table1_conventions(results)
    assert table["row of Table 1"].tolist()[0] == "PoseNet(2017)" and table["printed"].tolist()[-1] == 20.21
    assert only(table, **{"row of Table 1": "InterNet(2020)"})["metric"] == "wrist21"
    assert only(table, **{"row of Table 1": "Song(2022)"})["status"] == "not known"
    known = table["value"].notna()
    assert known.sum() == 5 and table.loc[known, "metric"].nunique() == 4
    reference = only(table, **{"row of Table 1": "MS-FF"})
    assert np.isnan(reference["difference"])
    spurr = only(table, **{"row of Table 1": "Spurr(2018)"})
    assert spurr["difference"] == pytest.approx(spurr["value"] - reference["value"])


def test_official_and_pooled_are_named_apart(tmp_path):
    store = Store(tmp_path / "cpu")
    store.save_truth(make_truth("standin-interhand", 39), {"made": "up"})  # one right hand more than left ones
    add_run(store, "standin-interhand", "msff", "full", 0, 6.0)
    table = conventions.conventions_table(Results(store), conventions.INTERHAND)
    rows = table.set_index(["metric", "track", "average"])["value"]
    assert rows["mpjpe_all", "T2", "joint means"] != pytest.approx(rows["mpjpe_all", "T2", "pooled"], abs=1e-5)
    assert rows["mpjpe_all_no_wrist", "T2", "joint means"] == pytest.approx(
        rows["mpjpe_all", "T2", "joint means"] * 42 / 40, rel=1e-5
    )


def test_the_order_of_two_methods_under_each_convention(results):
    table = conventions.order_table(results)
    assert (table["lower"] == "MS-FF").all()  # a third less noise at every joint
    assert table["difference"].tolist() == pytest.approx((table["MS-FF"] - table["InterNet(2020)"]).tolist())


def test_a_network_without_a_side_leaves_its_convention_empty(copied):
    store = copied()
    run = run_of(store, "msff")
    silent = replace(
        run.predictions,
        side_probability=make_predictions(store.truth("standin-rhd"), 1.0, heads=False).side_probability,
    )
    store.save_run(run.record, run.history, silent)
    row = only(conventions.conventions_table(Results(store), conventions.RHD), metric="wrist20_pred_side")
    assert row["status"] == "no such sample" and np.isnan(row["value"]) and row["samples"] == 0
    assert "no number" in texts(conventions.conventions_figure(Results(store)))


def test_an_empty_store_has_rows_and_no_exception(empty):
    for group in (conventions.RHD, conventions.INTERHAND, conventions.MRRPE):
        table = conventions.conventions_table(empty, group)
        assert set(table["status"]) == {"run missing"} and table["value"].isna().all()
        assert not readable(table).isin(["nan"]).any(axis=None)
    assert set(conventions.order_table(empty)["lower"]) == {"run missing"}
    assert set(conventions.table1_conventions(empty)["status"]) == {"run missing", "not known"}
    assert texts(conventions.conventions_figure(empty)).count("no number") == 2 * (13 + 5)
    assert "no finished run" in texts(conventions.pck_figure(empty, "nothing"))


def test_the_figure_shows_every_convention_and_the_leads(results):
    figure = conventions.conventions_figure(results)
    shown = texts(figure)
    assert "0.37, 0.68 mm" in shown and "profile cpu" in shown and "stand-in in RHD format" in shown
    assert all(c.name in shown for c in (*conventions.RHD, *conventions.INTERHAND[:6]))
    assert len(figure.axes[0].containers) == 2 * (len(conventions.RHD) - 1)  # of MS-FF and InterNet


def test_pck_curves_start_at_the_free_zero(results):
    figure = conventions.pck_figure(results, "made up")
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert curves["MS-FF, palm21_vis"][0] >= 1 / 21 and curves["MS-FF, wrist20"][0] < 0.01
    assert all((np.diff(curve) >= -1e-12).all() for curve in curves.values())
