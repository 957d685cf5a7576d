"""What is withheld from verdicts and pictures: rows whose networks fail the plausibility check."""

import shutil

import numpy as np
import pytest
from evaluation.test_plausibility import naming, scaled
from report.reading import Drawn, texts

from msff.report import fig6, figures, notebook, tables
from msff.report.ablation_figures import cube_figure
from msff.report.plausibility import EXEMPT, PLAUSIBLE, WITHHELD, plausibility, withheld, withheld_methods
from msff.report.results import Cell, Results
from msff.study.experiment import Experiment

MSFF, INTERNET = (Cell("standin-interhand", method) for method in ("msff", "internet"))


def shrink(store, dataset, method, factor, variant="full", seed=0):
    """Replace a run's predictions by shrunken hands."""
    run = store.get(Experiment(store.profile, dataset, method, variant, seed))
    store.save_run(run.record, run.history, scaled(store.truth(dataset), factor))


@pytest.fixture(scope="module")
def results(copied):
    """MS-FF fails on interacting hands and by handedness on the RHD layout; so does its variant "ccm" by its palm."""
    store = copied()
    shrink(store, "standin-interhand", "msff", 0.44)
    shrink(store, "standin-rhd", "msff", 0.7, "ccm")
    for dataset in ("standin-rhd", "standin-interhand"):
        shrink(store, dataset, "mean-pose", 0.21)
    full = store.get(Experiment(store.profile, "standin-rhd", "msff", "full", 0))
    wrong = naming(full.predictions, store.truth("standin-rhd"), 20)
    store.save_run(full.record, full.history, wrong)
    return Results(store)


def test_the_table_has_a_row_per_stored_row_with_verdict_and_reason(results):
    table = plausibility(results).set_index(["dataset", "method", "variant"])
    assert len(table) == len(results.cells())
    row = table.loc[("standin-interhand", "MS-FF", "full")]
    assert row["verdict"] == WITHHELD and row["palm_width_ratio"] == pytest.approx(0.44, abs=1e-3)
    assert row["reason"] == "palm width 0.44 of the true one (mean pose 0.21), 0.80 is required"
    row = table.loc[("standin-rhd", "MS-FF", "full")]
    assert row["handedness_percent"] == 50 and row["reason"].startswith("handedness right in 50 % of images")
    good = table.loc[("standin-rhd", "InterNet(2020)", "full")]
    assert (good["verdict"], good["reason"], good["seeds"]) == (PLAUSIBLE, "", 1)
    assert np.isnan(table.loc[("standin-rhd", "Yang(2019)", "full"), "handedness_percent"])  # it is given the side


def test_baselines_are_exempt(results):
    table = plausibility(results)
    floors = table[table["method"].isin(figures.BASELINE_LABELS)]
    assert len(floors) == 4 and (floors["verdict"] == EXEMPT).all() and (floors["reason"] == "").all()
    assert floors["palm_width_ratio"].min() == pytest.approx(0.21, abs=1e-3)


def test_a_contrast_is_withheld_if_either_row_is(results):
    assert withheld(results, MSFF).startswith("palm width 0.44")
    assert withheld(results, INTERNET) == ""
    assert withheld(results, MSFF, INTERNET).startswith("MS-FF, palm width 0.44")
    assert withheld(results, Cell("standin-rhd", "msff", "scratch")) == ""  # it has no run
    assert list(withheld_methods(results, "interhand")) == ["MS-FF"]
    assert [v for v in ("bare", "ccm", "full") if withheld(results, Cell("standin-rhd", "msff", v))] == ["ccm", "full"]


def test_a_later_implausible_seed_withholds_the_row(copied):
    store = copied("cpu", (0, 1))
    assert withheld(Results(store), MSFF) == ""
    shrink(store, "standin-interhand", "msff", 0.5, seed=1)
    assert withheld(Results(store), MSFF)


def test_figures_leave_out_what_is_withheld_and_state_the_reason(results):
    reasons = withheld_methods(results, "interhand")
    figure = figures.fig5_figure(tables.fig5(results), "data", withheld=reasons)
    assert f"MS-FF withheld: {reasons['MS-FF']}" in texts(figure)
    drawn = [c.get_label() for c in figure.axes[0].containers]
    assert "MS-FF" not in drawn and "InterNet(2020)" in drawn
    reasons = withheld_methods(results, "rhd")
    figure = figures.table1_figure(tables.table1(results), "data", withheld=reasons)
    assert f"withheld: {reasons['MS-FF']}" in texts(figure)
    assert len(figure.axes[1].containers) == 12
    assert len(figures.table1_figure(tables.table1(results), "data").axes[1].containers) == 14


def test_tables_mark_what_is_withheld_and_leave_out_methods_without_a_run(copied, monkeypatch):
    store = copied()
    shrink(store, "standin-interhand", "internet", 0.44)
    shrink(store, "standin-interhand", "mean-pose", 0.21)
    shutil.rmtree(store.path(Experiment(store.profile, "standin-interhand", "posenet", "full", 0)))
    results, shown = Results(store), []
    monkeypatch.setattr(notebook, "display", lambda *objects: shown.extend(objects))
    for build in (tables.fig5, tables.interhand):
        notebook.show_table(results, "interhand", build, build(results), build.__name__)
    above, joints, _, beside, methods, _ = shown
    assert "Without a run: PoseNet(2017). " in above.data and "One box per hand: PoseNet" not in above.data
    assert ">InterNet(2020) (withheld)</th>" in joints.data and "PoseNet" not in joints.data
    assert "<td>InterNet(2020) (withheld)</td>" in methods.data and "<td>MS-FF</td>" in methods.data
    assert all("its hands are implausible" in caption.data for caption in (above, beside))


def test_the_cube_has_no_number_at_a_withheld_corner(results):
    figure = cube_figure(results, "data")
    assert len(figure.axes[0].collections) == 6 and texts(figure).count("withheld:") == 2


def test_a_figure_of_withheld_methods_alone_says_so(results):
    table = tables.fig5(results)
    figure = figures.fig5_figure(table, "data", withheld=dict.fromkeys(table["method"], "palm width 0.1"))
    assert "all methods are withheld" in texts(figure) and "MS-FF withheld: palm width 0.1" in texts(figure)


def test_fig6_has_an_empty_panel_with_the_reason(results):
    examples = Drawn("standin-interhand", results.truth("standin-interhand"))
    panels = fig6.fig6_panels(results, examples)
    assert list(panels) == ["PoseNet(2017)", "InterNet(2020)", "MS-FF"]
    assert panels["MS-FF"] == withheld(results, MSFF)
    figure = fig6.fig6(results, examples, labels=["a", "b", "c"])
    assert f"withheld: {panels['MS-FF']}" in texts(figure)
    assert sum(ax.name == "3d" for ax in figure.axes) == 3 * 3  # truth, PoseNet and InterNet for each of 3 images


def test_the_page_of_a_withheld_run_shows_the_ground_truth_alone(results):
    run = results.runs(MSFF)[0]
    examples = Drawn("standin-interhand", results.truth("standin-interhand"))
    figure = fig6.prediction_sheet(results, examples, run)
    assert len(figure.axes) == 3 and "predictions withheld: palm width 0.44" in texts(figure)


def test_a_sentence_below_the_figure_names_what_is_withheld(results, made_results):
    assert "**MS-FF**, palm width 0.44" in notebook.plausibility_note(results, "interhand").data
    assert notebook.plausibility_note(made_results(), "interhand").data.startswith("Every method")
