"""Periodic grey and coloured textures of rooms, streets and studios, made once from noise and kept as one atlas."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin.draws import once

TEXELS = 256  # side of a texture
LEVEL_PX = (256, 128, 64, 64)  # of the atlas' levels
_BLUR_PX = (0.0, 1.6, 4.5, 11.0)
NATURAL_SRGB = (  # what rooms and streets are made of
    (0.86, 0.84, 0.80), (0.78, 0.75, 0.70), (0.93, 0.92, 0.90), (0.62, 0.62, 0.63), (0.42, 0.42, 0.43),
    (0.20, 0.20, 0.22), (0.55, 0.42, 0.30), (0.38, 0.26, 0.18), (0.70, 0.56, 0.42), (0.25, 0.30, 0.42),
    (0.45, 0.52, 0.60), (0.62, 0.72, 0.82), (0.36, 0.42, 0.27), (0.24, 0.30, 0.18), (0.55, 0.58, 0.42),
    (0.52, 0.30, 0.26), (0.66, 0.48, 0.40), (0.30, 0.36, 0.38), (0.80, 0.78, 0.66), (0.50, 0.46, 0.44),
)  # fmt: skip


def first_rows() -> tuple[int, ...]:
    """First row of each level in the atlas; every tile has a border of one texel."""
    return tuple(sum(size + 2 for size in LEVEL_PX[:i]) for i in range(len(LEVEL_PX)))


@once
def atlas(device: str = "cpu") -> Tensor:
    """(1, 3, R, C) brightness, red - brightness, blue - brightness of all tiles (columns) and levels (rows)."""
    if device != "cpu":
        return atlas("cpu").to(device)
    rng = torch.Generator().manual_seed(20231107)
    makers = (_plaster, _clouds, _weave, _wood, _books, _clutter, _foliage, _bricks, _bottles, _bokeh, _facade, _carpet)
    tiles = torch.stack([make(rng).expand(3, -1, -1) for make in (*makers, _rig, _rig)]).clamp(0, 1)  # (K, 3, 256, 256)
    luma = (tiles * tiles.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    tiles = torch.stack([luma, tiles[:, 0] - luma, tiles[:, 2] - luma], 1)
    sheet = torch.zeros(3, first_rows()[-1] + LEVEL_PX[-1] + 2, len(tiles) * (TEXELS + 2))
    for row, sigma, size in zip(first_rows(), _BLUR_PX, LEVEL_PX, strict=True):
        level = F.avg_pool2d(_blurred(tiles, sigma), TEXELS // size)
        level = F.pad(level, (1, 1, 1, 1), mode="circular")
        for k, tile in enumerate(level):
            sheet[:, row : row + size + 2, k * (TEXELS + 2) : k * (TEXELS + 2) + size + 2] = tile
    return sheet[None]


def _frequencies() -> tuple[Tensor, Tensor]:
    """Cycles per tile down (256, 1) and across (1, 256)."""
    f = torch.fft.fftfreq(TEXELS) * TEXELS
    return f[:, None], f[None]


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Periodic Gaussian blur over the last two axes."""
    fy, fx = _frequencies()
    response = torch.exp(-2 * (math.pi * sigma / TEXELS) ** 2 * (fy**2 + fx**2))
    return torch.fft.ifft2(torch.fft.fft2(images) * response).real


def _noise(rng: torch.Generator, exponent: float, stretch: float = 1.0, count: int = 1) -> Tensor:
    """(count, 256, 256) periodic noise of spectrum 1/f^exponent, deviation 1; ``stretch`` > 1 draws it out along x."""
    fy, fx = _frequencies()
    f = (fy**2 + (stretch * fx) ** 2).sqrt()
    f[0, 0] = torch.inf
    noise = torch.fft.ifft2(torch.fft.fft2(torch.randn(count, TEXELS, TEXELS, generator=rng)) / f**exponent).real
    return noise / noise.std((1, 2), keepdim=True)


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=rng)


def _plaster(rng: torch.Generator) -> Tensor:
    return 0.5 + 0.09 * _noise(rng, 1.0) + 0.10 * _noise(rng, 2.0) + 0.03 * _noise(rng, 2.0, count=3)


def _clouds(rng: torch.Generator) -> Tensor:
    return 0.5 + 0.2 * _noise(rng, 1.9) + 0.05 * _noise(rng, 2.0, count=3)


def _weave(rng: torch.Generator) -> Tensor:
    i = torch.arange(TEXELS) * (2 * math.pi / TEXELS)
    threads = torch.sin(32 * i)[:, None] * torch.sin(32 * i) * 0.10 + 0.05 * torch.sin(4 * i)[:, None].sign()
    folds = 0.17 * _noise(rng, 2.2, 0.5)
    return 0.5 + threads + folds + 0.05 * _noise(rng, 0.6) + 0.05 * _noise(rng, 1.8, count=3)


def _wood(rng: torch.Generator) -> Tensor:
    y = torch.arange(TEXELS)[:, None] / TEXELS
    warp = _noise(rng, 2.0, 6.0)[0]
    rings = torch.sin(2 * math.pi * (7 * y + 1.3 * warp))
    boards = (torch.arange(TEXELS) % 64 < 2).float()[:, None]
    grey = 0.55 + 0.12 * rings + 0.12 * _noise(rng, 0.8, 12.0)[0] + 0.06 * warp - 0.3 * boards
    return grey + torch.tensor([0.05, 0.0, -0.06])[:, None, None] * (1 + rings.expand(TEXELS, TEXELS))


def _palette(rng: torch.Generator, vivid: float) -> Tensor:
    """(3,) a natural or, with probability ``vivid``, a saturated colour."""
    natural = torch.tensor(NATURAL_SRGB)[torch.randint(len(NATURAL_SRGB), (), generator=rng)]
    bright = 0.5 + 0.27 * torch.cos(2 * math.pi * (_uniform(rng) + torch.arange(3) / 3))
    return torch.where(_uniform(rng) < vivid, bright, natural) * (0.6 + 0.5 * _uniform(rng))


def _shelves(rng: torch.Generator, widths: tuple[int, int], run: int, vivid: float) -> Tensor:
    """Three boards of upright things ``widths`` px wide, ``run`` of one colour beside each other."""
    tile = 0.10 + 0.06 * _uniform(rng, 1, TEXELS, 1).expand(3, TEXELS, TEXELS).clone()
    for top in (0, 86, 171):
        tile[:, top : top + 7] = torch.tensor([0.62, 0.56, 0.48])[:, None, None] * (0.6 + 0.4 * _uniform(rng))
        x, number, colour, high = 0, 0, None, 0
        while x < TEXELS:
            if number % run == 0:
                colour, high = _palette(rng, vivid), int(48 + 28 * _uniform(rng))
                width = int(torch.randint(widths[0], widths[1], (), generator=rng))
            wide = min(width, TEXELS - x)
            round_ = 1 - 0.6 * (torch.linspace(-1, 1, wide) - 0.25).square()
            thing = tile[:, top + 85 - high : top + 85, x : x + wide]
            thing[:] = colour[:, None, None] * round_
            if _uniform(rng) < 0.6:  # a label
                low = int(_uniform(rng) * high * 0.6)
                thing[:, low : low + 4 + int(12 * _uniform(rng))] = _palette(rng, vivid)[:, None, None] * round_
            x, number = x + wide + int(_uniform(rng) < 0.3), number + 1
    return tile * (1 + 0.06 * _noise(rng, 0.7))


def _books(rng: torch.Generator) -> Tensor:
    return _shelves(rng, (5, 17), 1, 0.15)


def _bottles(rng: torch.Generator) -> Tensor:
    return _shelves(rng, (13, 22), 3, 0.35)


def _leaves(rng: torch.Generator, count: int, radii: tuple[float, float], aspect: float, colours, shading: float):
    """Shapes laid one over the other, the large ones first: the edges of natural scenes. -> (3, 256, 256)."""
    tile = colours(rng)[:, None, None].expand(3, TEXELS, TEXELS).clone()
    for number in range(count):
        r = radii[1] * (radii[0] / radii[1]) ** (0.5 * (number / count + float(_uniform(rng))))
        reach = int(r) + 2
        i = torch.arange(-reach, reach + 1)
        angle = _uniform(rng) * math.pi
        u = (torch.cos(angle) * i[None] + torch.sin(angle) * i[:, None]) / r
        v = (torch.cos(angle) * i[:, None] - torch.sin(angle) * i[None]) / (r * (1 - (1 - aspect) * _uniform(rng)))
        square = _uniform(rng) < 0.4 * aspect
        distance = torch.maximum(u.abs(), v.abs()) * 1.3 if square else (u**2 + v**2).sqrt()
        alpha = ((1 - distance) * r + 0.5).clamp(0, 1)
        shade = 1 + shading * (u + v - 0.8 * v * v)
        rows, columns = ((torch.randint(TEXELS, (), generator=rng) + i) % TEXELS for _ in range(2))
        patch = tile[:, rows[:, None], columns]
        tile[:, rows[:, None], columns] = patch + alpha * (colours(rng)[:, None, None] * shade - patch)
    return tile


def _clutter(rng: torch.Generator) -> Tensor:
    return _leaves(rng, 300, (6.0, 60.0), 0.8, lambda g: _palette(g, 0.08), 0.22) * (1 + 0.05 * _noise(rng, 1.0))


def _foliage(rng: torch.Generator) -> Tensor:
    def green(g: torch.Generator) -> Tensor:
        light = 0.12 + 0.75 * _uniform(g) ** 1.6
        return light * torch.tensor([0.75, 0.92, 0.42]) * (1 + 0.12 * torch.randn(3, generator=g))

    return _leaves(rng, 900, (4.0, 26.0), 0.35, green, 0.3) * (1 + 0.28 * _noise(rng, 1.8))


def _bricks(rng: torch.Generator) -> Tensor:
    y, x = torch.arange(TEXELS)[:, None].expand(TEXELS, TEXELS), torch.arange(TEXELS)[None].expand(TEXELS, TEXELS)
    course = y // 32
    x = (x + 32 * (course % 2)) % TEXELS
    tone = 0.45 + 0.28 * _uniform(rng, 8, 4)
    joint = ((y % 32 < 3) | (x % 64 < 3)).float()
    grey = tone[course, x // 64] * (1 - joint) + 0.72 * joint
    return (grey + 0.05 * _noise(rng, 0.8)) * torch.tensor([1.12, 0.97, 0.88])[:, None, None]


def _bokeh(rng: torch.Generator) -> Tensor:
    tile = 0.16 + 0.06 * _noise(rng, 2.0, count=3)
    i = torch.arange(-24, 25)
    for _ in range(46):
        r = float(7 + 14 * _uniform(rng))
        d = (i[None] ** 2 + i[:, None] ** 2).sqrt()
        alpha = ((r - d) / 2).clamp(0, 1) * (0.12 + 0.5 * _uniform(rng) ** 2)
        colour = 0.9 + 0.35 * _uniform(rng) * torch.tensor([0.3, -0.2, -0.9])
        rows, columns = ((torch.randint(TEXELS, (), generator=rng) + i) % TEXELS for _ in range(2))
        tile[:, rows[:, None], columns] += alpha * colour[:, None, None]
    return tile


def _facade(rng: torch.Generator) -> Tensor:
    tile = 0.68 + 0.04 * _noise(rng, 1.2, count=1).expand(3, -1, -1).clone()
    for row in range(4):
        for column in range(4):
            part = tile[:, 64 * row + 10 : 64 * row + 52, 64 * column + 16 : 64 * column + 48]
            part[:] = 0.85
            glass = (0.12 + 0.35 * _uniform(rng) ** 2) * torch.linspace(1.4, 0.8, 38)[None, :, None]
            part[:, 2:-2, 2:-2] = glass * (1 + 0.25 * torch.tensor([-0.3, 0.0, 0.5])[:, None, None])
            part[:, :, 15:17] = 0.8
        tile[:, 64 * row + 60 : 64 * row + 63] *= 0.7
    return tile


def _carpet(rng: torch.Generator) -> Tensor:
    return 0.5 + 0.16 * _noise(rng, 0.35) + 0.08 * _noise(rng, 1.8) + 0.02 * _noise(rng, 0.5, count=3)


def _rig(rng: torch.Generator) -> Tensor:
    """Frames, cables, cameras and their lamps in the dark of a studio."""
    tile = 0.22 + 0.05 * _noise(rng, 2.0).expand(3, -1, -1).clone()
    for number in range(26):
        start, wide = int(TEXELS * _uniform(rng)), int(2 + 9 * _uniform(rng) ** 2)
        lines = (torch.arange(wide) + start) % TEXELS
        tone = (0.05 + 0.75 * _uniform(rng) ** 2) * (1 - 0.5 * torch.linspace(-1, 1, wide).square())
        if number % 3 == 0:
            tile[:, lines] = tone[None, :, None].expand(3, wide, TEXELS)
        else:
            rows = (torch.arange(int(60 + 190 * _uniform(rng))) + int(TEXELS * _uniform(rng))) % TEXELS
            tile[:, rows[:, None], lines] = tone[None, None].expand(3, len(rows), wide)
    for _ in range(14):
        high, wide = (int(10 + 22 * _uniform(rng)) for _ in range(2))
        rows, columns = ((torch.arange(n) + int(TEXELS * _uniform(rng))) % TEXELS for n in (high, wide))
        tile[:, rows[:, None], columns] = 0.04 + 0.2 * _uniform(rng)
        tile[:, rows[high // 2 : high // 2 + 3, None], columns[wide // 2 : wide // 2 + 3]] = 0.75
    return tile * (1 + 0.1 * _noise(rng, 1.2))
