"""Float32 under autocast for the few layers that output millimetres, bins or angles.

bfloat16 has 8 bits of precision: near 500 mm or 50 bins its steps are 2 mm and 0.25 bins. The layers are small, so
float32 costs nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def in_float32(x: Tensor) -> tuple[Tensor, AbstractContextManager]:
    """Return ``x`` as float32 if autocast is on, else unchanged, and a context that switches autocast off."""
    kind = x.device.type
    if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
        return x, nullcontext()
    return x.float(), torch.autocast(kind, enabled=False)
