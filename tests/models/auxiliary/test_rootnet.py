"""RootNet: shapes, size against the published counts, depth = gamma * k by hand."""

import pytest
import torch

from msff.models.auxiliary.rootnet import RootNet, RootNetConfig, box_k_mm, wrist_bins, wrist_depth_mm
from msff.models.building import build, count_macs, count_parameters
from msff.models.registry import AUXILIARY, METHODS
from msff.settings.networks import BackboneConfig, NetworkConfig

SLIM = BackboneConfig(block="basic", width=8, blocks=(1, 1, 1, 1))


def test_the_published_size_for_one_root():
    """34.0 M parameters and 7.2 G multiply-adds at 256 px, as the RootNet of one root has; counted by torch."""
    network = RootNet(RootNetConfig(roots=1))
    assert count_parameters(network) == 23_508_032 + 10_487_553 + 2_049  # trunk, place, gamma
    assert count_macs(network, 256) / 1e9 == pytest.approx(7.2, abs=0.05)


def test_a_second_wrist_costs_two_rows_of_weights():
    one, two = (RootNet(RootNetConfig(SLIM, 16, roots=roots)) for roots in (1, 2))
    assert count_parameters(two) - count_parameters(one) == (16 + 1) + (64 + 1)


@pytest.mark.parametrize("roots", [1, 2])
def test_shapes(roots):
    network = RootNet(RootNetConfig(SLIM, 16, roots=roots))
    output = network(torch.rand(3, 3, 64, 64))
    assert output.heat_map.shape == (3, roots, 16, 16) and output.gamma.shape == (3, roots)
    assert wrist_bins(output.heat_map).shape == (3, roots, 2)


def test_untrained_it_is_a_rule_of_the_box():
    gamma = RootNet(RootNetConfig(SLIM, 16, gamma_start=1.0))(torch.rand(4, 3, 64, 64)).gamma
    assert (gamma - 1).abs().max() < 0.1
    assert RootNet(RootNetConfig(SLIM, 16)).gamma.bias.tolist() == pytest.approx([0.8, 0.8])


def test_every_parameter_learns():
    network = RootNet(RootNetConfig(SLIM, 16))
    output = network(torch.rand(2, 3, 64, 64))
    (output.gamma.sum() + wrist_bins(output.heat_map).sum()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(silent) <= {"place.9.bias"}  # the same for every bin: softmax does not see it


def test_depth_by_hand():
    """A box of 100 x 80 px is shown as a square of 125 px: k = sqrt(500 * 400 * 300^2 / 125^2) = 1073.3 mm."""
    box = torch.tensor([[7.0, 9.0, 100.0, 80.0]])
    intrinsics = torch.tensor([[[500.0, 0, 0], [0, 400.0, 0], [0, 0, 1]]])
    k = box_k_mm(box, intrinsics)
    assert k.tolist() == pytest.approx([1073.31], abs=0.01)
    depth = wrist_depth_mm(torch.tensor([[0.5, 2.0]]), k)
    assert depth.tolist() == [pytest.approx([536.66, 2146.63], abs=0.01)]


def test_the_place_of_a_peak():
    heat_map = torch.zeros(1, 2, 16, 16)
    heat_map[0, 0, 3, 11], heat_map[0, 1, 8, 2] = 50.0, 50.0
    torch.testing.assert_close(wrist_bins(heat_map), torch.tensor([[[11.0, 3.0], [2.0, 8.0]]]))


def test_it_is_auxiliary_and_no_method():
    assert "rootnet" in AUXILIARY and "rootnet" not in METHODS
    network = build("rootnet", "full", NetworkConfig(crop_size=64, bins=16, backbone=SLIM, deconv_channels=16))
    assert network.config.roots == 2 and network.config.backbone.normalise
    with pytest.raises(ValueError, match="rootnet has no variant 'half': choose one of full"):
        build("rootnet", "half", NetworkConfig())
