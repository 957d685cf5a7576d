"""Joints, bones and hands: the only module with joint indices.

The canonical order is InterHand2.6M's: 42 joints, right hand 0-20, left hand 21-41; within a hand the
thumb, index, middle, ring and little finger, each from tip to base, and the wrist last.
"""

from __future__ import annotations

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINTS_PER_HAND = 21
JOINTS = 2 * JOINTS_PER_HAND
RIGHT, LEFT = slice(0, JOINTS_PER_HAND), slice(JOINTS_PER_HAND, JOINTS)
SIDES = ("right", "left")  # the order of the hands in the canonical order and of every side vector
HAND_SLICE = {"right": RIGHT, "left": LEFT}

_PARTS = ("tip", "distal", "middle", "base")  # per finger, from the tip; for the thumb: tip, IP, MCP, CMC
JOINT_NAMES = tuple(f"{finger} {part}" for finger in FINGERS for part in _PARTS) + ("wrist",)

WRIST = 20  # within one hand
ROOTS = {"right": WRIST, "left": JOINTS_PER_HAND + WRIST}  # within the 42
FINGERTIPS = (0, 4, 8, 12, 16)
FINGER_BASES = (3, 7, 11, 15, 19)
INDEX_MCP, MIDDLE_MCP, MIDDLE_PIP, LITTLE_MCP = 7, 11, 10, 19
SCALE_BONE = (MIDDLE_MCP, MIDDLE_PIP)  # the bone by which Zimmermann & Brox normalise a hand
"""Hand-local indices; add 21 for the left hand."""

PARENTS = tuple(WRIST if j % 4 == 3 else j + 1 for j in range(WRIST)) + (-1,)
BONES = tuple((j, PARENTS[j]) for j in range(WRIST))  # (child, parent), hand-local, 20 bones

FINGER_OF_JOINT = tuple(j // 4 for j in range(WRIST)) + (-1,)

# RHD stores left 0-20, right 21-41, wrist first (dataset README). Within a hand: RHD[i + 1] = ours[i], RHD[0] = wrist.
_RHD_HAND = np.array([*range(1, 21), 0])
CANONICAL_FROM_RHD = np.concatenate([_RHD_HAND + 21, _RHD_HAND])
"""``rhd_array[..., CANONICAL_FROM_RHD, :]`` is in the canonical order."""
RHD_FROM_CANONICAL = np.argsort(CANONICAL_FROM_RHD)
"""``canonical_array[..., RHD_FROM_CANONICAL, :]`` is in RHD's order."""

CANONICAL_FROM_REALWORLD = np.array([*(b + k for b in range(1, JOINTS_PER_HAND, 4) for k in (3, 2, 1, 0)), 0])
"""``hand[CANONICAL_FROM_REALWORLD]`` of Ge et al.'s real-world set (one hand: wrist, then thumb to little finger, each
from base to tip; data/view_realworld_data.py of their repository) is one hand in the canonical order."""

SWAP_HANDS = np.concatenate([np.arange(21, 42), np.arange(0, 21)])
"""Exchanges the right and the left hand, for mirror images."""

# RHD mask labels: 0 background, 1 person, then the left hand's 15 finger segments (tip to base, thumb first) and palm,
# then the right hand's.
MASK_PERSON = 1
MASK_LEFT = range(2, 18)
MASK_RIGHT = range(18, 34)
MASK_OF_SIDE = {"left": MASK_LEFT, "right": MASK_RIGHT}


def side_of(joint: int) -> str:
    """Name of the hand that owns joint 0..41."""
    if not 0 <= joint < JOINTS:
        raise ValueError(f"joint must lie in 0..{JOINTS - 1}, got {joint}")
    return SIDES[joint // JOINTS_PER_HAND]


def root_index() -> np.ndarray:
    """Return the index (42,) of the wrist of the hand that owns each joint."""
    return np.repeat([ROOTS["right"], ROOTS["left"]], JOINTS_PER_HAND)
