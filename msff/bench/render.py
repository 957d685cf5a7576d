"""The stand-in's renderer: throughput, memory and the time of each stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from msff.bench.measure import alternate, is_cuda
from msff.standin import render
from msff.study.machine import PeakMemory, machine

STAGE_PREFIX = "standin::"  # the renderer wraps its stages in record_function under this prefix
STAGES = ("draws", "pose", "contact", "surface", "raster", "shade", "shadow", "background", "sensor", "truth")
WITHIN = {"shadow": "shade"}  # all other stages lie side by side
PROFILED_STEPS = 3


def bench_render(size: int, batch: int, device: str, seconds: float) -> dict:
    """Measure the stand-in's renderer in memory, poses included, and its stages."""
    generator = torch.Generator().manual_seed(0)
    peak = PeakMemory(device)
    step = partial(render, generator, batch, size, device)
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
    attribute = "device_time_total" if cuda else "cpu_time_total"
    labels = [e for e in profiler.key_averages() if e.key.startswith(STAGE_PREFIX) and e.device_type == DeviceType.CPU]
    times = Counter({e.key.removeprefix(STAGE_PREFIX): getattr(e, attribute) for e in labels})
    for label, us in list(times.items()):
        if label != "other":
            times[WITHIN.get(label, "other")] -= us
    shares = {label: us / sum(times.values()) for label, us in times.items()}
    each = {label: {"percent": 100 * s, "ms_per_image": 1e3 * s * step_s / batch} for label, s in shares.items()}
    absent = {"percent": None, "ms_per_image": None}
    stages = {
        label: each.get(label, absent) for label in dict.fromkeys([*STAGES, *sorted(each.keys() - {"other"}), "other"])
    }
    return {"profiled_steps": PROFILED_STEPS, "stage_clock": "kernels" if cuda else "wall", "stages": stages}
