"""The hand's surface and skin: a closed mesh without flat ends, joints inside, colours that follow the person."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import trimesh

from msff.standin import anatomy as an
from msff.standin.anatomy import Identity, draw_identity
from msff.standin.contact import self_penetration
from msff.standin.draws import Draws
from msff.standin.look import Look, draw_look
from msff.standin.material import material, sleeved
from msff.standin.mesh import skin, template
from msff.standin.pose import POSE_DRAWS, draw_pose, pose_hand
from msff.standin.shading import bumped, light_up
from msff.standin.surface import field, rest_bones

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
    assert len(mesh.vertices_mm) <= 6000
    assert np.median((solid.vertex_normals * mesh.normals.numpy()).sum(1)) > 0.98


def test_the_surface_lies_on_its_field(mesh):
    value = np.abs(field(mesh.vertices_mm.numpy()))
    assert value.mean() < 0.05 and value.max() < 2.0


def reach(origin: np.ndarray, ray: np.ndarray, corners: np.ndarray) -> float:
    """Distance to the nearest triangle along a unit ray (Moeller and Trumbore)."""
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p, t = np.cross(ray, e2), origin - corners[:, 0]
    det, q = (e1 * p).sum(1), np.cross(t, e1)
    u, v, far = (t * p).sum(1) / det, (ray * q).sum(1) / det, (e2 * q).sum(1) / det
    return far[(u >= 0) & (v >= 0) & (u + v <= 1) & (far > 0)].min()


def test_fingers_are_as_thick_as_measured(solid):
    """Width across the middle finger at the joint and between joints, from rays through the mesh."""
    _, start, end = rest_bones()
    along = (end[2, 0] - start[2, 0]) / np.linalg.norm(end[2, 0] - start[2, 0])
    side = np.cross(along, [0, 0, 1])

    def width(point: np.ndarray) -> float:
        return sum(reach(point, sign * side, solid.triangles) for sign in (1, -1))

    joint, shaft = width(start[2, 1]), width(0.5 * (start[2, 1] + end[2, 1]))
    r = np.array(an.RADIUS_MM[2])
    assert joint == pytest.approx(2 * 1.08 * (r[0, 1] + r[1, 0]) / 2, abs=0.8)
    assert joint > shaft + 1.5  # knuckles are wider than what lies between
    assert width(end[2, 2]) > 0.75 * shaft  # a blunt tip


def test_the_forearm_ends_round(mesh, solid):
    y = mesh.vertices_mm[:, 1]
    last = y < -an.FOREARM_MM + 40
    assert last.sum() > 40
    end = mesh.normals[last]
    shares = [((-end[:, 1] >= low) & (-end[:, 1] < low + 0.25)).sum() for low in (0.0, 0.25, 0.5, 0.75)]
    assert min(shares) >= 5  # normals turn from sideways to backwards without a jump
    faces = solid.face_adjacency[(solid.triangles_center[solid.face_adjacency][..., 1] < -an.FOREARM_MM + 40).all(1)]
    cosine = (solid.face_normals[faces[:, 0]] * solid.face_normals[faces[:, 1]]).sum(1)
    assert cosine.min() > 0.75  # a cut end would have edges of 90 degrees


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


def test_a_right_angle_keeps_the_finger_thick(mesh):
    """A bent middle joint neither collapses nor swells: its surface stays near one radius."""
    angles = torch.zeros(an.ANGLES, dtype=torch.float64)
    angles[an.ANGLE_NAMES.index("middle PIP flexion")] = 90
    posed = pose_hand(angles, Identity.mean())
    vertices, _ = skin(posed, mesh)
    joint, radius = posed.joints[10].float(), sum(an.RADIUS_MM[2][0][1:] + an.RADIUS_MM[2][1][:1]) / 2
    near = (vertices - joint).norm(dim=1)[(mesh.finger == 2) & ((mesh.chain - 1).abs() < 0.12)]
    assert len(near) > 20
    assert near.min() > 0.45 * radius and near.max() < 1.35 * radius


def test_seam_weights_follow_the_chain(mesh):
    middle = mesh.finger == 2
    bones = [2 + 6 + k for k in range(3)]
    for k, chain in enumerate((0.55, 1.5, 2.6)):
        place = middle & ((mesh.chain - chain).abs() < 0.1)
        share = mesh.weights[place, bones[k]]
        assert share.min() > 0.7 and share.mean() > 0.9
    arm = mesh.vertices_mm[:, 1] < -20
    assert torch.allclose(mesh.weights[arm, an.FOREARM], torch.ones(int(arm.sum())))


def test_the_nail_lies_on_the_back_of_the_last_bone(mesh):
    inside = (mesh.nail.abs() < 1).all(1) & (mesh.chain > 1.9) & (mesh.finger < 5)
    assert (mesh.dorsal[inside] > 0.2).all() and (mesh.chain[inside] > 2.2).all()
    assert all((inside & (mesh.finger == f)).sum() >= 4 for f in range(5))


def test_look_shapes_ranges_and_determinism():
    look = looks()
    widths = {"tint": 3, "nail": 4, "sleeve": 8, "texture_shift": 3, "marks": 4, "light": 3, "light_colour": 3,
              "fill": 3, "fill_colour": 3, "ambient": 3}  # fmt: skip
    for f in fields(look):
        value = getattr(look, f.name)
        assert value.shape == ((PERSONS, widths[f.name]) if f.name in widths else (PERSONS,)), f.name
        assert value.dtype == torch.float32 and (value.isfinite().all() or f.name == "sleeve_from_mm")
        assert torch.equal(value, getattr(looks(), f.name))
    assert ((look.tone - torch.arange(PERSONS) % 8).abs() <= 0.3 + 1e-6).all()
    assert look.tone.min() >= 0 and look.tone.max() <= 7
    for name in ("light", "fill"):
        assert torch.allclose(getattr(look, name).norm(dim=1), torch.ones(PERSONS), atol=1e-5)
    assert (look.light[:, 2] < 0).float().mean() > 0.8  # towards the viewer
    assert (look.light_colour > 0).all() and (look.ambient > 0).all()
    assert 0.3 < torch.isinf(look.sleeve_from_mm).float().mean() < 0.6 and look.sleeve_from_mm.min() >= 8
    assert ((look.sleeve[:, :6] > 0) & (look.sleeve[:, :6] < 1)).all()


def test_a_person_keeps_looks_while_the_light_changes():
    tone = torch.full((PERSONS,), 3.0, dtype=torch.float64)
    one, two = (draw_look(rows(1), rows(kind), tone, False) for kind in (2, 3))
    for name in ("tone", "tint", "redness", "nail", "sleeve", "sleeve_from_mm", "texture_shift", "gloss"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert (one.light - two.light).abs().amax(1).min() > 1e-3
    studio = draw_look(rows(1), rows(2), tone, True)
    assert one.ambient.std() > 2 * studio.ambient.std()  # a studio's light hardly varies


def test_a_look_takes_few_numbers():
    numbers = torch.rand(3, TAKEN, dtype=torch.float64)
    draw_look(Draws(numbers), Draws(numbers), torch.zeros(3, dtype=torch.float64), False)  # raises if it needs more


def test_albedo_falls_with_the_tone_and_is_skin(mesh):
    back = (mesh.dorsal > 0.6) & (mesh.finger == 5)
    means = torch.stack([skin_of(mesh, even_look(float(t)), back).mean(0) for t in range(8)])
    assert (means.diff(dim=0) < 0).all()
    assert (means[:, 0] > means[:, 1]).all() and (means[:, 1] > means[:, 2]).all()  # red, green, blue
    assert 0.4 < means[0].mean() < 0.65 and means[7].mean() < 0.06  # no plaster, no black


def test_palms_of_dark_skin_are_paler(mesh):
    back, palm = (mesh.dorsal > 0.6) & (mesh.finger == 5), (mesh.dorsal < -0.7) & (mesh.finger == 5)
    for tone, least in ((7.0, 2.5), (5.0, 1.3)):
        look = even_look(tone)
        assert skin_of(mesh, look, palm).mean() > least * skin_of(mesh, look, back).mean()
    light = even_look(0.0)
    assert skin_of(mesh, light, palm).mean() == pytest.approx(skin_of(mesh, light, back).mean().item(), rel=0.2)


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


def test_relief_is_fine_and_no_relief_lies_on_nails(mesh):
    owner = torch.zeros(len(mesh.finger), dtype=torch.long)
    attributes = (mesh.chain, mesh.dorsal, mesh.nail, mesh.redness, mesh.finger)
    made = material(even_look(2.0), owner, mesh.vertices_mm, *attributes)
    steep = made.slope.norm(dim=1)
    assert 0.05 < steep.mean() < 0.4
    nail = ((mesh.nail.abs() ** 3).sum(1) < 0.8) & (mesh.chain > 1.9) & (mesh.finger < 5)
    assert steep[nail].mean() < 0.4 * steep[~nail].mean()
    assert made.gloss[nail].mean() > 2 * made.gloss[~nail].mean()


def test_lights_never_burn_light_skin_out():
    look = looks(512)
    look = replace(look, tone=torch.zeros(512))
    owner = torch.arange(512)
    normal = torch.nn.functional.normalize(look.light + torch.tensor([0.3, 0.2, -0.2]), dim=1)
    white = torch.tensor(an.SKIN_TONES_SRGB[0]).expand(512, 3) ** 2.2
    one = torch.ones(512)
    out = light_up(look, owner, white, normal, torch.tensor([0.0, 0, -1]).expand(512, 3), one, one, one)
    assert (out.mean(1) > 0.97).float().mean() < 0.02
    assert (out[:, 0] > out[:, 2]).float().mean() > 0.95
    shadow = light_up(look, owner, white, normal, torch.tensor([0.0, 0, -1]).expand(512, 3), one, 0 * one, one)
    assert (shadow < out).all()
