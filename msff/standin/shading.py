"""Deferred shading of the covered pixels: relief, lights, gloss and ambient occlusion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin.draws import constant
from msff.standin.look import Look
from msff.standin.vectors import dot, unit

GAMMA = 2.2


def vector(device: torch.device, *values: float) -> Tensor:
    """Constants in single precision, copied to the device once."""
    return constant(values, device, torch.float32)


def bumped(normal: Tensor, slope: Tensor, rest_mm: Tensor, corners_mm: Tensor) -> Tensor:
    """Tilt unit normals by a relief given at rest. (P, 3), (P, 3), triangle corners at rest and posed (P, 3, 3) each.

    The relief's gradient is carried by the triangle: its rise along both edges stays, the edges move.
    """
    rise = dot(rest_mm[:, 1:] - rest_mm[:, :1], slope[:, None])  # (P, 2)
    e1, e2 = corners_mm[:, 1] - corners_mm[:, 0], corners_mm[:, 2] - corners_mm[:, 0]
    a, b, c = dot(e1, e1), dot(e1, e2), dot(e2, e2)
    det = (a * c - b * b).clamp(min=1e-6)
    u, v = (c * rise[:, 0] - b * rise[:, 1]) / det, (a * rise[:, 1] - b * rise[:, 0]) / det
    tilt = u[:, None] * e1 + v[:, None] * e2
    steep = dot(tilt, tilt).sqrt()[:, None]
    return unit(normal - tilt / (1 + 0.5 * steep))


def light_up(
    look: Look, owner: Tensor, colour: Tensor, normal: Tensor, view: Tensor, open_sky: Tensor, lit: Tensor,
    gloss: Tensor,
) -> Tensor:  # fmt: skip
    """Ambient, wrapped directional and fill light with a little gloss. (P, 3) linear albedo -> (P, 3) sRGB.

    ``open_sky`` (P,) is the ambient occlusion factor, ``lit`` (P,) 0 in shadow; ``view`` (P, 3) points to the camera;
    ``gloss`` (P,) of the :class:`Material`.
    """
    light, key = look.light[owner], look.light_colour[owner]
    cosine = dot(normal, light)[:, None]  # (P, 1)
    wrap = vector(cosine.device, 0.32, 0.16, 0.10)  # red light travels furthest through skin
    soft = (cosine + wrap).clamp(min=0) / (1 + wrap)
    through = vector(cosine.device, 0.24, 0.07, 0.04)
    lit = lit[:, None]
    beam = soft * (lit + (1 - lit) * through)
    facing = dot(normal, view).clamp(0, 1)
    half = dot(normal, unit(light + view)).clamp(min=0)
    shine = look.gloss[owner] * gloss
    shine = shine * (
        (0.55 * half**14 + half**60) * lit[:, 0] * (cosine[:, 0] > 0) + 0.5 * (1 - facing) ** 4 * open_sky * 0.4
    )
    sky = (0.80 - 0.22 * normal[:, 1]) * open_sky  # brighter from above
    bounce = open_sky[:, None] ** vector(cosine.device, 0.8, 1.0, 1.05)  # light between fingers turns red
    out = colour * (
        look.ambient[owner] * (sky / open_sky.clamp(min=0.05))[:, None] * bounce
        + key * beam * (0.5 + 0.5 * open_sky)[:, None]
        + look.fill_colour[owner] * (dot(normal, look.fill[owner]).clamp(min=0) * open_sky)[:, None]
    )
    out = out + shine[:, None] * key
    out = 1 - torch.exp(-1.45 * out)  # a soft shoulder instead of burnt-out highlights
    return out.clamp(1e-5, 1) ** (1 / GAMMA)


def ambient_occlusion(depth_mm: Tensor, covered: Tensor) -> Tensor:
    """Darkening of points that lie behind their neighbourhood, from block means. (B, H, W) -> (B, H, W) in 0.3..1."""
    height, width = depth_mm.shape[1:]
    block = max(1, height // 80)
    both = torch.stack([depth_mm * covered, covered.float()], 1)  # (B, 2, H, W)
    both = F.avg_pool2d(both, block, ceil_mode=True)
    factor = torch.ones_like(depth_mm)
    for radius, reach in ((1, 14.0), (3, 34.0)):
        mean = F.avg_pool2d(both, (2 * radius + 1, 1), 1, (radius, 0))  # rows, then columns: fewer additions
        mean = F.avg_pool2d(mean, (1, 2 * radius + 1), 1, (0, radius))
        mean = mean[:, :1] / mean[:, 1:].clamp(min=1e-4)
        mean = F.interpolate(mean, scale_factor=block, mode="bilinear", align_corners=False)[:, 0, :height, :width]
        factor = factor * (1 - 0.42 * ((depth_mm - mean) / reach).clamp(0, 1))
    return factor
