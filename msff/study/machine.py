"""What a run says of the machine: commit, versions, hardware, peak memory, and how far it is."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch


class PeakMemory:
    """Peak memory since construction on CUDA; on the CPU the process's peak resident size, all that is known."""

    def __init__(self, device: str):
        self.cuda = torch.device(device).type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def mib(self) -> float:
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def progress_file(label: str):
    """A training callback that leaves its state in the folder MSFF_PROGRESS, for the process that shows the bar."""
    folder = os.environ.get("MSFF_PROGRESS")
    if not folder:
        return None
    path = Path(folder) / f"{os.getpid()}.json"
    last = 0.0

    def report(epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last < 0.5 and step < steps:
            return
        last = time.monotonic()
        done = (epoch - 1 + step / steps) / epochs
        text = json.dumps({"label": label, "epoch": epoch, "epochs": epochs, "done": done, "loss": loss})
        with contextlib.suppress(FileNotFoundError):  # the folder goes when nobody watches any more
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(path)

    return report


def provenance(root: Path, device: str) -> dict:
    """Commit, versions and hardware, for run.json."""
    packages = ("torch", "torchvision", "numpy", "pandas")
    return {
        "commit": _commit(root),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": str(device),
        "hardware": _hardware(device),
        "threads": torch.get_num_threads(),
    }


def machine(device: str) -> dict:
    """What a benchmark says of the machine: the device, hardware, threads and versions of ``provenance``."""
    facts = provenance(Path.cwd(), device)
    return {key: facts[key] for key in ("device", "hardware", "threads", "versions")}


@lru_cache
def _commit(root: Path) -> str:
    if shutil.which("git") is None:
        return "unknown"

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)

    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "msff").stdout.strip()
    return head.stdout.strip() + ("+changes" if changed else "")


def _hardware(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"
