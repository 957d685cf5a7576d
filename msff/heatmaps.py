"""2.5D Gaussian heat-map volumes: the target of Eq. (15), its losses and its decoders.

A volume is (B, J, D, H, W): for each joint a score per voxel, depth first. All three axes have ``bins`` voxels.
Coordinates in bins are (x, y, z) and real-valued; voxel i of an axis has coordinate i (InterNet code). x and y cover
the crop, z covers ``depth_range_mm`` centred on the wrist of the joint's own hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Decoder = Literal["argmax", "subvoxel", "expectation"]


@dataclass(frozen=True)
class VolumeSpec:
    """Geometry and amplitude of the volume. The paper gives none of it; the defaults are InterNet's."""

    bins: int = 64  # voxels along x, y and z alike
    crop_size: int = 256  # px, side of the network's input
    depth_range_mm: float = 400.0  # covered by z, and by the relative root depth
    sigma_bin: float = 2.5  # standard deviation of the Gaussian
    amplitude: float = 255.0  # its peak

    def __post_init__(self):
        for name in ("bins", "crop_size", "depth_range_mm", "sigma_bin", "amplitude"):
            if getattr(self, name) <= 0:
                raise ValueError(f"VolumeSpec.{name} must be positive, got {getattr(self, name)}")


# millimetres and pixels <-> bins


def encode_bins(joints_crop_px: Tensor, relative_depth_mm: Tensor, spec: VolumeSpec) -> Tensor:
    """(B, J, 2) crop px and (B, J) mm behind the own wrist -> (B, J, 3) bins x, y, z. Source: InterNet code."""
    xy = joints_crop_px / spec.crop_size * spec.bins  # (B, J, 2)
    z = _encode_depth(relative_depth_mm, spec)
    return torch.cat([xy, z[..., None]], -1)  # (B, J, 3)


def bins_to_crop(bins: Tensor, spec: VolumeSpec) -> tuple[Tensor, Tensor]:
    """Inverse of `encode_bins`: (B, J, 3) -> (B, J, 2) crop px, (B, J) mm relative to the own wrist."""
    return bins[..., :2] / spec.bins * spec.crop_size, _decode_depth(bins[..., 2], spec)


def encode_relative_root(relative_root_mm: Tensor, spec: VolumeSpec) -> Tensor:
    """Left wrist depth minus right wrist depth, (B,) mm -> (B,) bins over the range of z. Source: InterNet code."""
    return _encode_depth(relative_root_mm, spec)


def decode_relative_root(relative_root_bin: Tensor, spec: VolumeSpec) -> Tensor:
    """Inverse of `encode_relative_root`: (B,) bins -> (B,) mm."""
    return _decode_depth(relative_root_bin, spec)


def _encode_depth(depth_mm: Tensor, spec: VolumeSpec) -> Tensor:
    return (depth_mm / (spec.depth_range_mm / 2) + 1) / 2 * spec.bins


def _decode_depth(depth_bin: Tensor, spec: VolumeSpec) -> Tensor:
    return (depth_bin / spec.bins * 2 - 1) * (spec.depth_range_mm / 2)


def in_volume(bins: Tensor, spec: VolumeSpec) -> Tensor:
    """(B, J, 3) bins -> (B, J) bool: inside [0, bins) on every axis, as InterNet. NaN is outside."""
    return ((bins >= 0) & (bins < spec.bins)).all(-1)


# targets and losses


def gaussian_volume(bins: Tensor, spec: VolumeSpec) -> Tensor:
    """The target itself, amplitude * exp(-|voxel - bins|^2 / (2 sigma^2)). (B, J, 3) -> (B, J, D, H, W).

    For pictures and tests: training never builds it (`volume_mse`).
    """
    x, y, z = _axis_gaussians(bins, spec)  # each (B, J, bins)
    return spec.amplitude * z[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]


def _axis_gaussians(bins: Tensor, spec: VolumeSpec) -> tuple[Tensor, Tensor, Tensor]:
    """The three factors of the separable Gaussian, peak 1: x, y, z, each (B, J, bins)."""
    voxel = torch.arange(spec.bins, dtype=bins.dtype, device=bins.device)
    squared = (voxel - bins[..., None]) ** 2  # (B, J, 3, bins)
    return torch.exp(-squared / (2 * spec.sigma_bin**2)).unbind(-2)


def volume_mse(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """InterNet's loss: mean over all voxels of all joints of valid * (volume - target)^2. -> scalar.

    (B, J, D, H, W), (B, J, 3), bool (B, J). Invalid joints add nothing but stay in the denominator. The target is
    never materialised: it is the outer product of three axis Gaussians, and is subtracted from one sample at a time
    (forward) or straight into the gradient (backward), so that the loss needs no second volume of the batch.
    """
    _check_volume(volume, spec, bins, valid)
    volume = _single(volume)
    return _SeparableMse.apply(volume, *_target_factors(bins, valid, spec, volume.dtype), valid.to(volume.dtype))


def _single(volume: Tensor) -> Tensor:
    """Half precision cannot tell 254 from 255 nor sum a volume; everything else stays as it is."""
    return volume.float() if volume.dtype in (torch.float16, torch.bfloat16) else volume


def _target_factors(bins: Tensor, valid: Tensor, spec: VolumeSpec, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The target as depth (B, J, D, 1, 1) times plane (B, J, 1, H, W), zero for invalid joints."""
    finite = torch.where(valid[..., None], bins, 0).to(dtype)  # an unseen joint may be NaN
    x, y, z = _axis_gaussians(finite, spec)
    plane = spec.amplitude * y[..., :, None] * x[..., None, :] * valid[..., None, None]  # (B, J, H, W)
    return z[..., None, None], plane[:, :, None]


class _SeparableMse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, volume, depth, plane, valid):
        ctx.save_for_backward(volume, depth, plane, valid)
        total = volume.new_zeros(())
        for v, z, yx, ok in zip(volume, depth, plane, valid, strict=True):
            residual = torch.addcmul(v, z, yx, value=-1)  # (J, D, H, W)
            total += (residual.square_().sum((1, 2, 3)) * ok).sum()
        return total / volume.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        volume, depth, plane, valid = ctx.saved_tensors
        scale = (2 / volume.numel()) * gradient * valid[..., None, None, None]  # (B, J, 1, 1, 1)
        out = torch.empty_like(volume)
        for o, v, z, yx, s in zip(out, volume, depth, plane, scale, strict=True):
            torch.addcmul(v, z, yx, value=-1, out=o).mul_(s)
        return out, None, None, None


def volume_integral_l1(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Integral regression: mean over valid joints and axes of |soft-arg-max - bins|. -> scalar, in bins.

    (B, J, D, H, W) logits, (B, J, 3), bool (B, J); 0 (with a gradient of 0) if no joint is valid.
    Source: Sun et al., "Integral Human Pose Regression", ECCV 2018.
    """
    _check_volume(volume, spec, bins, valid)
    target = torch.where(valid[..., None], bins, 0)
    error = (soft_argmax(_single(volume)) - target).abs()  # (B, J, 3)
    return (error * valid[..., None]).sum() / (3 * valid.sum()).clamp(min=1)


def _check_volume(volume: Tensor, spec: VolumeSpec, bins: Tensor, valid: Tensor) -> None:
    expected = (*bins.shape[:2], spec.bins, spec.bins, spec.bins)
    if tuple(volume.shape) != expected or valid.shape != bins.shape[:2] or bins.shape[2:] != (3,):
        raise ValueError(
            f"expected volume {expected}, bins (B, J, 3) and valid (B, J), got {tuple(volume.shape)}, "
            f"{tuple(bins.shape)} and {tuple(valid.shape)}: network and VolumeSpec must agree on bins ({spec.bins})"
        )


# decoders


def soft_argmax(volume: Tensor) -> Tensor:
    """Expected coordinate under the softmax over all voxels. (B, J, D, H, W) -> (B, J, 3) bins x, y, z.

    Differentiable. The softmax is formed one sample at a time, forward and backward, so that the batch needs no second
    volume: the expectation of each axis comes from its marginal, and the gradient with respect to voxel i is
    p_i (x_i - E[x]) for x, likewise for y and z.
    """
    return _SoftArgmax.apply(volume)


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, volume):
        logsums = torch.stack([v.flatten(1).logsumexp(1) for v in volume])  # (B, J)
        expected = torch.stack([_marginal_means(_softmax(v, s)) for v, s in zip(volume, logsums, strict=True)])
        ctx.save_for_backward(volume, logsums, expected)
        return expected  # (B, J, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        volume, logsums, expected = ctx.saved_tensors
        depth, height, width = volume.shape[2:]
        gx, gy, gz = (
            gradient[..., i, None] * (_coordinates(n, volume) - expected[..., i, None])  # (B, J, n)
            for i, n in enumerate((width, height, depth))
        )
        plane = (gy[..., :, None] + gx[..., None, :])[:, :, None]  # (B, J, 1, H, W)
        out = torch.empty_like(volume)
        for o, v, s, yx, d in zip(out, volume, logsums, plane, gz[..., None, None], strict=True):
            torch.mul(_softmax(v, s), yx + d, out=o)  # (J, D, H, W)
        return out


def _softmax(volume: Tensor, logsum: Tensor) -> Tensor:
    """(J, D, H, W), (J,) -> probabilities (J, D, H, W)."""
    return (volume - logsum[:, None, None, None]).exp_()


def _marginal_means(probability: Tensor) -> Tensor:
    """(J, D, H, W) -> (J, 3) expected x, y, z."""
    plane = probability.sum(1)  # (J, H, W)
    marginals = plane.sum(1), plane.sum(2), probability.sum((2, 3))  # over x, y, z
    return torch.stack([(p * _coordinates(p.shape[-1], p)).sum(-1) for p in marginals], -1)


def _coordinates(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device)


def decode(volume: Tensor, decoder: Decoder) -> Tensor:
    """(B, J, D, H, W) -> (B, J, 3) bins x, y, z, as floats.

    ``argmax``: the highest voxel, whole bins (InterNet; the first one where several tie).
    ``subvoxel``: the same, refined per axis by the parabola through the logarithms of the peak and its two
    neighbours, exact for a Gaussian; for networks trained on Gaussian targets.
    ``expectation``: soft-arg-max; for networks trained with the integral loss.
    """
    if decoder not in _DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}: choose one of {', '.join(_DECODERS)}")
    # One sample at a time: the working copy is one sample's volume, whatever the batch.
    return torch.cat([_DECODERS[decoder](v[None].float()) for v in volume])  # (B, J, 3)


def _argmax(volume: Tensor) -> Tensor:
    return _peak_voxel(volume).to(volume.dtype)


def _peak_voxel(volume: Tensor) -> Tensor:
    """(B, J, D, H, W) -> (B, J, 3) int64 x, y, z of the highest voxel."""
    _, _, _, height, width = volume.shape
    flat = volume.flatten(2).argmax(-1)  # (B, J)
    return torch.stack([flat % width, flat // width % height, flat // (width * height)], -1)


def _subvoxel(volume: Tensor) -> Tensor:
    batch, joints, *size = volume.shape
    peak = _peak_voxel(volume)  # (B, J, 3)
    flat = volume.flatten(2)  # (B, J, D*H*W)
    step = (1, size[2], size[1] * size[2])  # along x, y, z
    index = (peak * peak.new_tensor(step)).sum(-1)  # (B, J)
    offsets = []
    for axis, length in enumerate((size[2], size[1], size[0])):
        inside = (peak[..., axis] > 0) & (peak[..., axis] < length - 1)
        around = [
            flat.gather(2, torch.where(inside, index + d * step[axis], index)[..., None])[..., 0] for d in (-1, 0, 1)
        ]
        below, centre, above = (a.clamp(min=1e-6).log() for a in around)
        curvature = below - 2 * centre + above  # <= 0 at a peak
        offset = 0.5 * (below - above) / curvature.clamp(max=-1e-6)
        offsets.append(torch.where(inside, offset, 0.0).clamp(-0.5, 0.5))
    return peak + torch.stack(offsets, -1)


_DECODERS = {"argmax": _argmax, "subvoxel": _subvoxel, "expectation": soft_argmax}
