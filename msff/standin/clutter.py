"""What stands in a background: windows, boxes and rods, people, bare arms and hands. Frames as in ``background``.

An object's first six numbers are x and y (-0.5..0.5 spans the frame), the cosine and sine of its axis, half its length
and half its width. A blur of 0 or less means: not there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from msff.standin.anatomy import SKIN_TONES_SRGB
from msff.standin.draws import Draws, constant
from msff.standin.textures import NATURAL_SRGB

FAR, NEAR = 3, 1  # objects out of focus, and those that may be sharp
PERSON_SHARE, ARM_SHARE, HAND_SHARE, NEAR_SKIN_SHARE = 0.16, 0.18, 0.16, 0.06
SKIN_SHARE = 1 - (1 - PERSON_SHARE) * (1 - ARM_SHARE) * (1 - HAND_SHARE) * (1 - NEAR_SKIN_SHARE) ** NEAR
VIVID_SHARE = 0.10  # of the objects' colours; the rest are muted


def draw_colour(draws: Draws, *shape: int, vivid_share: float = VIVID_SHARE) -> Tensor:
    """(B, *shape, 3) sRGB: a natural colour, seldom a vivid one. 7 numbers each."""
    table = constant(NATURAL_SRGB, draws.device)
    pick = (draws.take(*shape) * len(table)).long()
    gain, tint = draws.uniform(0.6, 1.15, *shape, 1), draws.normal(1, 0.06, *shape, 3)
    phase = draws.take(*shape, 1) + torch.arange(3, device=draws.device) / 3
    vivid = 0.48 + 0.34 * torch.cos(2 * math.pi * phase)
    colour = torch.where(draws.flag(vivid_share, *shape)[..., None], vivid, table[pick] * tint)
    return (colour * gain).clamp(0.02, 0.98)


def draw_skin(draws: Draws, skin: Tensor, *shape: int) -> Tensor:
    """(B, *shape, 3) sRGB: the person's own colour or another tone, lighter or darker. 3 numbers each."""
    table = constant(SKIN_TONES_SRGB, draws.device)
    other = table[(draws.take(*shape) * len(table)).long()]
    own = skin.view(len(skin), *(1 for _ in shape), 3).expand_as(other)
    colour = torch.where(draws.flag(0.5, *shape)[..., None], own, other)
    return colour * draws.uniform(0.6, 0.95, *shape, 1)


def _axis(draws: Draws, low: float, high: float, *shape: int) -> tuple[Tensor, Tensor]:
    """(B, *shape, 1) cosine and sine of an angle in radians."""
    angle = draws.uniform(low, high, *shape, 1)
    return angle.cos(), angle.sin()


def draw_panel(draws: Draws, studio: bool) -> Tensor:
    """(B, 12) a window, or in the studio a lamp near the border."""
    place, side = draws.uniform(-0.6, 0.6, 2), draws.sign()
    size = draws.uniform(0.08, 0.35, 2) if not studio else draws.uniform(0.03, 0.09, 2)
    if studio:
        place = torch.stack([side * draws.uniform(0.38, 0.55), draws.uniform(-0.55, 0.1)], 1)
    colour = draws.uniform(0.75, 1.15, 1) * draws.normal(1, 0.04 if not studio else 0.015, 3)
    panes = 1 + (draws.take(2) * (3 if not studio else 1)).floor()
    blur = torch.where(draws.flag(0.13 if not studio else 0.5), draws.uniform(0.006, 0.05), 0.0)[:, None] * (
        2 if studio else 1
    )
    c, s = _axis(draws, -0.1, 0.1)
    return torch.cat([place, c, s, size, colour * (0.8 if studio else 1.0), panes, blur], 1)


def draw_people(draws: Draws, skin: Tensor, studio: bool) -> tuple[Tensor, ...]:
    """Person (B, 14), arm (B, 11) and hand (B, 11) in the background, and whether there is any (B,)."""
    colours = draw_skin(draws, skin, 3)
    there = draws.take(3) < constant((PERSON_SHARE, ARM_SHARE, HAND_SHARE), draws.device)
    there = there & (not studio)
    blur = torch.where(there, draws.uniform(math.log(0.006), math.log(0.05), 3).exp(), 0.0)[..., None]
    place = torch.stack([draws.uniform(-0.55, 0.55), draws.uniform(-0.5, 0.05)], 1)
    hair = draws.uniform(0.05, 0.35, 1) * constant((1.15, 0.95, 0.8), draws.device)
    body = torch.cat([draws.uniform(0.07, 0.19, 1), draws.normal(0, 0.12, 1)], 1)
    person = torch.cat([place, body, colours[:, 0], hair, draw_colour(draws), blur[:, 0]], 1)
    c, s = _axis(draws, -math.pi, math.pi, 2)
    at = draws.uniform(-0.55, 0.55, 2, 2)
    wide = draws.uniform(0.035, 0.085, 2, 1)
    long = torch.cat([draws.uniform(0.25, 0.5, 1), wide[:, 1]], 1)[..., None]
    last = torch.cat([draws.uniform(0.0, 0.35, 1), draws.uniform(0.0, 0.5, 1)], 1)[..., None]
    limbs = torch.cat([at, c, s, long, wide, last, colours[:, 1:], blur[:, 1:]], 2)  # (B, 2, 11)
    return person, limbs[:, 0], limbs[:, 1], there.any(1)


def draw_objects(draws: Draws, skin: Tensor, sharp: Tensor, studio: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Far (B, FAR, 15) and near (B, NEAR, 15) objects, and whether a near one has the colour of skin (B,)."""
    n = FAR + NEAR
    at, colour = draws.uniform(-0.6, 0.6, n, 2), draw_colour(draws, n)
    upright = draws.flag(0.75 if not studio else 0.85, n)[..., None]
    angle = draws.normal(0, 1, n, 1) * torch.where(upright, 0.05, 1.2) + math.pi / 2
    size = draws.uniform(math.log(0.04), math.log(0.36), n, 2).exp()
    size, _ = size.sort(-1, descending=True)
    if studio:  # stands, booms, cameras
        colour = (0.02 + 0.16 * colour.mean(-1, keepdim=True)).expand(-1, -1, 3)
        size = size * constant((2.0, 0.22), draws.device)
    corner = size[..., 1:] * draws.take(n, 1).square()
    rounded = corner / size[..., 1:]
    style = torch.cat([rounded * 0.55, draws.uniform(-0.25, 0.25, n, 1), draws.uniform(0.1, 1.3, n, 1)], 2)
    focus = torch.where(sharp, 0.35, 1.0)[:, None, None]
    depth = draws.uniform(math.log(0.006), math.log(0.06), n, 1).exp() * focus
    depth = torch.cat([depth[:, :FAR], depth[:, FAR:] * 0.3], 1)
    there = draws.take(n, 1) < (0.62 if not studio else 0.45)
    blur, shadow = torch.where(there, depth, 0.0), draws.uniform(0, 0.6, n, 1)
    flesh = draws.flag(NEAR_SKIN_SHARE, NEAR)[..., None] & (not studio)
    colour = torch.cat([colour[:, :FAR], torch.where(flesh, draw_skin(draws, skin, NEAR), colour[:, FAR:])], 1)
    near_blur = torch.where(flesh, depth[:, FAR:], blur[:, FAR:] * (not studio))
    blur = torch.cat([blur[:, :FAR], near_blur], 1)
    parts = torch.cat([at, angle.cos(), angle.sin(), size, corner, colour, style, blur, shadow], 2)
    return parts[:, :FAR], parts[:, FAR:], flesh.any(-1).any(-1)


def _local(o: Tensor, x: Tensor, y: Tensor, frame: tuple[float, float]) -> tuple[Tensor, ...]:
    """Coordinates (B, H, W) along and across an object (B, 6+), and its half length and width (B, 1, 1)."""
    px, py, c, s, a, b = o[:, :6, None, None].unbind(1)
    dx, dy = x - px * frame[0], y - py * frame[1]
    return c * dx + s * dy, c * dy - s * dx, a, b


def _box(u: Tensor, v: Tensor, a: Tensor, b: Tensor, corner: Tensor | float) -> Tensor:
    """Signed distance to a rectangle with round corners."""
    qx, qy = u.abs().add_(corner - a), v.abs().add_(corner - b)
    inside = torch.maximum(qx, qy).clamp_(max=0)
    return inside.add_(qx.clamp_(min=0).square_().add_(qy.clamp_(min=0).square_()).sqrt_()).sub_(corner)


def _cover(distance: Tensor, blur: Tensor, pixel: float) -> Tensor:
    """Coverage of a shape whose edge is ``blur`` wide, none where blur is not positive. blur (B,)."""
    there = (blur > 0).float()[:, None, None]
    alpha = torch.addcmul(0.5 * there, distance, -there / blur.clamp(min=pixel)[:, None, None]).clamp_(0, 1)
    return alpha.square().mul_(alpha.mul_(-2).add_(3))


def _over(canvas: Tensor, alpha: Tensor, colour: Tensor, shade: Tensor) -> Tensor:
    """Lay ``colour`` (B, 3) times ``shade`` (B, H, W) over the canvas, of 3 or 4 (premultiplied) channels."""
    lit = colour[:, :, None, None] * shade[:, None]
    canvas[:, :3].lerp_(lit, alpha[:, None])
    if canvas.shape[1] == 4:
        canvas[:, 3].lerp_(torch.ones_like(alpha), alpha)
    return canvas


def _darken(canvas: Tensor, amount: Tensor) -> Tensor:
    """Shadow ``amount`` (B, H, W) in 0..1 on a canvas of 3 or 4 channels."""
    canvas[:, :3].mul_((1 - amount)[:, None])
    if canvas.shape[1] == 4:
        canvas[:, 3].lerp_(torch.ones_like(amount), amount)
    return canvas


def paint_object(canvas, o, x, y, frame, grain, way, pixel) -> Tensor:
    """A box, disc or rod with its soft shadow. ``o`` (B, 15), ``way`` (B, 2) where shadows fall."""
    u, v, a, b = _local(o, x, y, frame)
    _, _, c, s, _, _, corner, _, _, _, rounded, side, rough, soft, depth = o[:, :, None, None].unbind(1)
    right, down = way[:, :, None, None].unbind(1)
    du, dv = (c * right + s * down) / (a + 0.05), (c * down - s * right) / (b + 0.05)
    distance = _box(u, v, a, b, corner)
    wide = -1 / (0.04 + 1.5 * soft)
    shadow = torch.addcmul(distance * wide, u, -du * wide).addcmul_(v, -dv * wide).add_(0.7).clamp_(0, 1).square_()
    canvas = _darken(canvas, shadow.mul_(depth * (soft > 0)))
    across = (v / b).clamp_(-1, 1)
    shade = torch.addcmul(u * (0.5 * side / a), across, side).addcmul_(grain, rough).add_(1.03)
    shade = shade.addcmul_(across.square_(), -rounded).clamp_(min=0.05)
    return _over(canvas, _cover(distance, o[:, 13], pixel), o[:, 7:10], shade)


def paint_panel(canvas, o, x, y, frame, pixel) -> Tensor:
    """A bright rectangle of panes. ``o`` (B, 12)."""
    u, v, a, b = _local(o, x, y, frame)
    n, m = o[:, 9, None, None], o[:, 10, None, None]
    p, q = (u / a + 1) * n / 2, (v / b + 1) * m / 2
    bars = torch.maximum((p - p.floor() - 0.5).abs(), (q - q.floor() - 0.5).abs())
    bars = ((bars - 0.46) / (0.03 + o[:, 11, None, None])).clamp_(0, 1)
    shade = 1 - 0.7 * bars + 0.15 * u / a
    return _over(canvas, _cover(_box(u, v, a, b, 0.0), o[:, 11], pixel), o[:, 6:9], shade)


def paint_person(canvas, o, x, y, frame, grain, pixel) -> Tensor:
    """Head with hair, neck and shoulders. ``o`` (B, 14)."""
    r = o[:, 2, None, None]
    dy = (y - o[:, 1, None, None] * frame[1]) / r  # (B, H, 1) in radii of the head
    dx = (x - o[:, 0, None, None] * frame[0]) / r - o[:, 3, None, None] * dy  # (B, H, W)
    edge = torch.where(o[:, 13] > 0, o[:, 13].clamp(min=pixel) / o[:, 2], 0.0)
    across, side = dx.square(), dx.abs()
    hair = (across / 0.85).add_(((dy + 0.22) / 1.12).square()).sqrt_().sub_(1)
    canvas = _over(canvas, _cover(hair, edge, 1e-6), o[:, 7:10], 1 + 0.8 * grain)
    tone = torch.addcmul(1.0 + 0.2 * grain, dx, dx + 1.2, value=-0.22)
    neck = _box(dx, dy - 1.0, 0.40, 0.75, 0.1)
    canvas = _over(canvas, _cover(neck, edge, 1e-6), o[:, 4:7], tone - 0.3)
    jaw = (dy - 0.12) / (0.98 - 0.12 * dy.clamp(0, 1))
    face = (across / 0.52).add_(jaw.square()).sqrt_().sub_(1)
    eyes = ((side - 0.30) / 0.22).square_().add_(((dy + 0.02) / 0.16).square())
    mouth = (across / 0.16).add_(((dy - 0.60) / 0.12).square())
    nose = ((dx - 0.09) / 0.14).square_().add_(((dy - 0.26) / 0.3).square())
    for spot, depth in ((eyes, 0.5), (mouth, 0.3), (nose, 0.16)):
        tone.sub_(spot.neg_().add_(1).clamp_(min=0), alpha=depth)
    canvas = _over(canvas, _cover(face, edge, 1e-6), o[:, 4:7], tone)
    slope = (dy - 1.5).clamp(0, 1.6).sqrt()  # shoulders
    body = _box(dx, dy - 10.4, 0.7 + 1.25 * slope, 9.0, 0.1)
    folds = (0.7 * grain).sub_(dx, alpha=0.12).add_(1)
    return _over(canvas, _cover(body, edge, 1e-6), o[:, 10:13], folds)


def paint_arm(canvas, o, x, y, frame, grain, pixel) -> Tensor:
    """A bare forearm, thinner at one end. ``o`` (B, 11)."""
    u, v, a, b = _local(o, x, y, frame)
    b = b * (1 + o[:, 6, None, None] * (u / a).clamp(-1, 1))
    across = v / b
    distance = _box(u, across * o[:, 5, None, None], a, o[:, 5, None, None], o[:, 5, None, None])
    shade = 1.05 - 0.42 * across.square() + 0.2 * across + 0.25 * grain
    return _over(canvas, _cover(distance, o[:, 10], pixel), o[:, 7:10], shade.clamp(min=0.2))


def paint_hand(canvas, o, x, y, frame, grain, pixel) -> Tensor:
    """Another hand: palm, four fingers by repetition, thumb, forearm; the unit is half the palm. ``o`` (B, 11)."""
    u, v, _, b = _local(o, x, y, frame)
    u, v = u / b, v / b
    fan = 1 + (0.08 + 0.3 * o[:, 6, None, None]) * (u - 0.8).clamp(0, 3)
    f = v / fan
    lane = (f / 0.5).floor().clamp(-2, 1) * 0.5 + 0.25  # the middles of four fingers
    reach = 2.25 - 0.75 * (lane - 0.12).square() + o[:, 6, None, None] * 0.4 * lane
    off = f - lane
    fingers = _box(u - reach / 2, off, reach / 2 + 0.3, 0.21, 0.2)
    palm = _box(u + 0.1, v, 1.15, 1.0, 0.5)
    tu, tv = 0.75 * (u + 0.4) - 0.66 * (v - 0.8), 0.66 * (u + 0.4) + 0.75 * (v - 0.8)
    thumb = _box(tu - 0.1, tv - 0.55, 0.27, 0.95, 0.26)
    arm = _box(u + 3.2, v, 2.6, 0.68, 0.2)
    distance = torch.minimum(torch.minimum(fingers, palm), torch.minimum(thumb, arm))
    tips = (u - 0.75).clamp(0, 1)
    shade = 1.02 - 0.18 * v.clamp(-1.4, 1.4) - 6.5 * tips * off.square().clamp(max=0.08) + 0.2 * grain
    shade = shade - 0.1 * (v.abs().clamp(max=1.2)).square()
    edge = torch.where(o[:, 10] > 0, o[:, 10].clamp(min=pixel) / o[:, 5], 0.0)
    return _over(canvas, _cover(distance, edge, 1e-6), o[:, 7:10], shade.clamp(min=0.15))
