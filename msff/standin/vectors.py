"""Three-component vectors in bulk: written out, which is several times faster than reductions over an axis of three."""

from __future__ import annotations

from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., 3), (..., 3) -> (...)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def unit(a: Tensor) -> Tensor:
    """(..., 3) scaled to length 1; a zero vector stays zero."""
    return a * dot(a, a).clamp(min=1e-24).rsqrt()[..., None]
