"""What a device can do, and which device a process uses."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from shutil import which

import torch


def count_processes() -> int:
    """Return how many processes torchrun has started together; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def own_device(wanted: str | None = None) -> str:
    """Return the device of this process: ``wanted``, else CUDA if available. Each of several processes has its GPU."""
    device = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    if count_processes() == 1 or device != "cuda":
        return device
    started, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if started > found:
        raise ValueError(f"torchrun has started {started} processes here for {found} GPUs: --nproc-per-node {found}")
    return f"cuda:{os.environ['LOCAL_RANK']}"


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
