"""What a device can do, and small tensors copied there without waiting."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from importlib.util import find_spec
from shutil import which

import torch
from torch import Tensor


def usable_precision(wanted: str, device: torch.device) -> str:
    """Return "bf16" if it is wanted and the device multiplies it natively, else "float32"."""
    if wanted != "bf16":
        return "float32"
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16" if native else "float32"


@cache
def can_compile(device: torch.device) -> bool:
    """Return True if torch.compile works on the device: CUDA 7.0 or newer with Triton and a C compiler.

    TORCH_COMPILE_DISABLE=1 in the environment switches it off.
    """
    if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        return False
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (7, 0):
        return False
    return find_spec("triton") is not None and bool(os.environ.get("CC") or any(map(which, ("cc", "gcc", "clang"))))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; from pinned memory if it is a GPU, since other copies wait for queued work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@lru_cache(1024)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a shared one-dimensional tensor of constants, copied to a device once. Do not write to it."""
    return torch.tensor(values, device=device, dtype=dtype)
