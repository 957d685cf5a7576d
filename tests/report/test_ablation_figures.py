"""The ablation as pictures: corners with and without runs, effects with and without an interval."""

import numpy as np
import pytest
from make_results import ABLATION, add_run, make_truth
from report.reading import texts

from msff.report import ablation_figures, comparisons
from msff.report.front_figure import forest_alt
from msff.report.results import Cell, Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def whole(made_results):
    return made_results("cpu-long", (0, 1, 2))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("half") / "cpu-long")
    store.save_truth(make_truth("standin-rhd"), {"made": "up"})
    for variant in ("bare", "ccm"):
        add_run(store, "standin-rhd", "msff", variant, 0, ABLATION[variant])
    return Results(store)


def test_every_corner_has_its_mean_and_a_dot_per_run(whole):
    figure = ablation_figures.cube_figure(whole, "data")
    dots = [c.get_offsets() for c in figure.axes[0].collections]
    assert [len(d) for d in dots] == [3] * 8
    value = whole.estimate(Cell("standin-rhd", "msff", "no-grm"), "T2", "wrist20").value
    assert f"{value:.1f} mm" in texts(figure) and "no run yet" not in texts(figure)


def test_corners_without_runs_are_empty_and_named(half):
    figure = ablation_figures.cube_figure(half, "data")
    assert len(figure.axes[0].collections) == 2 and texts(figure).count("no run yet") == 6
    assert "no-lom" in texts(figure)


def test_a_store_without_runs_has_no_scale(empty):
    assert "one run each" not in texts(ablation_figures.cube_figure(empty, "data"))


def test_a_dot_further_right_is_a_larger_error(whole):
    figure = ablation_figures.cube_figure(whole, "data")
    corners = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    dots = np.array([collection.get_offsets().mean(0) for collection in figure.axes[0].collections])
    places, errors = [], []
    for variant in (*ABLATION, "full"):
        nearest = np.abs(dots - np.add(corners[variant], [0.8, -0.4])).sum(1).argmin()
        places.append(dots[nearest][0] - corners[variant][0])
        errors.append(whole.estimate(Cell("standin-rhd", "msff", variant), "T2", "wrist20").value)
    assert np.corrcoef(places, errors)[0, 1] == pytest.approx(1)


def test_effects_have_intervals_with_several_seeds_and_none_with_one(whole, half):
    found = ablation_figures.effects(whole)
    assert [len(group) for group in found.values()] == [4, 6, 4]
    assert all(f.interval for group in found.values() for f in group)
    assert all(f.estimate < 0 for f in found["main effects"])  # each module lowers the made-up error
    assert all(f.contrast.registered and f.p_holm >= f.interval.p for f in found["main effects"])
    alone = ablation_figures.effects(half)["one module"][0]
    assert alone.interval is None and alone.estimate < 0
    figure = ablation_figures.effects_figure(half, "data")
    assert texts(figure).count("runs missing") == 13
    words = forest_alt(ablation_figures.effects(half)["one module"])
    assert words.startswith(f"{alone.contrast.name}: {alone.estimate:+.2f} mm; ") and "runs missing" in words


def test_alternatives_say_what_has_no_run(whole):
    table = comparisons.alternatives(whole).set_index("contrast")
    assert (table["status"] == comparisons.NO_RUN).all() and table["estimate_mm"].isna().all()
    assert {"The target?", "Pre-training?", "The budget?", "A single scale?"} <= set(table["question"])


def test_an_alternative_with_runs_has_a_number(copied):
    store = copied("cpu-long", (0, 1))
    for seed in (0, 1):
        add_run(store, "standin-rhd", "msff", "epochs-x2", seed, 4.0)
    row = comparisons.alternatives(Results(store)).set_index("contrast").loc["twice the epochs - once"]
    assert row["estimate_mm"] < 0 and row["low"] < row["estimate_mm"] < row["high"] and row["seeds"] == "0, 1"
