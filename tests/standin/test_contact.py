"""Collisions of the stand-in's hands, against hand-worked values and the meshes themselves."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from msff.standin import anatomy as an
from msff.standin import scene
from msff.standin.anatomy import Identity, draw_identity
from msff.standin.contact import (
    COARSE_MM,
    FINE_MM,
    contact_shift,
    filling,
    self_penetration,
    skin_points,
    spheres,
    sunk,
)
from msff.standin.draws import Draws
from msff.standin.mesh import skin, template
from msff.standin.pose import pose_hand

ZERO = torch.zeros(an.ANGLES, dtype=torch.float64)


def test_contact_shift_of_a_point_and_a_sphere_by_hand():
    point, ball = torch.zeros(1, 3), torch.tensor([[3.0, 0, 0, 2.5]])
    x, y = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    assert contact_shift(point, ball, x).item() == pytest.approx(5.5)  # from +x it stops on the far side
    assert contact_shift(point, ball, -x).item() == pytest.approx(-0.5)
    assert contact_shift(point, ball, y).item() == -math.inf  # it passes 3 away from a radius of 2.5
    grazing = torch.tensor([[1.5, 0, 0, 2.5]])
    assert contact_shift(point, grazing, y).item() == pytest.approx(2.0, abs=1e-5)  # 3-4-5
    both = torch.cat([ball, grazing])
    assert contact_shift(point, both, x).item() == pytest.approx(5.5)  # the first that it meets


def test_sunk_is_the_deepest_point_or_the_gap():
    points, balls = torch.tensor([[0.0, 0, 0], [9.0, 0, 0]]), torch.tensor([[1.0, 0, 0, 3.0], [0, 50.0, 0, 2.0]])
    assert sunk(points, balls).item() == pytest.approx(2.0)
    assert sunk(points[1:], balls).item() == pytest.approx(-5.0)


@pytest.mark.parametrize("tolerance", [FINE_MM, COARSE_MM])
def test_the_filling_follows_the_surface_of_a_bent_hand(tolerance):
    mesh, fill = template(), filling(tolerance)
    angles = ZERO.clone()
    for name in ("index PIP flexion", "middle PIP flexion", "ring MCP flexion"):
        angles[an.ANGLE_NAMES.index(name)] = 60
    for pose in (ZERO, angles):
        posed = pose_hand(pose, Identity.mean())
        vertices = skin(posed, mesh)[0].double()
        ball = spheres(posed, fill)
        outside = torch.cdist(vertices, ball[:, :3]) - ball[:, 3]  # (V, K)
        on_hand = mesh.vertices_mm[:, 1] > -20
        assert outside.amin(1).quantile(0.02) > -2.0  # no sphere reaches through the skin but in the folds
        assert outside[on_hand].amin(1).quantile(0.95) < tolerance + 1.0
    assert 60 < len(fill.bone) < 320 and len(skin_points(tolerance).vertices_mm) < 1500


def test_penetration_is_zero_at_rest_and_seen_in_a_bad_pose():
    assert self_penetration(pose_hand(ZERO, Identity.mean())) == 0
    angles = ZERO.clone()
    angles[an.ANGLE_NAMES.index("index MCP abduction")] = -16  # into the middle finger
    angles[an.ANGLE_NAMES.index("middle MCP abduction")] = 16
    assert self_penetration(pose_hand(angles, Identity.mean())) > 6


def pairs(count: int, kind: int, monkeypatch) -> tuple[scene.HandDraws, scene.Hands]:
    """Scenes of two hands that all meet in one way."""
    shares = [0.0] * len(scene.PAIRS)
    shares[kind] = 1.0
    monkeypatch.setattr(scene, "PAIR_SHARES", tuple(shares))
    draws = scene.draw_hands(
        Draws.of_keys([(7, i) for i in range(count)]), torch.ones(count, 2, dtype=torch.bool), 0.55
    )
    assert (draws.pair == kind).all()
    return draws, scene.compose(draws, draw_identity(Draws.of_keys([(8, i) for i in range(count)]).take(32), 1.5))


def depth_and_gap(hands: scene.Hands) -> np.ndarray:
    """(B, 2) mm: how deep the deepest vertex of one hand lies in the other, and how close the two skins come."""
    mesh = template()
    vertices, normals = skin(hands.posed, mesh)
    turn = hands.turn.float()
    vertices = (vertices @ turn.transpose(-1, -2) + hands.shift[..., None, :].float()).numpy()
    normals = (normals @ turn.transpose(-1, -2)).numpy()
    rows = []
    for v, n in zip(vertices, normals, strict=True):
        deepest, gap = 0.0, np.inf
        for one, other in ((0, 1), (1, 0)):
            distance, nearest = cKDTree(v[other]).query(v[one])
            height = ((v[one] - v[other][nearest]) * n[other][nearest]).sum(1)  # below 0: under the other's skin
            deepest = max(deepest, np.where(height < 0, np.minimum(-height, distance), 0).max())
            gap = min(gap, distance.min())
        rows.append((deepest, gap))
    return np.array(rows)


@pytest.mark.parametrize("kind", [scene.TOUCHING, scene.OVER, scene.CROSSED, scene.INTERLACED])
def test_hands_that_meet_touch_and_hardly_overlap(kind, monkeypatch):
    _, hands = pairs(24, kind, monkeypatch)
    depth, gap = depth_and_gap(hands).T
    assert depth.mean() < 2.0 and np.quantile(depth, 0.9) < 4.0  # the bound on the mean is 3 mm
    assert np.median(gap) < 3.0  # about half the spacing of the vertices


def test_hands_apart_keep_their_distance(monkeypatch):
    draws, hands = pairs(24, scene.APART, monkeypatch)
    depth, gap = depth_and_gap(hands).T
    assert depth.max() < 1.5
    assert gap.min() > 1.0 and np.median(gap) > 5.0


def test_a_single_hand_is_not_moved_by_an_absent_one():
    draws = scene.draw_hands(Draws.of_keys([(9, 0)]), torch.tensor([[True, False]]))
    hands = scene.compose(draws, draw_identity(Draws.of_keys([(9, 1)]).take(32)))
    right = hands.joints_mm()[0, :21]
    assert right.mean(0).abs().max() < 1e-9  # centred
    assert (draws.pair == scene.APART).all()


def test_poses_of_a_batch_do_not_depend_on_each_other():
    keys = [(11, i) for i in range(6)]
    present = torch.ones(6, 2, dtype=torch.bool)
    identity = draw_identity(Draws.of_keys([(12, i) for i in range(6)]).take(32))
    together = scene.compose(scene.draw_hands(Draws.of_keys(keys), present), identity).joints_mm()
    one = Identity(
        *(x[4:5] for x in (identity.scale, identity.length, identity.thickness, identity.palm, identity.forearm))
    )
    alone = scene.compose(scene.draw_hands(Draws.of_keys(keys[4:5]), present[:1]), one).joints_mm()
    assert torch.allclose(together[4], alone[0], atol=1e-3)  # mm; contact is computed in single precision
    assert draws_differ(together)


def draws_differ(joints: torch.Tensor) -> bool:
    return bool((joints[0] - joints[1]).abs().max() > 1)
