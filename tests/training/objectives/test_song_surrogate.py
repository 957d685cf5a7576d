"""Song-S's loss: its terms by hand, turned crops, and what is not annotated."""

import math
from dataclasses import replace

import pytest
import torch

from msff.data.batches import Batch
from msff.data.single_hand import single_hands
from msff.data.synthetic import synthetic_batch
from msff.models.auxiliary.rootnet import box_k_mm
from msff.models.baselines.song_surrogate import (
    UNKNOWN_LABEL,
    SongConfig,
    SongOutput,
    SongSurrogate,
    part_classes,
)
from msff.settings.losses import SONG_TERMS, SongLossConfig
from msff.settings.networks import BackboneConfig
from msff.skeleton import WRIST
from msff.training.objectives.song_surrogate import (
    gaussian_maps,
    heat_map_mse,
    part_cross_entropy,
    song_loss,
    song_objective,
)

SLIM = SongConfig(BackboneConfig(block="basic", width=16, blocks=(1, 1, 1, 1)), deconv_channels=32, hidden=64)
PLAIN = SongLossConfig()


@pytest.fixture(scope="module")
def hands16():
    """Random crops of right and left hands in turn, and random mask labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 34, (16, 16, 16), generator=generator, dtype=torch.uint8)
    return synthetic_batch(16, 64, "cpu", generator, hands=1), labels


# terms by hand


def test_heat_maps_by_hand():
    """64 px crop, 16 bins: px (20, 36) is bin (5, 9). The Gaussian of sigma 2 is 1 there and e^(-1/2) 2 bins on."""
    maps, inside = gaussian_maps(torch.tensor([[[20.0, 36.0], [64.0, 3.0]]]), 16, 64, PLAIN)
    assert maps[0, 0, 9, 5] == 1 and maps[0, 0, 9, 7].item() == pytest.approx(math.exp(-0.5))
    assert maps[0, 0, 11, 5].item() == pytest.approx(math.exp(-0.5)) and inside.tolist() == [[True, False]]
    off = maps.clone()
    off[0, 0, 0, 0] += 8.0  # one bin of 256 off by 8: 64 / 256 = 0.25 in this map
    off[0, 1] = 7.0  # outside the crop: does not count
    valid = torch.ones(1, 2, dtype=torch.bool)
    loss = heat_map_mse(off, torch.tensor([[[20.0, 36.0], [64.0, 3.0]]]), valid, 64, PLAIN)
    assert loss.item() == pytest.approx(0.25)


def test_an_empty_map_is_off_by_what_the_weight_assumes():
    maps, _ = gaussian_maps(torch.full((1, 1, 2), 128.0), 64, 256, PLAIN)
    assert maps.square().mean().item() == pytest.approx(math.pi * 4 / 64**2, rel=1e-3)


def test_parts_by_hand():
    """Two bins known, one unknown: equal logits cost ln 17; a right palm with a logit of ln 16 has probability 1/2."""
    logits = torch.zeros(1, 17, 1, 3)
    logits[0, 16, 0, 1] = math.log(16)
    labels = torch.tensor([[[18, 33, UNKNOWN_LABEL]]], dtype=torch.uint8)
    loss = part_cross_entropy(logits, labels, torch.tensor([0]))
    assert loss.item() == pytest.approx((math.log(17) + math.log(2)) / 2)
    assert part_cross_entropy(logits, None, torch.tensor([0])).item() == 0
    assert part_cross_entropy(logits, torch.full_like(labels, UNKNOWN_LABEL), torch.tensor([0])).item() == 0


def perfect(hands, batch, labels):
    """The output that the loss asks for, where the crops are not turned."""
    maps, _ = gaussian_maps(hands.joints_crop_px, 16, 64, PLAIN)
    parts = torch.nn.functional.one_hot(part_classes(labels, hands.side), 17).permute(0, 3, 1, 2) * 50.0
    gamma = hands.joints_cam_mm[:, WRIST, 2] / box_k_mm(batch.box, batch.intrinsics)
    return SongOutput(maps, parts, hands.from_wrist_mm / 100, (hands.side * 2.0 - 1) * 50, gamma)


def test_the_sum_by_hand(hands16):
    """From a perfect output: joints off by 0.5 dm in x are 0.5 / 3; gamma 10 % too large costs 10 % of depth."""
    batch, labels = hands16
    hands = single_hands(batch)
    good = perfect(hands, batch, labels)
    losses = song_loss(good, hands, batch, PLAIN, labels)
    assert list(losses) == ["total", *SONG_TERMS] and losses["total"].item() == pytest.approx(0, abs=1e-4)
    shifted = good.relative_dm + torch.tensor([0.5, 0, 0])
    bad = replace(good, relative_dm=shifted, gamma=1.1 * good.gamma, side_logit=torch.zeros(16))
    config = SongLossConfig(joint_weight=3.0, side_weight=2.0, depth_weight=10.0)
    losses = song_loss(bad, hands, batch, config, labels)
    depth = 0.1 * hands.joints_cam_mm[:, WRIST, 2].mean().item() / 100
    assert losses["joint"].item() == pytest.approx(0.5 / 3, rel=1e-5)
    assert losses["side"].item() == pytest.approx(math.log(2))
    assert losses["depth"].item() == pytest.approx(depth, rel=1e-4)
    assert losses["total"].item() == pytest.approx(0.5 + 2 * math.log(2) + 10 * depth, rel=1e-3)


def test_without_masks_the_parts_cost_nothing(hands16):
    batch, labels = hands16
    hands = single_hands(batch)
    bad = replace(perfect(hands, batch, labels), part_logits=torch.zeros(16, 17, 16, 16))
    assert song_loss(bad, hands, batch, PLAIN)["part"].item() == 0
    assert song_loss(bad, hands, batch, PLAIN, labels)["total"].item() == pytest.approx(0.1 * math.log(17), rel=1e-3)


def test_what_is_not_valid_does_not_count(hands16):
    batch, labels = hands16
    hands = single_hands(batch)
    bad = replace(perfect(hands, batch, labels), side_logit=torch.zeros(16))
    bad.relative_dm[:, 3] += 7.0
    valid = hands.valid.clone()
    valid[:, 3] = False
    blind = replace(batch, side_valid=torch.zeros(16, dtype=torch.bool))
    assert song_loss(bad, replace(hands, valid=valid), blind, PLAIN, labels)["total"].item() < 1e-4
    assert song_loss(bad, hands, batch, PLAIN, labels)["total"].item() > 0.5


def test_the_joints_are_wanted_in_the_turned_crops_axes(hands16):
    """A quarter turn of the crop takes x (right) to y (down); depth and parts stay."""
    batch, labels = hands16
    hands = single_hands(batch)
    turned = replace(batch, affine=torch.tensor([[[0.0, -1, 64], [1, 0, 0]]]).expand(16, 2, 3))
    x, y, z = (hands.from_wrist_mm / 100).unbind(-1)
    good = replace(perfect(hands, batch, labels), relative_dm=torch.stack([-y, x, z], -1))
    assert song_loss(good, hands, turned, PLAIN, labels)["total"].item() == pytest.approx(0, abs=1e-4)


# learning


def test_every_parameter_learns_from_the_loss(hands16):
    batch, labels = hands16
    torch.manual_seed(0)
    net = SongSurrogate(SLIM)
    song_objective(net, batch, PLAIN, lambda _: labels)["total"].backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_one_hand_and_no_hand(hands16):
    batch, _ = hands16
    net = SongSurrogate(SLIM)
    one = Batch(*(value[:1] for value in vars(batch).values()))
    assert torch.isfinite(song_objective(net, one, PLAIN)["total"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    none = replace(one, side_present=torch.zeros(1, 2))
    losses = song_objective(net, none, PLAIN)
    losses["total"].backward()
    assert list(losses) == ["total"] and losses["total"].item() == 0
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items()) and net.training


def test_both_hands_of_a_crop_are_samples():
    batch = synthetic_batch(2, 64, "cpu", torch.Generator().manual_seed(0))
    labels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    losses = song_objective(SongSurrogate(SLIM), batch, PLAIN, lambda _: labels)
    assert all(torch.isfinite(value) for value in losses.values()) and losses["side"].item() > 0.5
