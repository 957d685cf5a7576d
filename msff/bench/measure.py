"""Time and memory of a workload: the fast implementation and the plain reference in one run."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.utils.benchmark import Measurement, Timer

IMPLEMENTATIONS = ("fast", "reference")
_MATRIX_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}


def is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


# time


def alternate(steps: Mapping[str, Callable[[], object]], images: int, seconds: float) -> dict[str, dict]:
    """Time the steps in turn, A B A B, for about ``seconds`` in all, so that other load affects them alike.

    -> name -> images_per_s (of the median step), steps, step_s.
    """
    timers = {name: _timer("step()", step=step) for name, step in steps.items()}
    found: dict[str, list[Measurement]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while not all(found.values()) or time.perf_counter() < end:
        for name, timer in timers.items():
            found[name].append(timer.blocked_autorange(min_run_time=seconds / 20))
    return {name: _rate(measured, images) for name, measured in found.items()}


def _timer(statement: str, **names) -> Timer:
    """A timer of torch, which waits for CUDA; by default it would use one thread."""
    return Timer(statement, globals=names, num_threads=torch.get_num_threads())


def _rate(measured: list[Measurement], images: int) -> dict:
    median = Measurement.merge(measured)[0].median
    count = sum(m.number_per_run * len(m.raw_times) for m in measured)
    return {"images_per_s": images / median, "steps": count, "step_s": median}


Workload = Callable[[str], AbstractContextManager[Callable[[], object]]]
"""Gives the step of an implementation. Can be pickled."""


# memory


def peak_mib(workload: Workload, implementation: str, device: str) -> float:
    """Return by how many MiB memory grows at the peak of a few steps.

    On CUDA this is what torch allocates. On the CPU it is resident memory in a new process, since that peak cannot be
    reset.
    """
    if is_cuda(device):
        return _allocated_mib(workload, implementation, device)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident_mib, workload, implementation, torch.get_num_threads()).result()


def _allocated_mib(workload: Workload, implementation: str, device: str) -> float:
    before = torch.cuda.memory_allocated(device)
    with workload(implementation) as step:
        step()  # compiles, which needs memory of its own
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(4):  # the first ones record the CUDA graphs: a replay allocates nothing
            step()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _resident_mib(workload: Workload, implementation: str, threads: int) -> float:
    torch.set_num_threads(threads)
    with workload(implementation):
        pass  # imports and threads do not count
    before = _resident_bytes("VmRSS")
    with workload(implementation) as step:
        step()
        step()
    return (_resident_bytes("VmHWM") - before) / 2**20


def _resident_bytes(entry: str) -> int:
    """Resident memory, "VmRSS" now or "VmHWM" at its peak; outside Linux the peak in either case.

    On Linux ``ru_maxrss`` would include what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.exists() else ():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# the two implementations, and the machine


def compare(workload: Workload, device: str, images: int, seconds: float) -> dict:
    """Measure both implementations in turn for about ``seconds``.

    -> the figures of the fast one, those of the plain one under "reference" and their quotients under "ratio".
    """
    peaks = {name: peak_mib(workload, name, device) for name in IMPLEMENTATIONS}
    with ExitStack() as stack:
        steps = {name: stack.enter_context(workload(name)) for name in IMPLEMENTATIONS}
        results = alternate(steps, images, seconds)
    fast, reference = (results[name] | {"peak_mib": peaks[name]} for name in IMPLEMENTATIONS)
    ratio = {key: fast[key] / reference[key] for key in ("images_per_s", "peak_mib")}
    return fast | {"reference": reference, "ratio": ratio}


def matrix_peak(device: str, precision: str, seconds: float = 0.3) -> float:
    """Return the most 1e9 multiply-adds per second of square matrix products: "float32", "tf32" (CUDA) or "bf16"."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        rates = []
        for size in _MATRIX_SIZES[torch.device(device).type]:
            a, b = torch.randn(2, size, size, device=device, dtype=dtype)
            fastest = min(_timer("a @ b", a=a, b=b).blocked_autorange(min_run_time=seconds).times)
            rates.append(size**3 / fastest / 1e9)
        return max(rates)
    finally:
        torch.set_float32_matmul_precision(before)
