"""Other metrics, variances and margins for the registered contrasts, and the runs behind them."""

import numpy as np
import pytest
import torch
from make_results import add_run

from msff.evaluation.evaluate import evaluate
from msff.evaluation.hand_size import AVERAGE_HAND_MM, hand_size, with_hand_size
from msff.evaluation.inference_statistics import fit_spread
from msff.models.registry import FACTORIAL
from msff.report import robustness
from msff.report.contrasts import REGISTERED, TOGETHER, find_registered
from msff.report.results import Cell, Results
from msff.study.store import Store

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def results(copied):
    store = copied("cpu-long", SEEDS)
    for seed in SEEDS:
        add_run(store, "standin-rhd", "msff", "scratch", seed, 10.0)
        add_run(store, "standin-rhd", "internet", "scratch", seed, 11.0)
    return Results(store)


def test_the_table_of_rates_has_the_difference_at_each_rate_and_with_each_network_at_its_best(results, tmp_path):
    lines = ["row,setting,rate,error_mm,config_hash"]
    for row, errors in {"msff": (28, 26), "internet": (29, 27.5), "spurr": (1, 1), "msff/gaussian": (7, 8)}.items():
        lines += [f"{row},x,{rate},{e},{row}{rate}" for rate, e in zip((1e-3, 5e-4), errors, strict=True)]
    store = Store(tmp_path / "cpu-long")
    store.root.mkdir()
    store.tuning.write_text("\n".join(lines))
    table = robustness.rate_table(store).set_index("learning_rate")
    assert table["MS-FF - InterNet"].to_dict() == {"0.0005": -1.5, "0.001": -1.0, "each at its best": -1.5}
    assert table[TOGETHER].isna().all() and "MS-FF without global regression" not in table
    assert [run["id"] for run in robustness.rate_source(store, table).runs][0] == "tuning/msff/x"
    assert robustness.rate_table(Store(tmp_path / "cpu")).empty
    rows = robustness.TUNED_GAUSSIAN
    gaussian = robustness.rate_table(store, rows)
    assert list(gaussian) == ["learning_rate", "MS-FF", "InterNet", "MS-FF - InterNet"]
    assert gaussian["MS-FF"].tolist() == [8, 7, 7] and gaussian["InterNet"].isna().all()
    source = robustness.rate_source(store, gaussian, rows)
    assert {run["id"] for run in source.runs} == {"tuning/msff/gaussian/x"} and source.name == "gaussian-rates"
    store.tuning.write_text("\n".join([*lines, "msff/gaussian-bare,x,0.001,8.5,abc"]))
    assert robustness.rate_table(store, rows)[TOGETHER].tolist()[1:] == [-1.5, -1.5]


def test_every_registered_contrast_but_that_of_occlusion_is_shown_by_each_measure(results):
    found = robustness.by_measure(results)
    assert list(found) == [c.name for c in REGISTERED if "hidden" not in c.name]
    one = found["MS-FF - InterNet"]
    ours, theirs = (results.estimate(Cell("standin-rhd", m), "T1", "wrist20").value for m in ("msff", "internet"))
    assert one["wrist20, T1"].estimate == pytest.approx(ours - theirs, abs=1e-3)
    assert one["pa21, T2"].estimate != one["palm21, T2"].estimate


def test_the_depth_changes_neither_pixels_nor_the_columns_of_the_other_tables(results):
    table = robustness.depth_table(results).set_index("network")
    for name, method in (("MS-FF", "msff"), ("InterNet", "internet")):
        cell = Cell("standin-rhd", method)
        for column, track in (("true_depth", "T1"), ("estimated_depth", "T2")):
            assert table[column][name] == pytest.approx(results.estimate(cell, track, "wrist20").value)
        sized = [with_hand_size(run.predictions, AVERAGE_HAND_MM) for run in results.runs(cell)]
        errors = [evaluate(results.truth("standin-rhd"), p, "T2").summary()["wrist20"] for p in sized]
        assert table["average_hand"][name] == pytest.approx(np.mean(errors))
        size = hand_size(torch.from_numpy(sized[0].joints["T2"]).unflatten(1, (2, 21)))
        assert (size >= AVERAGE_HAND_MM - 0.1).all()  # larger where the relative depths alone exceed it
    difference = table.loc["MS-FF - InterNet", "average_hand"]
    assert difference == pytest.approx(table["average_hand"]["MS-FF"] - table["average_hand"]["InterNet"])


def test_one_variance_for_both_networks_is_students_t_test(results):
    """Two networks at three seeds each: the sum of both mean squares, with the degrees of freedom of both."""
    runs = robustness.run_table(results)
    squares = []
    for method in ("msff", "internet"):
        own = runs[runs["method"] == method]
        term = fit_spread(own["variant"], own["seed"], own["error_mm"]).of_mean([1], len(SEEDS))
        squares.append((term.variance, term.df))
    (a, a_df), (b, b_df) = squares
    pooled = 2 * (a_df * a + b_df * b) / (a_df + b_df)
    contrast = next(c for c in REGISTERED if c.name == "MS-FF - InterNet")
    apart = robustness.find(results, contrast).interval
    found = robustness.find(results, robustness.replace(contrast, pooled=True)).interval
    assert found.standard_error**2 - apart.standard_error**2 == pytest.approx(pooled - a - b)
    assert found.estimate == apart.estimate


def test_a_contrast_is_equivalent_at_the_margin_that_the_table_gives_and_not_below(results):
    table = robustness.robustness_table(results).set_index("contrast")
    for name, finding in find_registered(results).items():
        margin = table.loc[name, "equivalent_within_mm"]
        assert finding.interval.equivalence_p(margin) == pytest.approx(0.05)
    assert table.loc["channel conversion, main effect", "one_variance"] == ""  # it has one method only


def test_the_spread_is_over_all_networks_of_a_method(results):
    row = robustness.spread_table(results).set_index("method").loc["MS-FF"]
    runs = robustness.run_table(results).query("method == 'msff'")
    assert (row["networks"], row["runs"], row["seed_df"]) == (runs["variant"].nunique(), len(runs), 2)
    from_cell = runs["error_mm"] - runs.groupby("variant")["error_mm"].transform("mean")
    left = from_cell - from_cell.groupby(runs["seed"]).transform("mean")
    assert row["residual_sd_mm"] == pytest.approx(np.sqrt((left**2).sum() / row["residual_df"]))


def test_the_variants_with_and_without_a_module_spread_by_themselves(results):
    table = robustness.spread_table(results).set_index("method")
    runs = robustness.run_table(results).query("method == 'msff'")
    runs = runs[runs["variant"].isin([v for v, (_, grm, _) in FACTORIAL.items() if grm])]
    spread = fit_spread(runs["variant"], runs["seed"], runs["error_mm"])
    row = table.loc["MS-FF with global regression"]
    assert (row["networks"], row["runs"]) == (4, len(runs))
    assert row["residual_sd_mm"] == pytest.approx(spread.residual**0.5)
    assert table.loc["MS-FF without global regression", "networks"] == 4 and table.index.is_unique


def test_the_figure_draws_a_mark_for_every_number(results):
    panel = robustness.measures_figure(results).axes[0]
    marks = [line for line in panel.lines if line.get_marker() in robustness.MARKERS and len(line.get_xdata()) == 1]
    assert len(marks) == 4 * len(robustness.by_measure(results))


def test_the_residuals_are_the_distances_from_each_networks_mean(results):
    figure = robustness.residuals_figure(results)
    runs = robustness.run_table(results)
    distances = runs["error_mm"] - runs.groupby(["method", "variant"])["error_mm"].transform("mean")
    drawn = np.concatenate([points.get_offsets()[:, 0] for points in figure.axes[0].collections])
    np.testing.assert_allclose(sorted(drawn), sorted(distances), atol=1e-9)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), sorted(distances), atol=1e-9)


def test_without_runs_everything_says_so(empty):
    assert robustness.residuals_figure(empty)
    assert robustness.spread_table(empty).empty and robustness.run_table(empty).empty
    assert robustness.robustness_table(empty)["verdict"].eq("open").all()
    assert robustness.depth_table(empty).empty
    assert robustness.measures_figure(empty)
