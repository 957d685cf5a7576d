"""Benchmarks: throughput and memory of the training step, inference, the data side and the renderer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from msff.data.crops import AugmentConfig
from msff.data.loader import Batch
from msff.heatmaps import VolumeSpec, bins_to_crop, decode
from msff.models.registry import METHODS, NetworkConfig, build, count_macs, count_parameters, takes_side
from msff.standin import render
from msff.study.experiment import PeakMemory, Study, provenance
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import DataSpec, Profile
from msff.study.runs import Experiment
from msff.training.loop import Phase, TrainingConfig, train_step

STAGE_PREFIX = "standin::"  # the renderer wraps its stages in record_function under this prefix
STAGES = ("draws", "pose", "contact", "surface", "raster", "shade", "shadow", "background", "sensor", "truth")
PROFILED_STEPS = 3
HEAVIEST_PHASE = {"posenet": "pose2d", "yang": "image"}  # on images; the other methods have one phase for everything
_WITHOUT_MASKS = "standin-interhand"  # synthetic crops have none, as this data set
_STEP = "msff::bench_step"


def measure(step: Callable[[], object], device: str, images: int, seconds: float, warmup: int = 2) -> dict:
    """Repeat ``step`` for about ``seconds`` after a warm-up. Returns images_per_s (median step), steps, step_s."""
    for _ in range(warmup):
        step()
    times, started = [], time.perf_counter()
    while not times or time.perf_counter() - started < seconds:
        _synchronize(device)
        begin = time.perf_counter()
        step()
        _synchronize(device)
        times.append(time.perf_counter() - begin)
    median = float(torch.tensor(times, dtype=torch.float64).median())
    return {"images_per_s": images / median, "steps": len(times), "step_s": median}


def _synchronize(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def network_config(size: int) -> NetworkConfig:
    """Each paper's network at another crop size: bins = size / 4."""
    if size < 64 or size % 32:
        raise ValueError(f"size must be a multiple of 32 and at least 64, got {size}")
    return NetworkConfig(crop_size=size, bins=size // 4)


def synthetic_batch(count: int, size: int, device: str, generator: torch.Generator, hands: int = 2) -> Batch:
    """A batch of random pixels and joints with every tensor that a training step reads.

    ``hands`` 2 shows both in each crop, 1 in turn a right and a left one.
    """
    affine = torch.eye(3)[:2].expand(count, 2, 3)
    crop_px = torch.rand(count, 42, 2, generator=generator) * size
    depth = torch.rand(count, 42, generator=generator) * 200 - 100
    side, true1 = torch.ones(count, 2, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    if hands == 1:
        side = torch.arange(count)[:, None] % 2 == torch.arange(2)  # (B, 2)
    valid = side.repeat_interleave(21, 1)  # (B, 42)
    tensors = {
        "image": torch.rand(count, 3, size, size, generator=generator),
        "affine": affine,
        "intrinsics": torch.tensor([[500.0, 0, size / 2], [0, 500.0, size / 2], [0, 0, 1]]).expand(count, 3, 3),
        "joints_cam_mm": torch.cat([crop_px, depth[..., None] + 600], -1),
        "joints_crop_px": crop_px,
        "relative_depth_mm": depth,
        "joint_valid": valid,
        "joint_visible": valid,
        "side_present": side.float(),
        "side_valid": true1,
        "root_depth_mm": torch.full((count, 2), 600.0),
        "relative_root_depth_mm": torch.zeros(count),
        "relative_root_valid": side.all(1),
        "box": torch.tensor([0.0, 0.0, size, size]).expand(count, 4),
        "index": torch.arange(count),
    }
    return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})


def benched_variant(method: str) -> str:
    """The variant that is measured if none is asked for: the headline's, or Chen's that needs no masks."""
    return "plain" if method == "chen" else METHODS[method].headline


def _start(method: str, variant: str | None, size: int, batch: int, device: str):
    """The experiment, its network at that size and a synthetic batch; ValueError says what cannot be measured."""
    if method not in METHODS or METHODS[method].build is None:
        known = ", ".join(name for name, m in METHODS.items() if m.build is not None)
        raise ValueError(f"unknown network {method!r}: choose one of {known}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    usual = benched_variant(method)
    experiment = Experiment("bench", _WITHOUT_MASKS, method, variant or usual)
    if not runs_on(method, experiment.variant, experiment.dataset):
        raise ValueError(
            f"{method}/{experiment.variant} needs masks of the hands, which synthetic crops lack: bench {usual!r}"
        )
    generator = torch.Generator().manual_seed(0)
    hands = 1 if METHODS[method].one_hand else 2
    model = build(method, experiment.variant, network_config(size)).to(device)
    return experiment, model, synthetic_batch(batch, size, device, generator, hands)


def heaviest_phase(experiment: Experiment, size: int) -> Phase:
    """The part of the experiment's training on images that costs most; ValueError if it trains nothing itself."""
    profile = Profile("bench", "", "", DataSpec(), network_config(size), TrainingConfig())
    how = procedure(experiment, profile)
    phases = {phase.name: phase for phase in how.phases(None)}
    if not phases:
        raise ValueError(
            f"{experiment.method}/{experiment.variant} trains nothing itself: bench {how.start.variant!r}, "
            "whose weights it takes"
        )
    return phases[HEAVIEST_PHASE.get(experiment.method, "all")]


def bench_train(method: str, size: int, batch: int, device: str, seconds: float, variant: str | None = None) -> dict:
    """A full training step (forward, loss, backward, update) of the paper's network on synthetic input.

    Of the method's heaviest phase, which the report names; one hand per crop for the methods that know one.
    """
    experiment, model, data = _start(method, variant, size, batch, device)
    phase = heaviest_phase(experiment, size)
    rate = phase.training.learning_rate
    peak = PeakMemory(device)
    with phase.learning(model):
        optimizer = phase.training.optimise(p for p in model.parameters() if p.requires_grad)
        model.train()
        step = lambda: train_step(model, optimizer, data, phase.objective, rate)  # noqa: E731
        result = {"phase": phase.name} | measure(step, device, batch, seconds)
    return _report("train", experiment, size, batch, device, model, peak, result, factor=3)


@torch.no_grad()
def bench_infer(method: str, size: int, batch: int, device: str, seconds: float, variant: str | None = None) -> dict:
    """Forward pass on synthetic input, told the side where the network takes it, and arg-max decoding of a volume."""
    experiment, model, data = _start(method, variant, size, batch, device)
    model.eval()
    inputs = (data.image, data.side_present.argmax(1)) if takes_side(model) else (data.image,)
    spec = VolumeSpec(bins=size // 4, crop_size=size)

    def step():
        output = model(*inputs)
        return output if METHODS[method].one_hand else bins_to_crop(decode(output.volume, "argmax"), spec)

    peak = PeakMemory(device)
    return _report("infer", experiment, size, batch, device, model, peak, measure(step, device, batch, seconds), 1)


def _report(what, experiment, size, batch, device, model, peak, result, factor) -> dict:
    gmac = count_macs(model, size) / 1e9
    return {
        "bench": what,
        "method": experiment.method,
        "variant": experiment.variant,
        "size": size,
        "batch": batch,
        **result,
        "peak_mib": peak.mib(),
        "parameters": count_parameters(model),
        "gmac_forward": gmac,
        "gmac_per_s": factor * gmac * result["images_per_s"],  # a backward pass counts as two forward passes
        **_machine(device),
    }


def bench_data(study: Study, batch: int, seconds: float) -> dict:
    """The data side of a training step: shuffled, augmented crops of the profile's first dataset."""
    dataset = study.samples(study.profile.data.datasets[0], "train")
    generator = torch.Generator().manual_seed(0)

    def stream():
        while True:
            yield from dataset.batches(batch, augment=AugmentConfig(), shuffle=True, generator=generator)

    batches = stream()
    peak = PeakMemory(study.device)
    result = measure(lambda: next(batches), study.device, min(batch, len(dataset)), seconds)
    extra = {"profile": study.profile.name, "size": dataset.crop_size, "batch": batch}
    return {"bench": "data"} | extra | result | {"peak_mib": peak.mib()} | _machine(study.device)


def bench_render(size: int, batch: int, device: str, seconds: float) -> dict:
    """The stand-in's renderer in memory, poses included, and where its time goes."""
    generator = torch.Generator().manual_seed(0)
    peak = PeakMemory(device)
    step = lambda: render(generator, batch, size, device)  # noqa: E731
    result = measure(step, device, batch, seconds, warmup=1)
    peak_mib = peak.mib()  # before the profiler, which needs memory of its own
    head = {"bench": "render", "size": size, "batch": batch} | result | {"peak_mib": peak_mib}
    return head | _machine(device) | stage_report(step, device, batch, result["step_s"])


def stage_report(step: Callable[[], object], device: str, batch: int, step_s: float) -> dict:
    """Time per stage of the renderer, from PROFILED_STEPS further steps under the profiler.

    ``stages``: label -> percent and ms_per_image, ``other`` being what no label covers; None where a known label did
    not occur. A stage's time is its own, without the stages inside it (shadow lies within shade). On the CPU the
    percentages are of the step's wall time and share out ``step_s``, measured without the profiler. On CUDA they are
    of the kernels' time, ms_per_image is the kernels' own, and host_percent tells the wall time of the launching host.
    """
    cuda = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED_STEPS):
            with record_function(_STEP):
                step()
                _synchronize(device)
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


def _machine(device: str) -> dict:
    from pathlib import Path

    facts = provenance(Path.cwd(), device)
    return {key: facts[key] for key in ("device", "hardware", "threads", "versions")}
