"""What a run's page states of its variant and training, and its table of layers."""

from types import SimpleNamespace

import pytest
import torch
from make_results import add_run, make_truth
from report.reading import run_of
from torch import nn

from msff.models.building import build, count_macs, count_used_parameters
from msff.models.registry import METHODS
from msff.report import architecture
from msff.report.architecture import layers_table
from msff.settings.networks import NetworkConfig
from msff.study.profiles import get_profile
from msff.study.store import Store

NETWORKS = [(m, v) for m, method in METHODS.items() if method.has_network for v in method.variants]


def text_of(store, *run) -> str:
    return architecture.architecture(make_study(store), run_of(store, *run)).data


def make_study(store: Store) -> SimpleNamespace:
    return SimpleNamespace(device="cpu", profile=get_profile("smoke"), store=store)


def numbers(table, column="parameters"):
    return table[column].str.replace(",", "").astype(int)


@pytest.mark.parametrize(("method", "variant"), NETWORKS)
def test_layers_add_up_to_what_the_forward_pass_uses(method, variant):
    profile = get_profile("smoke")
    network = build(method, variant, profile.network)
    table = layers_table(network, profile.network.crop_size)
    total, outside = table.iloc[-1], table[table["part"] == "not in this pass"]
    rows = table[~table["part"].isin(["total", "not in this pass"])]
    inside = rows["output"] != "not in this pass"
    assert len(table) <= 30
    assert total["parameters"] == f"{count_used_parameters(network, profile.network.crop_size):,}"
    assert numbers(rows[inside]).sum() == numbers(table.iloc[-1:]).item()
    assert numbers(rows[~inside]).sum() == numbers(outside).sum()
    assert numbers(rows).sum() == sum(p.numel() for p in network.parameters())
    assert rows["share, %"][inside].astype(float).sum() == pytest.approx(100, abs=0.05 * len(rows))
    assert (rows["output"] != "").all()
    assert total["output"] == f"{count_macs(network, profile.network.crop_size) / 1e9:.3f} GMAC per crop"


def test_the_papers_sizes_of_internet():
    network = build("internet", "full", NetworkConfig())
    table = layers_table(network, 256).set_index(["part", "sub-part"])
    right = table.loc[("hands", "right")]
    assert right["output"] == "21x64x64x64"
    # 4 * 4 * (2048 + 2 * 256) * 256 of the deconvolutions, 3 * 2 * 256 of the norms, 257 * 21 * 64 of the last
    assert right["parameters"] == f"{16 * 2560 * 256 + 1536 + 257 * 1344:,}"
    assert table.loc[("backbone", "layer4"), "output"] == "2048x8x8"


def test_what_only_training_needs_is_marked_and_totalled_apart():
    table = layers_table(build("spurr", "plain", get_profile("smoke").network), 64)
    row = table[table["part"] == "pose_encoder"].iloc[0]
    assert row["output"] == "not in this pass" and row["share, %"] == ""
    assert table["part"].tolist()[-2:] == ["not in this pass", "total"]


def test_the_network_is_left_as_it_was():
    network = build("msff", "full", get_profile("smoke").network)
    layers_table(network, 64)
    assert not any(m._forward_hooks for m in network.modules()) and next(network.parameters()).device.type == "cpu"


def test_a_module_outside_any_list_counts_once():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.ModuleList([nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)])
            self.pool = nn.MaxPool2d(2)

        def forward(self, image):
            return torch.cat([self.pool(m(image)) for m in self.maps], 1)

    table = layers_table(Two(), 32)
    assert table[["part", "sub-part", "output"]].values.tolist()[:2] == [
        ["maps", "0", "2x32x32"], ["maps", "1", "2x32x32"],
    ]  # fmt: skip
    assert table["parameters"].tolist() == ["8", "8", "16"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(made, method):
    text = text_of(made(), method, METHODS[method].headline)
    assert ("decoded as the expectation" in text) == (method in ("msff", "internet"))
    assert ("phase of training" in text or "Phases of this training" in text) == METHODS[method].has_network
    table = architecture.layers(make_study(made()), run_of(made(), method, METHODS[method].headline))
    assert table.empty == (not METHODS[method].has_network)


@pytest.mark.parametrize(
    ("method", "variant", "words"),
    [
        ("posenet", "full", "Variant full: box from the annotation."),
        ("posenet", "full", "pose2d (epochs: 2, rate 0.001 to 0.0001), then lifting (epochs: 2,"),
        ("msff", "full", "One phase of training: all (epochs: 2"),
        ("msff", "full", "Variant full. Modules: all three."),
        ("msff", "ccm", "Variant ccm. Modules: channel conversion."),
        ("internet", "full", "absolute error of their expectation"),
    ],
)
def test_the_page_states_variant_phases_and_loss(made, method, variant, words):
    assert words in text_of(made(), method, variant)


def test_a_papers_own_recipe_names_its_metric(tmp_path):
    store = Store(tmp_path / "paper")
    store.save_truth(make_truth("rhd"), {"real": "rhd"})
    add_run(store, "rhd", "chen", "native", 0, 10.0)
    text = text_of(store, "chen", "native", "rhd")
    assert "recipe, crop and metric (palm21)" in text
