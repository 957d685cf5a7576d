"""Where a network computes in float32 whatever autocast says: the few layers that give millimetres, bins or angles.

bfloat16 has 8 bits: near 500 mm or 50 bins its steps are 2 mm and 0.25 bins. These layers are small, so that float32
costs them nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def in_float32(x: Tensor) -> tuple[Tensor, AbstractContextManager]:
    """A half-precision tensor as float32, any other as it is, and a block that autocast leaves alone."""
    kind = x.device.type
    if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
        return x, nullcontext()
    return x.float(), torch.autocast(kind, enabled=False)
