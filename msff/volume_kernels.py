"""Losses and soft-arg-max of heat-map volumes without a second volume in memory.

The values are those of the plain formulas in `msff.heatmaps`. Volumes are (B, J, D, H, W), in any precision and memory
layout. On CUDA each pass over a volume is one compiled kernel; elsewhere it takes a few samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from msff.device import can_compile

_CHUNK_VOXELS = {"cpu": 2**18, "cuda": 2**26}  # working copy: 1 MiB stays in a core's cache, 256 MiB fill a GPU


# the mean squared error from a separable target


def separable_mse(volume: Tensor, depth: Tensor, plane: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over all voxels of valid * (volume - depth * plane)^2, a scalar.

    (B, J, D, H, W), (B, J, D, 1, 1), (B, J, 1, H, W), (B, J). The factors are in `working_dtype` of the volume.
    """
    return _SeparableMse.apply(volume, depth, plane, valid)


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


# soft-arg-max


def soft_argmax(volume: Tensor) -> Tensor:
    """Return the expected coordinate under the softmax over all voxels. (B, J, D, H, W) -> (B, J, 3) bins x, y, z.

    Differentiable; float32 for half precision. The expectation of each axis comes from its marginal. The gradient with
    respect to voxel i is p_i (x_i - E[x]) for x, likewise for y and z.
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
    highest = volume.amax((3, 4)).amax(2).to(working_dtype(volume))  # (B, J); in two steps, faster channels last
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


# passes over a volume


def working_dtype(volume: Tensor) -> torch.dtype:
    """Return float32 for half precision, which cannot separate 254 from 255 nor sum a volume; else its own type."""
    return torch.float32 if volume.dtype in (torch.float16, torch.bfloat16) else volume.dtype


def _reduction(function: Callable[..., tuple[Tensor, ...]], volume: Tensor, *factors: Tensor) -> tuple[Tensor, ...]:
    """``function`` of volume (B, J, D, H, W) and factors (B, ...) -> small tensors (B, ...)."""
    if can_compile(volume.device):
        return _fused(function)(volume, *factors)
    results = [function(volume[part], *(f[part] for f in factors)) for part in _parts(volume)]
    return tuple(map(torch.cat, zip(*results, strict=True)))


def _gradient(function: Callable[..., Tensor], volume: Tensor, *factors: Tensor) -> Tensor:
    """``function`` of volume (B, J, D, H, W) and factors (B, ...) -> gradient, shaped and laid out like the volume."""
    if can_compile(volume.device):
        return _fused(function)(volume, *factors)
    whole, same = torch.empty_like(volume), volume.dtype == working_dtype(volume)
    for part in _parts(volume):
        result = function(volume[part], *(f[part] for f in factors), out=whole[part] if same else None)
        if not same:
            whole[part] = result
    return whole


def _parts(volume: Tensor) -> list[slice]:
    """Slices of the batch that hold at most `_CHUNK_VOXELS`, one sample at least."""
    samples = max(1, _CHUNK_VOXELS.get(volume.device.type, 2**26) // volume[0].numel())
    return [slice(start, start + samples) for start in range(0, len(volume), samples)]


@cache
def _fused(function: Callable) -> Callable:
    return torch.compile(function)
