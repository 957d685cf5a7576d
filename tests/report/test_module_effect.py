"""What a module of MS-FF changes: read from stored runs, and open where one is missing; and what it costs."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from make_results import add_run, make_truth
from torch import nn

from msff.models.registry import FACTORIAL
from msff.report.ablation_figures import TOGETHER, ModuleEffect
from msff.report.architecture import level_costs
from msff.report.contrasts import ALONE, MAIN, WHOLE
from msff.report.results import Cell, Results
from msff.study.experiment import Experiment
from msff.study.store import Store


@pytest.fixture
def store(copied):
    return copied("cpu-long", (0, 1))


def effect_of(store, module):
    return ModuleEffect(SimpleNamespace(store=store), module)


def test_the_single_contrasts_are_the_differences_of_the_stored_means(store):
    table = effect_of(store, "ccm").table().set_index("with the module")
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
    assert table["with the module"].tolist() == [TOGETHER]
    assert float(table["all joints"][0].split()[0]) == pytest.approx(mean["full"] - mean["bare"], abs=0.006)
    assert effect.variants == {"full", "bare"} and effect.sentence() in effect.alt
    assert table["all joints"][0] in effect.sentence()
    assert dots(effect.figure())


def test_a_missing_variant_opens_the_main_effect_and_leaves_the_others(store):
    for seed in (0, 1):
        shutil.rmtree(store.path(Experiment("cpu-long", "standin-rhd", "msff", "no-grm", seed)))
    table = effect_of(store, "grm").table().set_index("with the module")
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
    assert re.match(r"Channel conversion, alone \(against bare\), changes the error by -\d\.\d\d mm", sentence)
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


def test_costs_are_counted_per_level_and_summed():
    part = nn.Conv2d(4, 8, 1, bias=False)
    table = level_costs([part, part], [part, part], [torch.zeros(2, 4, 50, 50), torch.zeros(2, 4, 25, 25)], ["a", "b"])
    assert table.level.tolist() == ["a", "b", "total"] and table.parameters.tolist() == ["32", "32", "64"]
    assert table["multiply-adds"].tolist() == ["80,000", "20,000", "100,000"]
