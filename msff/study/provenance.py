"""What a run and a benchmark record about the machine: commit, versions, hardware, peak memory."""

from __future__ import annotations

import platform
import resource
from importlib.metadata import version
from pathlib import Path

import torch

from msff.study.machine import commit, hardware


class PeakMemory:
    """Peak memory since construction on CUDA; on the CPU the process's peak resident size."""

    def __init__(self, device: str):
        self.cuda = torch.device(device).type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def mib(self) -> float:
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def machine(device: str) -> dict:
    """Return versions, device, hardware and threads."""
    packages = ("torch", "torchvision", "numpy", "pandas")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": str(device),
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
    }


def provenance(root: Path, device: str) -> dict:
    """Return commit and machine for run.json."""
    return {"commit": commit(root)} | machine(device)
