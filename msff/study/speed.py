"""The training speed of this machine, before any run has been stored."""

from __future__ import annotations

import operator

import torch

from msff.data.synthetic import synthetic_batch
from msff.models.building import build
from msff.study.experiment import Experiment
from msff.study.phases import phases
from msff.study.profiles import Profile
from msff.training.engine import Engine
from msff.training.loop import optimiser, train_step


def measured(profile: Profile, device: str, seconds: float = 3.0) -> tuple[float, bool]:
    """Return MS-FF's training images per second on the device, and whether it compiles networks.

    Steps on one synthetic batch are timed for about ``seconds``.
    """
    from torch.utils.benchmark import Timer  # looks for a CUDA toolkit when it is imported

    (phase,) = phases(Experiment(profile.name, profile.data.datasets[0], "msff"), profile)
    training, engine = phase.training, Engine(device, profile.speed)
    with torch.random.fork_rng(devices=[]):
        network = build("msff", "full", profile.network).to(device)
    draws = torch.Generator().manual_seed(0)
    batch = synthetic_batch(training.batch_size, profile.network.crop_size, device, draws)
    with phase.learning(network):
        optimizer = optimiser(training, (p for p in network.parameters() if p.requires_grad))
        step = engine.step(network.train(), phase.objective)

        def run() -> None:
            train_step(step, optimizer, batch, operator.call, training.learning_rate, engine.backward)

        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        rate = len(batch) / timer.blocked_autorange(min_run_time=seconds).median
    return rate, engine.compiled
