"""Benchmarks of the training step, of prediction and of the data side: the fast way beside the plain reference.

The reference is that of `msff.bench.plain`; both are measured in the same run, in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from msff.bench.implementations import CONTENDERS, STEPS, Case, Frames
from msff.bench.measure import GrownMemory, StageClock, alternate, in_child, is_cuda
from msff.bench.peak import matrix_peak, multiplied_in
from msff.data.batches import Batch
from msff.data.crops import AugmentConfig
from msff.data.datasets import DATASETS
from msff.data.synthetic import synthetic_batch
from msff.models.registry import METHODS, NetworkConfig, count_macs, count_parameters
from msff.report.benchmarks import PAPERS_OWN
from msff.standin.writers import MANIFEST
from msff.study.experiment import Study
from msff.study.machine import machine
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import DataSpec, Profile, get_profile
from msff.study.store import Experiment
from msff.training.engine import SpeedConfig, count_processes, usable_precision
from msff.training.loop import TrainingConfig
from msff.volume_kernels import can_compile

KEPT_IMAGES = 512  # decoded and cropped from again and again where real images are measured


# cases


def network_config(size: int) -> NetworkConfig:
    """Each paper's network at another crop size: bins = size / 4."""
    if size < 64 or size % 32:
        raise ValueError(f"size must be a multiple of 32 and at least 64, got {size}")
    return NetworkConfig(crop_size=size, bins=size // 4)


def benched_variant(method: str) -> str:
    """The variant that is measured if none is asked for: the headline's, or Chen's that needs no masks."""
    return "plain" if method == "chen" else METHODS[method].headline


def network_case(
    method: str, variant: str | None = None, *, device: str, size: int | None = None, batch: int | None = None,
    profile: str | None = None, precision: str | None = None, compiled: bool | None = None,
) -> Case:  # fmt: skip
    """What `msff bench train|infer` measures; ValueError says what cannot be.

    The paper's network at ``size`` px (256), or the ``profile``'s with its loss and decoder, and its batch and
    precision unless they are given. Without a profile it is bf16 where the device multiplies it natively, and compiled
    where that is of use.
    """
    if method not in METHODS or METHODS[method].build is None:
        known = ", ".join(name for name, m in METHODS.items() if m.build is not None)
        raise ValueError(f"unknown network {method!r}: choose one of {known}")
    if profile is not None and size is not None:
        raise ValueError(f"the size is that of profile {profile!r}: give --profile or --size, not both")
    sizes = get_profile(profile) if profile else _paper_profile(256 if size is None else size)
    batch = batch if batch is not None else sizes.training.batch_size
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    # Synthetic crops have no masks of hands, nor has this layout.
    dataset = next(name for name in sizes.data.datasets if not DATASETS[name].has_masks)
    usual = benched_variant(method)
    experiment = Experiment(sizes.name, dataset, method, variant or usual)
    if not runs_on(method, experiment.variant, dataset):
        raise ValueError(f"{method}/{experiment.variant} needs masks of the hands, which are missing: bench {usual!r}")
    hands = 1 if METHODS[method].single_hand else 2
    synthetic = synthetic_batch(batch, sizes.network.crop_size, "cpu", torch.Generator().manual_seed(0), hands)
    speed = _speed(sizes.speed if profile else None, torch.device(device), precision, compiled)
    return Case(experiment, sizes, synthetic, device, speed, torch.get_num_threads())


def _paper_profile(size: int) -> Profile:
    return Profile(PAPERS_OWN, "", "", DataSpec(), network_config(size), TrainingConfig())


def _speed(
    profile: SpeedConfig | None, device: torch.device, precision: str | None, compiled: bool | None
) -> SpeedConfig:
    """What was asked for, else the profile's, else the fastest, as far as the device can; ValueError if it cannot."""
    if count_processes() > 1:
        raise ValueError("a benchmark measures one process: start it without torchrun")
    if precision == "bf16" and usable_precision("bf16", device) != "bf16":
        raise ValueError(f"--precision bf16: this {device.type} does not multiply bf16 natively; take float32")
    if compiled and not can_compile(device):
        raise ValueError("--compile needs a GPU of CUDA capability 7.0 up, Triton and a C compiler; take --no-compile")
    wanted = profile or SpeedConfig("bf16", compile=True)
    return SpeedConfig(
        precision or usable_precision(wanted.precision, device),
        compile=(wanted.compile and can_compile(device)) if compiled is None else compiled,
    )


def training_frames(case: Case) -> Frames | None:
    """Images of the case's own profile, if the profile's data are on this disk."""
    try:
        study = Study(case.experiment.profile, device=case.device)
    except FileNotFoundError:  # not within the project's folder
        return None
    dataset = case.experiment.dataset
    root = study.data_root(dataset)
    if not ((root / MANIFEST).is_file() if DATASETS[dataset].is_standin else root.is_dir()):
        return None
    return study_frames(study, dataset, procedure(case.experiment, case.profile).view, case.phase().training.augment)


def study_frames(study: Study, dataset: str, view: str, augment: AugmentConfig | None) -> Frames:
    """The first training images of a dataset; the stand-in is rendered if it is not there."""
    crops = study.samples(dataset, "train", view)
    samples = tuple(crops.samples[i] for i in range(min(KEPT_IMAGES, len(crops))))
    return Frames(samples, crops.crop_size, crops.supersample, augment)


# networks


def bench_network(what: str, case: Case, seconds: float, frames: Frames | None = None) -> dict:
    """A step of "train" or "infer", of both contenders on one and the same batch, for about ``seconds`` in all.

    The top level of the result is the fast way's, ``reference`` the reference's, ``ratio`` the first by the second.
    ``stages`` are percent of a step, in training with the crops' making from ``frames``, if there are any.
    """
    if what == "train":
        case.phase()
    clocks = {name: StageClock(case.device) for name in CONTENDERS}
    peaks, steps = {}, {}
    with ExitStack() as stack:
        crops = None if frames is None else frames.crops("fast", len(case.batch), case.device)
        held = case.batch.to(case.device) if crops is None else next(crops)
        for name in CONTENDERS:
            memory = GrownMemory(case.device)
            steps[name] = stack.enter_context(STEPS[what](case, name, clocks[name]))
            if is_cuda(case.device):
                peaks[name] = _peak_mib(memory, partial(steps[name], held))
            else:
                peaks[name] = in_child(network_peak_mib, what, case, name)
        with FlopCounterMode(display=False) as counter:
            steps["reference"](held)
        gmac = counter.get_total_flops() / 2e9 / len(held)
        on_held = {name: partial(step, held) for name, step in steps.items()}
        results = alternate(on_held, case.device, len(held), seconds)
        for name, result in results.items():
            result |= {"peak_mib": peaks[name], "gmac_per_s": gmac * result["images_per_s"]}
            result |= _stages(clocks[name], on_held[name])
        if what == "train" and crops is not None:
            results["fast"] |= _with_data(clocks["fast"], crops, steps["fast"], len(held))
    return _case_report(what, case, frames, gmac) | _compared(results, case) | machine(case.device)


def network_peak_mib(what: str, case: Case, contender: str) -> float:
    """Peak memory of one contender in a process of its own."""
    torch.set_num_threads(case.threads)
    held = case.batch.to(case.device)
    with STEPS[what](case, contender, StageClock(case.device)):
        pass  # imports and threads count for neither side
    memory = GrownMemory(case.device)
    with STEPS[what](case, contender, StageClock(case.device)) as step:
        return _peak_mib(memory, partial(step, held))


def _peak_mib(memory: GrownMemory, step) -> float:
    """The most that some steps hold at once. On CUDA the first compiles and is left out; the next ones record the
    graphs, which is when their memory is allocated: a replay allocates nothing that could be counted."""
    if memory.on_cuda:
        step()
        memory.forget_peak()
    for _ in range(4 if memory.on_cuda else 2):
        step()
    return memory.mib()


def _stages(clock: StageClock, step) -> dict:
    seconds = clock.seconds(step)
    return {"stages": {stage: 100 * s / sum(seconds.values()) for stage, s in seconds.items()}}


def _with_data(clock: StageClock, crops: Iterator[Batch], step, images: int) -> dict:
    def whole():
        batch = next(crops)
        clock.mark("data")
        step(batch)

    seconds = clock.seconds(whole)
    total = sum(seconds.values())
    shares = {stage: 100 * s / total for stage, s in seconds.items()}
    return {"images_per_s_with_data": images / total, "stages": shares}


def _case_report(what: str, case: Case, frames: Frames | None, gmac: float) -> dict:
    size = case.profile.network.crop_size
    model = case.network("fast")
    return {
        "bench": what,
        "method": case.experiment.method,
        "variant": case.experiment.variant,
        **({"phase": case.phase().name} if what == "train" else {}),
        "profile": case.experiment.profile,
        "size": size,
        "batch": len(case.batch),
        "data": "synthetic" if frames is None else f"{len(frames.samples)} images of {case.experiment.dataset}",
        "precision": case.speed.precision,
        "compile": case.speed.compile and what == "train",  # prediction is not compiled
        "parameters": count_parameters(model),
        "gmac_forward": count_macs(model, size) / 1e9,
        "gmac_per_image": gmac,  # of all that the step computes, counted while it ran
    }


def _compared(results: dict[str, dict], case: Case) -> dict:
    """The fast way's figures, the reference's and their ratios, with the share of the machine's measured peak."""
    bounds = {"fast": multiplied_in(case.speed.precision, case.device),
              "reference": multiplied_in("float32", case.device)}  # fmt: skip
    peak = matrix_peak(case.device, tuple(dict.fromkeys(["float32", "bf16", *bounds.values()])))
    for name, result in results.items():
        result["percent_of_peak"] = 100 * result["gmac_per_s"] / peak[bounds[name]]
    return _ratios(results) | {"peak_gmac_per_s": peak}


def _ratios(results: dict[str, dict]) -> dict:
    fast, reference = (results[name] for name in CONTENDERS)
    keys = ("images_per_s", "peak_mib")
    return fast | {"reference": reference, "ratio": {key: fast[key] / reference[key] for key in keys}}


# data


def bench_data(frames: Frames, batch: int, device: str, seconds: float) -> dict:
    """The data side of a training step: shuffled, augmented crops, with all labels; of the reference crops alone."""
    crops = {name: frames.crops(name, batch, device) for name in CONTENDERS}
    steps = {name: partial(next, stream) for name, stream in crops.items()}
    images = min(batch, len(frames.samples))
    peaks = {}
    for name in CONTENDERS:
        if is_cuda(device):
            peaks[name] = _peak_mib(GrownMemory(device), steps[name])
        else:
            peaks[name] = in_child(data_peak_mib, frames, name, batch, device, torch.get_num_threads())
    results = alternate(steps, device, images, seconds)
    for name, result in results.items():
        result["peak_mib"] = peaks[name]
    head = {"bench": "data", "size": frames.crop_size, "batch": images, "images": len(frames.samples)}
    return head | _ratios(results) | machine(device)


def data_peak_mib(frames: Frames, contender: str, batch: int, device: str, threads: int) -> float:
    """Peak memory of one contender in a process of its own, decoded images included."""
    torch.set_num_threads(threads)
    memory = GrownMemory(device)
    return _peak_mib(memory, partial(next, frames.crops(contender, batch, device)))
