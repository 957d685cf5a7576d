"""What runs, benchmarks and pages record about code and machine: commit, hash, versions, hardware, peak memory.

Imports torch only where it is needed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import resource
import shutil
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from msff.study.store import without_markup


@lru_cache
def commit(root: Path) -> str:
    """Return the project's commit, with "+changes" if the package differs from it; "unknown" without a repository."""
    if shutil.which("git") is None:
        return "unknown"

    here = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, env=here, capture_output=True)

    top, head = git("rev-parse", "--show-toplevel"), git("rev-parse", "--short=12", "HEAD")
    if top.returncode or head.returncode or not Path(os.fsdecode(top.stdout.rstrip(b"\n"))).samefile(root):
        return "unknown"  # no repository, or the commit of another one, in whose checkout the project was unpacked
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "msff").stdout.strip()
    return head.stdout.decode().strip() + ("+changes" if changed else "")


def hardware(device: str) -> str:
    """Return the GPU's name, or the processor's and the number of its cores."""
    if device.startswith("cuda"):
        import torch

        return without_markup(torch.cuda.get_device_name())
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    return without_markup(f"{model}, {os.cpu_count()} cores")


@lru_cache
def code_hash(*names: str) -> str:
    """Hash the code of these folders and modules of the package, without docstrings, comments and layout.

    Equal for equal code on one minor version of Python.
    """
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    found = [
        p for name in names for p in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    ]
    for path in sorted(found):
        code = _code(path.read_text(encoding="utf-8"))
        digest.update(path.relative_to(package).as_posix().encode() + code.encode())
    return digest.hexdigest()


def _code(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a string by itself, such as a docstring, computes nothing
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(tree)


class PeakMemory:
    """Peak memory since construction on CUDA; on the CPU the process's peak resident size."""

    def __init__(self, device: str):
        self.cuda = device.startswith("cuda")
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def mib(self) -> float:
        if self.cuda:
            import torch

            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def machine(device: str) -> dict:
    """Return versions, device, hardware and threads."""
    import torch

    packages = ("torch", "torchvision", "numpy", "pandas")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": device,
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
    }


def provenance(root: Path, device: str) -> dict:
    """Return commit and machine for run.json."""
    return {"commit": commit(root)} | machine(device)
