"""What a camera makes of a scene: lens and motion blur, exposure, vignetting, noise, JPEG, 8 bits.

Every step is continuous in its input (JPEG rounds by a steep but continuous staircase), so that differences in the
last bit between machines or batch sizes stay below one grey level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin.draws import Draws, once

MOTION_SHARE, DEFOCUS_SHARE, JPEG_SHARE = 0.2, 0.15, 0.35
LONGEST_MOTION = 0.03  # of the longer image side
JPEG_QUALITY = (25.0, 90.0)
NOISE_TILE = 512  # px, period of the noise
_RADIUS = 6  # px, largest half width of the blur's kernel
_LUMA = (0.299, 0.587, 0.114)
_LUMA_STEPS = (  # ITU-T T.81, table K.1
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_STEPS = (  # ITU-T T.81, table K.2
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip


@dataclass(frozen=True)
class Sensor:
    """B exposures, float32."""

    lens_px: Tensor  # (B,) deviation of the Gaussian blur of lens and pixel
    defocus: Tensor  # (B,) further deviation, fraction of the longer image side
    motion: Tensor  # (B, 2) movement during the exposure in x and y, fraction of the longer image side; cut at 10 px
    gain: Tensor  # (B, 3) exposure times white balance
    vignette: Tensor  # (B,) loss of light in the corners, 0..1
    noise: Tensor  # (B, 2) deviation of the read noise (at black) and of the shot noise (at white, grows as a root)
    noise_at: Tensor  # (B, 2) place in the noise tile, px
    quality: Tensor  # (B,) of JPEG, 1..100; 0 where the image is not compressed
    grey: Tensor  # (B,) 1 for a grey-scale camera, else 0


def draw_sensor(draws: Draws, grey: Tensor, still: bool = False) -> Sensor:
    """Draw B exposures; ``grey`` (B,) bool. ``still``: nothing moves, as under a studio's flash. 17 numbers."""
    lens = draws.uniform(0.3, 0.75)
    defocus = draws.uniform(0.001, 0.006) * draws.flag(DEFOCUS_SHARE)
    length = draws.uniform(0.008, LONGEST_MOTION) * draws.flag(MOTION_SHARE) * (not still)
    angle = draws.uniform(0, math.pi)
    motion = length[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    exposure = draws.normal(0.0, 0.11).clamp(-0.3, 0.22).exp()
    warm, green = draws.normal(0, 0.03), draws.normal(0, 0.01)
    gain = exposure[:, None] * torch.stack([1 + warm, 1 + green, 1 - warm], 1)
    vignette = draws.uniform(0, 0.22) * draws.flag(0.6)
    dim = draws.take().square() / exposure.square() * (0.5 if still else 1.0)  # little light: it is amplified
    noise = torch.stack([0.0015 + 0.010 * dim, 0.005 + 0.020 * dim], 1) * draws.uniform(0.7, 1.2)[:, None]
    quality = torch.where(draws.flag(JPEG_SHARE), draws.uniform(*JPEG_QUALITY), 0.0)
    place = (draws.take(2) * NOISE_TILE).floor()
    parts = (lens, defocus, motion, gain, vignette, noise, place, quality, grey)
    return Sensor(*(part.float().to(draws.device) for part in parts))


def expose(images: Tensor, sensor: Sensor) -> Tensor:
    """(B, 3, H, W) sRGB in [0, 1] -> uint8 (B, 3, H, W)."""
    height, width = images.shape[2:]
    images = _blur(images, sensor)
    images.mul_(_vignette(sensor, height, width) * sensor.gain[:, :, None, None])
    grey = sensor.grey[:, None, None, None]
    luma = sum(images[:, i : i + 1] * _LUMA[i] for i in range(3))  # (B, 1, H, W)
    images.lerp_(luma, grey)
    images.add_(_noise(images, sensor)).clamp_(0, 1)
    images = compress(images, sensor.quality)
    images = torch.where(grey > 0.5, images[:, :1], images)  # equal to the last bit
    return images.mul_(255).round_().to(torch.uint8)


# --- blur


def blur_kernel(sensor: Sensor, height: int, width: int) -> Tensor:
    """(B, K, K) of unit sum: a Gaussian drawn along the way of the motion."""
    size = max(height, width)
    radius = min(_RADIUS, math.ceil(LONGEST_MOTION / 2 * size) + 2)
    sigma = (sensor.lens_px.square() + (sensor.defocus * size).square()).sqrt()[:, None, None]
    motion = sensor.motion * size  # (B, 2) px
    length = motion.norm(dim=1, keepdim=True)  # (B, 1)
    half = (length / 2).clamp(max=radius - 1)[..., None]
    way = (motion / length.clamp(min=1e-6))[:, :, None, None]
    i = torch.arange(-radius, radius + 1, device=motion.device, dtype=motion.dtype)
    along, across = way[:, 0] * i + way[:, 1] * i[:, None], way[:, 0] * i[:, None] - way[:, 1] * i  # (B, K, K)
    still = (length[..., None] < 1e-6).to(motion.dtype)
    along, across = along + still * i, across + still * i[:, None]
    wide = sigma * math.sqrt(2)
    line = torch.erf((along + half) / wide) - torch.erf((along - half) / wide)  # a segment, blurred
    point = torch.exp(-0.5 * (along / sigma).square())
    kernel = torch.exp(-0.5 * (across / sigma).square()) * torch.where(half > 1e-3, line, point)
    return kernel / kernel.sum((1, 2), keepdim=True)


def _blur(images: Tensor, sensor: Sensor) -> Tensor:
    """Each image with its own kernel; the border is repeated outwards. A new tensor."""
    batch, channels, height, width = images.shape
    kernel = blur_kernel(sensor, height, width)
    radius = kernel.shape[-1] // 2
    flat = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]  # (1, B * C, H + 2r, W + 2r)
    flat = F.conv2d(flat, kernel.repeat_interleave(channels, 0)[:, None], groups=batch * channels)
    return flat.view(batch, channels, height, width)


# --- light and noise


def _vignette(sensor: Sensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W) 1 in the centre, 1 - vignette in the corners."""
    y, x = ((2 * torch.arange(n, device=sensor.gain.device) + 1) / n - 1 for n in (height, width))
    radius = (x.square() + y.square()[:, None]) / 2
    return (1 - sensor.vignette[:, None, None] * radius.square())[:, None]


@once
def _noise_tile(device: str) -> Tensor:
    """(1, 3, 512, 512) white Gaussian noise from a seeded generator."""
    if device != "cpu":
        return _noise_tile("cpu").to(device)
    return torch.randn(1, 3, NOISE_TILE, NOISE_TILE, generator=torch.Generator().manual_seed(20170710))


def _noise(images: Tensor, sensor: Sensor) -> Tensor:
    """Read noise and noise that grows as the root of the signal, one for all channels of a grey-scale camera."""
    batch, _, height, width = images.shape
    x, y = (sensor.noise_at[:, i, None] + torch.arange(n, device=images.device) for i, n in ((0, width), (1, height)))
    grid = images.new_empty(batch, 2, height, width).permute(0, 2, 3, 1)
    for i, place in enumerate((x[:, None], y[:, :, None])):
        grid[..., i] = (place % NOISE_TILE + 0.5) * (2 / NOISE_TILE) - 1
    tile = _noise_tile(str(images.device)).expand(batch, -1, -1, -1)
    noise = F.grid_sample(tile, grid, mode="nearest", align_corners=False)  # (B, 3, H, W)
    noise.lerp_(noise[:, :1].clone(), sensor.grey[:, None, None, None])
    read, shot = sensor.noise.square()[:, :, None, None, None].unbind(1)
    return noise.mul_(torch.addcmul(read, images.clamp(min=0), shot).sqrt_())


# --- JPEG


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """The loss of JPEG 4:2:0 at ``quality`` (B,), none where it is 0. (B, 3, H, W) in [0, 1] -> the same."""
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = padded.unbind(1)
    luma = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]  # (B, H, W)
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], 1)  # (B, 2, H, W)
    scale = torch.where(quality < 50, 50 / quality.clamp(min=1), 2 - quality / 50)  # (B,) of the steps
    luma = _quantised((luma - 0.5)[:, None], scale, _LUMA_STEPS)[:, 0] + 0.5
    chroma = _quantised(F.avg_pool2d(chroma, 2), scale, _CHROMA_STEPS)
    cb, cr = chroma.repeat_interleave(2, 2).repeat_interleave(2, 3).unbind(1)
    red, blue = luma + 1.402 * cr, luma + 1.772 * cb
    green = (luma - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    lossy = torch.stack([red, green, blue], 1)[..., :height, :width]
    return images.lerp(lossy, (quality > 0).float()[:, None, None, None]).clamp_(0, 1)


@once
def _cosines(device: torch.device) -> Tensor:
    """(8, 8) orthonormal DCT-II, frequencies by rows."""
    i = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * i + 1) * i[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


@once
def _steps(table: tuple, device: torch.device) -> Tensor:
    """(8, 8) steps of quality 50 for values in [0, 1]."""
    return torch.tensor(table, dtype=torch.float32, device=device) / 255


def _quantised(planes: Tensor, scale: Tensor, table: tuple) -> Tensor:
    """Planes (B, C, H, W), multiples of 8, through the quantisation of their 8 x 8 blocks' spectra."""
    matrix, shape = _cosines(planes.device), planes.shape
    spectrum = matrix @ planes.reshape(-1, 8, shape[3])  # (B * C * H / 8, 8, W) frequencies down
    spectrum = (spectrum.view(-1, 8) @ matrix.T).view(len(planes), -1, 8, shape[3] // 8, 8)  # and across
    step = scale[:, None, None] * _steps(table, planes.device)  # (B, 8, 8)
    step = step.clamp(min=1 / 255)[:, None, :, None]  # (B, 1, 8, 1, 8)
    spectrum = _staircase(spectrum / step).mul_(step)
    rows = (spectrum.view(-1, 8) @ matrix).view(-1, 8, shape[3])
    return (matrix.T @ rows).view(shape)


def _staircase(x: Tensor) -> Tensor:
    """Nearly the nearest whole number, but continuous: |x - n|^5 remains of the distance to it."""
    nearest = x.round()
    rest = x - nearest
    return nearest.addcmul_(rest.square().square_(), rest, value=16)
