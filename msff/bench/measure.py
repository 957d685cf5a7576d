"""Time and memory of a step: alternating medians, shares of its stages, and its own peak."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch


def is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def synchronize(device: str) -> None:
    if is_cuda(device):
        torch.cuda.synchronize(device)


def alternate(
    steps: Mapping[str, Callable[[], object]], device: str, images: int, seconds: float, warmup: int = 2
) -> dict[str, dict]:
    """Run the steps in turn, A B A B, for about ``seconds`` in all after a warm-up, so that what else the machine does
    hits them alike. -> name -> images_per_s (of the median step), steps, step_s.
    """
    for step in steps.values():
        for _ in range(warmup):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    started = time.perf_counter()
    while not all(times.values()) or time.perf_counter() - started < seconds:
        for name, step in steps.items():
            synchronize(device)
            begin = time.perf_counter()
            step()
            synchronize(device)
            times[name].append(time.perf_counter() - begin)
    medians = {name: float(torch.tensor(each, dtype=torch.float64).median()) for name, each in times.items()}
    return {
        name: {"images_per_s": images / median, "steps": len(times[name]), "step_s": median}
        for name, median in medians.items()
    }


class StageClock:
    """How long each stage of a step takes: the step calls ``mark`` where one ends.

    On CUDA the marks are events of the device, so that no stage waits for the one before; they see its idle time too.
    """

    def __init__(self, device: str):
        self._cuda = is_cuda(device)
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []
        self._running = False

    def mark(self, stage: str) -> None:
        """The time since the last mark was ``stage``'s; nothing outside ``seconds``."""
        if self._running:
            self._marks.append((stage, self._now()))

    def seconds(self, step: Callable[[], object], count: int = 5) -> dict[str, float]:
        """Run the step ``count`` times: stage -> mean seconds of a step. What follows the last mark is left out."""
        totals: dict[str, float] = {}
        for _ in range(count):
            self._marks, self._running = [], True
            self.mark("start")
            step()
            self._running = False
            if self._cuda:
                torch.cuda.synchronize()
            for (_, begin), (stage, end) in zip(self._marks, self._marks[1:], strict=False):
                span = begin.elapsed_time(end) / 1e3 if self._cuda else end - begin
                totals[stage] = totals.get(stage, 0.0) + span / count
        return totals

    def _now(self) -> float | torch.cuda.Event:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Timed:
    """A network whose computations are the clock's stage "forward", and what is between them its stage "loss"."""

    def __init__(self, network: Callable, clock: StageClock):
        self._network, self._clock = network, clock

    def __call__(self, *inputs, **options):
        self._clock.mark("loss")
        output = self._network(*inputs, **options)
        self._clock.mark("forward")
        return output

    def __getattr__(self, name: str):
        value = getattr(self._network, name)
        return Timed(value, self._clock) if callable(value) else value


class GrownMemory:
    """By how much memory has grown at its peak since construction.

    On CUDA what torch had allocated; on the CPU the process's resident memory, whose peak cannot be set back: for one
    measurement per process, see ``in_child``.
    """

    def __init__(self, device: str):
        self._device, self.on_cuda = device, is_cuda(device)
        if self.on_cuda:
            self.forget_peak()
            self._before = torch.cuda.memory_allocated(device)
        else:
            self._before = _resident("VmRSS")

    def forget_peak(self) -> None:
        """Only what comes now counts; on CUDA alone."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)

    def mib(self) -> float:
        synchronize(self._device)
        peak = torch.cuda.max_memory_allocated(self._device) if is_cuda(self._device) else _resident("VmHWM")
        return (peak - self._before) / 2**20


def _resident(entry: str) -> int:
    """Bytes, "VmRSS" now or "VmHWM" at their peak; outside Linux the peak in either case.

    ``ru_maxrss`` would count on Linux also what the parent held when it started the process.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_child(function: Callable, *arguments):
    """What the function returns in a new process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
