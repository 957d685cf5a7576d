"""Procedural backgrounds: rooms, shelves and foliage with skin-coloured distractors, or a dim studio.

Two surfaces (a wall and what lies below it) show tiles of one atlas of textures. Before them stand soft objects,
people, arms and hands, painted coarsely because they are out of focus, and last a sharper object.
Lengths are fractions of the longer image side, the origin is the image's centre, y points down. An object's first
six numbers are x and y (-0.5..0.5 spans the frame), the cosine and sine of its axis, half its length and width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin.clutter import (
    FAR,
    NEAR,
    VIVID_SHARE,
    draw_colour,
    draw_objects,
    draw_panel,
    draw_people,
    paint_arm,
    paint_hand,
    paint_object,
    paint_panel,
    paint_person,
)
from msff.standin.draws import Draws, constant
from msff.standin.textures import LEVEL_PX, TEXELS, atlas, first_rows

SHARP_SHARE = 0.45  # of the images whose surfaces are in focus
_FINE_PX = 192  # up to this size soft things are painted at 0.42, above at 0.34 of the resolution
_MIN_CONTRAST = 0.17  # from the person's skin to a surface, root mean square over the channels
_WALL = (0.21, 0.03, 0.05, 0.05, 0.16, 0.07, 0.13, 0.05, 0.16, 0.04, 0.05)  # share of each texture but the rigs
_TABLE = (0.19, 0.12, 0.19, 0.28, 0.0, 0.02, 0.06, 0.04, 0.0, 0.0, 0.0, 0.10)
_OWN_COLOUR = (0.3, 0.25, 0.3, 0.5, 0.95, 0.85, 0.7, 0.6, 0.95, 0.8, 0.7, 0.4, 0.3, 0.3)  # of a texture that shows
_UPRIGHT = (0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1)  # textures that know up from down


@dataclass(frozen=True)
class Background:
    """B backgrounds. Surfaces: 0 the wall, 1 below the horizon. A blur of 0 or less means: not there."""

    tile: Tensor  # (B, 2) texture of each surface
    level: Tensor  # (B,) how blurred they are, 0 sharp .. 3
    uv: Tensor  # (B, 2, 6) place in tiles: 2 x 2 matrix by rows, then the shift
    dark: Tensor  # (B, 2, 3) sRGB where the texture is 0
    light: Tensor  # (B, 2, 3) sRGB where the texture is 1
    chroma: Tensor  # (B, 2) how much of the texture's own colour shows
    horizon: Tensor  # (B, 4) height, slope, distance of the vanishing line above it, shade along it
    corner: Tensor  # (B, 3) a vertical edge: place, step in brightness, width of its shade
    glow: Tensor  # (B, 6) brightness: slope in x and y, then centre, strength and radius of a pool of light
    cast: Tensor  # (B, 3) colour and brightness of the light
    panel: Tensor  # (B, 12) object, colour, panes along and across, blur: a window or a lamp
    person: Tensor  # (B, 14) head x, y, radius, lean, colours of skin, hair, shirt, blur
    arm: Tensor  # (B, 11) object, taper, colour, blur
    hand: Tensor  # (B, 11) object, gap between fingers, colour, blur
    far: Tensor  # (B, FAR, 15) object, corner radius, colour, roundness, side light, grain, blur, shadow
    near: Tensor  # (B, NEAR, 15)
    grain: Tensor  # (B, 6) texture on the objects, its scale and shift, direction of shadows
    skin_coloured: Tensor  # (B,) 1 where something has the colour of skin (hands may hide it), else 0


def draw_background(draws: Draws, skin_srgb: Tensor, studio: bool) -> Background:
    """Draw B backgrounds for persons of colour ``skin_srgb`` (B, 3)."""
    skin = skin_srgb.double()
    sharp = draws.flag(SHARP_SHARE)  # (B,)
    surfaces = _draw_surfaces(draws, skin, sharp, studio)
    gain = draws.uniform(0.8, 1.35)[:, None] if not studio else draws.uniform(0.7, 1.05)[:, None]
    warm = draws.normal(0, 0.035 if not studio else 0.012)[:, None]
    cast = gain * torch.cat([1 + warm, torch.ones_like(warm), 1 - warm], 1)
    angle = draws.uniform(0, 2 * math.pi)
    slope = draws.uniform(0, 0.5)
    pool = torch.stack([*draws.uniform(-0.6, 0.6, 2).unbind(1), draws.uniform(-0.3, 0.7), draws.uniform(0.25, 0.8)], 1)
    glow = torch.cat([torch.stack([slope * angle.cos(), slope * angle.sin()], 1), pool], 1)
    panel = draw_panel(draws, studio)
    person, arm, hand, some = draw_people(draws, skin, studio)
    far, near, near_skin = draw_objects(draws, skin, sharp, studio)
    turn = draws.uniform(0, 2 * math.pi)
    texture = draws.choice((0.15, 0.15, 0.1, 0.1, 0.1, 0.2, 0.05, 0.0, 0.1, 0.0, 0.0, 0.05)).double()
    rest = (draws.uniform(0.7, 2.5), *draws.take(2).unbind(1), 0.03 * turn.cos(), 0.03 * turn.sin().abs())
    grain = torch.stack([texture, *rest], 1)
    parts = (*surfaces, glow, cast, panel, person, arm, hand, far, near, grain, some | near_skin)
    return Background(*(part.float() for part in parts))


def paint_background(background: Background, height: int, width: int) -> Tensor:
    """Paint B backgrounds. -> (B, 3, H, W) sRGB in [0, 1]."""
    b = background
    x, y = _grid(height, width, b.uv.device)
    canvas = _surfaces(b, x, y, max(height, width))  # (B, 3, H, W)
    part = 0.42 if max(height, width) <= _FINE_PX else 0.34
    soft = _soft_layer(b, math.ceil(part * height), math.ceil(part * width), height, width)
    canvas = canvas.mul_(1 - soft[:, 3:]).add_(soft[:, :3])
    grain = canvas[:, 1] - 0.4  # the picture's own structure stands in for that of the objects
    frame = (width / max(height, width), height / max(height, width))
    for i in range(NEAR):
        canvas = paint_object(canvas, b.near[:, i], x, y, frame, grain, b.grain[:, 4:], 1 / max(height, width))
    return _lit(b, canvas, x, y)


def _lit(b: Background, canvas: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Uneven light over everything. (B, 3, H, W) -> the same in [0, 1]."""
    gx, gy, px, py, strength, radius = b.glow[:, :, None, None].unbind(1)
    pool = (((x - px) / radius) ** 2 + (((y - py) / radius) ** 2 + 1)).reciprocal_().mul_(strength)
    light = pool.add_(1 - 0.3 * strength).mul_((1 + gx * x) + gy * y)
    return canvas.mul_(light[:, None] * b.cast[:, :, None, None]).clamp_(0, 1)


def _draw_surfaces(draws: Draws, skin: Tensor, sharp: Tensor, studio: bool) -> tuple[Tensor, ...]:
    """tile, level, uv, dark, light, chroma, horizon and corner of :class:`Background`."""
    wall = draws.choice((0.0,) * 12 + (0.5, 0.5)) if studio else draws.choice(_WALL)
    below = wall if studio else draws.choice(_TABLE)
    tile = torch.stack([wall, below], 1)  # (B, 2)
    blurred = draws.choice((0.0, 0.3, 0.4, 0.3))
    level = blurred if studio else torch.where(sharp, 0, blurred)
    upright = constant(_UPRIGHT, draws.device)[tile] > 0  # (B, 2)
    turn = draws.uniform(-1, 1, 2) * torch.where(upright, 0.07, math.pi)
    scale = draws.uniform(math.log(0.55), math.log(1.9), 2).exp() * torch.where(upright, 0.8, 1.0)
    stretch = draws.uniform(0.8, 1.25, 2)
    c, s = scale * turn.cos(), scale * turn.sin()
    flip = draws.sign(2)
    uv = torch.stack([c * flip, -s, s * stretch * flip, c * stretch, *draws.take(2, 2).unbind(1)], 2)  # (B, 2, 6)
    chroma = constant(_OWN_COLOUR, draws.device)[tile] * draws.uniform(0.5, 1.1, 2)
    light, spread = draw_colour(draws, 2, vivid_share=0.4 * VIVID_SHARE), draws.uniform(0.25, 0.85, 2)[..., None]
    tint = draws.normal(1, 0.05, 2, 3)
    if studio:
        light = (0.16 + 0.34 * spread) * (1 + 0.10 * (light - light.mean(-1, keepdim=True)))
        light = light * (2 * skin.mean(-1)).clamp(0.5, 1)[:, None, None]  # dark hands need a darker room
    own = 0.65 * (chroma > 0.55)[..., None]  # what has colours of its own is not painted in one
    light = light + (own * (0.9 - light) if not studio else 0.0)
    dark = light * spread * (1 - own) * tint if not studio else light * 0.3
    light, dark = (light, dark) if studio else _apart(light, dark, skin)
    chroma = chroma * (0.3 + light.mean(-1)).clamp(max=1)
    place = draws.uniform(-0.1, 0.42) + 2.0 * (draws.flag(0.35) | studio)
    horizon = torch.stack([place, draws.normal(0, 0.06), draws.uniform(0.12, 0.5), draws.uniform(0, 0.6)], 1)
    edge = draws.uniform(-0.5, 0.5) + 3.0 * (draws.flag(0.55) | studio)
    corner = torch.stack([edge, draws.uniform(-0.35, 0.35), draws.uniform(0.03, 0.14)], 1)
    return tile, level, uv, dark, light, chroma, horizon, corner


def _apart(light: Tensor, dark: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Darken or lighten surfaces (B, 2, 3) that would hide the hands, by as much as their distance wants."""
    mean = (light + dark) / 2
    near = (_MIN_CONTRAST - (mean - skin[:, None]).square().mean(-1, keepdim=True).sqrt()).clamp(min=0)
    way = torch.where(skin.mean(-1, keepdim=True)[:, None] > 0.45, -1.0, 1.0)  # (B, 1, 1)
    move = 2.2 * near * way
    return (light + move).clamp(0.02, 1), (dark + move).clamp(0.01, 1)


def _surfaces(b: Background, x: Tensor, y: Tensor, size: int) -> Tensor:
    """Wall, edge and what lies below. -> (B, 3, H, W)."""
    height, slope, away, shade = b.horizon[:, :, None, None].unbind(1)
    drop = (y - height) - slope * x  # (B, H, W) below the edge
    below = (drop > 0).float()
    nearness = drop.clamp(min=0).add_(away).reciprocal_()
    wall, table = b.uv[:, :, :, None, None].unbind(1)  # (B, 6, 1, 1)
    place = []
    for p, q, shift in ((0, 1, 4), (2, 3, 5)):
        flat = torch.addcmul(table[:, shift], nearness, away * (1.6 * table[:, p] * x - 0.8 * table[:, q]))
        place.append(((wall[:, p] * x + wall[:, shift]) + wall[:, q] * y).lerp_(flat, below))
    row, side = _level(b, size)
    sample = _sample(*place, _pick(below, b.tile * (TEXELS + 2) + 1), row, side, 3)  # brightness, colour differences
    mixes = [torch.addcmul(b.dark[:, i, :, None, None], sample[:, :1], (b.light - b.dark)[:, i, :, None, None])
             for i in (0, 1)]  # fmt: skip
    canvas = mixes[0].lerp_(mixes[1], below[:, None])
    red, blue = sample[:, 1:].mul_(_pick(below, b.chroma)[:, None]).unbind(1)
    canvas[:, 0].add_(red)
    canvas[:, 1].sub_(red, alpha=0.509).sub_(blue, alpha=0.194)  # the third difference keeps the brightness
    canvas[:, 2].add_(blue)
    edge, step, wide = b.corner[:, :, None, None].unbind(1)
    off = x - edge  # (B, 1, W)
    crease = 0.2 * (1 - off.abs() / wide).clamp(min=0).square() - step * (off * size).clamp(0, 1)
    shadow = drop.abs_().mul_(-1 / 0.12).add_(1).clamp_(min=0).square_().mul_(-0.6 * shade).add_(1)
    return canvas.mul_(shadow.addcmul_(below.sub_(1), crease)[:, None])


def _level(b: Background, size: int) -> tuple[Tensor, Tensor]:
    """First row and size (B, 1, 1) in texels of the tiles that are blurred enough for the image's pixels."""
    footprint = TEXELS * b.uv[..., :4].abs().amax((1, 2)) / size  # texels per px
    needed = (footprint / 1.6).clamp(min=1e-3).log2().ceil()
    level = torch.maximum(b.level, needed).clamp(0, len(LEVEL_PX) - 1).long()
    row, side = (constant(t, level.device)[level].float()[:, None, None] for t in (first_rows(), LEVEL_PX))
    return row + 1, side


def _pick(below: Tensor, pair: Tensor) -> Tensor:
    """(B, 2) of the two surfaces -> (B, H, W)."""
    return torch.addcmul(pair[:, 0, None, None], below, (pair[:, 1] - pair[:, 0])[:, None, None])


def _sample(s: Tensor, t: Tensor, column: Tensor, row: Tensor, side: Tensor, channels: int) -> Tensor:
    """The atlas at (s, t) in tiles of ``side`` texels, repeated without end. -> (B, channels, H, W)."""
    sheet = atlas(str(s.device))[:, :channels]
    grid = s.new_empty(len(s), 2, *s.shape[1:]).permute(0, 2, 3, 1)  # (B, H, W, 2), planes apart: faster
    for i, (value, start) in enumerate(((s, column), (t, row))):
        texel = 2 / sheet.shape[3 - i]
        torch.addcmul(start * texel - 1, value - value.floor(), side * texel, out=grid[..., i])
    return F.grid_sample(sheet.expand(len(s), -1, -1, -1), grid, mode="bilinear", align_corners=False)


def _soft_layer(b: Background, h: int, w: int, height: int, width: int) -> Tensor:
    """What is out of focus, painted (h, w), at (height, width). -> (B, 4, H, W) premultiplied colour, coverage."""
    size = max(height, width)
    frame, pixel = (width / size, height / size), 1.3 / max(h, w)
    x, y = _grid(h, w, b.uv.device)
    x, y = x * (frame[0] * max(h, w) / w), y * (frame[1] * max(h, w) / h)
    g = b.grain[:, :, None, None]
    s, t = (x * g[:, 1] + g[:, 2]).expand(-1, h, -1), (y * g[:, 1] + g[:, 3]).expand(-1, -1, w)
    grain = (
        _sample(s, t, g[:, 0] * (TEXELS + 2) + 1, g.new_full((), first_rows()[1] + 1), g.new_full((), LEVEL_PX[1]), 1)[
            :, 0
        ]
        - 0.5
    )
    layer = torch.zeros(len(g), 4, h, w, device=g.device)
    layer = paint_panel(layer, b.panel, x, y, frame, pixel)
    for i in range(FAR):
        if i == FAR // 2:
            layer = paint_person(layer, b.person, x, y, frame, grain, pixel)
        layer = paint_object(layer, b.far[:, i], x, y, frame, grain, b.grain[:, 4:], pixel)
    layer = paint_arm(layer, b.arm, x, y, frame, grain, pixel)
    layer = paint_hand(layer, b.hand, x, y, frame, grain, pixel)
    return _enlarge(layer, height, width)


def _enlarge(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear; F.interpolate is several times slower on a CPU."""
    x, y = ((2 * torch.arange(n, device=image.device) + 1) / n - 1 for n in (width, height))
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    return F.grid_sample(image, grid.expand(len(image), -1, -1, -1), padding_mode="border", align_corners=False)


def _grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (1, W) and y (H, 1) of pixel centres."""
    x, y = (torch.arange(n, device=device) + 0.5 - n / 2 for n in (width, height))
    return x / max(height, width), y[:, None] / max(height, width)
