"""What a module is worth: read from stored runs, and open where one is missing."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from make_results import make_store
from torch import nn

from msff.report import worth as module
from msff.report.results import Cell, Results
from msff.report.worth import level_costs, worth, worth_sentence
from msff.study.experiment import Experiment


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "cpu-long", seeds=(0, 1))


def test_the_single_contrasts_are_the_differences_of_the_stored_means(store):
    table = worth(SimpleNamespace(store=store), "ccm").set_index("with the module")
    results = Results(store)
    mean = {v: results.estimate(Cell("standin-rhd", "msff", v), "T2", "wrist20").value for v in ("bare", "ccm")}
    found = table.loc[module.ALONE, "all joints"]
    assert float(found.split()[0]) == pytest.approx(mean["ccm"] - mean["bare"], abs=0.006)
    assert re.fullmatch(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", found)
    assert "`cpu-long`" in table.attrs["caption"]
    assert "interval" in worth_sentence(SimpleNamespace(store=store), "ccm")


def test_a_missing_variant_opens_the_main_effect_and_leaves_the_others(store):
    for seed in (0, 1):
        shutil.rmtree(store.path(Experiment("cpu-long", "standin-rhd", "msff", "no-grm", seed)))
    table = worth(SimpleNamespace(store=store), "grm").set_index("with the module")
    assert table.loc[module.MAIN, "all joints"] == table.loc[module.WHOLE, "all joints"] == "open: runs missing"
    assert not table.loc[module.ALONE, "all joints"].startswith("open")
    assert worth_sentence(SimpleNamespace(store=store), "grm").startswith("Whether global regression helps is open")


def test_an_unknown_module_is_refused(store):
    with pytest.raises(ValueError, match="ccm, grm, lom"):
        worth(SimpleNamespace(store=store), "attention")


def test_costs_are_counted_per_level_and_summed():
    part = nn.Conv2d(4, 8, 1, bias=False)
    table = level_costs([part, part], [part, part], [torch.zeros(2, 4, 50, 50), torch.zeros(2, 4, 25, 25)], ["a", "b"])
    assert table.level.tolist() == ["a", "b", "total"] and table.parameters.tolist() == ["32", "32", "64"]
    assert table["multiply-adds"].tolist() == ["80,000", "20,000", "100,000"]
