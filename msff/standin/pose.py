"""Articulation: joint-limited synergies, forward kinematics, and placing two hands without overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from msff.standin import anatomy as an
from msff.standin.anatomy import Identity

POSE_DRAWS = 40  # uniform draws that one pose needs


@dataclass(frozen=True)
class Posed:
    """Bones of a left hand in the hand frame, mm. Helpers bend half-way at the 15 finger joints."""

    head: Tensor  # (..., 19, 3)
    rotation: Tensor  # (..., 19, 3, 3)
    stretch: Tensor  # (..., 19, 3) factors along the bone's own axes
    helper_rotation: Tensor  # (..., 15, 3, 3)
    joints: Tensor  # (..., 21, 3) canonical order
    spheres: Tensor  # (..., K, 4) centre and radius, a filling of the hand for collision tests


def rotation(axis: str, degrees: Tensor) -> Tensor:
    """Right-handed rotation about x, y or z. (...) -> (..., 3, 3)."""
    angle = torch.deg2rad(degrees)
    c, s, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        "x": (one, zero, zero, zero, c, -s, zero, s, c),
        "y": (c, zero, s, zero, one, zero, -s, zero, c),
        "z": (c, -s, zero, s, c, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


@lru_cache(maxsize=1)
def thumb_frames() -> Tensor:
    """(3, 3, 3) float64 rest frames of the thumb's bones: columns lateral, along the bone, dorsal."""
    frames = []
    for direction in an.THUMB_DIRECTIONS:
        along = torch.tensor(direction, dtype=torch.float64)
        along = along / along.norm()
        dorsal = torch.tensor(an.THUMB_DORSAL, dtype=torch.float64)
        dorsal = dorsal - (dorsal @ along) * along
        dorsal = dorsal / dorsal.norm()
        frames.append(torch.stack([torch.linalg.cross(along, dorsal), along, dorsal], -1))
    return torch.stack(frames)


def draw_pose(uniform: Tensor) -> Tensor:
    """Hand pose from synergies. (..., 40) uniform in [0, 1) -> (..., 25) degrees within the joint limits."""
    u = uniform.unbind(-1)
    spread = 2 * uniform - 1  # (..., 40)
    relaxed = (u[0] ** 1.2)[..., None] * 0.8 + 0.14 * spread[..., 1:5]  # (..., 4) one curl, small differences
    pattern = torch.where(uniform[..., 5:9] < 0.5, 0.06 + 0.12 * uniform[..., 9:13], 0.72 + 0.25 * uniform[..., 9:13])
    curl = torch.where((u[13] < 0.4)[..., None], pattern, relaxed).clamp(0, 1)  # (..., 4) index to little
    index, middle, ring, little = curl.unbind(-1)
    curl = torch.stack([index, middle, 0.55 * ring + 0.3 * little + 0.15 * middle, little], -1)
    share = (0.75 + 0.5 * u[14])[..., None]  # how much of the curl the MCP takes
    mcp = -14 + 92 * curl * share + 5 * spread[..., 15:19]
    pip = 4 + 104 * curl * (2 - share) * (1 - 0.1 * curl) + 5 * spread[..., 19:23]
    dip = pip * (0.45 + 0.3 * u[23])[..., None]
    fan = uniform.new_tensor([1.0, 0.1, -0.7, -1.3]) * (15 * u[24] - 5)[..., None] + 2 * spread[..., 25:29]
    abduction = fan * (1 - 0.85 * (mcp / 85).clamp(0, 1))
    fingers = torch.stack([mcp, abduction, pip, dip], -1).flatten(-2)  # (..., 16)

    oppose = u[29]
    bend = (0.65 * u[30] + 0.35 * curl.mean(-1)).clamp(0, 1)
    thumb = [-18 + 42 * bend, 4 - 34 * oppose, 38 * oppose * u[31], -10 + 60 * bend * u[32], -12 + 75 * bend * u[33]]
    wrist = [-24 + 50 * (u[34] + u[35]) / 2 + 10 * spread[..., 36], 2 + 16 * spread[..., 37] * u[38]]
    cup = [6 * curl[..., 2], 14 * curl[..., 3]]
    angles = torch.cat([torch.stack(wrist + thumb, -1), fingers, torch.stack(cup, -1)], -1)  # (..., 25)
    limits = uniform.new_tensor(an.ANGLE_LIMITS_DEG)
    return angles.clamp(limits[:, 0], limits[:, 1])


def _chain(base: Tensor, start: Tensor, locals_: list, halves: list, rest: list, lengths: Tensor) -> tuple:
    """Rotations, heads, half-way rotations and tip of one finger."""
    heads, rotations, helpers = [], [], []
    frame, head = base, start
    for k in range(3):
        helpers.append(frame @ rest[k] @ halves[k])
        frame = frame @ rest[k] @ locals_[k]
        heads.append(head)
        rotations.append(frame)
        head = head + frame[..., :, 1] * lengths[..., k, None]
    return heads, rotations, helpers, head


def _local_rotations(angles: Tensor, finger: int) -> list[Tensor]:
    if finger == 0:
        flexion, abduction, twist, mcp, ip = angles[..., 2:7].unbind(-1)
        cmc = rotation("z", abduction) @ rotation("x", -flexion) @ rotation("y", twist)
        return [cmc, rotation("x", -mcp), rotation("x", -ip)]
    mcp, abduction, pip, dip = angles[..., 3 + 4 * finger : 7 + 4 * finger].unbind(-1)
    return [rotation("z", -abduction) @ rotation("x", -mcp), rotation("x", -pip), rotation("x", -dip)]


def pose_hand(angles_deg: Tensor, identity: Identity) -> Posed:
    """Forward kinematics of a left hand. (..., 25) degrees -> bones, joints and spheres in the hand frame, mm."""
    eye = torch.eye(3, dtype=angles_deg.dtype).expand(*angles_deg.shape[:-1], 3, 3)
    new = angles_deg.new_tensor
    origin = torch.zeros_like(eye[..., 0])
    forearm = rotation("x", angles_deg[..., 0]) @ rotation("z", angles_deg[..., 1])
    palm_scale = identity.palm  # (..., 3)
    heads, rotations = {an.FOREARM: origin, an.PALM: origin}, {an.FOREARM: forearm, an.PALM: eye}
    for i, bone in enumerate((an.RING_METACARPAL, an.LITTLE_METACARPAL)):
        heads[bone] = new(an.METACARPAL_BASE_MM[i]) * palm_scale
        rotations[bone] = rotation("x", -angles_deg[..., 23 + i])
    helpers, joints = [], []
    for finger, bones in enumerate(an.FINGER_BONES):
        carrier = {3: an.RING_METACARPAL, 4: an.LITTLE_METACARPAL}.get(finger, an.PALM)
        offset = new(an.CHAIN_ROOT_MM[finger]) * palm_scale - heads[carrier]
        start = heads[carrier] + (rotations[carrier] @ offset[..., None])[..., 0]
        f = thumb_frames().to(angles_deg.dtype)
        straight = torch.eye(3, dtype=f.dtype)
        rest = [f[0], f[0].T @ f[1], f[1].T @ f[2]]
        if finger > 0:
            rest = [rotation("z", -new(an.REST_SPREAD_DEG[finger - 1])), straight, straight]
        lengths = new(an.LENGTH_MM[finger]) * identity.length[..., 3 * finger : 3 * finger + 3]
        local, half = _local_rotations(angles_deg, finger), _local_rotations(angles_deg / 2, finger)
        h, r, helper, tip = _chain(rotations[carrier], start, local, half, rest, lengths)
        heads |= dict(zip(bones, h, strict=True))
        rotations |= dict(zip(bones, r, strict=True))
        helpers += helper
        joints += [tip, *reversed(h)]
    head = torch.stack([heads[b] for b in range(an.BONES)], -2)
    rot = torch.stack([rotations[b] for b in range(an.BONES)], -3)
    scale = identity.scale[..., None, None]
    joints_mm = torch.stack([*joints, origin], -2) * scale
    stretch = _stretch(identity) * scale
    spheres = _spheres(head * scale, rot, stretch)
    return Posed(head * scale, rot, stretch, torch.stack(helpers, -3), joints_mm, spheres)


def _stretch(identity: Identity) -> Tensor:
    """(..., 19, 3) factors across, along and through each bone."""
    thick = identity.thickness.repeat_interleave(3, -1)  # (..., 15)
    fingers = torch.stack([thick, identity.length, thick], -1)
    palm = identity.palm[..., None, :]
    width, depth = identity.palm[..., 0], identity.palm[..., 2]
    forearm = torch.stack([width, identity.forearm, depth], -1)[..., None, :]
    return torch.cat([forearm, palm, fingers, palm, palm], -2)


@lru_cache(maxsize=1)
def sphere_table() -> tuple[tuple[int, ...], Tensor]:
    """The bones that carry the spheres; (K, 4) offset of each from its bone's head (bone frame) and radius, mm."""
    bones, spheres = [], []
    for finger, chain in enumerate(an.FINGER_BONES):
        for k, bone in enumerate(chain):
            length, (r0, r1) = an.LENGTH_MM[finger][k], an.RADIUS_MM[finger][k]
            for t in (0.0, 0.33, 0.67, 1.0) if k == 2 else (0.0, 0.33, 0.67):
                bones.append(bone)
                spheres.append((0.0, t * length, 0.0, r0 + t * (r1 - r0)))
    for x, y, z, r in ((14, 65, -3, 13), (5, 40, -6, 14), (3, 68, -3, 13), (16, 30, -8, 14), (0, 14, -2, 15)):
        bones.append(an.PALM)
        spheres.append((x, y, z, r))
    for bone, base, points in (
        (an.RING_METACARPAL, an.METACARPAL_BASE_MM[0], ((-13, 62, -4, 13), (-10, 36, -7, 14))),
        (an.LITTLE_METACARPAL, an.METACARPAL_BASE_MM[1], ((-27, 57, -8, 13), (-23, 36, -9, 14))),
    ):
        for x, y, z, r in points:
            bones.append(bone)
            spheres.append((x - base[0], y - base[1], z - base[2], r))
    for y, r in ((-14, 17.5), (-34, 18), (-54, 20), (-78, 23), (-104, 26), (-134, 29), (-166, 30), (-200, 30)):
        for x in (-8.5, 8.5):
            bones.append(an.FOREARM)
            spheres.append((x, y, -2, r))
    return tuple(bones), torch.tensor(spheres, dtype=torch.float64)


def _spheres(head: Tensor, rot: Tensor, stretch: Tensor) -> Tensor:
    bones, table = sphere_table()
    table = table.to(head.dtype)
    index = torch.tensor(bones)
    offset = table[:, :3] * stretch[..., index, :]  # (..., K, 3)
    centre = head[..., index, :] + (rot[..., index, :, :] @ offset[..., None])[..., 0]
    radius = table[:, 3] * stretch[..., index, 0]
    return torch.cat([centre, radius[..., None]], -1)


@lru_cache(maxsize=1)
def _separate_pairs() -> Tensor:
    """(K, K) bool: pairs of spheres of one hand that should not overlap, i.e. of different fingers, or tip and palm."""
    bones, _ = sphere_table()
    finger = torch.tensor([(b - 2) // 3 if 2 <= b < 17 else -1 for b in bones])
    part = torch.tensor([(b - 2) % 3 if 2 <= b < 17 else -1 for b in bones])
    free = part >= 1  # first bones are joined to the palm and to each other by webs
    other = (finger[:, None] != finger[None, :]) & (free[:, None] | free[None, :])
    thumb_base = ((finger == 0) & (part <= 1))[:, None] & (finger == -1)[None, :]
    index_base = ((finger == 1) & (part == 0))[:, None] & ((finger == 0) & (part == 1))[None, :]
    joined = thumb_base | index_base
    return (other & ~joined & ~joined.T).triu(1)


def self_penetration(spheres: Tensor) -> Tensor:
    """Deepest overlap between parts of one hand that should stay apart. (..., K, 4) -> (...) mm."""
    centre, radius = spheres[..., :3], spheres[..., 3]
    gap = torch.cdist(centre, centre) - radius[..., :, None] - radius[..., None, :]
    return (-gap).masked_fill(~_separate_pairs(), 0).amax((-2, -1)).clamp(min=0)


def contact_shift(moving: Tensor, fixed: Tensor, direction: Tensor) -> Tensor:
    """How far to shift ``moving`` along ``direction`` so that, coming from infinity, it just touches ``fixed``.

    (..., K, 4), (..., L, 4) spheres, (..., 3) unit vector -> (...) mm; -inf where the two would miss each other.
    """
    offset = moving[..., :, None, :3] - fixed[..., None, :, :3]  # (..., K, L, 3)
    reach = moving[..., :, None, 3] + fixed[..., None, :, 3]
    along = (offset * direction[..., None, None, :]).sum(-1)
    across2 = (offset**2).sum(-1) - along**2
    hit = across2 < reach**2
    upper = -along + (reach**2 - across2).clamp(min=0).sqrt()  # the larger root of |offset + t d| = reach
    return upper.masked_fill(~hit, -torch.inf).amax((-2, -1))
