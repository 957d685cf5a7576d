"""Measures of an adult left hand: bones, radii, joint limits, and how identities vary. Millimetres and degrees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.skeleton import FINGERS
from msff.standin.draws import constant

BONE_NAMES = (
    "forearm",
    "palm",
    *(f"{finger} {part}" for finger in FINGERS for part in ("first", "second", "third")),
    "ring metacarpal",
    "little metacarpal",
)
FOREARM, PALM, RING_METACARPAL, LITTLE_METACARPAL = 0, 1, 17, 18
BONES = len(BONE_NAMES)  # 19
FINGER_BONES = tuple(tuple(2 + 3 * f + k for k in range(3)) for f in range(5))
"""Per finger, thumb first, its three bones from base to tip."""

CHAIN_ROOT_MM = ((22.0, 14.0, -10.0), (25.0, 89.0, 0.0), (3.5, 91.0, 3.0), (-16.0, 84.0, 1.0), (-33.0, 74.0, -5.0))
LENGTH_MM = ((45.0, 33.0, 28.0), (43.0, 26.0, 23.0), (47.0, 30.0, 24.0), (43.0, 28.0, 24.0), (33.0, 20.0, 21.0))
RADIUS_MM = (  # start and end of each bone
    ((13.5, 11.5), (11.0, 9.8), (10.2, 8.0)),
    ((10.6, 9.0), (8.9, 7.7), (7.8, 6.6)),
    ((10.8, 9.1), (9.0, 7.9), (8.0, 6.7)),
    ((10.3, 8.6), (8.6, 7.5), (7.6, 6.4)),
    ((8.8, 7.5), (7.5, 6.6), (6.8, 5.7)),
)
REST_SPREAD_DEG = (9.0, 1.0, -8.0, -19.0)  # index to little, positive towards the thumb
THUMB_DIRECTIONS = ((0.66, 0.66, -0.36), (0.50, 0.82, -0.27), (0.40, 0.89, -0.22))
THUMB_DORSAL = (0.80, -0.40, 0.55)  # where the thumbnail faces at rest
METACARPAL_BASE_MM = ((-9.0, 16.0, 0.0), (-15.0, 14.0, -2.0))  # ring, little: the carpal joints they flex about
FOREARM_MM = 230.0
WRIST_RADIUS_MM = 19.0
FINGER_PROFILE = (  # place on the chain (joints at 0, 1, 2); half width, dorsal, palmar half depth over the radius
    (-0.3, 0.88, 0.85, 1.00), (0.0, 0.96, 0.92, 1.02), (0.3, 1.00, 0.89, 1.04), (0.55, 1.00, 0.87, 1.05),
    (0.8, 1.02, 0.90, 1.00), (1.0, 1.08, 0.97, 0.95), (1.2, 1.04, 0.91, 1.00), (1.5, 1.01, 0.88, 1.03),
    (1.8, 1.03, 0.89, 0.97), (2.0, 1.08, 0.94, 0.94), (2.2, 1.07, 0.84, 1.00), (2.5, 1.10, 0.75, 1.08),
    (2.8, 1.09, 0.69, 1.07), (3.0, 1.06, 0.66, 1.02),
)  # fmt: skip
THUMB_PROFILE = (
    (-0.3, 0.80, 0.85, 0.85), (0.0, 0.85, 0.88, 0.90), (0.5, 0.90, 0.85, 0.95), (0.85, 0.95, 0.90, 0.95),
    (1.0, 1.00, 0.94, 0.95), (1.3, 0.91, 0.86, 0.92), (1.55, 0.88, 0.82, 0.91), (1.8, 0.95, 0.86, 0.88),
    (2.0, 1.03, 0.90, 0.86), (2.2, 1.05, 0.79, 0.92), (2.5, 1.10, 0.69, 0.97), (2.8, 1.07, 0.62, 0.93),
    (3.0, 1.02, 0.58, 0.88),
)  # fmt: skip
NAIL_HALF_LENGTH = (0.27, 0.25)  # thumb, fingers; of the last bone
FOREARM_PROFILE_MM = (  # share of its length from the wrist; half width and half depth
    (-0.06, 24.0, 16.0), (0.0, 25.5, 17.5), (0.10, 26.0, 18.0), (0.30, 30.0, 23.0), (0.62, 38.0, 31.0),
    (0.82, 38.0, 32.0), (1.0, 35.0, 30.0),
)  # fmt: skip

# Angle vector of one hand, degrees. Flexion is positive towards the palm, abduction positive towards the thumb.
ANGLE_NAMES = (
    "wrist flexion", "wrist deviation",
    "thumb CMC flexion", "thumb CMC abduction", "thumb CMC twist", "thumb MCP flexion", "thumb IP flexion",
    *(f"{f} {a}" for f in FINGERS[1:] for a in ("MCP flexion", "MCP abduction", "PIP flexion", "DIP flexion")),
    "ring metacarpal flexion", "little metacarpal flexion",
)  # fmt: skip
ANGLES = len(ANGLE_NAMES)  # 25
ANGLE_LIMITS_DEG = (
    (-60.0, 65.0), (-24.0, 32.0),
    (-18.0, 24.0), (-32.0, 6.0), (0.0, 38.0), (-12.0, 58.0), (-18.0, 78.0),
    *(((-22.0, 92.0), (-16.0, 16.0), (-2.0, 108.0), (-4.0, 78.0)) * 4),
    (0.0, 6.0), (0.0, 14.0),
)  # fmt: skip

SKIN_TONES_SRGB = (  # very light to very dark
    (0.890, 0.712, 0.635), (0.865, 0.670, 0.580), (0.825, 0.618, 0.518), (0.758, 0.542, 0.434),
    (0.665, 0.452, 0.345), (0.545, 0.356, 0.262), (0.415, 0.266, 0.195), (0.300, 0.195, 0.152),
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """How hands differ from the measures above, as factors. B hands in any leading shape."""

    scale: Tensor  # (...,) the whole hand
    length: Tensor  # (..., 15) each finger bone, thumb first, base to tip
    thickness: Tensor  # (..., 5) each finger
    palm: Tensor  # (..., 3) palm width, length, thickness
    forearm: Tensor  # (...,) length of the forearm

    @staticmethod
    def mean(*shape: int, dtype: torch.dtype = torch.float64) -> Identity:
        """The identity whose factors are all 1."""

        def ones(*extra: int) -> Tensor:
            return torch.ones((*shape, *extra), dtype=dtype)

        return Identity(ones(), ones(15), ones(5), ones(3), ones())


def draw_identity(uniform: Tensor, forearm: float = 1.0) -> Identity:
    """Identity from independent uniform draws in [0, 1). (..., 32) -> factors; 3 to 7 % spread as between adults."""
    spread = 2 * uniform - 1  # (..., 32)
    length = 1 + 0.04 * spread[..., 1:2] + 0.035 * spread[..., 2:17]
    thickness = 1 + 0.07 * spread[..., 17:18] + 0.03 * spread[..., 18:23]
    palm = 1 + spread[..., 23:26] * constant((0.05, 0.035, 0.06), uniform.device)
    return Identity(0.86 + 0.26 * uniform[..., 0], length, thickness, palm, forearm + 0.05 * spread[..., 26])
