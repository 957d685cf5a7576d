"""Who looks how: what a person keeps of skin, nails and clothes, and the light of the moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.standin.draws import Draws, constant
from msff.standin.vectors import unit

NOISE_CELLS = 48  # period of the skin's noise
_VARNISH_SRGB = (
    (0.62, 0.05, 0.10), (0.80, 0.32, 0.40), (0.88, 0.62, 0.60), (0.25, 0.03, 0.08),
    (0.10, 0.10, 0.14), (0.15, 0.22, 0.45), (0.80, 0.76, 0.72), (0.55, 0.10, 0.35),
)  # fmt: skip
_LIGHTS = (  # share, key, ambient, fill, warmth: hard sun, window or lamp, overcast or diffuse indoors, dim
    (0.25, 0.95, 0.22, 0.08, 0.06), (0.33, 0.68, 0.36, 0.14, 0.04), (0.32, 0.34, 0.62, 0.12, 0.0),
    (0.10, 0.34, 0.26, 0.10, 0.10),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Appearance of B scenes; both hands of a scene belong to one person."""

    tone: Tensor  # (B,) 0 very light .. 7 very dark, fractions between
    tint: Tensor  # (B, 3) factors on the skin's colour
    redness: Tensor  # (B,)
    nail: Tensor  # (B, 4) colour and how much of it (varnish)
    sleeve_from_mm: Tensor  # (B,) distance from the wrist at which a sleeve begins, inf without
    sleeve: Tensor  # (B, 8) two colours, stripes per mm, contrast
    texture_shift: Tensor  # (B, 3) place in the noise, cells
    marks: Tensor  # (B, 4) a person's freckles, veins and tendons, wrinkles, jewellery; 0..1
    light: Tensor  # (B, 3) unit vector to the light, cam frame
    light_colour: Tensor  # (B, 3)
    fill: Tensor  # (B, 3) unit vector to the fill light
    fill_colour: Tensor  # (B, 3)
    ambient: Tensor  # (B, 3)
    gloss: Tensor  # (B,)


def draw_look(person: Draws, moment: Draws, tone: Tensor, studio: bool) -> Look:
    """Appearance of B scenes. ``person`` decides what a person keeps, ``moment`` the light; ``tone`` (B,) 0..7.

    Both keys of light point from the hand, x right, y down, z away from the viewer.
    """
    tone = (tone + person.uniform(-0.3, 0.3)).clamp(0, 7)
    tint = (1 + person.normal(0, 0.022, 3)) * (1 + person.normal(0, 0.025))[:, None]
    redness, gloss = person.uniform(0.3, 1.0), person.uniform(0.025, 0.11)
    varnish = constant(_VARNISH_SRGB, tint.device)[person.choice((1.0,) * len(_VARNISH_SRGB))]
    nail = torch.cat([(varnish + person.normal(0, 0.03, 3)).clamp(0.02, 0.95), 0.92 * person.flag(0.13, 1)], 1)
    start = torch.where(person.flag(0.7), person.uniform(8, 60), person.uniform(60, 170))
    start = start.masked_fill(~person.flag(0.55), torch.inf)
    shift = person.uniform(0, NOISE_CELLS, 3)
    sleeve = _draw_cloth(person)

    table = constant(_LIGHTS, tint.device)
    kind = table[moment.choice(tuple(row[0] for row in _LIGHTS))]  # (B, 5)
    if studio:
        kind = (0.3 * table[1] + 0.7 * table[2]).expand_as(kind)
    light = moment.normal(0, 1, 3) * constant((0.8, 0.5, 0.25), tint.device) + constant((0.0, -0.6, -0.9), tint.device)
    fill = torch.stack([-light[:, 0], moment.uniform(-0.2, 0.6), -0.6 + 0 * light[:, 0]], 1)
    warm = kind[:, 4] + moment.normal(0, 0.05)
    colour = torch.stack([1 + warm, 1 + 0.2 * warm, 1 - warm], 1)
    # a camera meters for what it sees, and dark skin is a small part of that
    power = (0.95 + 0.06 * tone) * torch.exp(moment.normal(0, 0.08 if studio else 0.16))
    sky = (1 + moment.normal(0, 0.03, 3)) * (1 - 0.3 * (colour - 1))
    share = moment.uniform(0.8, 1.2)
    parts = {
        "tone": tone, "tint": tint, "redness": redness, "nail": nail, "sleeve_from_mm": start, "sleeve": sleeve,
        "texture_shift": shift, "marks": person.take(4), "gloss": gloss,
        "light": unit(light), "fill": unit(fill),
        "light_colour": (power * share * kind[:, 1])[:, None] * colour,
        "fill_colour": (power * kind[:, 3] * moment.uniform(0.5, 1.5))[:, None] * sky,
        "ambient": (power * kind[:, 2] * (2 - share))[:, None] * sky,
    }  # fmt: skip
    return Look(**{name: value.float() for name, value in parts.items()})


def _draw_cloth(person: Draws) -> Tensor:
    """(B, 8) two sRGB colours of one hue, stripes per mm and contrast; mostly muted, as clothes are."""
    value, hue = person.uniform(0.07, 0.85), person.take()
    saturation = 0.75 * person.take() ** 1.6
    turn = 6.2832 * (hue[:, None] + constant((0.0, 1 / 3, 2 / 3), value.device))
    first = value[:, None] * (1 - saturation[:, None] * (0.5 - 0.5 * torch.cos(turn)))
    other = torch.where(person.flag(0.5)[:, None], first * person.uniform(0.45, 0.8)[:, None], 0.85 - 0.7 * first)
    stripes, contrast = 1 / person.uniform(5, 26), person.flag(0.35) * person.uniform(0.4, 1.0)
    return torch.cat([first, other.clamp(0.03, 0.9), stripes[:, None], contrast[:, None]], 1)
