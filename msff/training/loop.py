"""The training loop: phases of step decay, one pass over the images per epoch, whatever the network learns.

What it learns is an ``Objective``, such as ``losses.HandObjective``; the loop knows nothing of outputs or targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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


_OPTIMIZERS = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}


@dataclass(frozen=True)
class TrainingConfig:
    """The paper: batch 16, 20 epochs, initial rate 1e-4, divided by 10 at epochs 15 and 17. The rest is unstated."""

    batch_size: int = 16
    epochs: int = 20
    learning_rate: float = 1e-4
    decay_epochs: tuple[int, ...] = (15, 17)
    decay_factor: float = 0.1
    images_per_epoch: int | None = None  # None: every training image once
    optimizer: str = "adam"  # unstated; InterNet's. "rmsprop" is Chen's
    warmup_steps: int = 0  # linear; 0 as in InterNet's code
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)

    def __post_init__(self):
        if self.batch_size < 1 or self.epochs < 1:
            raise ValueError(f"batch_size and epochs must be >= 1, got {self.batch_size} and {self.epochs}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(_OPTIMIZERS)}, got {self.optimizer!r}")

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate in epoch 0.., ``step`` 0.. counted over the whole training."""
        decayed = self.learning_rate * self.decay_factor ** sum(epoch >= e for e in self.decay_epochs)
        return decayed * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else decayed


@dataclass(frozen=True)
class Phase:
    """One part of a training: which children of the network learn what, for how long."""

    name: str
    objective: Objective
    training: TrainingConfig
    modules: tuple[str, ...] = ()  # children of the network that learn, the others keep their weights; empty: all
    pixels: bool = True  # whether the objective looks at the images, or at their annotation alone

    @contextmanager
    def learning(self, model: nn.Module) -> Iterator[nn.Module]:
        """The network with all but this phase's modules frozen; what could learn before can learn again after."""
        children = dict(model.named_children())
        unknown = sorted(set(self.modules) - children.keys())
        if unknown:
            raise ValueError(f"phase {self.name!r} trains {unknown}, but the network has {sorted(children)}")
        before = {p: p.requires_grad for p in model.parameters()}
        chosen = {p for name in self.modules for p in children[name].parameters()}
        try:
            for p in before if self.modules else ():
                p.requires_grad_(p in chosen)
            yield model
        finally:
            for p, learns in before.items():
                p.requires_grad_(learns)


def count_epochs(phases: Iterable[Phase]) -> int:
    """Epochs of all phases together."""
    return sum(phase.training.epochs for phase in phases)


class TrainingError(Exception):
    """Training that cannot go on, such as a loss that is not finite."""


def fit(
    model: nn.Module,
    dataset: HandDataset,
    phases: Sequence[Phase],
    *,
    seed: int,
    checkpoint: Path | None = None,
    config_hash: str = "",
    describe: dict | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Train ``model`` in place, one phase after the other, and return its history, one row per epoch.

    Columns: phase, epoch (counted over all phases), loss, loss_<term>, images_per_s, seconds, lr; losses are means over
    the images. Each phase has an optimiser and a schedule of its own. A ``checkpoint`` is written after each epoch
    and, if it exists already, continued from; it must carry the same ``config_hash``; ``describe`` goes into it, so
    that it says what it is. TrainingError if the loss is not finite.
    """
    history: list[dict] = []
    state: dict | None = None
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, dataset.device, config_hash)
        model.load_state_dict(state["model"])
        history = list(state["history"])
    begin, total = 0, count_epochs(phases)
    for phase in phases:
        end = begin + phase.training.epochs
        if len(history) < end:
            with phase.learning(model):
                learning = [p for p in model.parameters() if p.requires_grad]
                optimizer = _OPTIMIZERS[phase.training.optimizer](learning, lr=phase.training.learning_rate)
                if state is not None and len(history) > begin:  # killed within this phase
                    optimizer.load_state_dict(state["optimizer"])
                for epoch in range(len(history), end):
                    counts = epoch, begin, total
                    history.append(_epoch(model, optimizer, dataset, phase, counts, seed, progress))
                    if checkpoint is not None:
                        save_checkpoint(
                            checkpoint, config_hash=config_hash, epoch=epoch + 1, model=model.state_dict(),
                            optimizer=optimizer.state_dict(), history=history, describe=describe or {},
                        )  # fmt: skip
        begin = end
    return pd.DataFrame(history)


def _epoch(model, optimizer, dataset, phase: Phase, counts: tuple[int, int, int], seed, progress) -> dict:
    """One pass. ``counts``: the epoch, the first one of its phase and their number, over all phases."""
    (epoch, begin, total), config = counts, phase.training
    # One generator per epoch, so that a resumed run draws what an uninterrupted one would have drawn.
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    model.train()
    steps = dataset.count_batches(config.batch_size, shuffle=True, limit=config.images_per_epoch)
    sums: dict[str, float] = {}
    started, seen = time.perf_counter(), 0
    batches = dataset.batches(
        config.batch_size, augment=config.augment, shuffle=True, generator=generator, limit=config.images_per_epoch,
        pixels=phase.pixels,
    )  # fmt: skip
    with _chance(dataset.device, 1_000_003 * seed + epoch):
        for step, batch in enumerate(batches):
            rate = config.rate(epoch - begin, (epoch - begin) * steps + step)
            losses = train_step(model, optimizer, batch, phase.objective, rate)
            loss = float(losses["total"].detach())
            if loss != loss or loss == float("inf"):
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}: "
                    f"lower learning_rate (now {rate:g}) or inspect the samples {batch.index.tolist()}"
                )
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(batch.index)
            seen += len(batch.index)
            if progress:
                progress(epoch + 1, total, step + 1, steps, loss)
    seconds = time.perf_counter() - started
    row = {"phase": phase.name, "epoch": epoch + 1, "loss": sums.pop("total") / seen}
    row |= {f"loss_{name}": value / seen for name, value in sums.items()}
    return row | {"images_per_s": seen / seconds, "seconds": seconds, "lr": rate}


@contextmanager
def _chance(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's own generators, which dropout draws from, seeded for the block and given back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def train_step(model, optimizer, batch: Batch, objective: Objective, rate: float) -> dict[str, Tensor]:
    """One full step: forward, loss, backward, update. Returns the loss terms, from before the update."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    losses = objective(model, batch)
    optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    optimizer.step()
    return losses
