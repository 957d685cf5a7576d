"""Which device a process uses; imports torch only where a GPU may be."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def has_cuda() -> bool:
    """Return True if torch can use a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        if not Path("/dev/kfd").exists():  # neither NVIDIA's nor AMD's driver
            return False
    import torch

    return torch.cuda.is_available()


def count_processes() -> int:
    """Return how many processes torchrun has started together; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def own_device(wanted: str | None = None) -> str:
    """Return the device of this process: ``wanted``, else CUDA if available. Each of several processes has its GPU."""
    device = wanted or ("cuda" if has_cuda() else "cpu")
    if count_processes() == 1 or device != "cuda":
        return device
    import torch

    started, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if started > found:
        raise ValueError(f"torchrun has started {started} processes here for {found} GPUs: --nproc-per-node {found}")
    return f"cuda:{os.environ['LOCAL_RANK']}"
