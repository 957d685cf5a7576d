"""The training loop: Adam, step decay, one pass over the images per epoch, whatever the network learns.

What it learns is an ``Objective``, such as ``losses.HandObjective``; the loop knows nothing of outputs or targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from msff.data.crops import AugmentConfig
from msff.data.loader import Batch, HandDataset
from msff.training.checkpoint import load_checkpoint, save_checkpoint

Objective = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""Loss of a network on a batch: scalars by name, of which "total" is minimised and the others are recorded."""

Progress = Callable[[int, int, int, int, float], None]
"""Called after each step with epoch, epochs, step, steps, loss (counts from 1)."""


@dataclass(frozen=True)
class TrainingConfig:
    """The paper: batch 16, 20 epochs, initial rate 1e-4, divided by 10 at epochs 15 and 17. The rest is unstated."""

    batch_size: int = 16
    epochs: int = 20
    learning_rate: float = 1e-4
    decay_epochs: tuple[int, ...] = (15, 17)
    decay_factor: float = 0.1
    images_per_epoch: int | None = None  # None: every training image once
    optimizer: str = "adam"  # unstated; InterNet's
    warmup_steps: int = 0  # linear; 0 as in InterNet's code
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)

    def __post_init__(self):
        if self.batch_size < 1 or self.epochs < 1:
            raise ValueError(f"batch_size and epochs must be >= 1, got {self.batch_size} and {self.epochs}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        if self.optimizer not in ("adam",):
            raise ValueError(f"optimizer must be 'adam', got {self.optimizer!r}")

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate in epoch 0.., ``step`` 0.. counted over the whole training."""
        decayed = self.learning_rate * self.decay_factor ** sum(epoch >= e for e in self.decay_epochs)
        return decayed * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else decayed


class TrainingError(Exception):
    """Training that cannot go on, such as a loss that is not finite."""


def fit(
    model: nn.Module,
    dataset: HandDataset,
    objective: Objective,
    config: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    config_hash: str = "",
    describe: dict | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Train ``model`` in place for ``objective`` and return its history, one row per epoch.

    Columns: epoch, loss, loss_<term>, images_per_s, seconds, lr; losses are means over the images. A ``checkpoint`` is
    written after each epoch and, if it exists already, continued from; it must carry the same ``config_hash``;
    ``describe`` goes into it, so that it says what it is. TrainingError if the loss is not finite.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    history: list[dict] = []
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, dataset.device, config_hash)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = list(state["history"])
    for epoch in range(len(history), config.epochs):
        row = _epoch(model, optimizer, dataset, objective, config, epoch, seed, progress)
        history.append(row)
        if checkpoint is not None:
            save_checkpoint(
                checkpoint, config_hash=config_hash, epoch=epoch + 1, model=model.state_dict(),
                optimizer=optimizer.state_dict(), history=history, describe=describe or {},
            )  # fmt: skip
    return pd.DataFrame(history)


def _epoch(model, optimizer, dataset, objective, config, epoch, seed, progress) -> dict:
    # One generator per epoch, so that a resumed run draws what an uninterrupted one would have drawn.
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    model.train()
    steps = dataset.count_batches(config.batch_size, shuffle=True, limit=config.images_per_epoch)
    sums: dict[str, float] = {}
    started, seen = time.perf_counter(), 0
    batches = dataset.batches(
        config.batch_size, augment=config.augment, shuffle=True, generator=generator, limit=config.images_per_epoch
    )
    for step, batch in enumerate(batches):
        rate = config.rate(epoch, epoch * steps + step)
        losses = train_step(model, optimizer, batch, objective, rate)
        total = float(losses["total"].detach())
        if total != total or total == float("inf"):
            raise TrainingError(
                f"the loss is {total} in epoch {epoch + 1}, step {step + 1}: "
                f"lower learning_rate (now {rate:g}) or inspect the samples {batch.index.tolist()}"
            )
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(batch.index)
        seen += len(batch.index)
        if progress:
            progress(epoch + 1, config.epochs, step + 1, steps, total)
    seconds = time.perf_counter() - started
    row = {"epoch": epoch + 1, "loss": sums.pop("total") / seen}
    row |= {f"loss_{name}": value / seen for name, value in sums.items()}
    return row | {"images_per_s": seen / seconds, "seconds": seconds, "lr": rate}


def train_step(model, optimizer, batch: Batch, objective: Objective, rate: float) -> dict[str, Tensor]:
    """One full step: forward, loss, backward, update. Returns the loss terms, from before the update."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    losses = objective(model, batch)
    optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    optimizer.step()
    return losses
