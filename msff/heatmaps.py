"""2.5D Gaussian heat-map volumes: geometry, the target of Eq. (15), the losses and the decoders.

A volume is (B, J, D, H, W): for each joint a score per voxel, depth first. All three axes have ``bins`` voxels.
Coordinates in bins are (x, y, z) and real-valued; voxel i of an axis has coordinate i (InterNet code). x and y cover
the crop, z covers ``depth_range_mm`` centred on the wrist of the joint's own hand.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from msff.settings.networks import VolumeSpec
from msff.volume_kernels import separable_mse, soft_argmax, working_dtype

Decoder = Literal["argmax", "subvoxel", "expectation"]


# millimetres and pixels <-> bins


def encode_bins(joints_crop_px: Tensor, relative_depth_mm: Tensor, spec: VolumeSpec) -> Tensor:
    """(B, J, 2) crop px and (B, J) mm behind the own wrist -> (B, J, 3) bins x, y, z. Source: InterNet code."""
    xy = joints_crop_px / spec.crop_size * spec.bins  # (B, J, 2)
    z = encode_depth(relative_depth_mm, spec)
    return torch.cat([xy, z[..., None]], -1)  # (B, J, 3)


def bins_to_crop(bins: Tensor, spec: VolumeSpec) -> tuple[Tensor, Tensor]:
    """Invert `encode_bins`: (B, J, 3) -> (B, J, 2) crop px, (B, J) mm relative to each hand's own wrist."""
    return bins[..., :2] / spec.bins * spec.crop_size, decode_depth(bins[..., 2], spec)


def encode_depth(depth_mm: Tensor, spec: VolumeSpec) -> Tensor:
    """Depth behind the wrist, or of the left wrist behind the right: mm -> bins of z, any shape. Source: InterNet."""
    return (depth_mm / (spec.depth_range_mm / 2) + 1) / 2 * spec.bins


def decode_depth(depth_bin: Tensor, spec: VolumeSpec) -> Tensor:
    """Invert `encode_depth`: bins -> mm, any shape."""
    return (depth_bin / spec.bins * 2 - 1) * (spec.depth_range_mm / 2)


def in_volume(bins: Tensor, spec: VolumeSpec) -> Tensor:
    """Return which joints lie in [0, bins) on every axis (InterNet). (B, J, 3) bins -> (B, J) bool, NaN is outside."""
    return ((bins >= 0) & (bins < spec.bins)).all(-1)


# the target, Eq. (15)


def gaussian_volume(bins: Tensor, spec: VolumeSpec) -> Tensor:
    """Return the target: amplitude * exp(-|voxel - bins|^2 / (2 sigma^2)). (B, J, 3) -> (B, J, D, H, W)."""
    x, y, z = _axis_gaussians(bins, spec)  # each (B, J, bins)
    return spec.amplitude * z[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]


def _axis_gaussians(bins: Tensor, spec: VolumeSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The three factors of the separable Gaussian, peak 1: x, y, z, each (B, J, bins)."""
    voxel = torch.arange(spec.bins, dtype=bins.dtype, device=bins.device)
    squared = (voxel - bins[..., None]) ** 2  # (B, J, 3, bins)
    return torch.exp(-squared / (2 * spec.sigma_bin**2)).unbind(-2)


# losses: as written in the literature, and as used in training, which never build the target or the softmax


def plain_volume_mse(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Return InterNet's loss: mean over all voxels of all joints of valid * (volume - target)^2. -> scalar.

    (B, J, D, H, W), (B, J, 3), bool (B, J). Invalid joints add nothing but stay in the denominator.
    """
    target = gaussian_volume(_finite(bins, valid), spec)
    return ((volume - target) ** 2 * valid[..., None, None, None]).mean()


def volume_mse(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Return `plain_volume_mse` without a target in memory: the kernel subtracts outer products. -> float32 scalar."""
    _check_volume(volume, spec, bins, valid)
    working = working_dtype(volume)
    x, y, z = _axis_gaussians(_finite(bins, valid).to(working), spec)  # each (B, J, bins)
    plane = spec.amplitude * y[..., :, None] * x[..., None, :] * valid[..., None, None]  # (B, J, H, W)
    return separable_mse(volume, z[..., None, None], plane[:, :, None], valid.to(working))


def plain_integral_l1(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Return the integral loss: mean over valid joints and axes of |soft-arg-max - bins|. -> scalar, in bins.

    (B, J, D, H, W) logits, (B, J, 3), bool (B, J); 0 (with a gradient of 0) if no joint is valid.
    Source: Sun et al., "Integral Human Pose Regression", ECCV 2018.
    """
    return _masked_l1(plain_soft_argmax(volume), bins, valid)


def volume_integral_l1(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Return `plain_integral_l1` without the softmax in memory. -> float32 scalar, in bins."""
    _check_volume(volume, spec, bins, valid)
    return _masked_l1(soft_argmax(volume), bins, valid)


def plain_soft_argmax(volume: Tensor) -> Tensor:
    """Return the expected coordinate under the softmax over all voxels: (B, J, D, H, W) -> (B, J, 3) bins x, y, z."""
    probability = volume.flatten(2).softmax(-1).view(volume.shape)
    marginals = (probability.sum(axes) for axes in ((2, 3), (2, 4), (3, 4)))  # over x, y, z
    return torch.stack([(m * torch.arange(m.shape[-1], device=m.device)).sum(-1) for m in marginals], -1)


def _masked_l1(found: Tensor, bins: Tensor, valid: Tensor) -> Tensor:
    error = (found - _finite(bins, valid)).abs()  # (B, J, 3)
    return (error * valid[..., None]).sum() / (3 * valid.sum()).clamp(min=1)


def _finite(bins: Tensor, valid: Tensor) -> Tensor:
    """The bins with 0 for invalid joints, which may be NaN."""
    return torch.where(valid[..., None], bins, 0)


def _check_volume(volume: Tensor, spec: VolumeSpec, bins: Tensor, valid: Tensor) -> None:
    expected = (*bins.shape[:2], spec.bins, spec.bins, spec.bins)
    if tuple(volume.shape) != expected or valid.shape != bins.shape[:2] or bins.shape[2:] != (3,):
        raise ValueError(
            f"expected volume {expected}, bins (B, J, 3) and valid (B, J), got {tuple(volume.shape)}, "
            f"{tuple(bins.shape)} and {tuple(valid.shape)}: network and VolumeSpec must agree on bins ({spec.bins})"
        )


# decoders


def decode(volume: Tensor, decoder: Decoder) -> Tensor:
    """Decode volumes without copying them. (B, J, D, H, W) of any dtype and layout -> (B, J, 3) float32 bins x, y, z.

    ``argmax``: the highest voxel, whole bins (InterNet; the first one where several tie).
    ``subvoxel``: the same, refined per axis by the parabola through the logarithms of the peak and its two
    neighbours, exact for a Gaussian; for networks trained on Gaussian targets.
    ``expectation``: soft-arg-max; for networks trained with the integral loss.
    """
    if decoder not in _DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}: choose one of {', '.join(_DECODERS)}")
    return _DECODERS[decoder](volume).float()


def _peak_voxel(volume: Tensor) -> Tensor:
    """(B, J, D, H, W) -> (B, J, 3) int64 x, y, z of the highest voxel.

    First its slice, then its place there: the volume is read once and never flattened, because flattening would copy
    a channels-last volume.
    """
    height, width = volume.shape[3:]
    z = volume.amax((3, 4)).argmax(-1)  # (B, J)
    slices = volume.gather(2, z[..., None, None, None].expand(-1, -1, 1, height, width))  # (B, J, 1, H, W)
    place = slices.flatten(2).argmax(-1)  # (B, J)
    return torch.stack([place % width, place // width, z], -1)


def _subvoxel(volume: Tensor) -> Tensor:
    """`_peak_voxel` refined on each axis by the parabola through the logarithms of three voxels."""
    peak = _peak_voxel(volume)  # (B, J, 3)
    batch, joint = (torch.arange(n, device=volume.device) for n in volume.shape[:2])
    offsets = []
    for axis, length in enumerate(reversed(volume.shape[2:])):
        inside = (peak[..., axis] > 0) & (peak[..., axis] < length - 1)
        step = inside[..., None] * torch.eye(3, dtype=torch.long, device=volume.device)[axis]  # (B, J, 3)
        around = [(peak + d * step).unbind(-1) for d in (-1, 0, 1)]
        values = [volume[batch[:, None], joint, z, y, x].float() for x, y, z in around]  # (B, J) each
        below, centre, above = (v.clamp(min=1e-6).log() for v in values)
        curvature = below - 2 * centre + above  # <= 0 at a peak
        offset = 0.5 * (below - above) / curvature.clamp(max=-1e-6)
        offsets.append(torch.where(inside, offset, 0.0).clamp(-0.5, 0.5))
    return peak + torch.stack(offsets, -1)


_DECODERS = {"argmax": _peak_voxel, "subvoxel": _subvoxel, "expectation": soft_argmax}
