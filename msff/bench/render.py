"""The renderer's benchmark: throughput, memory and the time of each stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from msff.bench.measure import alternate, is_cuda, synchronize
from msff.standin import render
from msff.study.machine import PeakMemory, machine

STAGE_PREFIX = "standin::"  # the renderer wraps its stages in record_function under this prefix
STAGES = ("draws", "pose", "contact", "surface", "raster", "shade", "shadow", "background", "sensor", "truth")
PROFILED_STEPS = 3
_STEP = "msff::bench_step"


def bench_render(size: int, batch: int, device: str, seconds: float) -> dict:
    """The stand-in's renderer in memory, poses included, and where its time goes."""
    generator = torch.Generator().manual_seed(0)
    peak = PeakMemory(device)
    step = lambda: render(generator, batch, size, device)  # noqa: E731
    result = alternate({"render": step}, device, batch, seconds, warmup=1)["render"]
    peak_mib = peak.mib()  # before the profiler, which needs memory of its own
    head = {"bench": "render", "size": size, "batch": batch} | result | {"peak_mib": peak_mib}
    return head | machine(device) | stage_report(step, device, batch, result["step_s"])


def stage_report(step: Callable[[], object], device: str, batch: int, step_s: float) -> dict:
    """Time per stage of the renderer, from PROFILED_STEPS further steps under the profiler.

    ``stages``: label -> percent and ms_per_image, ``other`` being what no label covers; None where a known label did
    not occur. A stage's time is its own, without the stages inside it (shadow lies within shade). On the CPU the
    percentages are of the step's wall time and share out ``step_s``, measured without the profiler. On CUDA they are
    of the kernels' time, ms_per_image is the kernels' own, and host_percent tells the wall time of the launching host.
    """
    cuda = is_cuda(device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED_STEPS):
            with record_function(_STEP):
                step()
                synchronize(device)
    ranges = [_Range.of(e) for e in profiler.events() if _is_label(e)]
    shares = _percent(exclusive_times(ranges))
    per_image_ms = 1e3 * step_s / batch
    extra = {"profiled_steps": PROFILED_STEPS, "stage_clock": "kernels" if cuda else "wall"}
    if not cuda:
        stages = {k: {"percent": p, "ms_per_image": None if p is None else p / 100 * per_image_ms}
                  for k, p in shares.items()}  # fmt: skip
        return extra | {"stages": stages}
    kernels_us = kernel_times(profiler.events(), ranges)
    device_ms = {k: v / 1e3 / PROFILED_STEPS / batch for k, v in kernels_us.items()}
    stages = {k: {"percent": p, "ms_per_image": device_ms.get(k), "host_percent": shares.get(k)}
              for k, p in _percent(kernels_us).items()}  # fmt: skip
    return extra | {"gpu_busy_percent": 100 * sum(device_ms.values()) / per_image_ms, "stages": stages}


@dataclass(frozen=True)
class _Range:
    """A labelled stretch of one thread's time, us."""

    label: str  # without its prefix; "other" for the whole step
    thread: int
    start: float
    end: float

    @classmethod
    def of(cls, event) -> _Range:
        label = "other" if event.name == _STEP else event.name.removeprefix(STAGE_PREFIX)
        return cls(label, event.thread, event.time_range.start, event.time_range.end)


def _is_label(event) -> bool:
    # On CUDA each label comes a second time, as a range of the device's own clock.
    return event.device_type == DeviceType.CPU and (event.name == _STEP or event.name.startswith(STAGE_PREFIX))


def exclusive_times(ranges: list[_Range]) -> dict[str, float]:
    """Time of each label without the ranges nested in it, us."""
    times: dict[str, float] = defaultdict(float)
    around: list[_Range] = []
    for one in sorted(ranges, key=lambda r: (r.thread, r.start, -r.end)):
        while around and (around[-1].thread != one.thread or around[-1].end <= one.start):
            around.pop()
        times[one.label] += one.end - one.start
        if around:
            times[around[-1].label] -= one.end - one.start
        around.append(one)
    return dict(times)


def kernel_times(events, ranges: list[_Range]) -> dict[str, float]:
    """Kernels' time per label, us: a kernel belongs to the innermost range that holds the call which launched it."""
    times: dict[str, float] = defaultdict(float)
    for event in events:
        if event.device_type != DeviceType.CPU or not event.kernels:
            continue
        at = event.time_range.start
        holding = [r for r in ranges if r.thread == event.thread and r.start <= at < r.end]
        label = max(holding, key=lambda r: (r.start, -r.end)).label if holding else "other"
        times[label] += sum(kernel.duration for kernel in event.kernels)
    return dict(times)


def _percent(times: dict[str, float]) -> dict[str, float | None]:
    """Shares of the sum: the known stages in their order, then unknown ones, "other" last; None where absent."""
    total = sum(times.values()) or 1.0
    names = list(dict.fromkeys([*STAGES, *(k for k in times if k != "other"), "other"]))
    return {name: 100 * times[name] / total if name in times else None for name in names}
