"""The training speed of this machine, before any run has been stored."""

from __future__ import annotations

import torch

from msff.models.building import build
from msff.study.experiment import Experiment
from msff.study.phases import phases
from msff.study.profiles import Profile
from msff.training.engine import Engine
from msff.training.probe import probed_rate


def measured(profile: Profile, device: str) -> tuple[float, bool]:
    """Return MS-FF's training images per second on the device, and whether it compiles networks."""
    (phase,) = phases(Experiment(profile.name, profile.data.datasets[0], "msff"), profile)
    with torch.random.fork_rng(devices=[]):
        network = build("msff", "full", profile.network).to(device)
    rate = probed_rate(network, phase, profile.network.crop_size, device, profile.speed)
    return rate, Engine(device, profile.speed).compiled
