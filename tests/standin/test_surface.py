"""The hand's surface and skin: a closed mesh without flat ends, joints inside, colours that follow the person."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import trimesh

from msff.standin.anatomy import Identity, draw_identity
from msff.standin.contact import self_penetration
from msff.standin.draws import Draws
from msff.standin.look import Look, draw_look
from msff.standin.material import material, sleeved
from msff.standin.mesh import skin, template
from msff.standin.pose import POSE_DRAWS, draw_pose, pose_hand
from msff.standin.shading import bumped
from msff.standin.surface import field

PERSONS, TAKEN = 64, 60  # draws a look may take from each row


@pytest.fixture(scope="module")
def mesh():
    return template()


@pytest.fixture(scope="module")
def solid(mesh):
    return trimesh.Trimesh(mesh.vertices_mm.numpy(), mesh.faces.numpy(), process=False)


def rows(kind: int, count: int = PERSONS) -> Draws:
    return Draws.of_keys([(kind, i) for i in range(count)])


def looks(count: int = PERSONS, studio: bool = False) -> Look:
    return draw_look(rows(1, count), rows(2, count), torch.arange(count, dtype=torch.float64) % 8, studio)


def even_look(tone: float, **other) -> Look:
    """A plain person of an exact tone without sleeves."""
    plain = {"tone": torch.tensor([tone]), "tint": torch.ones(1, 3), "redness": torch.tensor([0.5]),
             "sleeve_from_mm": torch.tensor([torch.inf]), "texture_shift": torch.tensor([[3.0, 5.0, 7.0]])}  # fmt: skip
    return replace(looks(1), **(plain | other))


def skin_of(mesh, look: Look, pick: torch.Tensor) -> torch.Tensor:
    """Linear albedo (P, 3) of the picked vertices for the first person of a look."""
    owner = torch.zeros(int(pick.sum()), dtype=torch.long)
    attributes = (mesh.chain, mesh.dorsal, mesh.nail, mesh.redness, mesh.finger)
    return material(look, owner, mesh.vertices_mm[pick], *(a[pick] for a in attributes)).albedo


def test_the_mesh_is_one_closed_body_within_the_speed_budget(mesh, solid):
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1
    assert solid.euler_number == 2  # no handle between fingers
    assert 7e5 < solid.volume < 1.1e6  # mm^3, positive: faces turn outward
    assert 2500 <= len(mesh.vertices_mm) <= 6000
    assert np.median((solid.vertex_normals * mesh.normals.numpy()).sum(1)) > 0.98


def test_every_vertex_follows_its_bones_with_weights_of_sum_1(mesh):
    assert torch.allclose(mesh.weights.sum(1), torch.ones(len(mesh.weights)), atol=1e-5)
    assert (mesh.weights >= -1e-6).all()


def test_the_surface_lies_on_its_field(mesh):
    value = np.abs(field(mesh.vertices_mm.numpy()))
    assert value.mean() < 0.05 and value.max() < 2.0


def winding_number(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, 3), (F, 3, 3) -> (N,): 1 inside a closed surface, 0 outside (van Oosterom and Strackee's solid angles)."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    above = (a * np.cross(b, c)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return (2 * np.arctan2(above, below)).sum(1) / (4 * np.pi)


def random_hands(count: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    angles = draw_pose(torch.rand(count, POSE_DRAWS, dtype=torch.float64, generator=generator))
    identity = draw_identity(torch.rand(count, 32, dtype=torch.float64, generator=generator), 1.5)
    return angles, identity


def test_joints_stay_inside_bent_hands(mesh):
    angles, identity = random_hands(24, seed=8)
    apart = self_penetration(pose_hand(angles, identity)) == 0
    assert apart.sum() >= 8
    posed = pose_hand(angles[apart], Identity(*(getattr(identity, f.name)[apart] for f in fields(identity))))
    vertices, _ = skin(posed, mesh)
    for joints, surface in zip(posed.joints.numpy(), vertices.double().numpy(), strict=True):
        assert (winding_number(joints, surface[mesh.faces.numpy()]) > 0.5).all()
        for joint in range(20):  # the five fingers' joints, thumb first
            own = surface[mesh.finger.numpy() == joint // 4]
            other = surface[(mesh.finger.numpy() < 5) & (mesh.finger.numpy() != joint // 4)]
            if joint % 4 < 3:  # the base joints lie in the palm
                assert (
                    np.linalg.norm(own - joints[joint], axis=1).min()
                    < np.linalg.norm(other - joints[joint], axis=1).min() + 1.0
                )


def test_a_person_keeps_looks_while_the_light_changes():
    tone = torch.full((PERSONS,), 3.0, dtype=torch.float64)
    one, two = (draw_look(rows(1), rows(kind), tone, False) for kind in (2, 3))
    for name in ("tone", "tint", "redness", "nail", "sleeve", "sleeve_from_mm", "texture_shift", "gloss"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert (one.light - two.light).abs().amax(1).min() > 1e-3
    studio = draw_look(rows(1), rows(2), tone, True)
    assert one.ambient.std() > 2 * studio.ambient.std()  # a studio's light hardly varies


def test_sleeves_cover_what_lies_past_their_hem(mesh):
    cloth = torch.tensor([[0.1, 0.2, 0.8, 0.1, 0.2, 0.8, 0.1, 0.0]])
    look = even_look(3.0, sleeve_from_mm=torch.tensor([40.0]), sleeve=cloth)
    everything = torch.ones(len(mesh.finger), dtype=torch.bool)
    owner = torch.zeros(len(mesh.finger), dtype=torch.long)
    under = sleeved(look, owner, mesh.vertices_mm)
    assert torch.equal(under, mesh.vertices_mm[:, 1] < -40)
    colour = skin_of(mesh, look, everything)
    clear = (mesh.vertices_mm[:, 1] + 40).abs() > 2
    assert ((colour[:, 2] > colour[:, 0]) == under)[clear].all()  # blue cloth, reddish skin
    bare = skin_of(mesh, even_look(3.0), everything)
    hand = mesh.vertices_mm[:, 1] > 5
    assert torch.allclose(colour[hand], bare[hand], atol=1e-3)
    assert (
        colour[clear & ~under & (mesh.vertices_mm[:, 1] < -30)] < bare[clear & ~under & (mesh.vertices_mm[:, 1] < -30)]
    ).all()


def test_relief_tilts_normals_as_worked_by_hand():
    corners = torch.tensor([[[0.0, 0, 0], [2.0, 0, 0], [0.0, 3.0, 0]]])
    up, slope = torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.5, 0.0, 0.0]])
    tilt = 0.5 / (1 + 0.25)  # the slope, damped where it is steep
    expected = torch.tensor([[-tilt, 0, 1]]) / (1 + tilt**2) ** 0.5
    assert torch.allclose(bumped(up, slope, corners, corners), expected, atol=1e-6)
    turned = corners[..., [1, 2, 0]]  # x -> z: the relief turns with the triangle
    assert torch.allclose(bumped(up[:, [1, 2, 0]], slope, corners, turned), expected[:, [1, 2, 0]], atol=1e-6)
    mirrored = corners * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(bumped(up, slope, corners, mirrored), expected * torch.tensor([-1.0, 1, 1]), atol=1e-6)
    assert torch.allclose(bumped(up, 0 * slope, corners, corners), up)
