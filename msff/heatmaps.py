"""2.5D Gaussian heat-map volumes: the target of Eq. (15), its losses and its decoders.

A volume is (B, J, D, H, W): for each joint a score per voxel, depth first. All three axes have ``bins`` voxels.
Coordinates in bins are (x, y, z) and real-valued; voxel i of an axis has coordinate i (InterNet code). x and y cover
the crop, z covers ``depth_range_mm`` centred on the wrist of the joint's own hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from msff.choices import open_choice, stated

Decoder = Literal["argmax", "subvoxel", "expectation"]


@dataclass(frozen=True)
class VolumeSpec:
    """Geometry and amplitude of the volume. The paper gives none of it; the defaults are InterNet's."""

    bins: int = open_choice(  # voxels along x, y and z alike
        64, tag="D24", source="As D21.", reason="As D21; profiles with smaller crops have a quarter of the crop's side."
    )  # fmt: skip
    crop_size: int = stated(256, "The hand image was resized to 256x256 (experiments)")  # px, of the network's input
    depth_range_mm: float = open_choice(  # covered by z, and by the relative root depth
        400.0, tag="D25",
        source="Nothing on the range of depth, of joints or of the relative root.",
        reason="InterNet's 400 mm about the wrist, for both.",
    )  # fmt: skip
    sigma_bin: float = open_choice(  # standard deviation of the Gaussian
        2.5, tag="D26",
        source="A Gaussian without its width.",
        reason="InterNet's 2.5 bins; smaller volumes keep 2.5/64 of their side.",
    )  # fmt: skip
    amplitude: float = open_choice(  # its peak
        255.0, tag="D27",
        source="A Gaussian without its height.",
        reason="InterNet's; it sets the weight of the heat maps against the other two losses.",
    )  # fmt: skip

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
    """InterNet's loss: mean over all voxels of all joints of valid * (volume - target)^2. -> float32 scalar.

    (B, J, D, H, W), (B, J, 3), bool (B, J). Invalid joints add nothing but stay in the denominator. The target is
    never materialised: it is the outer product of three axis Gaussians, subtracted as in `_gradient`.
    """
    _check_volume(volume, spec, bins, valid)
    working = _working_dtype(volume)
    return _SeparableMse.apply(volume, *_target_factors(bins, valid, spec, working), valid.to(working))


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
        (squares,) = _reduction(_squared_residuals, volume, depth, plane)  # (B, J)
        return (squares * valid).sum() / volume.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        volume, depth, plane, valid = ctx.saved_tensors
        scale = (2 / volume.numel()) * gradient * valid[..., None, None, None]  # (B, J, 1, 1, 1)
        return _gradient(_scaled_residual, volume, depth, plane, scale), None, None, None


def _squared_residuals(volume: Tensor, depth: Tensor, plane: Tensor) -> tuple[Tensor]:
    """(B, J, D, H, W), (B, J, D, 1, 1), (B, J, 1, H, W) -> sums over the voxels (B, J)."""
    residual = torch.addcmul(volume.to(depth.dtype), depth, plane, value=-1)
    return (residual.square_().sum((3, 4)).sum(2),)  # in two steps, faster on a volume that lies channels last


def _scaled_residual(volume: Tensor, depth: Tensor, plane: Tensor, scale: Tensor, out: Tensor | None = None) -> Tensor:
    """As above and (B, J, 1, 1, 1) -> (B, J, D, H, W) in the volume's own type."""
    return torch.addcmul(volume.to(depth.dtype), depth, plane, value=-1, out=out).mul_(scale).to(volume.dtype)


def volume_integral_l1(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Integral regression: mean over valid joints and axes of |soft-arg-max - bins|. -> float32 scalar, in bins.

    (B, J, D, H, W) logits, (B, J, 3), bool (B, J); 0 (with a gradient of 0) if no joint is valid.
    Source: Sun et al., "Integral Human Pose Regression", ECCV 2018.
    """
    _check_volume(volume, spec, bins, valid)
    target = torch.where(valid[..., None], bins, 0)
    error = (soft_argmax(volume) - target).abs()  # (B, J, 3)
    return (error * valid[..., None]).sum() / (3 * valid.sum()).clamp(min=1)


def _check_volume(volume: Tensor, spec: VolumeSpec, bins: Tensor, valid: Tensor) -> None:
    expected = (*bins.shape[:2], spec.bins, spec.bins, spec.bins)
    if tuple(volume.shape) != expected or valid.shape != bins.shape[:2] or bins.shape[2:] != (3,):
        raise ValueError(
            f"expected volume {expected}, bins (B, J, 3) and valid (B, J), got {tuple(volume.shape)}, "
            f"{tuple(bins.shape)} and {tuple(valid.shape)}: network and VolumeSpec must agree on bins ({spec.bins})"
        )


# passes over a volume

_CHUNK_VOXELS = {"cpu": 2**18, "cuda": 2**26}  # working copy: 1 MiB stays in a core's cache, 256 MiB fill a GPU


def _working_dtype(volume: Tensor) -> torch.dtype:
    """Half precision cannot tell 254 from 255 nor sum a volume; everything else stays as it is."""
    return torch.float32 if volume.dtype in (torch.float16, torch.bfloat16) else volume.dtype


def _reduction(function: Callable[..., tuple[Tensor, ...]], volume: Tensor, *factors: Tensor) -> tuple[Tensor, ...]:
    """``function`` of volume (B, J, D, H, W) and factors (B, ...) -> small tensors (B, ...), as in `_gradient`."""
    if can_compile(volume.device):
        return _fused(function)(volume, *factors)
    results = [function(volume[part], *(f[part] for f in factors)) for part in _parts(volume)]
    return tuple(map(torch.cat, zip(*results, strict=True)))


def _gradient(function: Callable[..., Tensor], volume: Tensor, *factors: Tensor) -> Tensor:
    """``function`` of volume (B, J, D, H, W) and factors (B, ...) -> gradient like the volume.

    As one fused kernel where torch can build one, else a few samples at a time: no other volume of the batch is made.
    """
    if can_compile(volume.device):
        return _fused(function)(volume, *factors)
    whole, same = torch.empty_like(volume), volume.dtype == _working_dtype(volume)
    for part in _parts(volume):
        result = function(volume[part], *(f[part] for f in factors), out=whole[part] if same else None)
        if not same:
            whole[part] = result
    return whole


def _parts(volume: Tensor) -> list[slice]:
    samples = max(1, _CHUNK_VOXELS.get(volume.device.type, 2**26) // volume[0].numel())
    return [slice(start, start + samples) for start in range(0, len(volume), samples)]


@cache
def can_compile(device: torch.device) -> bool:
    """Whether torch.compile is worth it and works: on CUDA 7.0 and up, by Triton, which needs a C compiler.

    Not where the environment's TORCH_COMPILE_DISABLE=1 switches it off.
    """
    if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        return False
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (7, 0):
        return False
    return find_spec("triton") is not None and bool(os.environ.get("CC") or any(map(which, ("cc", "gcc", "clang"))))


@cache
def _fused(function: Callable) -> Callable:
    return torch.compile(function)


# decoders


def soft_argmax(volume: Tensor) -> Tensor:
    """Expected coordinate under the softmax over all voxels. (B, J, D, H, W) -> (B, J, 3) bins x, y, z.

    Differentiable; float32 of half precision. The softmax is formed as in `_gradient`, forward and backward: the
    expectation of each axis comes from its marginal, and the gradient with respect to voxel i is p_i (x_i - E[x]) for
    x, likewise for y and z.
    """
    return _SoftArgmax.apply(volume)


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, volume):
        logsum, expected = _reduction(_softmax_means, volume)
        ctx.save_for_backward(volume, logsum, expected)
        return expected  # (B, J, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        volume, logsum, expected = ctx.saved_tensors
        depth, height, width = volume.shape[2:]
        gx, gy, gz = (
            gradient[..., i, None] * (_coordinates(n, expected) - expected[..., i, None])  # (B, J, n)
            for i, n in enumerate((width, height, depth))
        )
        plane = (gy[..., :, None] + gx[..., None, :])[:, :, None]  # (B, J, 1, H, W)
        return _gradient(_softmax_gradient, volume, logsum, gz[..., None, None], plane)


def _softmax_means(volume: Tensor) -> tuple[Tensor, Tensor]:
    """(B, J, D, H, W) -> logarithm of the sum of exponentials (B, J), expected x, y, z (B, J, 3)."""
    highest = volume.amax((3, 4)).amax(2).to(_working_dtype(volume))  # (B, J); in two steps, faster channels last
    weight = (volume - highest[..., None, None, None]).exp_()  # at most 1
    plane = weight.sum(2)  # (B, J, H, W)
    marginals = plane.sum(2), plane.sum(3), weight.sum((3, 4))  # over x, y, z
    total = marginals[2].sum(-1)  # (B, J)
    means = [(m * _coordinates(m.shape[-1], m)).sum(-1) / total for m in marginals]
    return highest + total.log(), torch.stack(means, -1)


def _softmax_gradient(
    volume: Tensor, logsum: Tensor, depth: Tensor, plane: Tensor, out: Tensor | None = None
) -> Tensor:
    """Probabilities times (depth + plane), in the volume's own type; shapes as in `_scaled_residual`."""
    probability = (volume - logsum[..., None, None, None]).exp_()
    return torch.mul(probability, plane + depth, out=out).to(volume.dtype)


def _coordinates(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device)


def decode(volume: Tensor, decoder: Decoder) -> Tensor:
    """(B, J, D, H, W) of any precision and memory layout, never copied -> (B, J, 3) bins x, y, z, float32.

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

    First its slice, then its place there: the volume is read once, and not flattened, which would copy a volume that
    lies channels last.
    """
    height, width = volume.shape[3:]
    z = volume.amax((3, 4)).argmax(-1)  # (B, J)
    slices = volume.gather(2, z[..., None, None, None].expand(-1, -1, 1, height, width))  # (B, J, 1, H, W)
    place = slices.flatten(2).argmax(-1)  # (B, J)
    return torch.stack([place % width, place // width, z], -1)


def _subvoxel(volume: Tensor) -> Tensor:
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
