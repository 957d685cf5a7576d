"""What covered points are made of: skin with its creases, nails, cloth and jewellery, layer upon layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin import anatomy as an
from msff.standin.draws import once
from msff.standin.look import NOISE_CELLS, Look
from msff.standin.shading import GAMMA, vector
from msff.standin.surface import rest_bones

_NOISE_CELL_MM = 2.2
_PALM_LINES = (  # circles on the rest palm: centre x, y and radius, and the x between which each is drawn; mm
    (38.0, 38.0, 33.5, -60.0, 34.0), (33.6, -20.0, 90.0, -28.0, 36.0), (-22.0, 118.0, 50.0, -60.0, 14.0),
)  # fmt: skip
_WRIST_LINES_MM = (-2.0, -9.0)
_FAN_MM = (-2.0, -20.0)  # where the tendons of the back meet; they leave it at equal angles
_FAN_FIRST, _FAN_STEP = 0.243, 0.187  # radians from the fingers' direction: the index finger's tendon, the next one's
_NAIL_SRGB = (0.90, 0.70, 0.655)
_RING_SRGB = ((0.86, 0.70, 0.40), (0.78, 0.78, 0.80))


@dataclass(frozen=True)
class Material:
    """What P covered points are made of."""

    albedo: Tensor  # (P, 3) linear
    slope: Tensor  # (P, 3) gradient of the fine relief in the rest frame, mm per mm
    gloss: Tensor  # (P,) factor on the look's gloss


@dataclass(frozen=True)
class Points:
    """Template attributes interpolated at P covered points, and what several layers share."""

    owner: Tensor  # (P,) image
    rest_mm: Tensor  # (P, 3)
    chain: Tensor  # (P,)
    dorsal: Tensor  # (P,)
    nail: Tensor  # (P, 2)
    redness: Tensor  # (P,)
    finger: Tensor  # (P,)
    smooth: Tensor  # (P,) noise of 9 mm, deviation 0.5
    fine: Tensor  # (P,) noise of 2 mm
    marks: Tensor  # (P, 4) freckles, veins and tendons, wrinkles, ring; 0..1


@once
def noise_volume(device: torch.device) -> Tensor:
    """(1, 5, 49, 49, 49) smooth and fine noise, periodic, about -1..1, and the gradient of their sum per mm."""
    n = NOISE_CELLS
    generator = torch.Generator().manual_seed(20230710)
    fine = torch.randn(1, 1, n, n, n, generator=generator)
    coarse = torch.randn(1, 1, n // 4, n // 4, n // 4, generator=generator)
    coarse = F.pad(coarse, (1,) * 6, mode="circular")
    coarse = F.interpolate(coarse, scale_factor=4, mode="trilinear", align_corners=False)[..., 4:-4, 4:-4, 4:-4]
    volume = torch.cat([coarse / coarse.std(), fine], 1) * 0.5
    relief = 0.5 * volume[:, :1] + 0.5 * volume[:, 1:]  # mm
    gradient = [(relief.roll(-1, d) - relief.roll(1, d)) / (2 * _NOISE_CELL_MM) for d in (4, 3, 2)]  # x runs fastest
    return F.pad(torch.cat([volume, *gradient], 1), (0, 1, 0, 1, 0, 1), mode="circular").to(device)


def noise_at(points: Tensor) -> Tensor:
    """Periodic 3-D noise. (P, 3) in cells -> (P, 5) smooth, fine, and the gradient of the relief."""
    grid = (points / NOISE_CELLS) % 1.0 * 2 - 1
    return F.grid_sample(noise_volume(points.device), grid.view(1, -1, 1, 1, 3), align_corners=True).view(5, -1).T


@once
def _tables(device: torch.device) -> tuple[Tensor, ...]:
    """Skin tones (8, 3) sRGB, bones' directions at rest per mm (7, 3, 3), nail and rings (linear)."""
    rest, _, _ = rest_bones()
    axes = torch.zeros(7, 3, 3)
    axes[:5] = (rest.rotation[2:17, :, 1] / torch.tensor(an.LENGTH_MM).view(15, 1)).view(5, 3, 3)
    nail, ring = torch.tensor(_NAIL_SRGB) ** GAMMA, torch.tensor(_RING_SRGB) ** GAMMA
    return tuple(x.to(device) for x in (torch.tensor(an.SKIN_TONES_SRGB), axes, nail, ring))


def _smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _bell(x: Tensor, width: float) -> Tensor:
    return torch.exp(-((x / width) ** 2))


def material(look: Look, owner: Tensor, rest_mm: Tensor, chain: Tensor, dorsal: Tensor, nail: Tensor, redness: Tensor,
             finger: Tensor) -> Material:  # fmt: skip
    """Colour, relief and gloss at P surface points from interpolated template attributes."""
    noise = noise_at(rest_mm / _NOISE_CELL_MM + look.texture_shift[owner])  # (P, 5)
    at = Points(owner, rest_mm, chain, dorsal, nail, redness, finger, noise[:, 0], noise[:, 1], look.marks[owner])
    colour = _skin(look, at)
    line, slope = _finger_creases(at)
    palm_line, palm_slope = _palm_lines(at)
    back_tint, back_slope = _tendons_and_veins(at)
    depth = (line + palm_line).clamp(0, 1)[:, None]
    colour = colour * (1 - depth * vector(colour.device, 0.28, 0.42, 0.46)) * (1 - back_tint)
    slope = (0.55 + 0.5 * at.marks[:, 2:3]) * (slope + palm_slope) + back_slope + noise[:, 2:] * _grain(at)[:, None]
    colour, cover = _nail(look, at, colour)
    slope = slope * (1 - 0.85 * cover[:, None])
    gloss = (0.75 + 0.5 * at.fine).clamp(min=0.2) * (1 - 0.5 * depth[:, 0]) + 1.8 * cover
    colour, metal = _jewellery(at, colour)
    gloss = gloss + 5.0 * metal
    cloth, cloth_slope, cover = _cloth(look, at)
    past = (-rest_mm[:, 1] - look.sleeve_from_mm[owner]).clamp(-40, 0)
    colour = colour * (1 - 0.45 * torch.exp(past / 3.5))[:, None]  # the hem's shade on the skin before it
    cover = cover[:, None]
    return Material(
        colour + cover * (cloth - colour), slope + cover * (cloth_slope - slope), gloss * (1 - 0.88 * cover[:, 0])
    )


def _grain(at: Points) -> Tensor:
    """(P,) how strong the noise's relief is: least on pads and palms, which are tense."""
    return (0.55 + 0.45 * at.marks[:, 2]) * (0.75 + 0.25 * at.dorsal)


def _skin(look: Look, at: Points) -> Tensor:
    """(P, 3) linear albedo of bare skin."""
    ramp = _tables(at.owner.device)[0]
    palm_tone = look.tone.clamp(max=5.5) * 0.62 + 0.5  # the palm carries little melanin
    palm_tone = torch.minimum(palm_tone, look.tone)
    back, palm = _ramp(ramp, look.tone)[at.owner], _ramp(ramp, palm_tone)[at.owner]
    palmar = (1 - _smoothstep(-0.6, 0.2, at.dorsal)) * (0.1 + 0.9 * _smoothstep(-24.0, 2.0, at.rest_mm[:, 1]))
    pale = ((look.tone - 3) / 4).clamp(0, 1)[at.owner, None] * vector(palm.device, -0.05, 0.03, 0.09)
    colour = back + palmar[:, None] * (palm * (1 + pale) - back)
    spots = _smoothstep(0.62, 0.85, at.fine + 0.15 * at.smooth) * (at.marks[:, 0] - 0.6).clamp(min=0) * (1 - palmar)
    mottle = 1 + 0.05 * at.smooth + 0.035 * at.fine - 0.7 * spots
    colour = colour * look.tint[at.owner] * mottle[:, None]
    blood = at.redness * look.redness[at.owner] + palmar * (0.45 + 0.28 * at.smooth) + 0.10 * at.smooth
    red = blood.clamp(-0.15, 1.2)[:, None]
    return (colour * (1 - red * vector(colour.device, 0.02, 0.15, 0.13))).clamp(0.01, 1) ** GAMMA


def _ramp(table: Tensor, position: Tensor) -> Tensor:
    low = position.floor().long().clamp(0, len(table) - 2)
    t = (position - low)[:, None]
    return table[low] * (1 - t) + table[low + 1] * t


def _finger_creases(at: Points) -> tuple[Tensor, Tensor]:
    """Flexion lines of the palmar side and wrinkles over the knuckles: darkness (P,) and slope (P, 3)."""
    joint = at.chain.round()
    on = (at.finger < 5) & (at.chain > 0.6) & (at.chain < 2.4)
    mm = (at.chain - joint) * 25 + 1.1 * at.smooth
    palmar = (0.25 - 0.9 * at.dorsal).clamp(0, 1) * on
    wide = 1.4 - 0.7 * (joint - 1)  # the middle joint has a double line
    pair = mm.abs() - wide.clamp(min=0)
    fold = _bell(pair, 0.75) * palmar
    base = (at.chain - 0.46) * 42 + at.smooth
    fold_base = _bell(base, 0.8) * (0.1 - 0.9 * at.dorsal).clamp(0, 1) * ((at.finger < 5) & (at.finger > 0))
    reach = 6.5 - 2.2 * (joint - 1).clamp(min=0)
    wrinkles = torch.exp(-((mm / reach) ** 2)) * ((at.dorsal - 0.1) * 1.6).clamp(0, 1) * on
    phase = mm * 2.5 + 1.5 * at.fine
    dark = 0.8 * fold + 0.6 * fold_base + (0.10 + 0.22 * (-torch.cos(phase)).clamp(min=0)) * wrinkles
    steep = 0.9 * fold * pair * mm.sign() + 0.8 * fold_base * base - 0.55 * wrinkles * torch.sin(phase)
    axis = _tables(at.owner.device)[1][at.finger, at.chain.floor().clamp(0, 2).long()]  # (P, 3) per mm of bone
    return dark, (25 * steep)[:, None] * axis


def _palm_lines(at: Points) -> tuple[Tensor, Tensor]:
    """Lines of the palm and the wrist: darkness (P,) and slope (P, 3)."""
    inside = (at.finger >= 5) * ((-at.dorsal - 0.2) * 2).clamp(0, 1)
    x, y = at.rest_mm[:, 0] + 1.5 * at.smooth, at.rest_mm[:, 1] + 0.4 * at.fine
    dark, slope = 0.14 * _bell(at.smooth + 0.2 * at.fine, 0.05), torch.zeros_like(at.rest_mm)
    for cx, cy, radius, first, last in _PALM_LINES:
        dx, dy = x - cx, y - cy
        far = torch.hypot(dx, dy)
        off = far - radius
        line = _bell(off, 1.0) * ((x - first) / 8).clamp(0, 1) * ((last - x) / 8).clamp(0, 1) * (y > 4)
        dark = dark + 0.75 * line
        steep = 0.8 * line * off / far * inside
        slope[:, 0] += steep * dx
        slope[:, 1] += steep * dy
    for place in _WRIST_LINES_MM:
        off = y - place - 0.004 * x * x
        line = _bell(off, 0.9) * (x.abs() < 26)
        dark = dark + 0.32 * line
        slope[:, 1] += 0.8 * line * off * inside
    return dark * inside, slope


def _tendons_and_veins(at: Points) -> tuple[Tensor, Tensor]:
    """Ridges that fan out over the back of the hand and bluish veins between them: darkening (P, 3), slope (P, 3)."""
    x, y = at.rest_mm[:, 0] - _FAN_MM[0], at.rest_mm[:, 1] - _FAN_MM[1]
    turn = torch.atan2(x, y.clamp(min=1))
    lane = (_FAN_FIRST - turn) / _FAN_STEP  # 0, 1, 2, 3 on the tendons of index to little
    apart = _FAN_STEP * y  # mm between neighbours
    back = (at.finger >= 5) * ((at.dorsal - 0.3) * 2).clamp(0, 1) * at.marks[:, 1]
    off = (lane - lane.round().clamp(0, 3)) * apart  # mm
    ridge = _bell(off, 2.4) * back * _smoothstep(32.0, 55.0, y) * (1 - _smoothstep(100.0, 112.0, y))
    vein_at = (lane - 0.5 - (lane - 0.5).round().clamp(0, 2)) * apart + 7 * at.smooth
    vein = _bell(vein_at, 1.7) * back * (1 - _smoothstep(88.0, 104.0, y)) * (0.3 + 0.7 * _smoothstep(0.0, 40.0, y))
    steep = 0.28 * ridge * off + 0.20 * vein * vein_at  # against the lane's direction
    slope = torch.stack([steep * torch.cos(turn), -steep * torch.sin(turn), 0 * steep], 1)
    return vein[:, None] * vector(vein.device, 0.17, 0.09, 0.02), slope


def _nail(look: Look, at: Points, colour: Tensor) -> tuple[Tensor, Tensor]:
    """Nail plates over the skin: colour (P, 3) and cover (P,)."""
    across, along = at.nail.unbind(1)
    extent = across.abs() ** 3 + along.abs() ** 3
    here = (at.finger < 5) & (at.chain > 1.9)
    cover = (1 - _smoothstep(0.82, 1.1, extent)) * here
    rim = (_smoothstep(0.5, 0.9, extent) - _smoothstep(1.0, 1.9, extent)).clamp(min=0) * here
    tables = _tables(at.owner.device)
    tone = look.tone[at.owner]
    share = (0.50 - 0.04 * tone)[:, None]  # dark skin has darker nail beds
    plate = colour * (1 - share) + share * tables[2]
    moon = (1 - _smoothstep(0.7, 1.0, (across / 0.62) ** 2 + ((along + 0.95) / 0.42) ** 2))[:, None]
    plate = plate * (1 - 0.35 * moon) + 0.35 * moon * (0.25 + 0.75 * plate)
    free = _smoothstep(0.62, 0.72, along + 0.25 * across**2)[:, None]
    plate = plate * (1 - 0.5 * free) + 0.5 * free * vector(plate.device, 0.62, 0.55, 0.47)
    varnish = look.nail[at.owner]
    plate = plate * (1 - varnish[:, 3:]) + varnish[:, :3] ** GAMMA * varnish[:, 3:]
    colour = colour * (1 - rim[:, None] * vector(colour.device, 0.22, 0.32, 0.32))
    return colour + cover[:, None] * (plate - colour), cover


def _jewellery(at: Points, colour: Tensor) -> tuple[Tensor, Tensor]:
    """A ring on the ring finger or a band about the wrist of some persons: colour (P, 3) and cover (P,)."""
    kind = at.marks[:, 3]
    ring = ((at.chain - 0.56) * 43).abs().where((at.finger == 3) & (kind > 0.88), torch.full_like(kind, 9.0))
    band = (at.rest_mm[:, 1] + 24 + 0.15 * at.rest_mm[:, 0]).abs().where(kind < 0.08, ring)
    cover = 1 - _smoothstep(1.6, 2.2, band)
    metal = _tables(at.owner.device)[3][(kind * 977).long() % 2]
    shade = (0.65 - 0.45 * _smoothstep(0.9, 1.7, band))[:, None]
    around = (1 - 0.35 * torch.exp(-((band - 2.2).clamp(min=0) / 1.2)))[:, None]
    return colour * around * (1 - cover[:, None]) + metal * shade * cover[:, None], cover


def _cloth(look: Look, at: Points) -> tuple[Tensor, Tensor, Tensor]:
    """A sleeve's colour (P, 3) with hem and weave, slope (P, 3) of its folds, and cover (P,)."""
    kind = look.sleeve[at.owner]
    y = at.rest_mm[:, 1]
    past = -y - look.sleeve_from_mm[at.owner].clamp(max=1e4)  # mm from the hem
    wave = 0.5 + 0.5 * torch.sin(y * kind[:, 6] * 6.2832 + at.smooth)
    mix = ((wave - 0.5) * kind[:, 7] + 0.5 + 0.5 * (1 - kind[:, 7])).clamp(0, 1)[:, None]
    fabric = kind[:, 3:6] + mix * (kind[:, :3] - kind[:, 3:6])
    shade = 1 + 0.10 * at.fine - 0.30 * _bell(past, 1.2) - 0.22 * _bell(past - 14, 1.0)  # hem and its seam
    phase = past * 0.16 + 0.05 * at.rest_mm[:, 0] + 2.2 * at.smooth
    fold = 0.30 * torch.cos(phase) * _smoothstep(14.0, 40.0, past)
    colour = (fabric * shade[:, None] * (1 + 0.10 * torch.sin(phase)[:, None])).clamp(0.01, 1) ** GAMMA
    slope = torch.stack([0.3 * fold, -fold, 0.25 * at.fine], 1)
    return colour, slope, _smoothstep(-0.7, 0.7, past)


def sleeved(look: Look, owner: Tensor, rest_mm: Tensor) -> Tensor:
    """(P,) bool: points under a sleeve."""
    return -rest_mm[:, 1] > look.sleeve_from_mm[owner]
