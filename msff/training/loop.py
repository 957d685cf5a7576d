"""The training loop: phases with a step-decay schedule, one pass over the images per epoch.

The loss is an ``Objective``, such as `msff.training.objectives.heatmap.HandObjective`; the ``Engine`` has precision and
processes.
"""

from __future__ import annotations

import math
import operator
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.errors import MsffError
from msff.settings.training import TrainingConfig
from msff.training.checkpoint import load_checkpoint, save_checkpoint
from msff.training.engine import Engine, Objective

Progress = Callable[[int, int, int, int, float], None]
"""Called after each step with epoch, epochs, step, steps, loss (counts from 1)."""


_OPTIMIZERS = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}


def optimiser(training: TrainingConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser; on CUDA Adam's update is one kernel."""
    learning = list(parameters)
    fused = {"fused": True} if training.optimizer == "adam" and all(p.is_cuda for p in learning) else {}
    return _OPTIMIZERS[training.optimizer](learning, lr=training.learning_rate, **fused)


@dataclass(frozen=True)
class Phase:
    """One part of a training: the children of the network that learn, their loss and their schedule."""

    name: str
    objective: Objective
    training: TrainingConfig
    modules: tuple[str, ...] = ()  # children of the network that learn; empty: all
    pixels: bool = True  # whether the objective uses the images, or their annotation alone

    @contextmanager
    def learning(self, model: nn.Module) -> Iterator[nn.Module]:
        """Freeze all but this phase's modules for the block, then restore what was trainable before."""
        children = dict(model.named_children())
        before = {p: p.requires_grad for p in model.parameters()}
        chosen = {p for name in self.modules for p in children[name].parameters()}
        try:
            for p in before if self.modules else ():
                p.requires_grad_(p in chosen)
            yield model
        finally:
            for p, learns in before.items():
                p.requires_grad_(learns)


class TrainingError(MsffError):
    """Training that cannot go on, such as a loss that is not finite."""


def fit(
    model: nn.Module, dataset: HandDataset, phases: Sequence[Phase], *, seed: int, checkpoint: Path | None = None,
    config_hash: str = "", describe: dict | None = None, progress: Progress | None = None,
    engine: Engine | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Train ``model`` in place, one phase after the other, and return its history, one row per epoch.

    Columns: phase, epoch (counted over all phases), loss, loss_<term>, images_per_s, seconds, lr; losses are means over
    the images. ``attrs["uid"]`` of the history identifies the training: it is drawn at its start and kept over resumes.

    Each phase has its own optimiser and schedule. A ``checkpoint`` is written after each epoch, with ``describe`` and
    the uid; an existing one is resumed and must have the same ``config_hash``. TrainingError if a loss is not finite.

    Of several processes each takes an equal part of every batch, drawn as one process would draw it. The loss is the
    mean of theirs, so that valid joints weigh more in a part with fewer of them, if the loss is a mean over valid
    joints. The first process writes the checkpoint. ``engine`` None: in float32, not compiled.
    """
    engine = engine or Engine(dataset.device)
    for phase in phases:
        if phase.training.batch_size % engine.world:
            raise ValueError(
                f"phase {phase.name!r} has batches of {phase.training.batch_size}, which {engine.world} processes "
                "cannot share equally: start a number of processes that divides it (torchrun --nproc-per-node)"
            )
    state: dict = {}
    if checkpoint is not None and engine.agreed(checkpoint.exists()):
        state = load_checkpoint(checkpoint, dataset.device, config_hash)
        model.load_state_dict(state["model"])
    history: list[dict] = list(state.get("history", []))
    uid = state.get("uid") or engine.agreed(uuid.uuid4().hex)
    end, total = 0, sum(phase.training.epochs for phase in phases)
    for phase in phases:
        begin, end = end, end + phase.training.epochs
        if len(history) >= end:  # trained before the interruption
            continue
        with phase.learning(model):
            optimizer = optimiser(phase.training, (p for p in model.parameters() if p.requires_grad))
            if len(history) > begin:  # interrupted within this phase
                optimizer.load_state_dict(state["optimizer"])
            step = engine.step(model, phase.objective)
            for epoch in range(len(history), end):
                model.train()
                counts = epoch, begin, total
                history.append(_epoch(step, optimizer, dataset, phase, counts, seed, progress, engine))
                engine.align(model)
                if checkpoint is not None and engine.is_first:
                    save_checkpoint(
                        checkpoint, config_hash=config_hash, epoch=epoch + 1, uid=uid, model=model.state_dict(),
                        optimizer=optimizer.state_dict(), history=history, describe=describe or {},
                    )  # fmt: skip
                engine.barrier()  # every process would resume from the same file
    table = pd.DataFrame(history)
    table.attrs["uid"] = uid
    return table


def _epoch(
    step: Callable[[Batch], dict[str, Tensor]], optimizer: torch.optim.Optimizer, dataset: HandDataset, phase: Phase,
    counts: tuple[int, int, int], seed: int, progress: Progress | None, engine: Engine,
) -> dict:  # fmt: skip
    """One pass. ``counts``: the epoch, the first one of its phase and their number, over all phases."""
    (epoch, begin, total), config = counts, phase.training
    # One generator per epoch, so that a resumed run draws what an uninterrupted one would have drawn.
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    steps = dataset.count_batches(config.batch_size, shuffle=True, limit=config.images_per_epoch)
    sums: dict[str, float] = {}  # losses times images
    images = 0
    started = time.perf_counter()
    batches = dataset.batches(
        config.batch_size, augment=config.augment, shuffle=True, generator=generator, limit=config.images_per_epoch,
        pixels=phase.pixels, part=(engine.rank, engine.world),
    )  # fmt: skip

    # The objectives' own random draws differ between processes, as between the samples of a batch.
    with torch.random.fork_rng(devices=[dataset.device] if dataset.device.type == "cuda" else []):
        torch.manual_seed(1_000_003 * seed + epoch + 500_009 * engine.rank)  # dropout draws from it
        for number, batch in enumerate(batches):
            rate = config.rate(epoch - begin, (epoch - begin) * steps + number)
            losses = train_step(step, optimizer, batch, operator.call, rate, engine.backward)
            loss = float(engine.mean(losses["total"].detach()))  # not finite on any process, not finite on all
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {number + 1}: lower learning_rate (now {rate:g}) "
                    f"or inspect the samples {batch.index.tolist()}"
                )
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(batch)
            images += len(batch)
            if progress:
                progress(epoch + 1, total, number + 1, steps, loss)
    seconds = time.perf_counter() - started
    parts = engine.gathered((sums, images))
    names = dict.fromkeys(name for part, _ in parts for name in part)  # a process without a hand has fewer losses
    sums = {name: sum(part.get(name, 0.0) for part, _ in parts) for name in names}
    images = sum(count for _, count in parts)
    row = {"phase": phase.name, "epoch": epoch + 1, "loss": sums.pop("total") / images}
    row |= {f"loss_{name}": value / images for name, value in sums.items()}
    return row | {"images_per_s": images / seconds, "seconds": seconds, "lr": rate}


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, objective: Objective, rate: float,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> dict[str, Tensor]:  # fmt: skip
    """Make one full step (forward, loss, backward, update) and return the loss terms from before the update."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = objective(model, batch)
    backward(losses["total"])
    optimizer.step()
    return losses
