"""The training speed of this machine, measured before any run has been stored."""

from __future__ import annotations

import operator

import torch
from torch import nn

from msff.data.synthetic import synthetic_batch
from msff.settings.training import SpeedConfig
from msff.training.engine import Engine
from msff.training.loop import Phase, optimiser, train_step


def probed_rate(
    model: nn.Module, phase: Phase, crop_size: int, device: str, speed: SpeedConfig, seconds: float = 3.0
) -> float:
    """Return the images/s of training steps on one synthetic batch of the phase, within about ``seconds``."""
    from torch.utils.benchmark import Timer  # looks for a CUDA toolkit when it is imported

    batch = synthetic_batch(phase.training.batch_size, crop_size, device, torch.Generator().manual_seed(0))
    engine = Engine(device, speed)
    with phase.learning(model.to(device)):
        optimizer = optimiser(phase.training, (p for p in model.parameters() if p.requires_grad))
        step = engine.step(model.train(), phase.objective)

        def run() -> None:
            rate = phase.training.learning_rate
            train_step(step, optimizer, batch, operator.call, rate, engine.backward)

        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        return len(batch) / timer.blocked_autorange(min_run_time=seconds).median
