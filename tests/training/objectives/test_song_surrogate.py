"""Song-S's loss: its terms by hand, masks on crops, mirrors and turns; and that it learns eight images by heart."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from msff import standin
from msff.camera import apply_affine
from msff.data.batches import Batch
from msff.data.crops import augmented_affine, draw_augmentation, sample_crops, swap_hands
from msff.data.masks import crop_labels
from msff.data.rhd import hand_box
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
from msff.skeleton import HAND_SLICE, ROOTS, SIDES, WRIST, root_index
from msff.training.objectives.song_surrogate import (
    SongObjective,
    gaussian_maps,
    heat_map_mse,
    part_cross_entropy,
    song_loss,
)

SLIM = SongConfig(BackboneConfig(block="basic", width=16, blocks=(1, 1, 1, 1)), deconv_channels=32, hidden=64)
PLAIN = SongLossConfig()


def rendered_hands(count, size=64, frame=96, seed=0, augmentation=None):
    """``count`` crops of ``size`` px of the stand-in's single hands, as a loader would give them, and their masks."""
    drawn = standin.render(torch.Generator().manual_seed(seed), 3 * count, frame)
    rows = (drawn.side_present.sum(1) == 1).nonzero()[:count, 0]
    assert len(rows) == count
    joints, px, visible = drawn.joints_cam_mm[rows].float(), drawn.joints_px[rows].float(), drawn.visible[rows]
    mask, present = drawn.mask[rows], drawn.side_present[rows]
    box = []
    for i in range(count):
        side = SIDES[int(present[i, 1])]
        own = HAND_SLICE[side]
        box.append(hand_box(mask[i].numpy(), side, px[i, own].numpy(), visible[i, own].numpy())[0])
    box = torch.from_numpy(np.stack(box)).float()
    if augmentation is None:
        augmentation = draw_augmentation(None, count, torch.Generator())
    affine = augmented_affine(box, torch.full((count,), float(frame)), size, augmentation)
    flip = augmentation.flip
    joints = swap_hands(joints, flip) * torch.where(flip[:, None, None], torch.tensor([-1.0, 1, 1]), 1.0)
    px, valid = swap_hands(px, flip), swap_hands(present.repeat_interleave(21, 1), flip)
    depth = torch.where(valid, joints[..., 2], 0.0)
    batch = Batch(
        image=sample_crops(drawn.images[rows], affine, size),
        affine=affine,
        intrinsics=drawn.intrinsics[rows].float(),
        joints_cam_mm=joints,
        joints_crop_px=torch.where(valid[..., None], apply_affine(affine, px), 0.0),
        relative_depth_mm=torch.where(valid, depth - depth[:, root_index()], 0.0),
        joint_valid=valid,
        joint_visible=swap_hands(visible, flip) & valid,
        side_present=swap_hands(present.float(), flip),
        side_valid=torch.ones(count, dtype=torch.bool),
        root_depth_mm=depth[:, list(ROOTS.values())],
        relative_root_depth_mm=torch.zeros(count),
        relative_root_valid=torch.zeros(count, dtype=torch.bool),
        box=box,
        index=torch.arange(count),
    )
    return batch, crop_labels(mask, affine, size, size // 4)


@pytest.fixture(scope="module")
def hands16():
    return rendered_hands(16)


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
    with pytest.raises(ValueError, match=r"labels must be \(1, 1, 3\)"):
        part_cross_entropy(logits, labels[..., :2], torch.tensor([0]))


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


# masks, mirrors and turns


def test_labels_on_a_crop_by_hand():
    """A crop of 8 px at twice the image's scale, 2 bins of 4 px: bin (1, 0) is crop px (4, 0), image px (2, 0)."""
    labels = torch.tensor([[[2, 3, 20, 5], [6, 7, 8, 9], [1, 0, 33, 18]]], dtype=torch.uint8)
    twice = torch.tensor([[[2.0, 0, 0], [0, 2.0, 0]]])
    assert crop_labels(labels, twice, 8, 2).tolist() == [[[2, 20], [1, 33]]]
    beyond = torch.tensor([[[2.0, 0, 4.0], [0, 2.0, 0]]])  # moved 2 image px to the right
    assert crop_labels(labels, beyond, 8, 2).tolist() == [[[0, 2], [0, 1]]]
    mirrored = torch.tensor([[[-2.0, 0, 6.0], [0, 2.0, 0]]])  # x -> 3 - x: bin 0 is image px 3, bin 1 px 1
    assert crop_labels(labels, mirrored, 8, 2).tolist() == [[[21, 19], [2, 0]]]


def test_the_joints_lie_on_their_parts(hands16):
    """Most visible joints of the middle of a finger lie on that finger's own part."""
    batch, labels = hands16
    hands = single_hands(batch)
    parts = part_classes(labels, hands.side)
    bins = (hands.joints_crop_px / 4).round().long().clamp(0, 15)
    found = parts[torch.arange(16)[:, None], bins[..., 1], bins[..., 0]]  # (16, 21)
    finger = torch.arange(20) // 4
    right = ((found[:, :20] + 2) // 3 - 1 == finger)[:, [1, 2, 5, 6, 9, 10, 13, 14, 17, 18]]
    assert right[hands.visible[:, [1, 2, 5, 6, 9, 10, 13, 14, 17, 18]]].float().mean() > 0.8


@pytest.mark.parametrize("flip", [False, True])
def test_a_turned_or_mirrored_crop_asks_for_what_it_shows(flip):
    """The target of a turned crop is the plain one turned with the picture; depth and masks go with it."""
    nothing = draw_augmentation(None, 4, torch.Generator())
    turn = torch.full((4,), math.pi / 2)
    changed = replace(nothing, rotation_rad=turn, flip=torch.full((4,), flip))
    (plain, labels), (other, other_labels) = rendered_hands(4), rendered_hands(4, augmentation=changed)
    first, second = single_hands(plain), single_hands(other)
    assert torch.equal(second.side, 1 - first.side if flip else first.side)
    x, y, z = (first.from_wrist_mm / 100).unbind(-1)
    x = -x if flip else x
    shown = torch.stack([-y, x, z], -1)  # x (right) went to y (down)
    good = replace(perfect(second, other, other_labels), relative_dm=shown)
    assert song_loss(good, second, other, PLAIN, other_labels)["total"].item() < 1e-3
    counts = [torch.bincount(part_classes(m, h.side).flatten(), minlength=17) for m, h in
              ((labels, first), (other_labels, second))]  # fmt: skip
    assert (counts[0] - counts[1]).abs().sum() < 0.2 * counts[0][1:].sum()


# learning


def test_every_parameter_learns_from_the_loss(hands16):
    batch, labels = hands16
    torch.manual_seed(0)
    net = SongSurrogate(SLIM)
    SongObjective(PLAIN, lambda _: labels)(net, batch)["total"].backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_one_hand_and_no_hand(hands16):
    batch, _ = hands16
    net = SongSurrogate(SLIM)
    one = Batch(*(value[:1] for value in vars(batch).values()))
    assert torch.isfinite(SongObjective()(net, one)["total"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    none = replace(one, side_present=torch.zeros(1, 2))
    losses = SongObjective()(net, none)
    losses["total"].backward()
    assert list(losses) == ["total", *SONG_TERMS] and all(value.item() == 0 for value in losses.values())
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items()) and net.training


def test_both_hands_of_a_crop_are_samples():
    batch = synthetic_batch(2, 64, "cpu", torch.Generator().manual_seed(0))
    labels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    losses = SongObjective(masks=lambda _: labels)(SongSurrogate(SLIM), batch)
    assert all(torch.isfinite(value) for value in losses.values()) and losses["side"].item() > 0.5
