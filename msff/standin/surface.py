"""The hand's surface at rest as a smooth union of solids: a signed distance field about the bones. Millimetres."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from msff.standin import anatomy as an
from msff.standin.anatomy import Identity
from msff.standin.draws import once
from msff.standin.pose import Posed, pose_hand

_ELBOW_MM = 42.0  # length of the forearm's rounded end
_TIP_START_MM = 3.0  # before the tip joint the fingertip begins to round off


@once
def rest_bones() -> tuple[Posed, np.ndarray, np.ndarray]:
    """The rest pose and the finger bones' start and end, (5, 3, 3) mm each."""
    rest = pose_hand(torch.zeros(an.ANGLES, dtype=torch.float64), Identity.mean())
    start = rest.head[2:17].view(5, 3, 3).numpy()
    along = rest.rotation[2:17, :, 1].view(5, 3, 3).numpy()
    return rest, start, start + along * np.array(an.LENGTH_MM)[..., None]


def _smooth_min(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    h = np.clip(width - np.abs(a - b), 0, None)
    return np.minimum(a, b) - h * h / (4 * width)


def capsule(p: np.ndarray, a, b, r0: float, r1: float) -> np.ndarray:
    a, b = np.asarray(a, float), np.asarray(b, float)
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - t[:, None] * (b - a), axis=1) - (r0 + t * (r1 - r0))


def _ellipsoid(p: np.ndarray, centre, radii, frame=None) -> np.ndarray:
    """``radii`` (3,) or one set per point (N, 3)."""
    q = (p - np.asarray(centre, float)) @ (np.eye(3) if frame is None else frame)
    radii = np.asarray(radii, float)
    k0, k1 = np.linalg.norm(q / radii, axis=1), np.linalg.norm(q / radii**2, axis=1)
    return np.where(k1 > 1e-9, k0 * (k0 - 1) / np.maximum(k1, 1e-9), -radii.min(-1))


@once
def _axis(finger: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A finger's axis, rounded where the thumb bends: arc length (M,), points (M, 3) and frames (M, 3, 3) at rest."""
    rest, start, _ = rest_bones()
    frames = rest.rotation[2:17].view(5, 3, 3, 3).numpy()[finger]
    joint = np.concatenate([[0], np.cumsum(an.LENGTH_MM[finger])])
    step, window = 2.0, 5  # mm, samples either side
    s = np.arange(-14 - window * step, joint[3] + 14 + window * step, step)
    bone = np.clip(np.searchsorted(joint, s) - 1, 0, 2)
    points = start[finger, bone] + (s - joint[bone])[:, None] * frames[bone][:, :, 1]
    kernel = np.ones(2 * window + 1) / (2 * window + 1)
    rows = np.concatenate([points, frames[bone].reshape(-1, 9)], 1)
    rows = np.stack([np.convolve(column, kernel, "valid") for column in rows.T], 1)
    along = rows[:, 3:].reshape(-1, 3, 3)[:, :, 1]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    dorsal = rows[:, 3:].reshape(-1, 3, 3)[:, :, 2]
    dorsal = dorsal - (dorsal * along).sum(1, keepdims=True) * along
    dorsal = dorsal / np.linalg.norm(dorsal, axis=1, keepdims=True)
    return s[window:-window], rows[:, :3], np.stack([np.cross(along, dorsal), along, dorsal], -1)


def along_axis(p: np.ndarray, finger: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates about a finger's axis, (N,) each: position on the chain (joints at 0, 1, 2, 3), lateral mm, dorsal
    mm, and mm past the beginning of the rounded tip."""
    s, points, frames = _axis(finger)
    nearest = ((points**2).sum(1) - 2 * p @ points.T).argmin(1)
    local = np.einsum("ni,nij->nj", p - points[nearest], frames[nearest])
    arc = s[nearest] + local[:, 1]
    joint = np.concatenate([[0], np.cumsum(an.LENGTH_MM[finger])])
    chain = np.interp(arc, joint, np.arange(4.0)) + np.minimum(arc, 0) / joint[1]
    return chain, local[:, 0], local[:, 2], arc - (joint[3] - _TIP_START_MM)


def finger_radius(finger: int) -> np.ndarray:
    """(4,) mm at the joints of the chain."""
    r = np.array(an.RADIUS_MM[finger])
    return np.array([r[0, 0], (r[0, 1] + r[1, 0]) / 2, (r[1, 1] + r[2, 0]) / 2, r[2, 1]])


def _finger_field(p: np.ndarray, finger: int) -> np.ndarray:
    """A sweep along the axis: half an ellipse dorsal, half palmar, measures from anatomy's profile, a rounded tip."""
    chain, x, z, past = along_axis(p, finger)
    c = np.clip(chain, -0.3, 3.0)
    profile = _profile(finger > 0)(c) * np.interp(c, np.arange(4.0), finger_radius(finger))[:, None]
    depth = np.where(z > 0, profile[:, 1], profile[:, 2])
    tip = np.clip(past, 0, None)
    base = np.clip(-0.3 - chain, 0, None) * an.LENGTH_MM[finger][0]
    q = np.stack([x, tip + base, z + 0.10 * tip], 1)  # the tip leans to the nail's side
    radii = np.stack(
        [profile[:, 0], np.where(past > 0, _TIP_START_MM + 0.82 * an.RADIUS_MM[finger][2][1], 9.0), depth], 1
    )
    return _ellipsoid(q, (0, 0, 0), radii)


@once
def _profile(long: bool) -> PchipInterpolator:
    """Half width, dorsal and palmar half depth of a finger (or the thumb) over its chain, as factors of the radius."""
    table = np.array(an.FINGER_PROFILE if long else an.THUMB_PROFILE)
    return PchipInterpolator(table[:, 0], table[:, 1:])


def _palm_field(p: np.ndarray) -> np.ndarray:
    _, start, end = rest_bones()
    field = _ellipsoid(p, (-3, 45, -3), (33, 45, 11.5))
    field = _smooth_min(field, _ellipsoid(p, (-25, 34, -9), (12.5, 33, 14)), 10)
    thumb = np.stack([start[0, 0], end[0, 0]])
    along = (thumb[1] - thumb[0]) / np.linalg.norm(thumb[1] - thumb[0])
    side = np.linalg.norm(np.cross(along, [0, 0, 1]))
    lateral = np.cross(along, [0, 0, 1]) / side
    frame = np.stack([lateral, along, np.cross(lateral, along)], 1)
    field = _smooth_min(field, _ellipsoid(p, thumb.mean(0) + [-4, -2, -4], (13.5, 28, 13), frame), 10)
    field = _smooth_min(field, capsule(p, (24, 79, -7), (-30, 66, -9), 8.0, 7.0), 7)  # pads under the knuckles
    bases = ((8, 16, 0), (1, 16, 1), *an.METACARPAL_BASE_MM)  # index to little
    for finger, base in enumerate(bases, start=1):
        r = an.RADIUS_MM[finger][0][0]
        shaft = start[finger, 0] - [0, 6, 0]
        field = _smooth_min(field, capsule(p, base, shaft, 11, 0.90 * r), 7)
        field = _smooth_min(field, np.linalg.norm(p - start[finger, 0] - [0, -1, 2.6], axis=1) - 0.84 * r, 5)
    for a in (1, 2, 3):  # webs between the fingers
        web = (start[a, 0] + start[a + 1, 0]) / 2 + [0, 9, -3.5]
        field = _smooth_min(field, _ellipsoid(p, web, (10, 13, 6.0)), 6)
    web = 0.5 * start[0, 1] + 0.5 * (0.45 * start[1, 0] + 0.55 * np.array([8, 16, 0]))
    field = _smooth_min(field, _ellipsoid(p, web, (19, 17, 6)), 12)
    hollow = _ellipsoid(p, (1, 50, -25), (15, 22, 10.5))
    return -_smooth_min(-field, hollow, 8)


def _forearm_field(p: np.ndarray) -> np.ndarray:
    """An ellipse that grows towards the elbow and closes round at both ends."""
    t = -p[:, 1] / an.FOREARM_MM
    rx, rz = _forearm_profile()(np.clip(t, -0.06, 1.0)).T
    near, far = np.clip(p[:, 1] - 2, 0, None), np.clip(-p[:, 1] - (an.FOREARM_MM - _ELBOW_MM), 0, None)
    q = np.stack([p[:, 0] - 3 * np.clip(t, 0, 0.6), near + far, p[:, 2] + 2], 1)
    field = _ellipsoid(q, (0, 0, 0), np.stack([rx, np.where(far > 0, _ELBOW_MM, 16.0), rz], 1))
    return _smooth_min(field, np.linalg.norm(p - [-17, -14, 6], axis=1) - 9, 12)  # the head of the ulna


@once
def _forearm_profile() -> PchipInterpolator:
    table = np.array(an.FOREARM_PROFILE_MM)
    return PchipInterpolator(table[:, 0], table[:, 1:])


def field(points: np.ndarray) -> np.ndarray:
    """Signed distance (approximate, mm) to the left hand's rest surface, negative inside. (N, 3) -> (N,)."""
    palm = _smooth_min(_palm_field(points), _forearm_field(points), 16)
    total = palm.copy()
    for finger in range(5):
        near = ((points > _axis(finger)[1].min(0) - 22) & (points < _axis(finger)[1].max(0) + 22)).all(1)
        own = _smooth_min(palm[near], _finger_field(points[near], finger), 6)
        total[near] = np.minimum(total[near], own)
    return total


def gradient(points: np.ndarray) -> np.ndarray:
    step = 0.25
    g = np.stack([field(points + step * e) - field(points - step * e) for e in np.eye(3)], 1)
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)


def segment_distance(p: np.ndarray, a, b) -> np.ndarray:
    return capsule(p, a, b, 0.0, 0.0)


def palm_distance(p: np.ndarray) -> np.ndarray:
    """(V, 3) distance to the flesh of the palm proper and of the ring and little metacarpals."""
    _, start, _ = rest_bones()
    palm = [capsule(p, base, start[f, 0] - [0, 4, 0], 13, 10) for f, base in ((1, (6, 10, -2)), (2, (0, 8, -2)))]
    mobile = [capsule(p, an.METACARPAL_BASE_MM[i], start[3 + i, 0] - [0, 3, 0], 11, 9.5) for i in (0, 1)]
    return np.stack([np.minimum(*palm), *mobile], 1)
