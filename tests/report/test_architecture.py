"""The table of a network's layers: complete, and the same as the forward pass."""

from types import SimpleNamespace

import pytest
import torch
from distinct_networks import DISTINCT
from report.reading import run_of
from torch import nn

from msff.models.building import build, count_macs, count_used_parameters
from msff.models.registry import METHODS
from msff.report import architecture
from msff.report.architecture import layers_table
from msff.settings.networks import NetworkConfig
from msff.study.profiles import get_profile


def numbers(table, column="parameters"):
    return table[column].str.replace(",", "").astype(int)


@pytest.mark.parametrize(("method", "variant"), DISTINCT)
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
    right = table.loc[("deconvolutions and heat maps", "right")]
    assert right["output"] == "21x64x64x64"
    # 4 * 4 * (2048 + 2 * 256) * 256 of the deconvolutions, 3 * 2 * 256 of the norms, 257 * 21 * 64 of the last
    assert right["parameters"] == f"{16 * 2560 * 256 + 1536 + 257 * 1344:,}"
    assert table.loc[("trunk", "stage 4"), "output"] == "2048x8x8"


def test_a_network_of_whole_parts_has_no_column_of_sub_parts():
    profile = get_profile("cpu")
    columns = layers_table(build("msff", "bare", profile.network), profile.network.crop_size).columns
    assert "part" in columns and "sub-part" not in columns


def test_parts_are_words_and_the_levels_of_a_module_are_scales():
    table = layers_table(build("msff", "full", get_profile("smoke").network), 64).set_index("part")
    assert not [name for name in {*table.index, *table["sub-part"]} if "_" in name or name.isdigit()]
    assert table.loc["channel conversion", "sub-part"].tolist() == ["at 1/4", "at 1/8", "at 1/16", "at 1/32"]


def test_what_only_training_needs_is_marked_and_totalled_apart():
    table = layers_table(build("spurr", "plain", get_profile("smoke").network), 64)
    row = table[table["part"] == "pose encoder"].iloc[0]
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
        ["maps", "layer 1", "2x32x32"], ["maps", "layer 2", "2x32x32"],
    ]  # fmt: skip
    assert table["parameters"].tolist() == ["8", "8", "16"]


@pytest.mark.parametrize("method", METHODS)
def test_only_a_method_without_a_network_has_no_layers(made, method):
    study = SimpleNamespace(device="cpu", profile=get_profile("smoke"), store=made())
    table = architecture.layers(study, run_of(made(), method, METHODS[method].headline))
    assert table.empty == (not METHODS[method].has_network)


def test_costs_are_counted_per_level_and_summed():
    part = nn.Conv2d(4, 8, 1, bias=False)
    table = architecture.level_costs(
        [part, part], [part, part], [torch.zeros(2, 4, 50, 50), torch.zeros(2, 4, 25, 25)], ["a", "b"]
    )
    assert table.level.tolist() == ["a", "b", "total"] and table.parameters.tolist() == ["32", "32", "64"]
    assert table["multiply-adds"].tolist() == ["80,000", "20,000", "100,000"]
