"""The stand-in's hand: kinematics, surface, collisions and z-buffer, against hand-worked or independent values."""

import math

import pytest
import torch

from msff.skeleton import WRIST
from msff.standin import anatomy as an
from msff.standin.anatomy import Identity, draw_identity
from msff.standin.mesh import skin, template
from msff.standin.pose import POSE_DRAWS, draw_pose, pose_hand, rotation
from msff.standin.raster import rasterise


def random_hands(count: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    angles = draw_pose(torch.rand(count, POSE_DRAWS, dtype=torch.float64, generator=generator))
    identity = draw_identity(torch.rand(count, 32, dtype=torch.float64, generator=generator))
    return angles, identity, pose_hand(angles, identity)


def test_rest_middle_finger_by_hand():
    joints = pose_hand(torch.zeros(an.ANGLES, dtype=torch.float64), Identity.mean()).joints
    reach = 47 + 30 + 24  # the middle finger's bones, spread 1 degree towards the thumb
    expected = [3.5 + reach * math.sin(math.radians(1)), 91 + reach * math.cos(math.radians(1)), 3.0]
    assert joints[8].tolist() == pytest.approx(expected)
    assert joints[WRIST].tolist() == [0, 0, 0]


def test_index_bent_at_a_right_angle_by_hand():
    angles = torch.zeros(an.ANGLES, dtype=torch.float64)
    angles[an.ANGLE_NAMES.index("index PIP flexion")] = 90
    joints = pose_hand(angles, Identity.mean()).joints
    nine = math.radians(9)
    pip = [25 + 43 * math.sin(nine), 89 + 43 * math.cos(nine), 0.0]
    assert joints[6].tolist() == pytest.approx(pip)
    assert joints[4].tolist() == pytest.approx([pip[0], pip[1], -(26.0 + 23.0)])  # the rest points out of the palm


def test_bone_lengths_follow_the_identity_alone():
    angles, identity, posed = random_hands(20)
    bent = posed.joints[:, [6, 5, 4]] - posed.joints[:, [7, 6, 5]]  # index bones from base to tip
    expected = torch.tensor(an.LENGTH_MM[1], dtype=torch.float64) * identity.length[:, 3:6] * identity.scale[:, None]
    assert torch.allclose(bent.norm(dim=-1), expected, atol=1e-9)


def test_poses_stay_within_the_joint_limits_and_differ():
    angles, _, _ = random_hands(300)
    limits = torch.tensor(an.ANGLE_LIMITS_DEG, dtype=torch.float64)
    assert (angles >= limits[:, 0]).all() and (angles <= limits[:, 1]).all()
    assert (angles.std(0) > 0.4).all()


def test_rotation_is_right_handed():
    assert torch.allclose(
        rotation("z", torch.tensor(90.0)) @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6
    )
    assert torch.allclose(
        rotation("x", torch.tensor(90.0)) @ torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 1]), atol=1e-6
    )


def test_skinning_at_rest_is_the_template_and_scales():
    mesh = template()
    zero = torch.zeros(an.ANGLES, dtype=torch.float64)
    vertices, normals = skin(pose_hand(zero, Identity.mean()), mesh)
    assert torch.allclose(vertices, mesh.vertices_mm, atol=1e-3)
    assert torch.allclose(normals, mesh.normals, atol=1e-4)
    small = Identity.mean()
    small = Identity(small.scale * 0.9, small.length, small.thickness, small.palm, small.forearm)
    assert torch.allclose(skin(pose_hand(zero, small), mesh)[0], 0.9 * mesh.vertices_mm, atol=1e-3)


FRONT = torch.tensor([[[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]]])


def test_raster_covers_exactly_the_triangle():
    depth = torch.full((1, 3), 500.0)
    buffer = rasterise(FRONT, depth, torch.tensor([[0, 1, 2]]), 6, 7)
    y, x = torch.meshgrid(torch.arange(6), torch.arange(7), indexing="ij")
    assert torch.equal(buffer.covered[0], x + y <= 4)
    assert buffer.depth_mm[0, 1, 1] == 500 and buffer.depth_mm[0, 5, 5] == 0
    assert buffer.face[0, 0, 0] == 0 and buffer.face[0, 5, 5] == -1
    assert not rasterise(FRONT, depth, torch.tensor([[0, 2, 1]]), 6, 7).covered.any()  # seen from behind
    assert not rasterise(FRONT, depth, torch.tensor([[0, 1, 2]]), 6, 7, keep=torch.tensor([[False]])).covered.any()


def test_raster_depth_is_perspective_correct():
    depth = torch.tensor([[100.0, 100.0, 200.0]])
    buffer = rasterise(FRONT, depth, torch.tensor([[0, 1, 2]]), 6, 7)
    assert buffer.depth_mm[0, 0, 2].item() == pytest.approx(400 / 3, abs=1e-3)  # 1 / mean(1/100, 1/200)
    flat = rasterise(FRONT, depth, torch.tensor([[0, 1, 2]]), 6, 7, perspective=False)
    assert flat.depth_mm[0, 0, 2].item() == pytest.approx(150, abs=1e-3)


def test_raster_keeps_the_nearest_and_leaves_no_crack():
    generator = torch.Generator().manual_seed(1)
    grid = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij"), -1).flip(-1) * 4.3 - 1
    grid[1:-1, 1:-1] += torch.rand(7, 7, 2, generator=generator) * 2 - 1  # an irregular sheet over the whole image
    index = torch.arange(81).view(9, 9)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    screen = torch.cat([grid.reshape(1, 81, 2), FRONT * 3], 1)
    depth = torch.cat([torch.full((1, 81), 300.0), torch.full((1, 3), 200.0)], 1)
    faces = torch.cat([faces, torch.tensor([[81, 82, 83]])])
    buffer = rasterise(screen, depth, faces, 32, 32)
    assert buffer.covered.all()
    assert buffer.depth_mm[0, 2, 2] == 200 and buffer.face[0, 2, 2] == 128
    assert buffer.depth_mm[0, 20, 20] == 300
