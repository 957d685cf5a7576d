"""The hand's surface: a smooth-union distance field meshed once, skinned to the bones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from skimage.measure import marching_cubes
from torch import Tensor

from msff.standin import anatomy as an
from msff.standin.anatomy import Identity
from msff.standin.pose import Posed, pose_hand

DEFAULT_SPACING_MM = 4.2
HELPERS = 15
_SKIN_SOFTNESS_MM = 2.6  # of the softmax over distances to bones
_SKIN_SMOOTHING = 4  # Laplacian passes over the weights
_FOREARM_STEP_MM = 14.0  # along the forearm the surface is nearly straight
NO_NAIL = 4.0


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

    def to(self, device: torch.device | str) -> Template:
        """The same template on a device."""
        return Template(*(getattr(self, f.name).to(device) for f in fields(self)))


@lru_cache(maxsize=4)
def rest_bones() -> tuple[Posed, np.ndarray, np.ndarray]:
    """The rest pose and the finger bones' start and end, (5, 3, 3) mm each."""
    rest = pose_hand(torch.zeros(an.ANGLES, dtype=torch.float64), Identity.mean())
    start = rest.head[2:17].view(5, 3, 3).numpy()
    along = rest.rotation[2:17, :, 1].view(5, 3, 3).numpy()
    return rest, start, start + along * np.array(an.LENGTH_MM)[..., None]


def _smooth_min(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    h = np.clip(width - np.abs(a - b), 0, None)
    return np.minimum(a, b) - h * h / (4 * width)


def _capsule(p: np.ndarray, a, b, r0: float, r1: float) -> np.ndarray:
    a, b = np.asarray(a, float), np.asarray(b, float)
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - t[:, None] * (b - a), axis=1) - (r0 + t * (r1 - r0))


def _ellipsoid(p: np.ndarray, centre, radii, frame=None) -> np.ndarray:
    q = (p - np.asarray(centre, float)) @ (np.eye(3) if frame is None else frame)
    radii = np.asarray(radii, float)
    k0, k1 = np.linalg.norm(q / radii, axis=1), np.linalg.norm(q / radii**2, axis=1)
    return np.where(k1 > 1e-9, k0 * (k0 - 1) / np.maximum(k1, 1e-9), -radii.min())


def _finger_field(p: np.ndarray, finger: int) -> np.ndarray:
    rest, start, end = rest_bones()
    frames = rest.rotation[2:17].view(5, 3, 3, 3).numpy()[finger]
    field = None
    for k in range(3):
        r0, r1 = an.RADIUS_MM[finger][k]
        part = _capsule(p, start[finger, k], end[finger, k], r0, r1)
        field = part if field is None else _smooth_min(field, part, 3.5)
        radii = (0.80 * r0, 0.42 * an.LENGTH_MM[finger][k], 0.80 * r0)
        pad = start[finger, k] + frames[k] @ [0, 0.5 * an.LENGTH_MM[finger][k], -0.30 * r0]
        field = _smooth_min(field, _ellipsoid(p, pad, radii, frames[k]), 4)
        if k > 0:
            knuckle = start[finger, k] + frames[k] @ [0, 0, 0.10 * r0]
            field = _smooth_min(field, np.linalg.norm(p - knuckle, axis=1) - 0.95 * r0, 5)
    return field


def _palm_field(p: np.ndarray) -> np.ndarray:
    _, start, end = rest_bones()
    field = _ellipsoid(p, (-3, 45, -4), (34, 45, 11.5))
    field = _smooth_min(field, _ellipsoid(p, (-25, 36, -9), (13.5, 33, 14.5)), 10)
    thumb = np.stack([start[0, 0], end[0, 0]])
    along = (thumb[1] - thumb[0]) / np.linalg.norm(thumb[1] - thumb[0])
    side = np.linalg.norm(np.cross(along, [0, 0, 1]))
    lateral = np.cross(along, [0, 0, 1]) / side
    frame = np.stack([lateral, along, np.cross(lateral, along)], 1)
    field = _smooth_min(field, _ellipsoid(p, thumb.mean(0) + [-2, -1, -3], (14.5, 29, 14), frame), 10)
    bases = ((8, 16, 0), (1, 16, 1), *an.METACARPAL_BASE_MM)  # index to little
    for finger, base in enumerate(bases, start=1):
        r = an.RADIUS_MM[finger][0][0]
        field = _smooth_min(field, _capsule(p, base, start[finger, 0], 11, r), 8)
        field = _smooth_min(field, np.linalg.norm(p - start[finger, 0] - [0, -1, 1.5], axis=1) - 0.92 * r, 4)
    for a in (1, 2, 3):  # webs between the fingers, as flat as the finger is thick
        web = (start[a, 0] + start[a + 1, 0]) / 2 + [0, 10, -2]
        field = _smooth_min(field, _ellipsoid(p, web, (12, 13, 6.5)), 6)
    web = 0.5 * start[0, 1] + 0.5 * (0.45 * start[1, 0] + 0.55 * np.array([8, 16, 0]))
    return _smooth_min(field, _ellipsoid(p, web, (19, 17, 6.5)), 12)


def _forearm_field(p: np.ndarray) -> np.ndarray:
    top = 14.0  # reaches into the palm, narrowing, so that the wrist shows no seam
    t = -p[:, 1] / an.FOREARM_MM
    bulge = np.interp(t, [-0.06, 0, 0.12, 0.3, 0.62, 1], [-7, -1, -0.5, 4, 12, 13])
    rx, rz = 26.0 + bulge, 18.0 + bulge
    k = np.sqrt((p[:, 0] / rx) ** 2 + ((p[:, 2] + 2) / rz) ** 2)
    radial = (k - 1) * np.minimum(rx, rz)
    past = np.maximum(p[:, 1] - top, -an.FOREARM_MM - p[:, 1])  # beyond either end
    field = np.maximum(np.minimum(np.maximum(radial, past), 0), radial)
    field = np.where(past > 0, np.hypot(np.maximum(radial, 0), past), field)
    return _smooth_min(field, np.linalg.norm(p - [-17, -13, 6], axis=1) - 9, 12)  # the head of the ulna


def field(points: np.ndarray) -> np.ndarray:
    """Signed distance (approximate, mm) to the left hand's rest surface, negative inside. (N, 3) -> (N,)."""
    palm = _smooth_min(_palm_field(points), _forearm_field(points), 16)
    total = palm
    for finger in range(5):
        total = np.minimum(total, _smooth_min(palm, _finger_field(points, finger), 6))
    return total


def _gradient(points: np.ndarray) -> np.ndarray:
    step = 0.25
    g = np.stack([field(points + step * e) - field(points - step * e) for e in np.eye(3)], 1)
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)


def _extract(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes on a grid that is coarse along the forearm. Vertices (V, 3) mm and outward faces (F, 3)."""
    x, z = np.arange(-76, 104, spacing), np.arange(-56, 48, spacing)
    far = np.arange(-an.FOREARM_MM - 22, -30, _FOREARM_STEP_MM)
    y = np.concatenate([far, np.arange(-30, 212, spacing)])
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1)
    value = field(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    vertices, faces, _, _ = marching_cubes(value, 0.0)
    axes = [np.interp(vertices[:, i], np.arange(len(a)), a) for i, a in enumerate((x, y, z))]
    return np.stack(axes, 1), faces.astype(np.int64)


def _neighbours(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """Row-normalised adjacency (V, V)."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    adjacency = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count)).tocsr()
    adjacency.data[:] = 1
    degree = np.asarray(adjacency.sum(1)).ravel()
    return (sparse.diags(1 / np.maximum(degree, 1)) @ adjacency).tocsr()


def _segment_distance(p: np.ndarray, a, b) -> np.ndarray:
    return _capsule(p, a, b, 0.0, 0.0)


def _palm_distance(p: np.ndarray) -> np.ndarray:
    """(V, 3) distance to the flesh of the palm proper and of the ring and little metacarpals."""
    _, start, _ = rest_bones()
    palm = [_capsule(p, base, start[f, 0] - [0, 4, 0], 13, 10) for f, base in ((1, (6, 10, -2)), (2, (0, 8, -2)))]
    mobile = [_capsule(p, an.METACARPAL_BASE_MM[i], start[3 + i, 0] - [0, 3, 0], 11, 9.5) for i in (0, 1)]
    return np.stack([np.minimum(*palm), *mobile], 1)


def _bone_weights(p: np.ndarray, adjacency: sparse.csr_matrix) -> np.ndarray:
    """(V, 34) weights: softmax of distances to the bones' surfaces, smoothed; half of each seam goes to its helper."""
    _, start, end = rest_bones()
    distance = np.empty((len(p), an.BONES))
    distance[:, an.FOREARM] = _segment_distance(p, (0, 2, -2), (0, -an.FOREARM_MM, -2)) - 17
    for finger, bones in enumerate(an.FINGER_BONES):
        for k, bone in enumerate(bones):
            distance[:, bone] = _capsule(p, start[finger, k], end[finger, k], *an.RADIUS_MM[finger][k])
    distance[:, [an.PALM, an.RING_METACARPAL, an.LITTLE_METACARPAL]] = _palm_distance(p)
    weight = np.exp(-(distance - distance.min(1, keepdims=True)) / _SKIN_SOFTNESS_MM)
    weight[weight < 0.02] = 0
    weight /= weight.sum(1, keepdims=True)
    for _ in range(_SKIN_SMOOTHING):
        weight = 0.5 * weight + 0.5 * (adjacency @ weight)
    helper = np.zeros((len(p), HELPERS))
    for finger, bones in enumerate(an.FINGER_BONES):
        carrier = {3: an.RING_METACARPAL, 4: an.LITTLE_METACARPAL}.get(finger, an.PALM)
        for k, bone in enumerate(bones):
            parent = carrier if k == 0 else bones[k - 1]
            shared = np.minimum(weight[:, parent], weight[:, bone])
            weight[:, parent] -= shared
            weight[:, bone] -= shared
            helper[:, 3 * finger + k] = 2 * shared
    return np.concatenate([weight, helper], 1)


def _attributes(p: np.ndarray, normals: np.ndarray) -> dict[str, np.ndarray]:
    """Per-vertex finger, chain position, dorsal side, nail coordinates and redness."""
    rest, start, end = rest_bones()
    frames = rest.rotation[2:17].view(5, 3, 3, 3).numpy()
    surface = np.stack(
        [np.min([_capsule(p, start[f, k], end[f, k], *an.RADIUS_MM[f][k]) for k in range(3)], 0) for f in range(5)], 1
    )
    nearest, palm = surface.argmin(1), _palm_distance(p).min(1)
    finger, chain, dorsal = np.full(len(p), 5), np.full(len(p), -1.0), normals[:, 2].copy()
    nail, redness = np.full((len(p), 2), NO_NAIL), np.zeros(len(p))
    for f in range(5):
        part = np.stack([np.abs(_segment_distance(p, start[f, k], end[f, k])) for k in range(3)], 1).argmin(1)
        t = np.stack([((p - start[f, k]) @ frames[f, k][:, 1]) / an.LENGTH_MM[f][k] for k in range(3)], 1)
        u = np.take_along_axis(t, part[:, None], 1)[:, 0]
        u = np.clip(u, np.where(part == 0, -1.0, 0.0), np.where(part == 2, 1.4, 1.0))
        own = (nearest == f) & (surface[:, f] < palm)
        chain = np.where(own, np.where(u + part > -0.2, u + part, -1), chain)
        finger = np.where(own & (u + part > 0), f, finger)
        dorsal = np.where(own & (u + part > 0.2), (normals[:, None] @ frames[f][part][:, :, 2:])[:, 0, 0], dorsal)
        q = (p - start[f, 2]) @ frames[f, 2]
        r, length = an.RADIUS_MM[f][2][1], an.LENGTH_MM[f][2]
        over = own & (q[:, 1] > 0) & (q[:, 2] > -0.2 * r)
        coordinates = np.stack([q[:, 0] / (0.86 * r), (q[:, 1] - 0.90 * length) / (0.29 * length)], 1)
        nail = np.where(over[:, None], coordinates, nail)
        for joint in (1, 2):
            redness = np.maximum(redness, own * np.exp(-((u + part - joint) ** 2) / 0.02) * np.clip(dorsal, 0, 1))
        redness = np.maximum(redness, own * np.clip(u + part - 2.5, 0, 1) * 0.9)
        knuckle = np.linalg.norm(p - start[f, 0], axis=1) if f else np.full(len(p), 99.0)
        redness = np.maximum(redness, np.exp(-((knuckle / 13) ** 2)) * np.clip(normals[:, 2], 0, 1) * 0.8)
    finger = np.where((finger == 5) & (p[:, 1] < -2), 6, finger)
    return {"finger": finger, "chain": chain, "dorsal": dorsal, "nail": nail, "redness": redness}


@lru_cache(maxsize=4)
def template(spacing_mm: float = DEFAULT_SPACING_MM) -> Template:
    """The rest mesh at a resolution, built once per process (about a second)."""
    if not 1.0 <= spacing_mm <= 6.0:
        raise ValueError(f"spacing_mm must lie in 1..6 (a finger is 12 mm thick), got {spacing_mm}")
    p, faces = _extract(spacing_mm)
    adjacency = _neighbours(faces, len(p))
    hand = (p[:, 1] > -30)[:, None]
    for _ in range(2):
        p = np.where(hand, 0.5 * p + 0.5 * (adjacency @ p), p)
        for _ in range(2):
            p = p - np.where(hand, field(p)[:, None] * _gradient(p), 0)
    normals = _gradient(p)
    corner = p[faces]
    if (np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) * normals[faces[:, 0]]).sum() < 0:
        faces = faces[:, ::-1].copy()
    values = _attributes(p, normals)
    f32 = {k: torch.from_numpy(v).float() for k, v in values.items() if k != "finger"}
    return Template(
        torch.from_numpy(p).float(), torch.from_numpy(normals).float(), torch.from_numpy(faces.copy()),
        torch.from_numpy(_bone_weights(p, adjacency)).float(), torch.from_numpy(values["finger"]).long(), **f32,
    )  # fmt: skip


def skin(posed: Posed, mesh: Template) -> tuple[Tensor, Tensor]:
    """Linear blend skinning. (..., 19) bones -> (..., V, 3) mm and unit normals (..., V, 3), hand frame, left hand."""
    rest, _, _ = rest_bones()
    finger_bones = slice(2, 17)
    to_bone = torch.cat([rest.rotation, rest.helper_rotation]).transpose(-1, -2)  # (34, 3, 3)
    origin = torch.cat([rest.head, rest.head[finger_bones]])  # (34, 3)
    rotation = torch.cat([posed.rotation, posed.helper_rotation], -3)
    head = torch.cat([posed.head, posed.head[..., finger_bones, :]], -2)
    stretch = torch.cat([posed.stretch, posed.stretch[..., finger_bones, :]], -2)
    # palm and metacarpals stretch about the wrist, every other bone about its head
    linear = rotation @ (stretch[..., None] * to_bone)  # (..., 34, 3, 3)
    offset = head - (linear @ origin[..., None])[..., 0]
    device = mesh.weights.device
    blend = torch.cat([linear.flatten(-2), offset], -1).to(device, torch.float32)  # (..., 34, 12)
    blend = mesh.weights @ blend  # (..., V, 12)
    matrix = blend[..., :9].unflatten(-1, (3, 3))
    vertices = (matrix * mesh.vertices_mm[:, None, :]).sum(-1) + blend[..., 9:]
    turn = mesh.weights @ (rotation @ to_bone).flatten(-2).to(device, torch.float32)
    normals = (turn.unflatten(-1, (3, 3)) * mesh.normals[:, None, :]).sum(-1)
    return vertices, torch.nn.functional.normalize(normals, dim=-1)
