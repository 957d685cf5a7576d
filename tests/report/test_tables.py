"""Tables as functions of the store: columns, order, paper values, pairing, missing runs."""

import shutil

import numpy as np
import pandas as pd
import pytest
from make_results import add_auxiliary, add_run, make_truth, name_the_wrong_hand
from report.reading import only

from msff.evaluation.evaluate import evaluate
from msff.evaluation.tracks import RANKING_TRACK
from msff.models.registry import METHODS
from msff.report import comparisons, published, tables
from msff.report.formatting import captioned, formatted, readable, wide
from msff.report.results import Cell, Results
from msff.report.rows import inputs_from_annotation
from msff.study.experiment import Experiment
from msff.study.store import Store

SEEDS = (0, 1)
THREE = (0, 1, 2)  # enough to decide between two networks


@pytest.fixture
def store(made):
    return made("cpu", SEEDS)


@pytest.fixture
def three(made_results):
    return made_results("cpu", THREE)


@pytest.fixture(scope="module")
def built(made_results):
    return tables.build_tables(made_results("cpu", SEEDS))


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    return tables.build_tables(Results(Store(tmp_path_factory.mktemp("none") / "smoke")))


def test_the_paper_value_without_a_source_stands_beside_no_run_of_ours(built):
    row = only(built["table1"], method="Song(2022)")
    assert row["status"].startswith("untraced") and row["paper"] == 20.58 and np.isnan(row["value"])
    surrogate = built["table1"].query("method == 'Song-S (surrogate)'")
    assert surrogate["value"].notna().all() and surrogate["paper"].isna().all()


def test_table1_has_a_row_per_number_and_is_shown_with_a_line_per_method(built):
    assert list(built["table1"].columns[:10]) == [
        "method", "dataset", "track", "metric", "value", "low", "high", "seeds", "samples", "paper",
    ]  # fmt: skip
    shown = formatted(built["table1"])
    assert list(shown.columns) == [
        "method", "GT S", "GT H", "paper, RHD", "T2 wrist20", "T1 wrist20", "T2 wrist21", "T2 pa21",
        "T2 wrist20, predicted handedness", "seeds", "samples", "given on T2",
    ]  # fmt: skip
    lines = shown.set_index("method")
    assert lines.index.tolist()[:7] == [row.label for row in published.TABLE1]
    assert lines.index.tolist()[7:] == [
        "surrogate, no reproduction of Song(2022):", "Song-S (surrogate)", "baseline and lower bound:",
        "mean pose (baseline)", "oracle (lower bound)",
    ]  # fmt: skip
    row = only(built["table1"], method="Yang(2019)", track="T2", metric="wrist20")
    expected = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert lines.loc["Yang(2019)"].tolist()[:4] == ["Y", "Y", "19.95", expected]
    assert lines.loc["MS-FF", "given on T2"] == lines.loc["mean pose (baseline)", "given on T2"] == "box, scored hand"
    assert lines.loc["Yang(2019)", "given on T2"] == "box" and lines.loc["Yang(2019)", "seeds"] == "2"
    assert lines.loc["Song(2022)"].tolist()[2:5] == ["20.58", "untraced: no run can stand for it", ""]


@pytest.mark.parametrize(
    ("method", "changed", "words"),
    [
        ("yang", {"scale": "true bone", "side_input": "true"}, "box per hand, scale, handedness"),
        ("yang", {"scale": "training mean", "side_input": "predicted"}, "box per hand"),
        ("posenet", {"crop": "found"}, "nothing"),
        ("song", {"crop": "true box", "root_depth": "own"}, "box"),  # one output for either hand
        ("msff", {"crop": "true box", "root_depth": "own"}, "box, scored hand"),
        ("mean-pose", {"crop": "true box", "root_depth": "own"}, "box, scored hand"),
        ("oracle", {}, "the annotation itself"),
    ],
)
def test_inputs_from_the_annotation_in_short(method, changed, words):
    given = {"crop": "true box per hand", "intrinsics": "none", "root_depth": "none", "side_slot": "true"}
    assert inputs_from_annotation(given | {"scale": "none", "side_input": "none"} | changed, method) == words
    assert inputs_from_annotation({}, method) == ""


def test_what_is_given_comes_from_the_run(made_results):
    results = made_results("cpu", SEEDS)
    assert results.inputs(Cell("standin-rhd", "chen"), "T1")["scale"] == "true bone"
    assert results.inputs(Cell("standin-rhd", "msff"), "T0") == {}
    assert results.inputs(Cell("standin-rhd", "spurr", "native"), "T0") == {}


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """A store of which two runs are a paper's own recipe."""
    store = Store(tmp_path_factory.mktemp("native") / "paper")
    store.save_truth(make_truth("rhd"), {"real": "rhd"})
    add_run(store, "rhd", "posenet", "full", 0, 14.0)
    add_run(store, "rhd", "posenet", "native", 0, 10.0)
    add_run(store, "rhd", "yang", "native", 0, 10.0)
    return Results(store)


def test_a_run_that_lacks_a_track_has_no_number_there(native):
    cell, full = Cell("rhd", "posenet", "native"), Cell("rhd", "posenet")
    assert native.estimate(cell, "T2", "wrist20") is None and native.evaluations(cell, "T1") == []
    assert native.estimate(full, "T0", "wrist20") is None
    assert native.estimate(cell, "T0", "palm21_vis_scaled").value > 0
    assert native.difference(cell, full, "T2", "wrist20") is None


def test_the_papers_own_recipe_gets_a_column(native):
    table = tables.table1(native)
    row = only(table, method="PoseNet(2017)", track="T0")
    assert (
        row["metric"] == "palm21_vis"  # the true scale was given
        and row["paper"] == 30.42
        and row["given"] == "box about joints, scale, handedness"
    )
    lines = formatted(table).set_index("method")["T0, the paper's own recipe and metric"]
    assert lines["PoseNet(2017)"].endswith("] palm21_vis") and lines["Yang(2019)"] == "its metric is not known"
    assert lines["MS-FF"] == ""
    assert all(np.isnan(table.query("track == 'T0' and method == 'Yang(2019)'")["value"]))


def test_every_table_can_be_built_with_runs_of_a_papers_own_recipe(native):
    assert set(tables.build_tables(native)) == set(tables.BUILDERS)


# Pairs and variants


def test_pairs_are_of_the_four_lowest_and_of_msff(three):
    table = tables.pairs(three)
    named = [(a.split("(")[0], b.split("(")[0]) for a, b in zip(table["a"], table["b"], strict=True)]
    assert named == [  # by noise: MS-FF 6, Song-S 8, InterNet 9, Yang 11, Chen 11.5, Spurr 13, PoseNet 14
        ("MS-FF", "Song-S "), ("MS-FF", "InterNet"), ("MS-FF", "Yang"), ("Song-S ", "InterNet"), ("Song-S ", "Yang"),
        ("InterNet", "Yang"), ("MS-FF", "Chen"), ("MS-FF", "Spurr"), ("MS-FF", "PoseNet"),
    ]  # fmt: skip
    assert (table["verdict"] == "a better").all() and (table["difference_high"] < 0).all()
    values = tables.table1(three).query("track == 'T2' and metric == 'wrist20'").set_index("method")["value"]
    expected = values[table["a"]].to_numpy() - values[table["b"]].to_numpy()
    assert table["difference"].tolist() == pytest.approx(expected.tolist())


def test_a_second_difference_takes_the_hand_by_its_predicted_side(built):
    rows = built["pairs"].set_index(["a", "b"])
    both, low, high = (rows[f"difference_pred_side{end}"] for end in ("", "_low", "_high"))
    assert both.isna().tolist() == [a.startswith("Song") and b.startswith("Yang") for a, b in rows.index]
    # Sides are exact here, and so the two agree.
    assert both.dropna().tolist() == pytest.approx(rows["difference"][both.notna()].tolist())
    assert (low.dropna() <= both.dropna()).all() and (both.dropna() <= high.dropna()).all()
    assert "by predicted handedness" in formatted(built["pairs"]) and not any(
        "_low" in c for c in formatted(built["pairs"])
    )


def test_a_pair_is_open_where_the_predicted_handedness_turns_it(copied):
    store = copied("cpu", THREE)
    for seed in (0, 1, 2):
        name_the_wrong_hand(store, seed)
    table = tables.pairs(Results(store)).set_index(["a", "b"])
    row = table.loc[("MS-FF", "Yang(2019)")]
    assert row["difference_high"] < 0 < row["difference_pred_side_high"]
    assert row["verdict"] == "open" and "so that the verdict is open instead of better" in row["reason"]
    assert table.loc[("MS-FF", "InterNet(2020)"), "verdict"] == "open"
    assert table.loc[("Song-S (surrogate)", "Yang(2019)"), "verdict"] == "a better"


def test_the_accuracy_of_sidenet_is_in_the_captions(copied, built):
    assert "SideNet" not in built["table1"].attrs["caption"]
    store = copied()
    add_auxiliary(store, "sidenet", metrics={"sidenet": {"accuracy_percent": 56.0, "hands": 200}})
    add_auxiliary(store, "sidenet", "standin-interhand", {"sidenet": {"accuracy_percent": 54.3, "hands": 302}})
    results = Results(store)
    for table in (tables.table1(results), tables.pairs(results)):
        assert "56.0 % of 200 hands" in table.attrs["caption"]
    assert "54.3 % of 302 hands" in tables.interhand(results).attrs["caption"]


def test_a_pair_is_open_where_the_errors_agree(copied):
    store = copied("cpu", THREE)
    for seed in (0, 1, 2):
        add_run(store, "standin-rhd", "internet", "full", seed, 6.0)
        add_run(store, "standin-rhd", "song", "full", seed, 4.0)
    table = tables.pairs(Results(store)).set_index(["a", "b"])
    assert table.loc[("MS-FF", "InterNet(2020)"), "verdict"] == "open"
    assert table.loc[("MS-FF", "Song-S (surrogate)"), "verdict"] == "b better"


def test_variants_are_compared_with_the_one_that_stands_for_the_method(built):
    rows = built["variants"].query("track == 'T2'").set_index(["method", "variant"])
    assert rows.index.tolist() == [
        ("PoseNet(2017)", "full"), ("PoseNet(2017)", "segmented"), ("Chen(2018)", "full"), ("Chen(2018)", "plain"),
        ("Spurr(2018)", "plain"), ("Spurr(2018)", "side"), ("Spurr(2018)", "scale"), ("Spurr(2018)", "scale-side"),
        ("Song-S (surrogate)", "full"), ("Song-S (surrogate)", "regressed"),
    ]  # fmt: skip
    chen = rows.loc[("Chen(2018)", "plain")]
    assert chen["compared_with"] == "Chen(2018)" and chen["difference"] > 0
    assert chen["difference"] == pytest.approx(chen["value"] - rows.loc[("Chen(2018)", "full"), "value"])
    assert rows.loc[("Spurr(2018)", "scale-side"), "difference"] < 0
    assert np.isnan(rows.loc[("Spurr(2018)", "plain"), "difference"])
    assert set(built["variants"]["track"]) == {"T1", "T2"}


def test_variants_without_a_second_one_are_left_out(copied, nothing):
    assert nothing["variants"].empty and "No method has a second stored variant" in nothing["variants"].attrs["caption"]
    store = copied()
    shutil.rmtree(store.path(Experiment("cpu", "standin-rhd", "chen", "plain", 0)))
    assert "Chen(2018)" not in set(tables.variants(Results(store))["method"])


def test_every_compared_variant_exists():
    for method, compared in comparisons.COMPARED.items():
        assert set(compared) <= set(METHODS[method].variants) and METHODS[method].headline in compared


def test_table1_value_is_the_mean_over_seeds_of_the_runs_metric(store, built):
    row = only(built["table1"], method="MS-FF", track="T2", metric="wrist20")
    runs = [store.get(Experiment("cpu", "standin-rhd", "msff", "full", seed)) for seed in (0, 1)]
    expected = np.mean([run.record.metrics["T2"]["wrist20"] for run in runs])
    assert row["value"] == pytest.approx(expected, abs=0.05)  # stored joints are float16
    assert row["low"] < row["value"] < row["high"]
    assert row["seeds"] == 2 and row["samples"] == 40 and row["paper"] == 20.21
    direct = [evaluate(store.truth("standin-rhd"), run.predictions, "T2").summary()["wrist20"] for run in runs]
    assert row["value"] == pytest.approx(np.mean(direct), rel=1e-9)


FACTORIAL = ["bare", "ccm", "grm", "lom", "no-lom", "no-ccm", "no-grm", "full"]


def test_the_ablation_has_a_row_for_each_combination_of_modules(three):
    table = tables.ablation(three)
    assert table["variant"].tolist() == [*FACTORIAL, "mean pose (baseline)", "oracle (lower bound)"]
    rows = table.set_index("variant")
    assert set(table["track"]) == {"T2"} and set(table["metric"]) == {"wrist20"} and rows["value"].notna().all()
    assert rows["compared_with"].tolist() == ["", *["MS-FF without its modules"] * 7, "", ""]
    assert rows["difference"][1:8].tolist() == pytest.approx((rows["value"] - rows.loc["bare", "value"])[1:8].tolist())
    assert (rows["difference_low"][1:8] < rows["difference"][1:8]).all() and (rows["difference_high"][1:8] < 0).all()
    assert rows["difference"].isna().tolist() == [True, *[False] * 7, True, True]
    assert rows.loc["no-grm", "network"] == "MS-FF without global regression" and table["network"].is_unique
    assert rows["parameters"].tolist()[:8] == [2.0] * 8 and rows["parameters"][8:].isna().all()


def test_the_ablation_shows_every_seed_and_the_parts_of_its_error(three):
    rows = tables.ablation(three).set_index("variant")
    assert rows.loc[FACTORIAL, ["seed0", "seed1", "seed2"]].mean(axis=1).tolist() == pytest.approx(
        rows.loc[FACTORIAL, "value"].tolist()
    )
    assert rows.loc["mean pose (baseline)", ["seed0", "seed1"]].isna().tolist() == [False, True]
    for column, (track, metric) in tables.ABLATION_BESIDE.items():
        expected = three.estimate(Cell("standin-rhd", "msff", "no-ccm"), track, metric).value
        assert rows.loc["no-ccm", column] == pytest.approx(expected)


def test_the_hidden_joints_of_the_ablation_are_on_the_track_of_the_claims():
    tracks = {place[0] for column, place in tables.ABLATION_BESIDE.items() if column != "t1"}
    assert tracks == {RANKING_TRACK}


def test_one_seed_gives_the_ablation_differences_without_intervals(made_results):
    rows = tables.ablation(made_results()).set_index("variant")
    assert (rows.loc[FACTORIAL[1:], "difference"] < 0).all() and rows["difference_low"].isna().all()
    assert "seed1" not in rows


def test_another_reading_and_headless_runs_appear_where_they_are_stored(copied):
    store = copied("cpu-scratch")
    add_run(store, "standin-rhd", "msff", "printed", 0, 8.0)
    add_run(store, "standin-rhd", "msff", "headless-ccm", 0, 8.0)
    rows = tables.ablation(Results(store)).set_index("variant")
    assert rows.index.tolist()[8:10] == ["printed", "headless-ccm"]
    assert rows.loc["printed", "compared_with"] == "MS-FF" and rows.loc["printed", "difference"] > 0
    assert rows.loc["headless-ccm", "compared_with"] == "" and np.isnan(rows.loc["headless-ccm", "difference"])


def test_tables_of_means_show_every_seed(store, built):
    row = only(built["table1"], method="MS-FF", track="T2", metric="wrist20")
    runs = [store.get(Experiment("cpu", "standin-rhd", "msff", "full", seed)) for seed in (0, 1)]
    assert [row["seed0"], row["seed1"]] == pytest.approx(
        [run.record.metrics["T2"]["wrist20"] for run in runs], abs=0.05
    )
    row = only(built["interhand"], method="InterNet(2020)", track="T2", metric="mpjpe_all")
    assert (row["seed0"] + row["seed1"]) / 2 == pytest.approx(row["value"])
    assert only(built["interhand"], method="MS-FF", metric="handedness_accuracy")["seed1"] == 1


def test_fig5_averages_left_and_right_over_interacting_images(store, built):
    table = built["fig5"]
    assert list(table.columns[:5]) == ["joint", "method", "value", "low", "high"]
    assert table["joint"].nunique() == 21
    row = only(table, method="MS-FF", joint="index tip")
    errors = Results(store).errors(Cell("standin-interhand", "msff"), "T2", "mpjpe_interacting")
    by_hand = np.mean([e.error_mm[::2][:, [4, 25]].mean() for e in errors])  # even samples interact
    assert row["value"] == pytest.approx(by_hand) and row["samples"] == 20
    assert only(table, method="MS-FF", joint="wrist")["value"] == 0


def test_interhand_table_has_every_method_with_runs(built):
    table = built["interhand"]
    assert list(dict.fromkeys(table["method"])) == [
        "PoseNet(2017)", "Yang(2019)", "Spurr(2018)", "InterNet(2020)", "Song-S (surrogate)", "MS-FF",
        "mean pose (baseline)", "oracle (lower bound)",
    ]  # fmt: skip
    assert only(table, method="InterNet(2020)", track="T2", metric="mpjpe_all")["published"] == 14.22
    assert only(table, method="MS-FF", metric="handedness_accuracy")["value"] == 1
    borrowed = only(table, method="PoseNet(2017)", metric="handedness_accuracy")
    assert np.isnan(borrowed["value"]) and borrowed["status"] == "predicted by SideNet, not by the method"
    assert only(table, method="mean pose (baseline)", track="T2", metric="mrrpe")["status"] == "no such output"
    shown = formatted(table).set_index("method")
    assert shown.loc["InterNet(2020)", "T2 all"].endswith("(published 14.22)")
    assert "published" not in shown.loc["InterNet(2020)", "T1 all"]
    assert "published" not in shown.loc["MS-FF", "T2 all"] and shown.loc["mean pose (baseline)", "T2 MRRPE"] == ""


def test_efficiency_size_and_units(built):
    row = only(built["efficiency"], method="MS-FF", dataset="standin-rhd", variant="full")
    assert row["parameters_m"] == 2 and row["gmac"] == 3 and row["seeds"] == 2
    assert row["size_mib"] == pytest.approx(2e6 * 4 / 2**20)
    assert row["images_per_s_train"] == 50 and row["images_per_s_predict"] == 200


def test_efficiency_lists_all_methods_and_their_variants_but_no_floor(built):
    table = built["efficiency"]
    assert list(dict.fromkeys(table["dataset"])) == ["standin-rhd", "standin-interhand"]
    first = list(dict.fromkeys(table.query("dataset == 'standin-rhd'")["method"]))
    assert first == [
        "PoseNet(2017)", "Chen(2018)", "Yang(2019)", "Spurr(2018)", "InterNet(2020)", "Song-S (surrogate)", "MS-FF",
    ]  # fmt: skip
    assert table.query("dataset == 'standin-rhd' and method == 'Spurr(2018)'")["variant"].tolist() == [
        "plain", "side", "scale", "scale-side",
    ]  # fmt: skip


def test_auxiliary_networks_are_named_with_their_size_but_not_counted(copied):
    store = copied()
    add_auxiliary(store)
    table = tables.efficiency(Results(store))
    assert "RootNet 1.50 M parameters, 2.50 GMAC" in table.attrs["caption"]
    assert "RootNet" not in set(table["method"])


def test_a_record_without_the_speed_of_prediction_leaves_it_blank(copied):
    store = copied()
    add_run(store, "standin-rhd", "msff", "full", 0, 6.0, predict_images_per_s=None)
    row = only(tables.efficiency(Results(store)), method="MS-FF", dataset="standin-rhd", variant="full")
    assert np.isnan(row["images_per_s_predict"]) and row["images_per_s_train"] == 50


def test_captions_name_data_profile_samples_and_seeds(built):
    for name, table in built.items():
        caption = table.attrs["caption"]
        assert "Profile cpu" in caption, name
        if name not in ("efficiency", "realworld"):
            assert "stand-in" in caption and "rendered" in caption and "seeds 0, 1" in caption
            assert "40 test images" in caption
    assert "40 test images of 40 sequences" in built["interhand"].attrs["caption"]


def test_captions_have_at_most_60_words(copied, built, nothing):
    store = copied("cpu", SEEDS)
    add_auxiliary(store, "sidenet", metrics={"sidenet": {"accuracy_percent": 56.0, "hands": 200}})
    add_auxiliary(store, "rootnet", "standin-interhand")
    results, with_auxiliary = Results(store), (tables.table1, tables.pairs, tables.interhand, tables.efficiency)
    for table in (*built.values(), *nothing.values(), *(build(results) for build in with_auxiliary)):
        assert len(table.attrs["caption"].split()) <= 60, table.attrs["caption"]


def test_an_empty_store_has_rows_and_no_exception(nothing):
    assert {status.split(":")[0] for status in nothing["table1"]["status"]} == {"run missing", "untraced"}
    for name in ("ablation", "fig5", "interhand", "efficiency"):
        assert set(nothing[name]["status"]) == {"run missing"}, name
    assert nothing["pairs"].empty and formatted(nothing["table1"])["T2 wrist20"][0] == "run missing"
    assert wide(nothing["fig5"])["MS-FF"][0] == "run missing"
    assert len(nothing["claims"]) > 8


def test_one_missing_run_leaves_the_others(copied):
    store = copied()
    shutil.rmtree(store.path(Experiment("cpu", "standin-rhd", "msff", "ccm", 0)))
    rows = tables.ablation(Results(store)).set_index("variant")
    assert rows.loc["ccm", "status"] == "run missing" and np.isnan(rows.loc["ccm", "difference"])
    assert rows.loc["no-lom", "status"] == "ok" and rows.loc["no-lom", "difference"] < 0


def test_write_tables(copied):
    store = copied()
    paths = tables.write_tables(store)
    assert sorted(p.name for p in paths) == sorted(f"{n}{s}" for n in tables.BUILDERS for s in (".csv", ".md"))
    assert sorted(p.name for p in store.tables.iterdir()) == sorted(p.name for p in paths)  # nothing half-written
    table = pd.read_csv(store.tables / "table1.csv")
    assert only(table, method="MS-FF", track="T2", metric="wrist21")["paper"] == 20.21
    text = (store.tables / "table1.md").read_text()
    assert "| PoseNet(2017)" in text and "30.42" in text
    before = {p: p.read_bytes() for p in paths}
    assert {p: p.read_bytes() for p in tables.write_tables(store)} == before  # deterministic


def test_readable_joins_the_interval():
    table = pd.DataFrame({"method": ["a", "b"], "value": [1.234, np.nan], "low": [1.0, np.nan], "high": [2.0, np.nan]})
    table.attrs["caption"] = "Caption."
    assert readable(table).to_dict("list") == {"method": ["a", "b"], "value": ["1.23 [1.00, 2.00]", ""]}
    assert captioned(table).startswith("Caption.\n\n| method")


def test_the_difference_uses_the_seeds_that_both_have(store):
    results = Results(store)
    ours, floor = Cell("standin-rhd", "msff"), Cell("standin-rhd", "mean-pose")
    assert results.difference(ours, floor, "T2", "wrist20").seeds == 1
    assert results.difference(ours, Cell("standin-rhd", "internet"), "T2", "wrist20").seeds == 2
    assert results.difference(ours, Cell("standin-rhd", "msff", "printed"), "T2", "wrist20") is None
