"""Deferred shading of the covered pixels: skin, nails, sleeves, lights, shadows, and the background behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin import anatomy as an

_GAMMA = 2.2
_NOISE_CELLS = 48
NOISE_TILE = 512
_CREASES = (  # palm lines of the rest hand as circles: centre x, y and radius in mm
    (34.0, 42.0, 33.0), (8.0, 118.0, 52.0), (-20.0, 128.0, 56.0),
)  # fmt: skip
_NAIL_SRGB = (0.93, 0.76, 0.72)


@dataclass(frozen=True)
class Look:
    """Appearance of B scenes; both hands of a scene belong to one person."""

    tone: Tensor  # (B,) 0 very light .. 7 very dark, fractions between
    tint: Tensor  # (B, 3) factors on the skin's colour
    redness: Tensor  # (B,)
    nail: Tensor  # (B, 4) colour and how much of it (varnish)
    sleeve_from_mm: Tensor  # (B,) distance from the wrist at which a sleeve begins, inf without
    sleeve: Tensor  # (B, 8) two colours, stripes per mm, contrast
    texture_shift: Tensor  # (B, 3)
    light: Tensor  # (B, 3) unit vector to the light, cam frame
    light_colour: Tensor  # (B, 3)
    fill: Tensor  # (B, 3) unit vector to the fill light
    fill_colour: Tensor  # (B, 3)
    ambient: Tensor  # (B, 3)
    gloss: Tensor  # (B,)


@lru_cache(maxsize=1)
def noise_volume() -> Tensor:
    """(1, 2, 49, 49, 49) smooth and fine noise, periodic, about -1..1; the same on every machine."""
    n = _NOISE_CELLS
    generator = torch.Generator().manual_seed(20230710)
    fine = torch.randn(1, 1, n, n, n, generator=generator)
    coarse = torch.randn(1, 1, n // 4, n // 4, n // 4, generator=generator)
    coarse = F.pad(coarse, (1,) * 6, mode="circular")
    coarse = F.interpolate(coarse, scale_factor=4, mode="trilinear", align_corners=False)[..., 4:-4, 4:-4, 4:-4]
    volume = torch.cat([coarse / coarse.std(), fine], 1) * 0.5
    return F.pad(volume, (0, 1, 0, 1, 0, 1), mode="circular")


@lru_cache(maxsize=1)
def noise_tile() -> Tensor:
    """(3, 512, 512) white Gaussian noise for sensors; the same on every machine."""
    return torch.randn(3, NOISE_TILE, NOISE_TILE, generator=torch.Generator().manual_seed(20170710))


def noise_at(points: Tensor) -> Tensor:
    """Periodic 3-D noise. (P, 3) in cells -> (P, 2) smooth and fine."""
    volume = noise_volume().to(points.device)
    grid = (points / _NOISE_CELLS) % 1.0 * 2 - 1
    return F.grid_sample(volume, grid.view(1, -1, 1, 1, 3), align_corners=True).view(2, -1).T


def _smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _skin(look: Look, owner: Tensor, dorsal: Tensor, noise: Tensor, redness: Tensor, rest_mm: Tensor) -> Tensor:
    """(P, 3) linear albedo of bare skin."""
    ramp = torch.tensor(an.SKIN_TONES_SRGB, device=owner.device)
    palm_tone = look.tone.clamp(max=5.0) * 0.72  # the palm carries little melanin
    back, palm = _ramp(ramp, look.tone)[owner], _ramp(ramp, palm_tone)[owner]
    palmar = (1 - _smoothstep(-0.55, 0.25, dorsal)) * (0.15 + 0.85 * _smoothstep(-22.0, 2.0, rest_mm[:, 1]))
    colour = back + palmar[:, None] * (palm - back)
    colour = colour * look.tint[owner] * (1 + 0.045 * noise[:, :1] + 0.03 * noise[:, 1:])
    red = (redness * look.redness[owner] + 0.10 * noise[:, 0].clamp(min=0))[:, None]
    return (colour * (1 - red * colour.new_tensor([0.04, 0.20, 0.17]))).clamp(0.01, 1) ** _GAMMA


def _ramp(table: Tensor, position: Tensor) -> Tensor:
    low = position.floor().long().clamp(0, len(table) - 2)
    t = (position - low)[:, None]
    return table[low] * (1 - t) + table[low + 1] * t


def albedo(look: Look, owner: Tensor, rest_mm: Tensor, chain: Tensor, dorsal: Tensor, nail: Tensor, redness: Tensor,
           finger: Tensor) -> Tensor:  # fmt: skip
    """Linear albedo at P surface points from interpolated template attributes. -> (P, 3)."""
    noise = noise_at(rest_mm / 2.2 + look.texture_shift[owner])
    colour = _skin(look, owner, dorsal, noise, redness, rest_mm)
    on_finger = finger < 5
    fold = (chain - chain.round()).abs() * 26
    at_joint = on_finger & (chain > 0.6) & (chain < 2.4)
    crease = torch.exp(-((fold / 0.8) ** 2)) * at_joint * (0.45 - 0.30 * dorsal)
    crease = crease + 0.25 * torch.exp(-(((fold - 2.6) / 0.8) ** 2)) * at_joint * (dorsal > 0.2)
    xy = rest_mm[:, :2] + 1.2 * noise[:, :1]
    inside = (finger == 5) & (dorsal < -0.35)
    for x, y, radius in _CREASES:
        distance = ((xy - xy.new_tensor([x, y])).norm(dim=1) - radius).abs()
        crease = crease + 0.7 * torch.exp(-((distance / 0.9) ** 2)) * inside
    colour = colour * (1 - 0.42 * crease.clamp(0, 1))[:, None]

    extent = (nail.abs() ** 3).sum(1)
    on_nail = (1 - _smoothstep(0.85, 1.25, extent)) * (finger < 5)
    rim = (_smoothstep(0.45, 0.85, extent) - _smoothstep(1.0, 1.5, extent)).clamp(min=0) * (finger < 5)
    varnish = look.nail[owner]
    share = (0.55 - 0.045 * look.tone[owner])[:, None]  # dark skin has darker nail beds
    plate = colour * (1 - share) + share * colour.new_tensor(_NAIL_SRGB) ** _GAMMA
    plate = torch.where((nail[:, 1] > 0.66)[:, None], plate * 0.6 + 0.25, plate)
    plate = plate * (1 - varnish[:, 3:]) + varnish[:, :3] ** _GAMMA * varnish[:, 3:]
    colour = colour * (1 - 0.35 * rim[:, None])
    colour = colour * (1 - on_nail[:, None]) + plate * on_nail[:, None]

    cloth = look.sleeve[owner]
    wave = 0.5 + 0.5 * torch.sin(rest_mm[:, 1] * cloth[:, 6] * 6.28 + noise[:, 0])
    mix = ((wave - 0.5) * cloth[:, 7] + 0.5).clamp(0, 1)[:, None]
    fabric = ((cloth[:, :3] * mix + cloth[:, 3:6] * (1 - mix)) * (1 + 0.12 * noise[:, 1:])).clamp(0.01, 1) ** _GAMMA
    return torch.where(sleeved(look, owner, rest_mm)[:, None], fabric, colour)


def sleeved(look: Look, owner: Tensor, rest_mm: Tensor) -> Tensor:
    """(P,) bool: points under a sleeve."""
    return -rest_mm[:, 1] > look.sleeve_from_mm[owner]


def light_up(
    look: Look, owner: Tensor, colour: Tensor, normal: Tensor, view: Tensor, open_sky: Tensor, lit: Tensor
) -> Tensor:
    """Ambient, wrapped directional and fill light with a little gloss. (P, 3) linear albedo -> (P, 3) sRGB.

    ``open_sky`` (P,) is the ambient occlusion factor, ``lit`` (P,) 0 in shadow; ``view`` (P, 3) points to the camera.
    """
    light, fill = look.light[owner], look.fill[owner]
    cosine = (normal * light).sum(1)
    soft = torch.stack([(cosine + w).clamp(min=0) / (1 + w) for w in (0.28, 0.14, 0.10)], 1)  # red light leaks furthest
    half = F.normalize(light + view, dim=1)
    gloss = (normal * half).sum(1).clamp(min=0) ** 24 * look.gloss[owner] * lit * (cosine > 0)
    sky = 0.75 - 0.25 * normal[:, 1]  # brighter from above
    out = colour * (
        look.ambient[owner] * (sky * open_sky)[:, None]
        + look.light_colour[owner] * soft * lit[:, None] * (0.5 + 0.5 * open_sky)[:, None]
        + look.fill_colour[owner] * ((normal * fill).sum(1).clamp(min=0) * open_sky)[:, None]
    )
    out = out + gloss[:, None] * look.light_colour[owner]
    out = 1.25 * out * (1 + out / 6) / (1 + 0.55 * out)  # a soft shoulder instead of burnt-out highlights
    return out.clamp(1e-5, 1) ** (1 / _GAMMA)


def ambient_occlusion(depth_mm: Tensor, covered: Tensor) -> Tensor:
    """Darkening of points that lie behind their neighbourhood, from block means. (B, H, W) -> (B, H, W) in 0.3..1."""
    height, width = depth_mm.shape[1:]
    block = max(1, height // 80)
    both = torch.stack([depth_mm * covered, covered.float()], 1)  # (B, 2, H, W)
    both = F.avg_pool2d(both, block, ceil_mode=True)
    factor = torch.ones_like(depth_mm)
    for radius, reach in ((1, 14.0), (3, 34.0)):
        mean = F.avg_pool2d(both, 2 * radius + 1, 1, radius)
        mean = mean[:, :1] / mean[:, 1:].clamp(min=1e-4)
        mean = F.interpolate(mean, scale_factor=block, mode="bilinear", align_corners=False)[:, 0, :height, :width]
        factor = factor * (1 - 0.42 * ((depth_mm - mean) / reach).clamp(0, 1))
    return factor
