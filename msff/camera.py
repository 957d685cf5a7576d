"""The pinhole camera and the crop: P, A and their inverses of Eqs. (1)-(2).

Frames: ``cam`` millimetres, x right, y down, z forward; ``image`` pixels of the original image, the centre of
the first pixel at (0, 0); ``crop`` pixels of the network's input, same convention.
All functions take and return tensors (or arrays through ``torch.as_tensor``) and never change their input.
"""

from __future__ import annotations

import torch
from torch import Tensor

CROP_FACTOR = 1.25  # of the square crop over its box, InterNet's


def project(cam_mm: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera frame to image, P. (..., N, 3) mm and (..., 3, 3) px -> (..., N, 2) px.

    Includes skew. A point with z <= 0 has no image: its pixel is NaN.
    """
    x, y, z = cam_mm.unbind(-1)  # (..., N)
    fx, fy, skew, cx, cy = _pinhole(intrinsics)
    z = torch.where(z > 0, z, torch.full_like(z, torch.nan))
    return torch.stack([(fx * x + skew * y) / z + cx, fy * y / z + cy], -1)  # (..., N, 2)


def unproject(image_px: Tensor, depth_mm: Tensor, intrinsics: Tensor) -> Tensor:
    """Image and depth to camera frame, P^-1 of Eq. (2). (..., N, 2) px, (..., N) mm, (..., 3, 3) -> (..., N, 3) mm."""
    fx, fy, skew, cx, cy = _pinhole(intrinsics)
    y = (image_px[..., 1] - cy) / fy * depth_mm
    x = ((image_px[..., 0] - cx) * depth_mm - skew * y) / fx
    return torch.stack([x, y, depth_mm], -1)  # (..., N, 3)


def _pinhole(intrinsics: Tensor) -> tuple[Tensor, ...]:
    if intrinsics.shape[-2:] != (3, 3):
        raise ValueError(f"intrinsics must be (..., 3, 3), got {tuple(intrinsics.shape)}")
    k = intrinsics[..., None, :, :]  # broadcasts over the N points
    return k[..., 0, 0], k[..., 1, 1], k[..., 0, 1], k[..., 0, 2], k[..., 1, 2]


def square_box(box: Tensor, factor: float = CROP_FACTOR) -> Tensor:
    """Expand the shorter side to a square about the centre, then scale by ``factor``. (..., 4) x, y, w, h px -> same.

    Source: ``process_bbox`` of the InterNet code, without its in-place change of the record.
    """
    side = box[..., 2:].amax(-1, keepdim=True) * factor  # (..., 1)
    centre = box[..., :2] + box[..., 2:] / 2  # (..., 2)
    return torch.cat([centre - side / 2, side, side], -1)


def crop_affine(box: Tensor, size: int, rotation_rad: Tensor | float = 0.0) -> Tensor:
    """Return the affine A that maps image to crop pixels. (..., 4) square box x, y, w, h px -> (..., 2, 3).

    The box centre goes to the crop centre ``size / 2``, the width to ``size`` px, turned by ``rotation_rad``
    (positive turns the image clockwise on screen).
    """
    if size < 1:
        raise ValueError(f"crop size must be at least 1, got {size}")
    rotation = torch.as_tensor(rotation_rad, dtype=box.dtype, device=box.device).expand(box.shape[:-1])
    scale = size / box[..., 2]
    cos, sin = torch.cos(rotation) * scale, torch.sin(rotation) * scale
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (..., 2, 2)
    centre = box[..., :2] + box[..., 2:] / 2
    offset = size / 2 - (linear @ centre[..., None])[..., 0]  # (..., 2)
    return torch.cat([linear, offset[..., None]], -1)  # (..., 2, 3)


def invert_affine(affine: Tensor) -> Tensor:
    """Return A^-1 of Eq. (2). (..., 2, 3) -> (..., 2, 3)."""
    linear = torch.linalg.inv_ex(affine[..., :2]).inverse  # without a check, which would make a GPU wait
    return torch.cat([linear, -(linear @ affine[..., 2:])], -1)


def apply_affine(affine: Tensor, points_px: Tensor) -> Tensor:
    """Apply affine maps to points. (..., 2, 3) and (..., N, 2) px -> (..., N, 2) px."""
    return points_px @ affine[..., :2].transpose(-1, -2) + affine[..., None, :, 2]
