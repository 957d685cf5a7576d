"""Tables as functions of the store: columns, order, paper values, pairing, missing runs."""

import shutil

import numpy as np
import pandas as pd
import pytest
from make_results import add_run, make_store

from msff.evaluation.protocol import evaluate
from msff.report import published, tables
from msff.report.formatting import readable, to_markdown, wide
from msff.report.results import Cell, Results
from msff.study.runs import Experiment, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("results") / "cpu", seeds=(0, 1))


@pytest.fixture(scope="module")
def built(store):
    return tables.build_tables(Results(store))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return tables.build_tables(Results(Store(tmp_path_factory.mktemp("none") / "smoke")))


def only(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, f"{len(table)} rows for {where}"
    return table.iloc[0]


def test_the_papers_seven_values():
    values = {row.label: row.epe_mm for row in published.TABLE1}
    assert values == {
        "PoseNet(2017)": 30.42, "Chen(2018)": 24.20, "Yang(2019)": 19.95, "Spurr(2018)": 22.53,
        "InterNet(2020)": 20.89, "Song(2022)": 20.58, "MS-FF": 20.21,
    }  # fmt: skip
    assert [row.label for row in published.TABLE1 if not row.no_ground_truth] == [*values][:3]
    assert published.wrist20_equivalent(20.21) == pytest.approx(21.2205)


def test_table1_columns_and_order(built):
    table = built["table1"]
    assert list(table.columns[:10]) == [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "paper",
    ]  # fmt: skip
    assert list(dict.fromkeys(table["method"])) == [r.label for r in published.TABLE1] + ["mean pose (floor)"]


def test_table1_keeps_rows_of_methods_that_are_not_built(built):
    row = only(built["table1"], method="Song(2022)")
    assert row["status"] == "not yet implemented" and row["paper"] == 20.58 and np.isnan(row["value"])


def test_table1_value_is_the_mean_over_seeds_of_the_runs_metric(store, built):
    row = only(built["table1"], method="MS-FF", track="T2", metric="wrist20")
    runs = [store.get(Experiment("cpu", "standin-rhd", "msff", "full", seed)) for seed in (0, 1)]
    expected = np.mean([run.record["metrics"]["T2"]["wrist20"] for run in runs])
    assert row["value"] == pytest.approx(expected, abs=0.05)  # stored joints are float16
    assert row["low"] < row["value"] < row["high"]
    assert row["seeds"] == 2 and row["samples"] == 40 and row["paper"] == 20.21
    direct = [evaluate(store.truth("standin-rhd"), run.predictions, "T2").summary()["wrist20"] for run in runs]
    assert row["value"] == pytest.approx(np.mean(direct), rel=1e-9)


def test_wrist21_is_20_of_21_of_wrist20(built):
    rows = {
        m: only(built["table1"], method="InterNet(2020)", track="T1", metric=m)["value"] for m in ("wrist20", "wrist21")
    }
    assert rows["wrist21"] == pytest.approx(rows["wrist20"] * 20 / 21)


def test_ablation_pairs_each_row_with_the_one_before(built):
    table = built["ablation"]
    rows = table[(table["track"] == "T2") & (table["metric"] == "wrist20")].reset_index(drop=True)
    assert rows["variant"].tolist() == ["backbone", "ccm", "ccm-grm", "ccm-grm-lom", "full"]
    assert rows["compared_with"].tolist() == ["", "backbone", "ccm", "ccm-grm", "ccm-grm-lom"]
    assert rows["difference"][1:4].tolist() == pytest.approx(rows["value"].diff()[1:4].tolist())
    assert (rows["difference_high"][1:4] < 0).all()
    assert rows["parameters"].tolist() == [2.0] * 5
    # Same noise, same seeds, same images: not a difference.
    assert rows["difference_low"][4] <= 0 <= rows["difference_high"][4]


def test_leave_one_out_rows_appear_with_their_runs(tmp_path):
    store = make_store(tmp_path / "gpu")
    add_run(store, "standin-rhd", "msff", "no-grm", 0, 8.0)
    row = only(tables.ablation(Results(store)), variant="no-grm", track="T2", metric="wrist20")
    assert row["compared_with"] == "full" and row["difference_low"] > 0


def test_fig5_averages_left_and_right_over_interacting_images(store, built):
    table = built["fig5"]
    assert list(table.columns[:5]) == ["joint", "method", "value", "low", "high"]
    assert table["joint"].nunique() == 21
    row = only(table, method="MS-FF", joint="index tip")
    errors = Results(store).errors(Cell("standin-interhand", "msff"), "T2", "mpjpe_interacting")
    by_hand = np.mean([e.error_mm[::2][:, [4, 25]].mean() for e in errors])  # even samples interact
    assert row["value"] == pytest.approx(by_hand) and row["samples"] == 20
    assert only(table, method="MS-FF", joint="wrist")["value"] == 0


def test_interhand_table(built):
    table = built["interhand"]
    assert only(table, method="InterNet(2020)", track="T2", metric="mpjpe_all")["published"] == 14.22
    assert only(table, method="MS-FF", metric="handedness_accuracy")["value"] == 1
    assert only(table, method="mean pose (floor)", track="T2", metric="mrrpe")["status"] == "no such output"


def test_efficiency_size_and_units(built):
    row = only(built["efficiency"], method="MS-FF", dataset="standin-rhd", variant="full")
    assert row["parameters_m"] == 2 and row["gmac"] == 3 and row["seeds"] == 2
    assert row["size_mib"] == pytest.approx(2e6 * 4 / 2**20)


def test_captions_name_data_profile_samples_and_seeds(built):
    for name, table in built.items():
        caption = table.attrs["caption"]
        assert "Profile cpu" in caption, name
        if name != "efficiency":
            assert "stand-in" in caption and "not photographs" in caption and "40 test images, seeds 0, 1" in caption


def test_an_empty_store_has_rows_and_no_exception(empty):
    assert set(empty["table1"]["status"]) == {"run missing", "not yet implemented"}
    for name in ("ablation", "fig5", "interhand", "efficiency"):
        assert set(empty[name]["status"]) == {"run missing"}, name
    assert len(empty["claims"]) > 8


def test_one_missing_run_leaves_the_others(tmp_path):
    store = make_store(tmp_path / "cpu")
    shutil.rmtree(store.path(Experiment("cpu", "standin-rhd", "msff", "ccm", 0)))
    rows = tables.ablation(Results(store)).query("track == 'T2' and metric == 'wrist20'").set_index("variant")
    assert rows.loc["ccm", "status"] == "run missing" and np.isnan(rows.loc["ccm-grm", "difference"])
    assert rows.loc["ccm-grm", "status"] == "ok" and rows.loc["ccm-grm-lom", "difference"] < 0


def test_write_tables(store):
    paths = tables.write_tables(store)
    assert sorted(p.name for p in paths) == sorted(f"{n}{s}" for n in tables.BUILDERS for s in (".csv", ".md"))
    assert sorted(p.name for p in store.tables.iterdir()) == sorted(p.name for p in paths)  # nothing half-written
    table = pd.read_csv(store.tables / "table1.csv")
    assert only(table, method="MS-FF", track="T2", metric="wrist21")["paper"] == 20.21
    text = (store.tables / "table1.md").read_text()
    assert text.startswith("Mean joint error in mm") and "| PoseNet(2017)" in text and "30.42" in text
    before = {p: p.read_bytes() for p in paths}
    assert {p: p.read_bytes() for p in tables.write_tables(store)} == before  # deterministic


def test_readable_joins_the_interval():
    table = pd.DataFrame({"method": ["a", "b"], "value": [1.234, np.nan], "low": [1.0, np.nan], "high": [2.0, np.nan]})
    table.attrs["caption"] = "Caption."
    assert readable(table).to_dict("list") == {"method": ["a", "b"], "value": ["1.23 [1.00, 2.00]", ""]}
    assert to_markdown(table).startswith("Caption.\n\n| method")


def test_wide_has_one_row_per_joint(built, empty):
    shown = wide(built["fig5"])
    assert shown.shape == (21, 4) and shown["joint"][0] == "thumb tip" and "[" in shown["MS-FF"][0]
    assert wide(empty["fig5"])["MS-FF"][0] == "run missing"


def test_the_difference_uses_the_seeds_that_both_have(store):
    results = Results(store)
    ours, floor = Cell("standin-rhd", "msff"), Cell("standin-rhd", "mean-pose")
    assert results.difference(ours, floor, "T2", "wrist20").seeds == 1
    assert results.difference(ours, Cell("standin-rhd", "internet"), "T2", "wrist20").seeds == 2
    assert results.difference(ours, Cell("standin-rhd", "posenet"), "T2", "wrist20") is None
