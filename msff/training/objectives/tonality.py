"""Hands on other backgrounds, with the background's tonality: a stand-in for the generator of Chen et al. (2018).

Their augmentation (TAGAN, arXiv:1811.09916) renders synthetic hands onto backgrounds and lets a GAN make the tones
agree. Neither images nor generator are public. Ours keeps the idea: a hand is cut out by its mask, laid on the
background of another crop of the batch, and its colours are moved towards the background's by the transfer of mean
and deviation in Lab of Reinhard et al. ("Color Transfer between Images", 2001). Images are sRGB in [0, 1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from msff.settings.losses import TonalityConfig

_AUTHORS_CROP = 256  # px
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)  # D65, 2 degrees
_DELTA = 6 / 29  # where Lab's cube root gives way to a line


@torch.no_grad()
def augment_batch(image: Tensor, mask: Tensor, config: TonalityConfig, generator: torch.Generator) -> Tensor:
    """Give a random ``share`` of the crops another crop's background. (B, 3, S, S), (B, S, S) bool -> (B, 3, S, S).

    Everyone's partner lies the same random number of places further on in the batch. Crops without a hand's pixels
    stay as they are, and so does a batch of one.
    """
    count = len(image)
    if count < 2:
        return image
    device = generator.device
    chosen = torch.randperm(count, generator=generator, device=device)[: int(config.share * count)].to(image.device)
    step = torch.randint(1, count, (1,), generator=generator, device=device).to(image.device)
    low, high = config.strength
    strength = low + (high - low) * torch.rand(count, generator=generator, device=device).to(image)
    partner = (chosen + step) % count
    made = compose(image[chosen], mask[chosen], image[partner], mask[partner], strength[chosen], config)
    result = image.clone()
    result[chosen] = made
    return result


def compose(
    image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor, strength: Tensor, config: TonalityConfig
) -> Tensor:
    """Put the hand of ``image`` on the background of ``other``. (B, 3, S, S), (B, S, S) bool, (B,) -> (B, 3, S, S).

    The tones are those of the other's pixels that show no hand; if there are none, or no hand, nothing changes.
    """
    background = hand_free(other, other_mask)
    toned = align_tonality(image, mask, other, ~other_mask, strength, config.gain_limit)
    alpha = feathered(mask, config.feather_px * image.shape[-1] / _AUTHORS_CROP)[:, None]  # (B, 1, S, S)
    possible = mask.flatten(1).any(1) & ~other_mask.flatten(1).all(1)  # (B,)
    return torch.where(possible[:, None, None, None], alpha * toned + (1 - alpha) * background, image)


def feathered(mask: Tensor, width_px: float) -> Tensor:
    """Return the opacity: 0 at the mask's edge, 1 about ``width_px`` inside, 0 outside. (B, S, S) bool -> float.

    Only inwards, so that nothing of the old background comes along. Beyond the image the mask goes on as at its border.
    """
    sigma = width_px / 2
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=mask.device, dtype=torch.float32)
    kernel = torch.softmax(-0.5 * (steps / sigma).square(), 0)  # (K,) sums to 1
    wide = F.pad(mask[:, None].float(), (reach,) * 4, mode="replicate")  # (B, 1, S + 2r, S + 2r)
    blurred = F.conv2d(F.conv2d(wide, kernel[None, None, :, None]), kernel[None, None, None, :])[:, 0]
    return (2 * blurred - 1).clamp(0, 1) * mask


def hand_free(image: Tensor, mask: Tensor) -> Tensor:
    """Fill masked pixels from around them. (B, 3, S, S), (B, S, S) bool -> (B, 3, S, S); an all-hand image is 0.

    Each unknown pixel takes the mean of the known ones in the smallest block of 2, 4, 8 ... px that holds any.
    """
    weight = (~mask)[:, None].to(image)  # (B, 1, S, S)
    return _filled(image * weight, weight)


def _filled(total: Tensor, weight: Tensor) -> Tensor:
    """Sums and weights (B, 3, h, w), (B, 1, h, w) -> means, coarser ones where the weight is 0."""
    mean = total / weight.clamp(min=1e-9)
    height, width = total.shape[2:]
    if max(height, width) == 1:
        return mean
    coarse = _filled(*(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (total, weight)))
    coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")[:, :, :height, :width]
    return torch.where(weight > 0, mean, coarse)


def align_tonality(
    image: Tensor, region: Tensor, source: Tensor, source_region: Tensor, strength: Tensor, gain_limit: float
) -> Tensor:
    """Transfer colour as Reinhard: give ``region`` the Lab mean and deviation that ``source`` has in ``source_region``.

    (B, 3, H, W) sRGB, (B, H, W) bool, likewise, (B,) from 0 (no change) to 1 (full) -> (B, 3, H, W) in [0, 1]. The
    whole image is mapped; only the region is meant to be used. Out-of-gamut colours are clipped.
    """
    lab = lab_from_rgb(image)
    mean, deviation = _statistics(lab, region)  # (B, 3, 1, 1)
    wanted_mean, wanted_deviation = _statistics(lab_from_rgb(source), source_region)
    gain = (wanted_deviation / deviation.clamp(min=1e-6)).clamp(1 / gain_limit, gain_limit)
    t = strength[:, None, None, None]
    return rgb_from_lab((1 - t) * lab + t * ((lab - mean) * gain + wanted_mean))


def _statistics(values: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over a region. (B, 3, H, W), (B, H, W) bool -> two (B, 3, 1, 1)."""
    weight = region[:, None].to(values)
    count = weight.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (values * weight).sum((2, 3), keepdim=True) / count
    return mean, (((values - mean).square() * weight).sum((2, 3), keepdim=True) / count).sqrt()


def lab_from_rgb(rgb: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] -> CIE L*a*b* (B, 3, H, W) under D65, L from 0 to 100. IEC 61966-2-1, CIE 15."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,bjhw->bihw", rgb.new_tensor(_XYZ_FROM_RGB), linear)
    ratio = xyz / rgb.new_tensor(_WHITE)[:, None, None]
    f = torch.where(ratio > _DELTA**3, ratio.clamp(min=_DELTA**3) ** (1 / 3), ratio / (3 * _DELTA**2) + 4 / 29)
    x, y, z = f.unbind(1)  # (B, H, W)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def rgb_from_lab(lab: Tensor) -> Tensor:
    """Invert ``lab_from_rgb``, clipped to [0, 1]."""
    lightness, a, b = lab.unbind(1)  # (B, H, W)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], 1)
    ratio = torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29))
    xyz = ratio * lab.new_tensor(_WHITE)[:, None, None]
    to_rgb = torch.linalg.inv(lab.new_tensor(_XYZ_FROM_RGB, dtype=torch.float64)).to(lab)
    linear = torch.einsum("ij,bjhw->bihw", to_rgb, xyz)
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)
