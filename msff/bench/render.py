"""The stand-in's renderer: throughput, memory and the time of each stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from msff.bench.measure import alternate, is_cuda
from msff.standin import render
from msff.study.provenance import PeakMemory, machine

STAGE_PREFIX = "standin::"  # the renderer wraps its stages in record_function under this prefix
STAGES = ("draws", "pose", "contact", "surface", "raster", "shade", "shadow", "background", "sensor", "truth")
PROFILED_STEPS = 3


def bench_render(size: int, batch: int, device: str, seconds: float) -> dict:
    """Measure the stand-in's renderer in memory, poses included, and its stages."""
    generator = torch.Generator().manual_seed(0)
    peak = PeakMemory(device)
    step = lambda: render(generator, batch, size, device)  # noqa: E731
    result = alternate({"render": step}, batch, seconds)["render"]
    result["peak_mib"] = peak.mib()  # before the profiler, which needs memory of its own
    head = {"bench": "render", "size": size, "batch": batch}
    return head | result | machine(device) | stage_report(step, device, batch, result["step_s"])


def stage_report(step: Callable[[], object], device: str, batch: int, step_s: float) -> dict:
    """Return the time of each stage of the renderer, from PROFILED_STEPS further steps under the profiler.

    ``stages``: label -> percent and ms_per_image, both None for a known label that did not occur; "other" is what no
    label covers. A stage excludes stages inside it (shadow lies within shade). ``percent`` is of the wall time on the
    CPU, of the kernels on CUDA; ms_per_image is that share of ``step_s``, which was measured without the profiler.
    """
    cuda = is_cuda(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED_STEPS):
            with record_function(f"{STAGE_PREFIX}other"):
                step()
                if cuda:
                    torch.cuda.synchronize(device)
    times = exclusive_us(profiler.events(), "device_time_total" if cuda else "cpu_time_total")
    shares = {label: us / sum(times.values()) for label, us in times.items()}
    each = {label: {"percent": 100 * s, "ms_per_image": 1e3 * s * step_s / batch} for label, s in shares.items()}
    absent = {"percent": None, "ms_per_image": None}
    stages = {
        label: each.get(label, absent) for label in dict.fromkeys([*STAGES, *sorted(each.keys() - {"other"}), "other"])
    }
    return {"profiled_steps": PROFILED_STEPS, "stage_clock": "kernels" if cuda else "wall", "stages": stages}


def exclusive_us(events: Iterable[FunctionEvent], attribute: str) -> Counter[str]:
    """Return the microseconds of each label, less those of the labels inside it.

    ``attribute`` is "cpu_time_total", or "device_time_total" for the kernels that were launched within.
    """
    times: Counter[str] = Counter()
    for event in events:
        if not _is_stage(event):
            continue
        times[event.name.removeprefix(STAGE_PREFIX)] += getattr(event, attribute)
        around = event.cpu_parent
        while around is not None and not _is_stage(around):
            around = around.cpu_parent
        if around is not None:
            times[around.name.removeprefix(STAGE_PREFIX)] -= getattr(event, attribute)
    return times


def _is_stage(event: FunctionEvent) -> bool:
    # On CUDA each label comes a second time, as a range of the device's own clock.
    return event.device_type == DeviceType.CPU and event.name.startswith(STAGE_PREFIX)
