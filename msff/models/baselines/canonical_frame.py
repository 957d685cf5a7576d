"""The canonical frame of Zimmermann & Brox (ICCV 2017, repository lmb-freiburg/hand3d): palm root, scale, rotation.

Points are rows that rotations multiply from the right: ``turned = points @ rotation``. Hands are (..., 21, 3) in the
hand-local order, in the camera frame; with the palm as root, row ``WRIST`` is the palm. Sides are 0 right, 1 left.
In the canonical frame the palm is the origin, the middle finger's MCP lies at (0, -d, 0), the little finger's MCP at
z = 0 and x > 0, and right hands are mirrored (z negated), so that every canonical hand is a left one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, SIDES, WRIST

EPSILON = 1e-8  # added under the square root of an axis-angle vector's length, as in the authors' code

_RIGHT = SIDES.index("right")


def replace_wrist_by_palm(joints: Tensor) -> Tensor:
    """Replace row ``WRIST`` by the palm, 0.5 * (wrist + middle MCP). (..., 21, D) mm or px -> same."""
    palm = 0.5 * (joints[..., WRIST, :] + joints[..., MIDDLE_MCP, :])
    return _with_root(joints, palm)


def replace_palm_by_wrist(joints: Tensor) -> Tensor:
    """Invert ``replace_wrist_by_palm``: wrist = 2 * palm - middle MCP. (..., 21, D) -> same."""
    wrist = 2 * joints[..., WRIST, :] - joints[..., MIDDLE_MCP, :]
    return _with_root(joints, wrist)


def palm_flags(flags: Tensor, both: bool) -> Tensor:
    """Replace the wrist's flag by the palm's: wrist AND middle MCP if ``both``, else OR. (..., 21) bool -> same."""
    wrist, mcp = flags[..., WRIST], flags[..., MIDDLE_MCP]
    return _with_root(flags[..., None], (wrist & mcp if both else wrist | mcp)[..., None])[..., 0]


def _with_root(joints: Tensor, root: Tensor) -> Tensor:
    return torch.cat([joints[..., :WRIST, :], root[..., None, :], joints[..., WRIST + 1 :, :]], -2)


def palm_relative(joints: Tensor) -> Tensor:
    """Return joints relative to the palm. (..., 21, D) -> same; row ``WRIST`` is 0."""
    palm = replace_wrist_by_palm(joints)
    return palm - palm[..., WRIST : WRIST + 1, :]


def canonical_rotation(relative: Tensor) -> Tensor:
    """Return R_total = Rz Rx Ry, which takes a palm-relative hand to the canonical frame. (..., 21, 3) -> (..., 3, 3).

    Rz turns the middle MCP to x = 0, y > 0; Rx, with an extra pi, to z = 0, y < 0; Ry the little MCP to z = 0, x > 0.
    """
    middle, little = relative[..., MIDDLE_MCP, :], relative[..., LITTLE_MCP, :]
    rz = rotation_z(torch.atan2(middle[..., 0], middle[..., 1]))
    middle = _turned(middle, rz)
    rx = rotation_x(torch.pi - torch.atan2(middle[..., 2], middle[..., 1]))
    rzx = rz @ rx
    little = _turned(little, rzx)
    return rzx @ rotation_y(torch.atan2(little[..., 2], little[..., 0]))


def _turned(point: Tensor, rotation: Tensor) -> Tensor:
    return (point[..., None, :] @ rotation)[..., 0, :]


def to_canonical(relative: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Transform palm-relative camera-frame hands of sides (...) -> canonical (..., 21, 3), viewpoint R (..., 3, 3).

    ``from_canonical(canonical, R, side)`` gives ``relative`` again: R is the inverse of R_total.
    """
    rotation = canonical_rotation(relative)
    return flip_right(relative @ rotation, side), rotation.transpose(-1, -2)


def from_canonical(canonical: Tensor, viewpoint: Tensor, side: Tensor) -> Tensor:
    """Return flip(canonical) R. (..., 21, 3), (..., 3, 3), (...) 0 right, 1 left -> (..., 21, 3), camera frame."""
    return flip_right(canonical, side) @ viewpoint


def flip_right(canonical: Tensor, side: Tensor) -> Tensor:
    """Negate z of right hands. (..., 21, 3), (...) 0 right, 1 left -> (..., 21, 3)."""
    sign = torch.where(side == _RIGHT, -1.0, 1.0).to(canonical)[..., None]  # (..., 1)
    return torch.stack([canonical[..., 0], canonical[..., 1], canonical[..., 2] * sign], -1)


def turn_with_crop(joints: Tensor, affine: Tensor, back: bool = False) -> Tensor:
    """Rotate hands about the optical axis with their crops. (M, 21, 3) camera axes, (M, 2, 3) image to crop -> same.

    ``back`` rotates from the crop's axes to the camera's instead.

    A hand relative to a root must turn with its crop. A mirrored crop comes with mirrored joints; the second column of
    its affine is that of the rotation alone.
    """
    angle = torch.atan2(-affine[:, 0, 1], affine[:, 1, 1])  # (M,)
    return joints @ rotation_z(-angle if back else angle)


def rotation_x(angle: Tensor) -> Tensor:
    """Return [[1, 0, 0], [0, c, s], [0, -s, c]]. (...) rad -> (..., 3, 3), for rows."""
    c, s, one, zero = _parts(angle)
    return _matrix([one, zero, zero], [zero, c, s], [zero, -s, c])


def rotation_y(angle: Tensor) -> Tensor:
    """Return [[c, 0, -s], [0, 1, 0], [s, 0, c]]. (...) rad -> (..., 3, 3), for rows."""
    c, s, one, zero = _parts(angle)
    return _matrix([c, zero, -s], [zero, one, zero], [s, zero, c])


def rotation_z(angle: Tensor) -> Tensor:
    """Return [[c, s, 0], [-s, c, 0], [0, 0, 1]]. (...) rad -> (..., 3, 3), for rows."""
    c, s, one, zero = _parts(angle)
    return _matrix([c, s, zero], [-s, c, zero], [zero, zero, one])


def rotation_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Return Rodrigues' rotation by |u| about u. (..., 3) rad -> (..., 3, 3).

    cos I + sin [k]x + (1 - cos) k k^T with k = u / |u| and |u| = sqrt(u u + 1e-8), so that u = 0 has a gradient. The
    matrix turns columns by u, hence rows by -u, which makes no difference to a network that learns u.
    """
    angle = torch.sqrt(axis_angle.square().sum(-1) + EPSILON)  # (...)
    kx, ky, kz = (axis_angle / angle[..., None]).unbind(-1)
    zero = torch.zeros_like(kx)
    cross = _matrix([zero, -kz, ky], [kz, zero, -kx], [-ky, kx, zero])
    axis = torch.stack([kx, ky, kz], -1)
    outer = axis[..., :, None] * axis[..., None, :]
    cos, sin = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
    return cos * torch.eye(3).to(axis_angle) + sin * cross + (1 - cos) * outer


def _parts(angle: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.cos(angle), torch.sin(angle), torch.ones_like(angle), torch.zeros_like(angle)


def _matrix(*rows: list[Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
