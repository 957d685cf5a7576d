"""Articulation: joint-limited synergies and forward kinematics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.standin import anatomy as an
from msff.standin.anatomy import Identity
from msff.standin.draws import constant, once

POSE_DRAWS = 40  # uniform draws that one pose needs
_FAN = (1.0, 0.1, -0.7, -1.3)  # how the four fingers spread
_EYE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_CURL_DEG = (45.0, 0.0, 70.0, 40.0)  # MCP flexion, abduction, PIP, DIP of fingers that close


@dataclass(frozen=True)
class Posed:
    """Bones of a left hand in the hand frame, mm. Helpers bend half-way at the 15 finger joints."""

    head: Tensor  # (..., 19, 3)
    rotation: Tensor  # (..., 19, 3, 3)
    stretch: Tensor  # (..., 19, 3) factors along the bone's own axes
    helper_rotation: Tensor  # (..., 15, 3, 3)
    joints: Tensor  # (..., 21, 3) canonical order


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


@once
def thumb_frames(device: torch.device | str = "cpu") -> Tensor:
    """(3, 3, 3) float64 rest frames of the thumb's bones: columns lateral, along the bone, dorsal."""
    frames = []
    for direction in an.THUMB_DIRECTIONS:
        along = torch.tensor(direction, dtype=torch.float64)
        along = along / along.norm()
        dorsal = torch.tensor(an.THUMB_DORSAL, dtype=torch.float64)
        dorsal = dorsal - (dorsal @ along) * along
        dorsal = dorsal / dorsal.norm()
        frames.append(torch.stack([torch.linalg.cross(along, dorsal), along, dorsal], -1))
    return torch.stack(frames).to(device)


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
    fan = constant(_FAN, uniform.device) * (15 * u[24] - 5)[..., None] + 2 * spread[..., 25:29]
    abduction = fan * (1 - 0.85 * (mcp / 85).clamp(0, 1))
    fingers = torch.stack([mcp, abduction, pip, dip], -1).flatten(-2)  # (..., 16)

    oppose = u[29]
    bend = (0.65 * u[30] + 0.35 * curl.mean(-1)).clamp(0, 1)
    thumb = [-18 + 42 * bend, 4 - 34 * oppose, 38 * oppose * u[31], -10 + 60 * bend * u[32], -12 + 75 * bend * u[33]]
    wrist = [-24 + 50 * (u[34] + u[35]) / 2 + 10 * spread[..., 36], 2 + 16 * spread[..., 37] * u[38]]
    cup = [6 * curl[..., 2], 14 * curl[..., 3]]
    angles = torch.cat([torch.stack(wrist + thumb, -1), fingers, torch.stack(cup, -1)], -1)  # (..., 25)
    limits = constant(an.ANGLE_LIMITS_DEG, uniform.device)
    return angles.clamp(limits[:, 0], limits[:, 1])


def interlace(angles_deg: Tensor, uniform: Tensor) -> Tensor:
    """The same hands with fingers fanned out and little bent, as between another hand's. (..., 25), (..., 40)."""
    fingers = angles_deg[..., 7:23].unflatten(-1, (4, 4))  # (..., 4, 4) MCP flexion, abduction, PIP, DIP
    fan = constant(_FAN, uniform.device) * (12 + 4 * uniform[..., 24:25]) + 3 * (uniform[..., 25:29] - 0.5)
    mcp = (-2 + 10 * uniform[..., 0:1] + 6 * (uniform[..., 15:19] - 0.5)).expand_as(fan)
    pip = 6 + 8 * uniform[..., 13:14] + 6 * (uniform[..., 19:23] - 0.5)
    fingers = torch.stack([mcp, fan, pip, 0.6 * pip], -1).expand_as(fingers)
    limits = constant(an.ANGLE_LIMITS_DEG, uniform.device)
    angles = torch.cat([angles_deg[..., :7], fingers.flatten(-2), 0 * angles_deg[..., 23:]], -1)
    return angles.clamp(limits[:, 0], limits[:, 1])


def curled(angles_deg: Tensor, amount: Tensor) -> Tensor:
    """Fingers bent further, 0 not at all .. 1 towards a fist. (..., 25), broadcastable amount (...) -> (..., 25)."""
    bend = constant((0.0,) * 7 + _CURL_DEG * 4 + (0.0,) * 2, angles_deg.device)
    limits = constant(an.ANGLE_LIMITS_DEG, angles_deg.device)
    return (angles_deg + amount[..., None] * bend).clamp(limits[:, 0], limits[:, 1])


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


@once
def _rest_turns(finger: int, device: torch.device) -> list[Tensor]:
    """Rest rotation of each of a finger's three bones against the one before it."""
    if finger == 0:
        first, second, third = thumb_frames(device)
        return [first, first.T @ second, second.T @ third]
    straight = constant(_EYE, device)
    spread = torch.tensor(-an.REST_SPREAD_DEG[finger - 1], dtype=torch.float64, device=device)
    return [rotation("z", spread), straight, straight]


def pose_hand(angles_deg: Tensor, identity: Identity) -> Posed:
    """Forward kinematics of a left hand. (..., 25) degrees -> bones and joints in the hand frame, mm."""
    device = angles_deg.device
    eye = constant(_EYE, device).expand(*angles_deg.shape[:-1], 3, 3)
    origin = torch.zeros_like(eye[..., 0])
    forearm = rotation("x", angles_deg[..., 0]) @ rotation("z", angles_deg[..., 1])
    palm_scale = identity.palm  # (..., 3)
    heads, rotations = {an.FOREARM: origin, an.PALM: origin}, {an.FOREARM: forearm, an.PALM: eye}
    for i, bone in enumerate((an.RING_METACARPAL, an.LITTLE_METACARPAL)):
        heads[bone] = constant(an.METACARPAL_BASE_MM[i], device) * palm_scale
        rotations[bone] = rotation("x", -angles_deg[..., 23 + i])
    helpers, joints = [], []
    for finger, bones in enumerate(an.FINGER_BONES):
        carrier = {3: an.RING_METACARPAL, 4: an.LITTLE_METACARPAL}.get(finger, an.PALM)
        offset = constant(an.CHAIN_ROOT_MM[finger], device) * palm_scale - heads[carrier]
        start = heads[carrier] + (rotations[carrier] @ offset[..., None])[..., 0]
        rest = _rest_turns(finger, device)
        lengths = constant(an.LENGTH_MM[finger], device) * identity.length[..., 3 * finger : 3 * finger + 3]
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
    return Posed(head * scale, rot, _stretch(identity) * scale, torch.stack(helpers, -3), joints_mm)


def _stretch(identity: Identity) -> Tensor:
    """(..., 19, 3) factors across, along and through each bone."""
    thick = identity.thickness.repeat_interleave(3, -1)  # (..., 15)
    fingers = torch.stack([thick, identity.length, thick], -1)
    palm = identity.palm[..., None, :]
    width, depth = identity.palm[..., 0], identity.palm[..., 2]
    forearm = torch.stack([width, identity.forearm, depth], -1)[..., None, :]
    return torch.cat([forearm, palm, fingers, palm, palm], -2)
