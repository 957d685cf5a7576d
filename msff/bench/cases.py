"""Which network `msff bench train|infer` measures, and where its images come from."""

from __future__ import annotations

import torch

from msff.bench.crops import Frames, study_frames
from msff.bench.networks import Case
from msff.data.datasets import DATASETS
from msff.data.synthetic import synthetic_batch
from msff.device import can_compile, usable_precision
from msff.models.registry import METHODS
from msff.report.benchmarks import PAPERS_OWN
from msff.settings.networks import NetworkConfig
from msff.settings.training import SpeedConfig, TrainingConfig
from msff.study.experiment import Experiment
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import DataSpec, Profile, get_profile
from msff.study.workspace import Workspace


def network_config(size: int) -> NetworkConfig:
    """Return the papers' networks at another crop size, with bins = size / 4."""
    if size < 64 or size % 32:
        raise ValueError(f"size must be a multiple of 32 and at least 64, got {size}")
    return NetworkConfig(crop_size=size, bins=size // 4)


def network_case(
    method: str, variant: str | None = None, *, device: str, size: int | None = None, batch: int | None = None,
    profile: str | None = None, precision: str | None = None, compiled: bool | None = None,
) -> Case:  # fmt: skip
    """Return what to measure; ValueError names the option that makes no sense.

    The network is the paper's at ``size`` px (256), or the ``profile``'s with its loss and decoder. Batch and precision
    default to the profile's, without one to bf16 and compilation; a device that lacks either does without, as the
    report states. The default variant is the one in the tables, of Chen the one without masks.
    """
    if method not in METHODS or not METHODS[method].has_network:
        known = ", ".join(name for name, m in METHODS.items() if m.has_network)
        raise ValueError(f"unknown network {method!r}: choose one of {known}")
    if profile is not None and size is not None:
        raise ValueError(f"the size is that of profile {profile!r}: give --profile or --size, not both")
    paper = Profile(PAPERS_OWN, "", "", DataSpec(), network_config(size or 256), TrainingConfig())
    sizes = get_profile(profile) if profile else paper
    batch = sizes.training.batch_size if batch is None else batch
    usual = "plain" if method == "chen" else METHODS[method].headline
    dataset = next(name for name in sizes.data.datasets if not DATASETS[name].has_masks)  # nor have synthetic crops
    experiment = Experiment(sizes.name, dataset, method, variant or usual)
    if not runs_on(method, experiment.variant, dataset):
        raise ValueError(f"{method}/{experiment.variant} needs masks of the hands, which are missing: bench {usual!r}")
    hands = 1 if METHODS[method].single_hand else 2
    synthetic = synthetic_batch(batch, sizes.network.crop_size, "cpu", torch.Generator().manual_seed(0), hands)
    wanted, there = sizes.speed if profile else SpeedConfig("bf16", compile=True), torch.device(device)
    speed = SpeedConfig(
        usable_precision(precision or wanted.precision, there),
        compile=(wanted.compile if compiled is None else compiled) and can_compile(there),
    )
    return Case(experiment, sizes, synthetic, device, speed)


def training_frames(case: Case) -> Frames | None:
    """Return images of the case's profile, or None if the profile's data are not on this disk."""
    try:
        workspace = Workspace(case.experiment.profile, device=case.device)
    except FileNotFoundError:  # outside the project's folder
        return None
    dataset = case.experiment.dataset
    if not workspace.has_data(dataset):
        return None
    return study_frames(
        workspace, dataset, procedure(case.experiment, case.profile).view, case.phase().training.augment
    )
