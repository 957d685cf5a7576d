"""What the notebooks show of runs, also of those without a network and of a paper's own recipe."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from make_results import add_run, make_truth
from report.reading import Drawn, run_of

from msff.report import fig6, notebook, robustness
from msff.report.examples import Examples
from msff.report.results import Cell, Results
from msff.study.store import Store
from msff.study.workspace import Workspace

EXTRA = {
    "commit": "def", "train_images": 10,
    "test_images": 40, "train_seconds": 1.0, "versions": {"torch": "2"},
}  # fmt: skip


def study_of(store):
    return SimpleNamespace(store=store)


@pytest.fixture(scope="module")
def store(copied):
    store = copied()
    for method, variant, noise in (("posenet", "full", 14.0), ("oracle", "full", 1.5), ("mean-pose", "full", 30.0)):
        add_run(store, "standin-rhd", method, variant, 0, noise, **EXTRA)
    return store


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("native") / "paper")
    store.save_truth(make_truth("rhd"), {"real": "rhd"})
    for method in ("posenet", "yang"):
        add_run(store, "rhd", method, "native", 0, 10.0, **EXTRA)
    return store


def test_facts_of_a_network_and_of_the_oracle(store):
    facts = notebook.facts(run_of(store, "posenet", "full"))
    assert facts["parameters"] == "2,000,000" and facts["prediction images/s"] == 200
    assert facts["given on T1"] == "box, scale, handedness" and facts["given on T2"] == "box"
    floor = notebook.facts(run_of(store, "oracle", "full"))
    assert set(floor[["parameters", "GMAC per crop", "training images/s", "prediction images/s"]]) == {"none"}
    assert not [name for name in floor.index if name.startswith("given")]


def test_the_metrics_of_a_page_are_those_of_the_tables(store, native):
    own_recipe = run_of(native, "posenet", "native", "rhd")
    assert list(notebook.summary(study_of(native), own_recipe).columns) == ["T0"]
    run = run_of(store, "posenet", "full")
    expected = Results(store).estimate(Cell("standin-rhd", "posenet"), "T2", "wrist20").value
    assert notebook.summary(study_of(store), run).loc["wrist20", "T2"] == pytest.approx(expected, rel=1e-12)


def test_stored_predictions_must_give_the_recorded_error(store):
    run = run_of(store, "posenet", "full")
    lines = notebook.stored(study_of(store), run).splitlines()
    assert lines[0] == f"parameters 2,000,000, epochs {len(run.history)}"
    assert lines[1:] == [
        f"{t}: predictions (40, 42, 3), their wrist20 is the recorded one within 0.1 %" for t in ("T1", "T2")
    ]
    joints = {track: 1.1 * joints for track, joints in run.predictions.joints.items()}
    predictions = replace(run.predictions, joints=joints)
    other = SimpleNamespace(experiment=run.experiment, record=run.record, history=run.history, predictions=predictions)
    with pytest.raises(AssertionError, match="T1: predictions give wrist20 .* mm, recorded is .* mm"):
        notebook.stored(study_of(store), other)


def test_a_formula_that_differs_from_its_transcription_is_named():
    ours, printed = torch.tensor([100.0, 200.0]), np.array([100.0, 200.001])
    assert notebook.agree("Eq. (5)", ours, printed) == "Eq. (5): equal within 1e-05"
    with pytest.raises(AssertionError, match=r"Eq. \(5\): relative distance 5.00e-06 is above 1e-06"):
        notebook.agree("Eq. (5)", ours, printed, tolerance=1e-6)
    for wrong in (torch.tensor([100.0, torch.nan]), torch.tensor([100.0])):
        with pytest.raises(AssertionError, match=r"Eq. \(5\): "):
            notebook.agree("Eq. (5)", wrong, printed)


def test_the_largest_difference_stands_beside_its_tolerance_and_not_in_the_checked_line():
    check = notebook.agree("volume: ours", torch.tensor([100.0, 200.0]), torch.tensor([100.0, 200.001]))
    assert check.difference == pytest.approx(5e-6, rel=0.1) and check == "volume: ours: equal within 1e-05"
    row = re.findall(r"<td>(.*?)</td>", notebook.differences([check]).data)
    assert row == ["volume: ours", "5e-06", "1e-05"]


def test_predictions_are_drawn_on_the_track_that_a_run_holds(store, native):
    for runs, method, variant, dataset, track in (
        (store, "oracle", "full", "standin-rhd", "T2"), (native, "posenet", "native", "rhd", "T0"),
    ):  # fmt: skip
        run = run_of(runs, method, variant, dataset)
        figure = fig6.prediction_sheet(Results(runs), Drawn(dataset, runs.truth(dataset)), run)
        assert f"track {track}" in figure.get_suptitle() and len(figure.axes) == 6


def test_fig6_shows_the_papers_methods_and_on_request_all(store):
    results, examples = Results(store), Drawn("standin-rhd", store.truth("standin-rhd"))
    assert list(fig6.fig6_panels(results, examples)) == ["PoseNet(2017)", "InterNet(2020)", "MS-FF"]
    every = fig6.fig6_panels(results, examples, notebook.ALL_METHODS)
    assert list(every) == [
        "PoseNet(2017)", "Chen(2018)", "Yang(2019)", "Spurr(2018)", "InterNet(2020)", "Song-S (surrogate)", "MS-FF",
    ]  # fmt: skip
    expected = run_of(store, "spurr", "plain").predictions.joints["T2"][examples.rows]
    assert torch.equal(torch.tensor(every["Spurr(2018)"][1]), torch.tensor(expected))


def test_a_layout_without_runs_is_shown_by_the_best_profile_that_has_some(tmp_path, capsys):
    for profile, dataset in (("cpu-long", "standin-rhd"), ("cpu-scratch", "standin-interhand"), ("cpu", "standin-rhd")):
        store = Store(tmp_path / "results" / profile)
        store.save_truth(make_truth(dataset), {})
        add_run(store, dataset, "msff", "full", 0, 10.0, **EXTRA)
    for profile, dataset, expected in (
        ("cpu-long", "standin-rhd", "cpu-long"), ("cpu-long", "standin-interhand", "cpu-scratch"),
        ("cpu", "standin-rhd", "cpu"), ("cpu-scratch", "standin-rhd", "cpu-long"),
        ("smoke", "standin-rhd", "smoke"),  # shows its own, though it has none
    ):  # fmt: skip
        found = fig6.with_runs(Workspace(profile, tmp_path, "cpu"), dataset)
        said = capsys.readouterr().out
        assert found.profile.name == found.store.profile == expected and bool(said) == (expected != profile)


def test_images_that_are_spread_over_the_test_part_are_shown_from_the_easiest_on(store, monkeypatch):
    results, truth, rows = Results(store), store.truth("standin-rhd"), [3, 11, 7, 0]
    spread = Examples(
        "standin-rhd", rows, np.arange(4.0).reshape(4, 1, 1, 1), truth.joint_valid[rows], truth.joints_cam_mm[rows],
        np.zeros((4, 2, 3)), truth.intrinsics[rows],
    )  # fmt: skip
    monkeypatch.setattr(fig6, "chosen_examples", lambda *_: None)
    monkeypatch.setattr(fig6, "examples", lambda *_, **__: spread)
    shown, errors = fig6.decile_examples(None, results, "standin-rhd"), fig6.difficulty(results, "standin-rhd")
    assert sorted(shown.rows) == sorted(rows) != shown.rows and errors[shown.rows].is_monotonic_increasing
    assert np.array_equal(shown.truth, truth.joints_cam_mm[shown.rows])
    assert [rows[int(i)] for i in shown.images.ravel()] == shown.rows


def test_a_table_of_a_row_without_a_network_is_shown_empty():
    assert "<tbody>" in notebook.shown(pd.DataFrame(columns=["part", "layers"])).data


def test_a_table_without_a_number_says_so_and_an_interval_is_not_broken_between_lines():
    table = pd.DataFrame({"method": ["a"], "value": [1.5], "low": [1.0], "high": [2.0]})
    assert "1.50 [1.00,\N{NO-BREAK SPACE}2.00]" in notebook.shown(table).data
    waiting = "<p>No run is stored for this table yet.</p>"
    assert notebook.shown(table.assign(value=float("nan"))).data == waiting
    assert notebook.shown(pd.DataFrame(columns=["learning_rate", "MS-FF"]), "rates").data == waiting


def test_a_table_of_results_without_a_row_is_a_sentence(store, monkeypatch):
    displayed = []
    monkeypatch.setattr(notebook, "display", lambda *parts: displayed.extend(parts))
    table = pd.DataFrame(columns=["method", "runs"])
    notebook.show_table(Results(store), "rhd", robustness.spread_table, table, "spread")
    assert [part.data.startswith("No run that this table compares is stored yet") for part in displayed] == [True]


def test_a_table_whose_rows_all_wait_for_runs_is_a_sentence():
    table = pd.DataFrame({"contrast": ["a - b"], "estimate, mm": [""], "seeds": [""]})
    expected = "<p>No value, since runs are missing (1): a \u2212 b.</p>"
    assert notebook.shown(table, "alternatives").data == expected
