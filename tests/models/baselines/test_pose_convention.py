"""Unit and frame of poses: palm-relative targets, turned crops, mirror images, the mean scale."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from msff.camera import apply_affine, crop_affine, project
from msff.data.crops import swap_hands
from msff.data.single_hand import single_hands
from msff.data.synthetic import synthetic_batch
from msff.models.baselines.canonical_frame import palm_relative, turn_with_crop
from msff.models.baselines.pose_convention import MeanScale, PoseConvention, pose_targets
from msff.models.baselines.posenet import PoseNetConfig
from msff.models.baselines.posenet_targets import palm_hands
from msff.models.baselines.spurr import SpurrConfig
from msff.skeleton import MIDDLE_MCP, MIDDLE_PIP, WRIST


def batch_of(count=4, seed=0):
    """Right, left, right, left ... alone in their crops."""
    batch = synthetic_batch(count, 64, "cpu", torch.Generator().manual_seed(seed))
    batch.side_present[:] = torch.eye(2).repeat(count, 1)[:count]
    batch.joint_valid[:] = batch.side_present.bool().repeat_interleave(21, 1)
    return batch


def test_palm_relative_by_hand():
    """Wrist at (10, 20, 600) mm, MCP at (30, 60, 500): palm (20, 40, 550), MCP (10, 20, -50), in units of 50 mm."""
    joints = torch.zeros(1, 21, 3)
    joints[0, WRIST], joints[0, MIDDLE_MCP] = torch.tensor([10.0, 20, 600]), torch.tensor([30.0, 60, 500])
    pose = palm_relative(joints) / 50
    assert pose[0, WRIST].tolist() == [0, 0, 0]
    torch.testing.assert_close(pose[0, MIDDLE_MCP], torch.tensor([0.2, 0.4, -1.0]))
    torch.testing.assert_close(pose[0, 0], torch.tensor([-0.4, -0.8, -11.0]))
    back = PoseConvention(fixed_mm=50.0).from_wrist_mm(pose, torch.tensor([33.0]))
    torch.testing.assert_close(back[0, MIDDLE_MCP], torch.tensor([20.0, 40, -100]))


@pytest.mark.parametrize("scale_invariant", [True, False])
def test_from_wrist_undoes_root_and_unit(scale_invariant):
    joints = torch.randn(3, 21, 3) * 40
    scale = (joints[:, MIDDLE_MCP] - joints[:, MIDDLE_PIP]).norm(dim=-1)
    convention = PoseConvention(scale_invariant)
    pose = palm_relative(joints) / convention.unit_mm(scale)[:, None, None]
    expected = joints - joints[:, WRIST : WRIST + 1]
    torch.testing.assert_close(convention.from_wrist_mm(pose, scale), expected, atol=1e-3, rtol=1e-4)


def test_targets_are_palm_relative_in_units():
    batch = batch_of()
    targets = pose_targets(batch, SpurrConfig(scale_invariant=True).convention)
    assert targets.side.tolist() == [0, 1, 0, 1] and targets.valid.all()
    bone = (targets.pose[:, MIDDLE_MCP] - targets.pose[:, MIDDLE_PIP]).norm(dim=-1)
    torch.testing.assert_close(bone, torch.ones(4))
    hand = batch.joints_cam_mm[1, 21:]
    palm = (hand[WRIST] + hand[MIDDLE_MCP]) / 2
    torch.testing.assert_close(targets.pose[1, :WRIST], (hand[:WRIST] - palm) / targets.scale_mm[1])
    plain = pose_targets(batch, SpurrConfig().convention)
    torch.testing.assert_close(plain.pose[1, :WRIST], (hand[:WRIST] - palm) / 100)


def test_hands_without_root_or_unit_have_no_target():
    batch = batch_of()
    batch.joint_valid[0, MIDDLE_PIP] = False  # the scale bone of crop 0
    batch.joint_valid[1, 21 + WRIST] = False  # the palm of crop 1
    batch.joint_valid[2, 3] = False  # another joint of crop 2
    scaled = pose_targets(batch, SpurrConfig(scale_invariant=True).convention)
    assert scaled.side.tolist() == [0, 1] and torch.equal(scaled.image, batch.image[2:])
    assert scaled.valid.sum(-1).tolist() == [20, 21]
    plain = pose_targets(batch, SpurrConfig().convention)
    assert plain.side.tolist() == [0, 0, 1]


def test_no_hand_no_target():
    batch = batch_of()
    batch.side_present[:] = 0
    targets = pose_targets(batch, SpurrConfig().convention)
    assert len(targets) == 0 and targets.pose.shape == (0, 21, 3)


def test_a_quarter_turn_by_hand():
    """Clockwise on screen: what points right then points down, what points down points left."""
    affine = crop_affine(torch.tensor([[5.0, 7, 20, 20]]), 64, torch.pi / 2)
    turned = turn_with_crop(torch.tensor([[[1.0, 0, 5], [0, 2, 6]]]), affine)
    torch.testing.assert_close(turned, torch.tensor([[[0.0, 1, 5], [-2, 0, 6]]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mirror", [False, True])
def test_poses_turn_as_their_crops(mirror):
    """A flat hand before the camera: its place in the crop is its turned place in mm, but for scale."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.cat([torch.randn(1, 21, 2, generator=generator) * 40, torch.full((1, 21, 1), 500.0)], -1)
    intrinsics = torch.tensor([[[500.0, 0, 50], [0, 500.0, 40], [0, 0, 1]]])
    affine = crop_affine(torch.tensor([[10.0, 5, 80, 80]]), 64, 0.7)
    if mirror:  # x -> 99 - x first
        column, rest, offset = affine.unbind(-1)
        affine = torch.stack([-column, rest, offset + 99 * column], -1)
    crop_px = apply_affine(affine, project(joints, intrinsics))  # 1 px of the image is 1 mm, 0.8 px of the crop
    seen = joints * torch.tensor([-1.0, 1, 1]) if mirror else joints  # what the loader gives for a mirrored crop
    turned = turn_with_crop(seen - seen[:, WRIST:], affine)
    torch.testing.assert_close(turned[..., :2], (crop_px - crop_px[:, WRIST:]) / 0.8, atol=1e-3, rtol=1e-4)


def mirrored_batch(batch):
    """What the loader makes of the same images mirrored."""
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    flip = torch.ones(len(batch), dtype=torch.bool)
    fields |= {n: swap_hands(fields[n], flip) for n in ("joints_cam_mm", "joint_valid", "joint_visible")}
    fields["joints_cam_mm"] = fields["joints_cam_mm"] * torch.tensor([-1.0, 1, 1])
    fields["joints_crop_px"] = swap_hands(fields["joints_crop_px"], flip)
    fields["side_present"] = swap_hands(fields["side_present"], flip)
    fields["affine"] = fields["affine"] * torch.tensor([-1.0, 1, 1])
    return SimpleNamespace(**fields)


def test_a_mirrored_hand_has_the_mirrored_pose_and_the_same_canonical_one():
    """p' = p M, c' = c, and R' = F R M with M negating x and F negating z."""
    batch = batch_of()
    convention = PoseConvention(scale_invariant=True, canonical=True)
    plain, mirrored = pose_targets(batch, convention), pose_targets(mirrored_batch(batch), convention)
    x, z = torch.diag(torch.tensor([-1.0, 1, 1])), torch.diag(torch.tensor([1.0, 1, -1]))
    assert (plain.side + mirrored.side == 1).all() and plain.pose.abs().max() > 0.5
    torch.testing.assert_close(mirrored.pose, plain.pose @ x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mirrored.canonical, plain.canonical, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mirrored.rotation, z @ plain.rotation @ x, atol=1e-5, rtol=1e-4)


def test_back_to_the_wrist_by_hand():
    """Palm at 0, MCP at (0, -2, 0): the wrist lies at (0, 2, 0). A tip at (1, -4, 0) is then (1, -6, 0) from it."""
    joints = torch.zeros(1, 21, 3)
    joints[0, MIDDLE_MCP], joints[0, 0] = torch.tensor([[0.0, -2, 0], [1, -4, 0]])
    hand = PoseNetConfig().convention.from_wrist_mm(joints, torch.tensor([30.0]))[0]
    assert hand[WRIST].tolist() == [0, 0, 0] and hand[MIDDLE_MCP].tolist() == [0, -120, 0]
    assert hand[0].tolist() == [30, -180, 0]


def test_the_truth_makes_no_error():
    batch = batch_of()
    hands = palm_hands(batch)
    found = PoseNetConfig().convention.from_wrist_mm(hands.relative, hands.scale_mm)
    torch.testing.assert_close(found, single_hands(batch).from_wrist_mm, atol=1e-3, rtol=1e-4)


def test_mean_scale():
    fitted = MeanScale.fit(torch.tensor([20.0, 30, 50]), torch.tensor([0, 1, 1]))
    assert fitted == MeanScale(20.0, 40.0)
    assert fitted.of(torch.tensor([1, 0, 1])).tolist() == [40, 20, 40]
    assert MeanScale.fit(torch.tensor([20.0]), torch.tensor([0])) == MeanScale(20.0, 20.0)
    with pytest.raises(ValueError, match="at least one hand"):
        MeanScale.fit(torch.zeros(0), torch.zeros(0))
