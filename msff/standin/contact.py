"""Collisions: a hand filled with spheres, skin points against them, and how far two hands come before they touch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from msff.standin import anatomy as an
from msff.standin.draws import once
from msff.standin.mesh import Template, template
from msff.standin.pose import Posed
from msff.standin.surface import rest_bones
from msff.standin.vectors import dot

FINE_MM, COARSE_MM = 1.0, 2.5  # how far the surface may lie outside the spheres
_ARM_MM = 3.0  # the same on the forearm, which hardly matters
_ARM_FROM_MM = -30.0
_POINT_REACH = 5.0  # a skin point stands for the skin about it, in tolerances
_UNCOVERED = 0.02  # share of the vertices that may stay outside
_SMALLEST_MM = 3.0
_REST_GAP_MM = 2.0


@dataclass(frozen=True)
class Filling:
    """Spheres inside the left hand at rest, each carried by one bone; mm, hand frame."""

    bone: Tensor  # (K,) int64
    centre_mm: Tensor  # (K, 3)
    offset_mm: Tensor  # (K, 3) of the centre from the bone's head, in the bone's frame
    radius_mm: Tensor  # (K,)


def _inscribed_radii(p: np.ndarray, n: np.ndarray, tree: cKDTree) -> np.ndarray:
    """Radius of the largest ball inside the surface that touches it at each vertex (shrinking balls). (V, 3) -> (V,)"""
    radius = np.full(len(p), 40.0)
    for _ in range(40):
        distance, other = tree.query(p - radius[:, None] * n)
        pierced = distance < radius - 0.05
        if not pierced.any():
            break
        apart = p - p[other]
        through = (apart**2).sum(1) / np.maximum(2 * (n * apart).sum(1), 1e-6)
        radius = np.where(pierced, np.minimum(through, 0.98 * radius), radius)
    return radius


def _greedy_cover(covers: np.ndarray, uncovered: float) -> list[int]:
    """Rows of the (N, V) bool matrix, most useful first, that cover all but a share of the columns."""
    left, gain, picked = np.ones(covers.shape[1], bool), covers.sum(1), []
    while left.mean() > uncovered:
        best = int(gain.argmax())
        picked.append(best)
        new = covers[best] & left
        left &= ~new
        gain = gain - covers[:, new].sum(1)
    return picked


def _membership(tree: cKDTree, centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """(N, V) bool: which vertices lie within each centre's reach."""
    inside = np.zeros((len(centres), tree.n), bool)
    for i, found in enumerate(tree.query_ball_point(centres, reach)):
        inside[i, found] = True
    return inside


@once
def filling(tolerance_mm: float, device: torch.device | str = "cpu") -> Filling:
    """Spheres that fill the template's hand but for ``tolerance_mm`` under the skin."""
    mesh = template()
    p, n = mesh.vertices_mm.double().numpy(), mesh.normals.double().numpy()
    tree = cKDTree(p)
    radius = _inscribed_radii(p, n, tree)
    centre = p - radius[:, None] * n
    tolerance = np.where(p[:, 1] < _ARM_FROM_MM, max(tolerance_mm, _ARM_MM), tolerance_mm)
    covers = _membership(tree, centre, radius + tolerance) & (radius >= _SMALLEST_MM)[:, None]
    picked = _greedy_cover(covers, _UNCOVERED)
    weight = mesh.weights[:, : an.BONES].double().numpy()
    bone = (covers[picked] @ weight).argmax(1)  # of the skin that the sphere supports
    rest, _, _ = rest_bones()
    to_bone = rest.rotation.numpy().transpose(0, 2, 1)[bone]  # (K, 3, 3)
    offset = np.einsum("kij,kj->ki", to_bone, centre[picked] - rest.head.numpy()[bone])
    return Filling(*(torch.from_numpy(x).to(device) for x in (bone, centre[picked], offset, radius[picked])))


@once
def skin_points(tolerance_mm: float, device: torch.device | str = "cpu") -> Template:
    """The template thinned to points: what :func:`msff.standin.mesh.skin` needs to move them."""
    mesh = template()
    p = mesh.vertices_mm.double().numpy()
    tree = cKDTree(p)
    reach = _POINT_REACH * np.where(p[:, 1] < _ARM_FROM_MM, max(tolerance_mm, _ARM_MM), tolerance_mm)
    index = torch.tensor(_greedy_cover(_membership(tree, p, reach), 0.0))
    chosen = {f.name: getattr(mesh, f.name)[index] for f in fields(mesh) if f.name != "faces"}
    return replace(mesh, **chosen).to(device)


def spheres(posed: Posed, fill: Filling) -> Tensor:
    """Centre and radius of the filling in a pose. -> (..., K, 4) mm, hand frame."""
    bone = fill.bone
    stretch = posed.stretch.index_select(-2, bone)  # (..., K, 3)
    local = fill.offset_mm * stretch
    turned = (posed.rotation.index_select(-3, bone) @ local[..., None])[..., 0]
    centre = posed.head.index_select(-2, bone) + turned
    return torch.cat([centre, (fill.radius_mm * stretch[..., 0])[..., None]], -1)


@once
def _separate_pairs(device: torch.device | str = "cpu") -> Tensor:
    """(N,) flat index into (K, K): spheres of one hand that should not overlap, as of two fingers, or tip and palm."""
    fill = filling(COARSE_MM)
    bone = fill.bone
    finger = torch.where((bone >= 2) & (bone < 17), (bone - 2) // 3, -1)
    part = torch.where(finger >= 0, (bone - 2) % 3, -1)
    free = part >= 1  # first bones are joined to the palm and to each other by webs
    other = (finger[:, None] != finger[None, :]) & (free[:, None] | free[None, :])
    thumb_base = ((finger == 0) & (part <= 1))[:, None] & (finger == -1)[None, :]
    index_base = ((finger == 1) & (part == 0))[:, None] & ((finger == 0) & (part == 1))[None, :]
    joined = thumb_base | index_base
    gap = torch.cdist(fill.centre_mm, fill.centre_mm) - fill.radius_mm[:, None] - fill.radius_mm
    pairs = (other & ~joined & ~joined.T & (gap > _REST_GAP_MM)).triu(1)
    return pairs.flatten().nonzero()[:, 0].to(device)


def self_penetration(posed: Posed) -> Tensor:
    """Deepest overlap between parts of one hand that should stay apart. -> (...) mm."""
    device = posed.head.device
    ball = spheres(posed, filling(COARSE_MM, device)).float()
    gap = torch.cdist(ball[..., :3], ball[..., :3]) - ball[..., :, None, 3] - ball[..., None, :, 3]
    apart = gap.flatten(-2).index_select(-1, _separate_pairs(device))
    return (-apart).amax(-1).clamp(min=0)


def contact_shift(points: Tensor, fixed: Tensor, direction: Tensor) -> Tensor:
    """How far to shift ``points`` along ``direction`` so that, coming from infinity, they just touch ``fixed``.

    (..., P, 3) points, (..., L, 4) spheres, (..., 3) unit vector -> (...) mm; -inf where the two would miss each other.
    """
    along = dot(points, direction[..., None, :])  # (..., P)
    fixed_along = dot(fixed, direction[..., None, :])  # (..., L)
    across = points - along[..., None] * direction[..., None, :]
    fixed_across = fixed[..., :3] - fixed_along[..., None] * direction[..., None, :]
    room = (2 * across) @ fixed_across.transpose(-1, -2)  # (..., P, L)
    room += (fixed[..., 3] ** 2 - dot(fixed_across, fixed_across))[..., None, :]
    room -= dot(across, across)[..., None]  # radius^2 - distance^2 beside the path
    room.masked_fill_(room <= 0, torch.nan).sqrt_()
    room += fixed_along[..., None, :]
    room -= along[..., None]
    return room.nan_to_num_(-torch.inf).flatten(-2).amax(-1)


def sunk(points: Tensor, fixed: Tensor) -> Tensor:
    """How deep the deepest of the points lies in a sphere; negative: the gap. (..., P, 3), (..., L, 4) -> (...) mm."""
    return torch.cdist(points, fixed[..., :3]).neg_().add_(fixed[..., None, :, 3]).flatten(-2).amax(-1)
