"""Test-time optimisation of Song-S: every term of the energy by hand, its gradients, and its effect."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from msff import standin
from msff.camera import apply_affine, crop_affine, square_box
from msff.data.masks import crop_labels
from msff.data.rhd import hand_box
from msff.data.single_hand import single_hands
from msff.data.synthetic import synthetic_batch
from msff.evaluation.hand_size import bone_lengths
from msff.evaluation.song_refinement import (
    Evidence,
    angle_excess,
    collect_evidence,
    energy,
    energy_terms,
    finger_angles,
    fit_bone_ratios,
    outside_distance,
    placed_dm,
    refine,
)
from msff.models.auxiliary.rootnet import box_k_mm
from msff.models.baselines.canonical_frame import turn_with_crop
from msff.models.baselines.song_surrogate import SongOutput, part_classes
from msff.settings.losses import REFINE_TERMS, RefineConfig
from msff.skeleton import BONES, FINGER_BASES, FINGERTIPS, HAND_SLICE, SIDES, WRIST
from msff.standin.pose import rotation

PLAIN = RefineConfig()
CROP = 100  # px; the crop is the image, f = 200 px: at 4 dm a shift of 1 dm is 50 px, half a crop


def flat_hand():
    """(1, 21, 3) dm: an open left hand, palm to the viewer: fingers up (-y), thumb to the viewer's left (-x)."""
    joints = torch.zeros(1, 21, 3, dtype=torch.float64)
    for f, x in enumerate((-0.6, -0.3, 0.0, 0.2, 0.4)):
        for k, j in enumerate(range(FINGER_BASES[f], FINGERTIPS[f] - 1, -1)):
            joints[0, j] = torch.tensor([x, -(0.8 + 0.3 * k), 0.0])
    return joints


def evidence_of(joints_dm, **changes):
    """Evidence that agrees with the hand in everything, its wrist at the image's centre at 4 dm."""
    count = len(joints_dm)
    intrinsics = torch.tensor([[200.0, 0, 50], [0, 200.0, 50], [0, 0, 1]], dtype=torch.float64).expand(count, 3, 3)
    bones = bone_lengths(joints_dm)
    cam = joints_dm + torch.tensor([0.0, 0, 4.0])
    fields = dict(
        relative_dm=joints_dm, root_depth_dm=torch.full((count,), 4.0, dtype=torch.float64),
        joints_crop_px=200 * cam[..., :2] / cam[..., 2:] + 50,
        confidence=torch.ones(count, 21, dtype=torch.float64),
        outside_box=torch.zeros(count, 6, 20, 20, dtype=torch.float64), bone_ratio=(bones / bones.sum(1, True)).mean(0),
        is_left=torch.ones(count, dtype=torch.bool),
        affine=torch.eye(3, dtype=torch.float64)[:2].expand(count, 2, 3), intrinsics=intrinsics, crop_size=CROP,
    )  # fmt: skip
    return Evidence(**(fields | changes))


def terms(joints, evidence, config=PLAIN):
    return {
        name: value.item() for name, value in energy_terms(joints, evidence.root_depth_dm, evidence, config).items()
    }


# The terms by hand


def test_a_hand_that_agrees_has_no_energy():
    hand = flat_hand()
    assert terms(hand, evidence_of(hand)) == pytest.approx(dict.fromkeys(REFINE_TERMS, 0.0), abs=1e-12)
    assert list(terms(hand, evidence_of(hand))) == list(REFINE_TERMS)


def test_reprojection_by_hand():
    """A tip moved by 0.4 dm in x at 4 dm is off by 20 px, 0.2 of the crop: 0.2 - 0.02 / 2; by 0.02 dm: 0.01^2 / 0.04.

    With confidence 0.5 half of it.
    """
    hand = flat_hand()
    far, near = hand.clone(), hand.clone()
    far[0, FINGERTIPS[0], 0] += 0.4
    near[0, FINGERTIPS[0], 0] -= 0.02
    assert terms(far, evidence_of(hand))["reprojection"] == pytest.approx(0.19)
    assert terms(near, evidence_of(hand))["reprojection"] == pytest.approx(0.0025)
    doubtful = evidence_of(hand)
    doubtful.confidence[0, FINGERTIPS[0]] = 0.5
    assert terms(far, doubtful)["reprojection"] == pytest.approx(0.095)


def test_a_deeper_wrist_stays_on_its_pixel():
    """At 5 instead of 4 dm the wrist's pixel is the same, and a tip 1.4 dm off the axis projects 14 px nearer to it."""
    hand = flat_hand()
    hand[0, FINGERTIPS[0]] = torch.tensor([1.4, 0, 0])
    evidence = replace(evidence_of(hand), confidence=torch.zeros(1, 21, dtype=torch.float64))
    evidence.confidence[0, [WRIST, FINGERTIPS[0]]] = 1.0
    deeper = energy_terms(hand, torch.tensor([5.0], dtype=torch.float64), evidence, PLAIN)
    assert deeper["reprojection"].item() == pytest.approx(0.14 - 0.01)
    off = evidence.joints_crop_px + torch.tensor([10.0, -20.0])
    assert placed_dm(hand, evidence.root_depth_dm, replace(evidence, joints_crop_px=off))[0, WRIST].tolist() == (
        pytest.approx([0.2, -0.4, 4.0])
    )


def test_pull_by_hand():
    hand = flat_hand()
    moved = hand.clone()
    moved[0, 5] += torch.tensor([0.3, 0.0, 0.4])
    moved[0, 7] += torch.tensor([0.0, 1.0, 0.0])
    assert terms(moved, evidence_of(hand))["pull"] == pytest.approx(1.25)


def test_bones_by_hand():
    """A tip drawn out by 0.1 dm: one bone off by 0.1. A hand of twice the ratio's length keeps its own length."""
    hand = flat_hand()
    longer = hand.clone()
    longer[0, FINGERTIPS[2], 1] -= 0.1
    assert terms(longer, evidence_of(hand))["bones"] == pytest.approx(0.01)
    assert terms(2 * hand, replace(evidence_of(hand), relative_dm=2 * hand))["bones"] == pytest.approx(0.0, abs=1e-12)
    uniform = torch.full((20,), 0.05, dtype=torch.float64)
    bones = bone_lengths(hand)[0]
    expected = ((bones - bones.mean()) ** 2).sum().item()
    assert terms(hand, replace(evidence_of(hand), bone_ratio=uniform))["bones"] == pytest.approx(expected)


def test_ratios_of_the_training_set_by_hand():
    """Two hands of equal and of doubled first bone; a hand with an invalid joint does not count."""
    joints = torch.zeros(3, 21, 3)
    for child, parent in sorted(BONES, key=lambda bone: -bone[0]):
        joints[:, child] = joints[:, parent] + torch.tensor([0.0, 0.0, 1.0])
    joints[1, FINGERTIPS[0], 2] += 1.0
    joints[2, FINGERTIPS[1], 2] += 50.0
    valid = torch.ones(3, 21, dtype=torch.bool)
    valid[2, 0] = False
    ratios = fit_bone_ratios(joints, valid)
    first = [child for child, _ in BONES].index(FINGERTIPS[0])
    assert ratios[first].item() == pytest.approx((1 / 20 + 2 / 21) / 2)
    assert ratios.sum().item() == pytest.approx(1)


def test_distances_by_hand():
    """A part of 2 bins at (x, y) = (0, 0), (4, 0) of 10: bin (3, 4) is 5 bins from none, sqrt(17) from the second."""
    groups = torch.zeros(1, 6, 10, 10, dtype=torch.bool)
    groups[0, 1, 0, [0, 4]] = True
    distance = outside_distance(groups, RefineConfig(least_bins=2))
    assert distance[0, 1, 4, 3].item() == pytest.approx(math.sqrt(17) / 10)
    assert distance[0, 1, 7, 0].item() == pytest.approx(0.7) and distance[0, 1, 0, 4] == 0
    assert distance[0, [0, 2, 3, 4, 5]].abs().max() == 0  # not segmented
    assert outside_distance(groups, RefineConfig(least_bins=3)).abs().max() == 0
    whole = outside_distance(groups, RefineConfig(least_bins=2, matching="hand"))
    assert torch.equal(whole[0, 5], distance[0, 1])


def test_distances_are_exact():
    groups = torch.rand(2, 6, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.02
    found = outside_distance(groups, RefineConfig(least_bins=1))
    for part, distance in zip(groups.flatten(0, 1), found.flatten(0, 1), strict=True):
        expected = distance_transform_edt(~part.numpy()) / 16 if part.any() else 0 * distance
        torch.testing.assert_close(distance, torch.as_tensor(expected).float(), atol=1e-5, rtol=0)


def test_outside_by_hand():
    """The distance to the index grows by 0.1 per bin of 5 px; its last bone lies at x = 45 + 5 s px, s its samples.

    The 5 samples 0.1, 0.3, .. are at bins 9.1 to 9.9, in the mean 9.5: 0.95. The other bones have distance 0: / 20.
    """
    hand = flat_hand() * 0
    hand[0, FINGERTIPS[1] : FINGER_BASES[1] + 1, 0] = -0.1  # dm: 45 px
    hand[0, FINGERTIPS[1], 0] = 0.0  # 50 px
    maps = torch.zeros(1, 6, 20, 20, dtype=torch.float64)
    maps[0, 1] = torch.arange(20) * 0.1
    value = terms(hand, replace(evidence_of(hand), outside_box=maps))["outside"]
    assert value == pytest.approx((0.95 + 0.9 + 0.9) / 20)  # the two other bones of the index stay at bin 9


def test_a_metacarpal_lies_on_the_palm():
    hand = flat_hand()
    maps = torch.zeros(1, 6, 20, 20, dtype=torch.float64)
    maps[0, 5] = 0.4
    assert terms(hand, replace(evidence_of(hand), outside_box=maps))["outside"] == pytest.approx(0.4 * 5 / 20)


def bent(degrees, joint=2, axis=0, finger=2):
    """The flat hand with the bones beyond a joint of a finger turned about x (flexion) or z (sideways).

    Joint 1, 2, 3 is MCP, PIP, DIP. The palm faces the viewer (-z), so that flexion takes -y to -z.
    """
    hand, angle = flat_hand(), math.radians(degrees)
    base = FINGER_BASES[finger]
    pivot = hand[0, base - joint + 1].clone()
    c, s = math.cos(angle), math.sin(angle)
    about = {0: [[1, 0, 0], [0, c, -s], [0, s, c]], 2: [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis]
    beyond = list(range(FINGERTIPS[finger], base - joint + 1))
    hand[0, beyond] = (hand[0, beyond] - pivot) @ torch.tensor(about, dtype=torch.float64).T + pivot
    return hand


@pytest.mark.parametrize("joint", [1, 2, 3])
def test_flexion_is_towards_the_palm(joint):
    left = torch.ones(1, dtype=torch.bool)
    hand = bent(40.0, joint)
    assert hand[0, FINGERTIPS[2], 2] < 0  # towards the viewer, whom the palm faces
    flexion, deviation = finger_angles(hand, left)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    expected[1, joint - 1] = 40.0
    torch.testing.assert_close(torch.rad2deg(flexion[0, 1]), expected[1])
    assert deviation[0, 1].abs().max() < 1e-9
    mirrored = hand * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(finger_angles(mirrored, ~left)[0], flexion)


def test_angles_by_hand():
    """Limits -25 to 110 deg and 15 deg sideways. 45 deg back: 20 too much; 130 in: 20; 40 sideways at PIP: 25 and 25.

    Sideways the DIP stays straight, so that both last bones leave the plane by 40 deg; at the MCP it is free.
    """
    left, fine = torch.ones(1, dtype=torch.bool), math.radians(20) ** 2
    for degrees, expected in ((-45.0, fine), (130.0, fine), (90.0, 0.0), (-20.0, 0.0)):
        assert angle_excess(bent(degrees), left, PLAIN).item() == pytest.approx(expected, abs=1e-9)
    sideways = angle_excess(bent(40.0, axis=2), left, PLAIN).item()
    assert sideways == pytest.approx(2 * math.radians(25) ** 2)
    assert angle_excess(bent(14.0, joint=1, axis=2), left, PLAIN).item() == 0


def test_the_energy_is_the_weighted_sum():
    hand = flat_hand()
    moved = hand + 0.1 * torch.randn(hand.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    evidence = replace(evidence_of(hand), outside_box=torch.full((1, 6, 20, 20), 0.3, dtype=torch.float64))
    parts = terms(moved, evidence)
    assert min(parts.values()) > 0
    expected = parts["reprojection"] + 0.5 * parts["outside"] + parts["pull"] + 10 * parts["bones"] + parts["angles"]
    assert energy(moved, evidence.root_depth_dm, evidence, PLAIN).item() == pytest.approx(expected)


# Gradients


def test_gradients_of_the_energy():
    generator = torch.Generator().manual_seed(0)
    hand = flat_hand()
    ramp = torch.rand(1, 6, 20, 20, generator=generator, dtype=torch.float64)
    evidence = replace(evidence_of(hand), outside_box=ramp)
    moved = hand + 0.1 * torch.randn(hand.shape, generator=generator, dtype=torch.float64)
    depth = torch.tensor([4.2], dtype=torch.float64)
    inputs = moved.requires_grad_(), depth.requires_grad_()
    assert torch.autograd.gradcheck(lambda j, d: torch.cat(list(energy_terms(j, d, evidence, PLAIN).values())), inputs)


def test_gradients_are_finite_where_nothing_is_wrong():
    hand = flat_hand()
    evidence, depth = evidence_of(hand), torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
    joints = hand.clone().requires_grad_()
    energy(joints, depth, evidence, PLAIN).sum().backward()
    assert joints.grad.abs().max() < 1e-6 and depth.grad.abs().max() < 1e-6
    collapsed = torch.zeros_like(hand, requires_grad=True)
    energy(collapsed, depth, evidence, PLAIN).sum().backward()
    assert torch.isfinite(collapsed.grad).all()


# On the stand-in


def rendered_hands(count, size):
    """``count`` crops of ``size`` px of the stand-in's single hands, of images as large, and their mask labels."""
    drawn = standin.render(torch.Generator().manual_seed(3), 3 * count, size)
    rows = (drawn.side_present.sum(1) == 1).nonzero()[:count, 0]
    px, visible, mask = drawn.joints_px[rows].float(), drawn.visible[rows], drawn.mask[rows]
    present = drawn.side_present[rows]
    box = []
    for i, is_left in enumerate(present[:, 1].tolist()):
        own = HAND_SLICE[SIDES[is_left]]
        box.append(hand_box(mask[i].numpy(), SIDES[is_left], px[i, own].numpy(), visible[i, own].numpy())[0])
    box = torch.from_numpy(np.stack(box)).float()
    affine = crop_affine(square_box(box), size)
    batch = replace(
        synthetic_batch(count, size, "cpu", torch.Generator()),
        affine=affine, intrinsics=drawn.intrinsics[rows].float(), joints_cam_mm=drawn.joints_cam_mm[rows].float(),
        joints_crop_px=apply_affine(affine, px), joint_valid=present.repeat_interleave(21, 1), joint_visible=visible,
        side_present=present.float(), box=box,
    )  # fmt: skip
    return batch, crop_labels(mask, affine, size, size // 4)


@pytest.fixture(scope="module")
def scene():
    """16 hands of the stand-in with their true parts, and the output of a perfect network."""
    batch, labels = rendered_hands(16, size=128)
    hands = single_hands(batch)
    parts = torch.nn.functional.one_hot(part_classes(labels, hands.side), 17).permute(0, 3, 1, 2).float()
    gamma = hands.joints_cam_mm[:, WRIST, 2] / box_k_mm(batch.box, batch.intrinsics)
    places = torch.arange(32.0)
    bins = hands.joints_crop_px / 4
    x, y = torch.exp(-((places - bins[..., None]) ** 2) / 8).unbind(-2)
    output = SongOutput(
        y[..., :, None] * x[..., None, :], parts, hands.from_wrist_mm / 100, (hands.side - 0.5) * 9, gamma
    )
    return batch, hands, output


def evidence_in(scene, output, config=PLAIN, **extra):
    batch, hands, _ = scene
    ratios = fit_bone_ratios(hands.joints_cam_mm, hands.valid)
    return collect_evidence(output, batch.affine, batch.intrinsics, batch.box, 128, ratios, config, **extra)


def off_mm(joints_mm, hands):
    relative = joints_mm - joints_mm[:, WRIST : WRIST + 1]
    return (relative - hands.from_wrist_mm).norm(dim=-1)


def placed_mm(hand, evidence):
    """``placed_dm`` of joints and depth, in mm."""
    return 100 * placed_dm(*hand, evidence)


def perturbed(output, noise_dm=0.03, turn_deg=10.0):
    """The joints turned about their wrist, about 10 degrees on each axis, and each moved by about 3 mm on each axis."""
    generator = torch.Generator().manual_seed(1)
    degrees = turn_deg * torch.randn(len(output.gamma), 3, generator=generator)
    turn = rotation("x", degrees[:, 0]) @ rotation("y", degrees[:, 1]) @ rotation("z", degrees[:, 2])
    noise = noise_dm * torch.randn(output.relative_dm.shape, generator=generator)
    noise[:, WRIST] = 0
    return replace(output, relative_dm=output.relative_dm @ turn.transpose(1, 2) + noise)


def test_evidence_of_a_perfect_network_is_the_truth(scene):
    batch, hands, output = scene
    evidence = evidence_in(scene, output)
    assert (evidence.joints_crop_px - hands.joints_crop_px)[hands.visible].abs().max() < 0.1
    assert evidence.confidence[hands.visible].min() > 0.9 and torch.equal(evidence.is_left, hands.side == 1)
    placed = placed_dm(evidence.relative_dm, evidence.root_depth_dm, evidence) * 100
    assert (placed - hands.joints_cam_mm).norm(dim=-1).max() < 1.0
    given = evidence_in(scene, output, root_depth_mm=torch.full((16,), 700.0))
    assert (given.root_depth_dm == 7).all()


@pytest.mark.parametrize("free_depth, share", [(True, 0.75), (False, 0.65)])
def test_it_reduces_the_error_of_a_perturbed_hand(scene, free_depth, share):
    """2D is perfect; with the depth free part of the 2D error is explained by a change of depth."""
    _, hands, output = scene
    config = RefineConfig(free_depth=free_depth)
    evidence = evidence_in(scene, perturbed(output), config)
    start, found = (evidence.relative_dm, evidence.root_depth_dm), refine(evidence, config)
    before, after = (off_mm(placed_mm(hand, evidence), hands)[:, :WRIST].mean(1) for hand in (start, found))
    assert before.mean() > 20 and after.mean() < share * before.mean()
    assert (after < before).float().mean() > 0.8
    assert (energy(*found, evidence, config) < energy(*start, evidence, config)).all()


def test_it_leaves_a_true_hand_alone(scene):
    _, hands, output = scene
    evidence = evidence_in(scene, output)
    assert off_mm(100 * evidence.relative_dm, hands).max() < 0.01
    assert off_mm(placed_mm(refine(evidence, PLAIN), evidence), hands)[:, :20].mean() < 4


def test_a_wrong_depth_is_corrected_unless_it_is_given(scene):
    _, hands, output = scene
    true_mm = hands.joints_cam_mm[:, WRIST, 2]
    evidence = evidence_in(scene, output, root_depth_mm=1.15 * true_mm)
    free, fixed = refine(evidence, PLAIN), refine(evidence, RefineConfig(free_depth=False))
    start = 0.15 * true_mm.mean()

    def off(found):
        return (placed_mm(found, evidence)[:, WRIST, 2] - true_mm).abs().mean()

    assert off((evidence.relative_dm, evidence.root_depth_dm)) == pytest.approx(start.item(), rel=1e-4)
    assert off(free) < 0.6 * start < off(fixed)


def test_hands_do_not_influence_each_other_and_it_is_deterministic(scene):
    batch, _, output = scene
    wrong = perturbed(output)
    config = RefineConfig(steps=10)
    evidence = evidence_in(scene, wrong, config)
    start = evidence.relative_dm.clone()
    first, again = refine(evidence, config), refine(evidence, config)
    assert all(map(torch.equal, first, again)) and torch.equal(evidence.relative_dm, start)
    by_hand = {f.name: getattr(evidence, f.name) for f in fields(evidence) if f.name not in ("bone_ratio", "crop_size")}
    alone = replace(evidence, **{n: v[3:4] for n, v in by_hand.items()})
    after = placed_mm(refine(alone, config), alone)[0]
    torch.testing.assert_close(after, placed_mm(first, evidence)[3], atol=1e-2, rtol=0)
    none = replace(evidence, **{n: v[:0] for n, v in by_hand.items()})
    assert refine(none, config)[0].shape == (0, 21, 3)
    with torch.no_grad():
        assert all(map(torch.equal, refine(evidence, config), first))


def test_a_turned_crop_gives_the_same_hand(scene):
    """The crop turned by a quarter: the network's axes turn with it, the camera's do not."""
    batch, hands, output = scene
    affine = crop_affine(square_box(batch.box), 128, math.pi / 2)
    output = replace(output, relative_dm=turn_with_crop(output.relative_dm, affine))
    ratios = fit_bone_ratios(hands.joints_cam_mm, hands.valid)
    evidence = collect_evidence(output, affine, batch.intrinsics, batch.box, 128, ratios, PLAIN)
    assert (evidence.relative_dm * 100 - hands.from_wrist_mm).abs().max() < 0.01


def test_a_mirrored_crop_is_refused(scene):
    batch, _, output = scene
    mirrored = batch.affine * torch.tensor([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="mirrored crop"):
        collect_evidence(output, mirrored, batch.intrinsics, batch.box, 128, torch.full((20,), 0.05), PLAIN)
