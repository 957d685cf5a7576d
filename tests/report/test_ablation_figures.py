"""What the modules change: corners, effects with and without an interval, and what is open where a run is missing."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from make_results import ABLATION, add_run, make_truth
from report.reading import texts

from msff.models.registry import FACTORIAL, VARIANT_WORDS
from msff.report import ablation_figures, comparisons
from msff.report.ablation_figures import TOGETHER, ModuleEffect
from msff.report.contrasts import ALONE, MAIN, WHOLE
from msff.report.front_figure import forest_alt
from msff.report.results import Cell, Results
from msff.study.experiment import Experiment
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
    assert "without local optimisation" in texts(figure)


def test_a_store_without_runs_has_no_scale(empty):
    assert "one run each" not in texts(ablation_figures.cube_figure(empty, "data"))


def test_a_dot_further_right_is_a_larger_error(whole):
    figure = ablation_figures.cube_figure(whole, "data")
    corners = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    dots = np.array([collection.get_offsets().mean(0) for collection in figure.axes[0].collections])
    places, errors = [], []
    for variant in (*ABLATION, "full"):
        corner = corners[VARIANT_WORDS["msff"].get(variant, "MS-FF")]
        nearest = np.abs(dots - np.add(corner, [0, -0.7])).sum(1).argmin()
        places.append(dots[nearest][0] - corner[0])
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


# One module


@pytest.fixture
def store(copied):
    return copied("cpu-long", (0, 1))


def effect_of(store, module):
    return ModuleEffect(SimpleNamespace(store=store), module)


def test_the_single_contrasts_are_the_differences_of_the_stored_means(store):
    table = effect_of(store, "ccm").table().set_index("effect")
    results = Results(store)
    mean = {v: results.estimate(Cell("standin-rhd", "msff", v), "T2", "wrist20").value for v in ("bare", "ccm")}
    found = table.loc[ALONE, "all joints"]
    assert float(found.split()[0]) == pytest.approx(mean["ccm"] - mean["bare"], abs=0.006)
    assert re.fullmatch(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", found)
    assert "Profile cpu-long." in table.attrs["caption"]
    assert "interval" in effect_of(store, "ccm").sentence()


def test_all_three_modules_have_one_contrast_the_whole_network_against_bare(store):
    effect, results = effect_of(store, "all"), Results(store)
    table = effect.table()
    mean = {v: results.estimate(Cell("standin-rhd", "msff", v), "T2", "wrist20").value for v in ("bare", "full")}
    assert table["effect"].tolist() == [TOGETHER]
    assert float(table["all joints"][0].split()[0]) == pytest.approx(mean["full"] - mean["bare"], abs=0.006)
    assert effect.variants == {"full", "bare"} and effect.sentence() in effect.alt
    assert table["all joints"][0] in effect.sentence()
    assert dots(effect.figure())


def test_a_missing_variant_opens_the_main_effect_and_leaves_the_others(store):
    for seed in (0, 1):
        shutil.rmtree(store.path(Experiment("cpu-long", "standin-rhd", "msff", "no-grm", seed)))
    table = effect_of(store, "grm").table().set_index("effect")
    assert table.loc[MAIN, "all joints"] == table.loc[WHOLE, "all joints"] == "open: runs missing"
    assert not table.loc[ALONE, "all joints"].startswith("open")
    assert "main effect is open: runs missing" in effect_of(store, "grm").sentence()


def in_cpu(store):
    """A smaller profile beside cpu-long, whose page is drawn; one seed with and without channel conversion."""
    cpu = Store(store.root.with_name("cpu"))
    cpu.save_truth(make_truth("standin-rhd"), {"made": "up"})
    for variant, noise in (("bare", 14.0), ("ccm", 12.0)):
        add_run(cpu, "standin-rhd", "msff", variant, 0, noise)
    add_run(cpu, "standin-rhd", "mean-pose", "full", 0, 30.0)
    return cpu


def dots(figure):
    return [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s") and len(line.get_xdata())]


def test_the_main_effect_comes_from_the_best_profile_that_has_it(store):
    figure = effect_of(in_cpu(store), "lom").figure()
    assert "main effect" in figure.get_suptitle() and "cpu-long" in figure.get_suptitle()
    assert [len(line.get_xdata()) for line in dots(figure)] == [8] * 6  # 4 variants x 2 seeds, 2 sides, 3 joints
    results = Results(store)
    expected = [e for v, has in FACTORIAL.items() if has[2]
                for e in results.estimate(Cell("standin-rhd", "msff", v), "T2", "wrist20").per_seed]  # fmt: skip
    assert sorted(dots(figure)[0].get_xdata()) == pytest.approx(sorted(expected))


def test_a_pair_of_runs_in_a_smaller_profile_is_better_than_nothing(store):
    cpu = in_cpu(store)
    for seed in (0, 1):
        for variant in ("ccm", "no-ccm"):
            shutil.rmtree(store.path(Experiment("cpu-long", "standin-rhd", "msff", variant, seed)))
    effect = effect_of(cpu, "ccm")
    sentence = effect.sentence()
    assert re.match(r"Channel conversion alone changes the error by -\d\.\d\d mm", sentence)
    assert "one seed" in sentence and "main effect is open: " in sentence and "profile cpu," in sentence
    figure = effect.figure()
    assert ALONE in figure.get_suptitle() and [len(line.get_xdata()) for line in dots(figure)] == [1] * 6


def test_without_any_effect_the_figure_says_that_it_is_open(store):
    shutil.rmtree(store.root)
    figure = effect_of(in_cpu(store), "grm").figure()
    assert not dots(figure) and [ax.texts[0].get_text() for ax in figure.axes] == ["open", "open"]


def test_an_unknown_module_is_refused(store):
    with pytest.raises(ValueError, match="ccm, grm, lom"):
        effect_of(store, "attention")
