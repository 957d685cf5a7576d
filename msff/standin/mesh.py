"""The hand's mesh: the surface meshed once, with weights and attributes, skinned to the bones."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy import sparse
from skimage.measure import marching_cubes
from torch import Tensor

from msff.standin import anatomy as an
from msff.standin.draws import once
from msff.standin.pose import Posed
from msff.standin.surface import (
    along_axis,
    capsule,
    field,
    finger_radius,
    gradient,
    palm_distance,
    rest_bones,
    segment_distance,
)
from msff.standin.vectors import unit

DEFAULT_SPACING_MM = 3.65  # of the fingers; the palm and the forearm are coarser
AUXILIARY = 15
_SKIN_SOFTNESS_MM = 2.6  # of the softmax over distances to bones
_SKIN_SMOOTHING = 4  # Laplacian passes over the weights
_THUMB_SMOOTHING = 14  # and about the ball of the thumb
_SEAM = 0.80  # of the radius: how far either side of a joint the skin of a finger gives
_GRID_STEPS = ((-242.0, 2.0), (-205.0, 3.0), (-60.0, 3.0), (-20.0, 1.4), (25.0, 1.2), (75.0, 1.0), (210.0, 1.0))
"""Grid step along the arm relative to the fingers', by y in mm."""
_MAX_CROSS_STEP = 1.9
_WEB_MM = 2.5  # skin that is nearer to one finger than to the next by less than this lies in the web
NO_NAIL = 6.0


@dataclass(frozen=True)
class Template:
    """A left hand in the hand frame at rest. V vertices, F faces that turn anticlockwise seen from outside."""

    vertices_mm: Tensor  # (V, 3)
    normals: Tensor  # (V, 3) outward unit
    faces: Tensor  # (F, 3) int64
    weights: Tensor  # (V, 34) of the 19 bones and the 15 helpers
    finger: Tensor  # (V,) int64 0 thumb .. 4 little, 5 palm, 6 forearm
    chain: Tensor  # (V,) position along the finger: 0 base, 1, 2 joints, 3 tip; negative on the palm
    dorsal: Tensor  # (V,) 1 on the back, -1 on the palm side
    nail: Tensor  # (V, 2) across and along the nail, the nail within the unit square; far away NO_NAIL
    redness: Tensor  # (V,) 0..1
    spread_mm: Tensor  # (V, 34 * 4) weights times rest position and 1: what :func:`skin` multiplies
    normal_spread: Tensor  # (V, 34 * 3) weights times normals

    def to(self, device: torch.device | str) -> Template:
        """The same template on a device."""
        return Template(*(getattr(self, f.name).to(device) for f in fields(self)))


def _extract(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes on a grid that coarsens from fingers to forearm. Vertices (V, 3) mm and outward faces (F, 3)."""
    knots, steps = np.array(_GRID_STEPS).T
    y = [-an.FOREARM_MM - 12.0]
    while y[-1] < 208:
        y.append(y[-1] + spacing * np.interp(y[-1], knots, steps))
    y = np.array(y)
    coarse = np.interp(y, knots, np.minimum(steps, _MAX_CROSS_STEP))  # across and through, relative to the fingers
    u, w = np.arange(-72, 102, spacing), np.arange(-52, 42, spacing)
    stretch = np.broadcast_to(coarse[None, :, None], (len(u), len(y), len(w)))
    grid = np.stack(
        [u[:, None, None] * stretch, np.broadcast_to(y[None, :, None], stretch.shape), w[None, None, :] * stretch], -1
    )
    value = field(grid.reshape(-1, 3)).reshape(stretch.shape)
    vertices, faces, _, _ = marching_cubes(value, 0.0)
    axes = [np.interp(vertices[:, i], np.arange(len(a)), a) for i, a in enumerate((u, y, w))]
    scale = np.interp(vertices[:, 1], np.arange(len(y)), coarse)
    return np.stack([axes[0] * scale, axes[1], axes[2] * scale], 1), faces.astype(np.int64)


def _neighbours(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """Row-normalised adjacency (V, V)."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    adjacency = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count)).tocsr()
    adjacency.data[:] = 1
    degree = np.asarray(adjacency.sum(1)).ravel()
    return (sparse.diags(1 / np.maximum(degree, 1)) @ adjacency).tocsr()


def _smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _part_weights(p: np.ndarray, adjacency: sparse.csr_matrix) -> np.ndarray:
    """(V, 9) shares of the five fingers, the palm, ring and little metacarpals, and the forearm."""
    _, start, end = rest_bones()
    distance = np.empty((len(p), 8))
    for f in range(5):
        bones = [capsule(p, start[f, k], end[f, k], *an.RADIUS_MM[f][k]) for k in range(3)]
        distance[:, f] = np.min(bones, 0)
    distance[:, 5:] = palm_distance(p)
    weight = np.exp(-(distance - distance.min(1, keepdims=True)) / _SKIN_SOFTNESS_MM)
    weight[weight < 0.02] = 0
    weight /= weight.sum(1, keepdims=True)
    smooth = weight
    for i in range(_THUMB_SMOOTHING):  # the ball of the thumb moves as one soft mass
        smooth = 0.5 * smooth + 0.5 * (adjacency @ smooth)
        weight = smooth if i + 1 == _SKIN_SMOOTHING else weight
    ball = np.exp(-((segment_distance(p, start[0, 0], start[0, 1] * 0.9 + start[0, 0] * 0.1) / 24) ** 4))[:, None]
    weight = weight * (1 - ball) + smooth * ball
    forearm = 1 - _smoothstep(-18.0, 12.0, p[:, 1:2])
    return np.concatenate([weight * (1 - forearm), forearm], 1)


def _bone_weights(p: np.ndarray, adjacency: sparse.csr_matrix) -> np.ndarray:
    """(V, 34) weights: shares of the parts, a finger's split at its joints; half of each seam is its helper's."""
    part = _part_weights(p, adjacency)
    weight, helper = np.zeros((len(p), an.BONES)), np.zeros((len(p), AUXILIARY))
    weight[:, [an.PALM, an.RING_METACARPAL, an.LITTLE_METACARPAL, an.FOREARM]] = part[:, 5:]
    for finger, bones in enumerate(an.FINGER_BONES):
        chain, _, z, _ = along_axis(p, finger)
        length, radius = an.LENGTH_MM[finger], finger_radius(finger)
        past = []
        for k in (1, 2):
            off = np.where(chain < k, (chain - k) * length[k - 1], (chain - k) * length[k])  # mm from the joint
            past.append(_smoothstep(-1.0, 1.0, off / (_SEAM * radius[k])))
        split = np.stack([1 - past[0], past[0] - past[1], past[1]], 1) * part[:, finger, None]
        weight[:, bones] = split
        carrier = {3: an.RING_METACARPAL, 4: an.LITTLE_METACARPAL}.get(finger, an.PALM)
        for k, bone in enumerate(bones):
            parent = carrier if k == 0 else bones[k - 1]
            shared = np.minimum(weight[:, parent], weight[:, bone])
            weight[:, parent] -= shared
            weight[:, bone] -= shared
            helper[:, 3 * finger + k] = 2 * shared
    return np.concatenate([weight, helper], 1)


def _nail_coordinates(p: np.ndarray, finger: int) -> np.ndarray:
    """(V, 2) across and along the nail, which fills the unit square; the pad unrolls outside it without a jump."""
    rest, start, _ = rest_bones()
    q = (p - start[finger, 2]) @ rest.rotation[2 + 3 * finger + 2].numpy()
    r, length = an.RADIUS_MM[finger][2][1], an.LENGTH_MM[finger][2]
    half = (0.80 if finger else 0.86) * r, an.NAIL_HALF_LENGTH[finger > 0] * length
    down = np.clip((0.12 * r - q[:, 2]) / (1.2 * r), 0, 1)  # 0 on the back, 1 on the pad
    across = q[:, 0] / half[0] * (1 + 3 * down)
    along = np.clip((q[:, 1] - (length + 0.42 * r - half[1])) / half[1], -4, 4) + 7 * down
    behind = NO_NAIL * np.stack([q[:, 0], -q[:, 2]], 1) / np.linalg.norm(q[:, [0, 2]], axis=1, keepdims=True)
    return np.where((q[:, 1] < 0.2 * length)[:, None], behind, np.stack([across, along], 1))


def _attributes(p: np.ndarray, normals: np.ndarray) -> dict[str, np.ndarray]:
    """Per-vertex finger, chain position, dorsal side, nail coordinates and redness."""
    rest, start, end = rest_bones()
    frames = rest.rotation[2:17].view(5, 3, 3, 3).numpy()
    surface = np.stack(
        [np.min([capsule(p, start[f, k], end[f, k], *an.RADIUS_MM[f][k]) for k in range(3)], 0) for f in range(5)], 1
    )
    nearest, palm = surface.argmin(1), palm_distance(p).min(1)
    finger, chain, dorsal = np.full(len(p), 5), np.full(len(p), -1.0), normals[:, 2].copy()
    nail, redness = np.full((len(p), 2), NO_NAIL), np.zeros(len(p))
    for f in range(5):
        part = np.stack([np.abs(segment_distance(p, start[f, k], end[f, k])) for k in range(3)], 1).argmin(1)
        t = np.stack([((p - start[f, k]) @ frames[f, k][:, 1]) / an.LENGTH_MM[f][k] for k in range(3)], 1)
        u = np.take_along_axis(t, part[:, None], 1)[:, 0]
        u = np.clip(u, np.where(part == 0, -1.0, 0.0), np.where(part == 2, 1.4, 1.0))
        own = (nearest == f) & (surface[:, f] < palm)
        chain = np.where(own, np.where(u + part > -0.2, u + part, -1), chain)
        other = np.where(np.arange(5) == f, np.inf, surface).min(1)
        web = (other - surface[:, f] < _WEB_MM) & (u + part < 0.8)  # as near to the next finger: the palm's
        finger = np.where(own & (u + part > 0) & ~web, f, finger)
        dorsal = np.where(own & (u + part > 0.2), (normals[:, None] @ frames[f][part][:, :, 2:])[:, 0, 0], dorsal)
        nail = np.where((own & (u + part > 1.2))[:, None], _nail_coordinates(p, f), nail)
        for joint in (1, 2):
            redness = np.maximum(redness, own * np.exp(-((u + part - joint) ** 2) / 0.02) * np.clip(dorsal, 0, 1))
        redness = np.maximum(redness, own * np.clip(u + part - 2.5, 0, 1) * 0.9)
        knuckle = np.linalg.norm(p - start[f, 0], axis=1) if f else np.full(len(p), 99.0)
        redness = np.maximum(redness, np.exp(-((knuckle / 13) ** 2)) * np.clip(normals[:, 2], 0, 1) * 0.8)
    finger = np.where((finger == 5) & (p[:, 1] < -2), 6, finger)
    return {"finger": finger, "chain": chain, "dorsal": dorsal, "nail": nail, "redness": redness}


@once
def template(spacing_mm: float = DEFAULT_SPACING_MM, device: str | torch.device = "cpu") -> Template:
    """The rest mesh at a resolution, built once per process (about a second) and copied once to each device."""
    if torch.device(device).type != "cpu":
        return template(spacing_mm).to(device)
    if not 1.0 <= spacing_mm <= 6.0:
        raise ValueError(f"spacing_mm must lie in 1..6 (a finger is 12 mm thick), got {spacing_mm}")
    p, faces = _extract(spacing_mm)
    adjacency = _neighbours(faces, len(p))
    hand = (p[:, 1] > -30)[:, None]
    for _ in range(2):
        p = np.where(hand, 0.5 * p + 0.5 * (adjacency @ p), p)
        for _ in range(2):
            p = p - np.where(hand, field(p)[:, None] * gradient(p), 0)
    normals = gradient(p)
    corner = p[faces]
    if (np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) * normals[faces[:, 0]]).sum() < 0:
        faces = faces[:, ::-1].copy()
    values = _attributes(p, normals)
    f32 = {k: torch.from_numpy(v).float() for k, v in values.items() if k != "finger"}
    vertices, normals = torch.from_numpy(p).float(), torch.from_numpy(normals).float()
    weights = torch.from_numpy(_bone_weights(p, adjacency)).float()
    position = torch.cat([vertices, torch.ones(len(vertices), 1)], 1)
    return Template(
        vertices, normals, torch.from_numpy(faces.copy()), weights, torch.from_numpy(values["finger"]).long(), **f32,
        spread_mm=_spread(weights, position), normal_spread=_spread(weights, normals),
    )  # fmt: skip


@once
def _rest_frames(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rest frames of bones and helpers: hand to bone (34, 3, 3) and heads (34, 3) mm."""
    rest, _, _ = rest_bones()
    to_bone = torch.cat([rest.rotation, rest.helper_rotation]).transpose(-1, -2)
    return to_bone.to(device, dtype), torch.cat([rest.head, rest.head[2:17]]).to(device, dtype)


def skin(posed: Posed, mesh: Template) -> tuple[Tensor, Tensor]:
    """Linear blend skinning. (..., 19) bones -> (..., V, 3) mm and unit normals (..., V, 3), hand frame, left hand."""
    finger_bones = slice(2, 17)
    to_bone, origin = _rest_frames(posed.head.device, posed.head.dtype)
    rotation = torch.cat([posed.rotation, posed.helper_rotation], -3)
    head = torch.cat([posed.head, posed.head[..., finger_bones, :]], -2)
    stretch = torch.cat([posed.stretch, posed.stretch[..., finger_bones, :]], -2)
    # palm and metacarpals stretch about the wrist, every other bone about its head
    linear = rotation @ (stretch[..., None] * to_bone)  # (..., 34, 3, 3)
    offset = head - (linear @ origin[..., None])[..., 0]
    affine = torch.cat([linear, offset[..., None]], -1)  # (..., 34, 3, 4)
    turn = rotation @ (to_bone / stretch[..., None])  # normals stretch inversely
    vertices, normals = _carry(mesh.spread_mm, affine), _carry(mesh.normal_spread, turn)
    return vertices, unit(normals)


def _carry(spread: Tensor, maps: Tensor) -> Tensor:
    """One matrix product for all hands: (V, 34 * K) weighted rest rows, (..., 34, 3, K) maps -> (..., V, 3)."""
    rows = maps.movedim(-2, -3).flatten(-2).to(spread.device, spread.dtype)  # (..., 3, 34 * K)
    moved = rows.flatten(0, -2) @ spread.T  # (N * 3, V)
    return moved.unflatten(0, rows.shape[:-1]).transpose(-1, -2)


def _spread(weights: Tensor, rows: Tensor) -> Tensor:
    """(V, 34) weights times (V, K) rest rows -> (V, 34 * K)."""
    return (weights[:, :, None] * rows[:, None]).flatten(1)
