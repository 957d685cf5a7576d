"""The ablation as pictures: corners with and without runs, effects with and without an interval."""

import matplotlib
import pytest
from make_results import ABLATION, add_run, make_store, make_truth

from msff.report import ablation_figures, alternatives
from msff.report.results import Cell, Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Results(make_store(tmp_path_factory.mktemp("whole") / "cpu-long", seeds=(0, 1, 2)))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("half") / "cpu-long")
    store.save_truth(make_truth("standin-rhd"), {"made": "up"})
    for variant in ("bare", "ccm"):
        add_run(store, "standin-rhd", "msff", variant, 0, ABLATION[variant])
    return Results(store)


def texts(figure):
    return " ".join(" ".join(t.get_text().split()) for t in figure.findobj(matplotlib.text.Text))


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
    assert ablation_figures.cube_alt(half).count("no run yet") == 6
    assert "one run each" not in texts(ablation_figures.cube_figure(Results(Store(half.store.root / "none")), "data"))


def test_a_dot_further_right_is_a_larger_error(whole):
    figure = ablation_figures.cube_figure(whole, "data")
    boxes = {t.get_text(): t.get_position()[0] for t in figure.axes[0].texts}
    dots = sorted(
        (d.get_offsets()[:, 0].mean() - corner, name)
        for d, (name, corner) in zip(
            figure.axes[0].collections, ((n, boxes[n]) for n in sorted(boxes) if n in (*ABLATION, "full")), strict=False
        )
    )
    assert dots  # positions are finite
    bare, full = (whole.estimate(Cell("standin-rhd", "msff", v), "T2", "wrist20").value for v in ("bare", "full"))
    places = {}
    for collection in figure.axes[0].collections:
        x = collection.get_offsets()[:, 0].mean()
        name = min(("bare", "full"), key=lambda n: abs(boxes[n] + 0.8 - x))
        places.setdefault(name, x - boxes[name])
    assert bare > full and places["bare"] > places["full"]


def test_effects_have_intervals_with_several_seeds_and_none_with_one(whole, half):
    found = ablation_figures.effects(whole)
    assert [len(group) for group in found.values()] == [4, 6, 4]
    assert all(f.interval for group in found.values() for f in group)
    assert all(f.estimate < 0 for f in found["main effects"])  # each module lowers the made-up error
    alone = ablation_figures.effects(half)["one module"][0]
    assert alone.interval is None and alone.estimate < 0
    figure = ablation_figures.effects_figure(half, "data")
    assert texts(figure).count("runs missing") == 13
    assert "runs missing" in ablation_figures.effects_alt(half)


def test_alternatives_say_what_has_no_run(whole):
    table = alternatives.alternatives(whole).set_index("contrast")
    assert (table["status"] == alternatives.NO_RUN).all() and table["estimate_mm"].isna().all()
    assert {"The target?", "Pre-training?", "The budget?", "A single scale?"} <= set(table["question"])


def test_an_alternative_with_runs_has_a_number(tmp_path):
    store = make_store(tmp_path / "cpu-long", seeds=(0, 1))
    for seed in (0, 1):
        add_run(store, "standin-rhd", "msff", "epochs-x2", seed, 4.0)
    row = alternatives.alternatives(Results(store)).set_index("contrast").loc["twice the epochs - once"]
    assert row["estimate_mm"] < 0 and row["low"] < row["estimate_mm"] < row["high"] and row["seeds"] == "0, 1"
