"""The training loop: phases of step decay, one pass over the images per epoch, whatever the network learns.

What it learns is an ``Objective``, such as ``losses.HandObjective``; the loop knows nothing of outputs or targets. In
which precision and on how many processes it runs is up to the ``Engine``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from msff.choices import open_choice
from msff.data.batches import Batch, HandDataset
from msff.data.crops import AugmentConfig
from msff.errors import MsffError
from msff.training.checkpoint import load_checkpoint, save_checkpoint
from msff.training.engine import Engine, Objective

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
    optimizer: str = open_choice(  # "rmsprop" is Chen's
        "adam", tag="D32",
        source="Initial rate 0.0001 and its decay, but not the optimiser.",
        reason="InterNet's, with the same rate and decay.",
    )  # fmt: skip
    warmup_steps: int = 0  # linear; 0 as in InterNet's code
    augment: AugmentConfig | None = open_choice(
        AugmentConfig, tag="D33", shown="InterNet's ranges",
        source="Nothing on augmentation.",
        reason="InterNet's shift, scale, rotation, mirror and colour gain.",
    )  # fmt: skip

    def __post_init__(self):
        if self.batch_size < 1 or self.epochs < 1:
            raise ValueError(f"batch_size and epochs must be >= 1, got {self.batch_size} and {self.epochs}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(_OPTIMIZERS)}, got {self.optimizer!r}")

    def optimise(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser; Adam's update is one kernel on CUDA."""
        learning = list(parameters)
        fused = {"fused": True} if self.optimizer == "adam" and all(p.is_cuda for p in learning) else {}
        return _OPTIMIZERS[self.optimizer](learning, lr=self.learning_rate, **fused)

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


class TrainingError(MsffError):
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
    engine: Engine | None = None,
) -> pd.DataFrame:
    """Train ``model`` in place, one phase after the other, and return its history, one row per epoch.

    Columns: phase, epoch (counted over all phases), loss, loss_<term>, images_per_s, seconds, lr; losses are means over
    the images. Each phase has an optimiser and a schedule of its own. A ``checkpoint`` is written after each epoch
    and, if it exists already, continued from; it must carry the same ``config_hash``; ``describe`` goes into it, so
    that it says what it is. TrainingError if the loss is not finite.

    Of several processes each has an equal part of every batch, drawn as one process would draw it; the loss is the mean
    of theirs, so that where a process's loss is a mean over valid joints, those of a part with fewer weigh more. The
    first process writes the checkpoint, all continue from it. ``engine`` None: in float32, not compiled.
    """
    engine = engine or Engine(dataset.device)
    _check_shares(phases, engine.world)
    history: list[dict] = []
    state: dict | None = None
    if checkpoint is not None and engine.agreed(checkpoint.exists()):
        state = load_checkpoint(checkpoint, dataset.device, config_hash)
        model.load_state_dict(state["model"])
        history = list(state["history"])
    begin, total = 0, count_epochs(phases)
    for phase in phases:
        end = begin + phase.training.epochs
        if len(history) < end:
            with phase.learning(model):
                optimizer = phase.training.optimise(p for p in model.parameters() if p.requires_grad)
                if state is not None and len(history) > begin:  # killed within this phase
                    optimizer.load_state_dict(state["optimizer"])
                step = engine.step(model, phase.objective)
                for epoch in range(len(history), end):
                    counts = epoch, begin, total
                    model.train()
                    history.append(_epoch(step, optimizer, dataset, phase, counts, seed, progress, engine))
                    engine.align(model)
                    if checkpoint is not None and engine.is_first:
                        save_checkpoint(
                            checkpoint, config_hash=config_hash, epoch=epoch + 1, model=model.state_dict(),
                            optimizer=optimizer.state_dict(), history=history, describe=describe or {},
                        )  # fmt: skip
                    engine.barrier()  # no process is ahead of the file that it would continue from
        begin = end
    return pd.DataFrame(history)


def _check_shares(phases: Sequence[Phase], world: int) -> None:
    for phase in phases:
        if phase.training.batch_size % world:
            raise ValueError(
                f"phase {phase.name!r} has batches of {phase.training.batch_size}, which {world} processes cannot "
                "share equally: start a number of processes that divides it (torchrun --nproc-per-node)"
            )


class _Seen(NamedTuple):
    """What is left of a step: its number from 0, its rate, its batch's positions, its losses and their mean."""

    step: int
    rate: float
    index: Tensor
    losses: dict[str, Tensor]
    total: Tensor  # over the processes
    copied: torch.cuda.Event | None  # when the losses have come to the host


def _epoch(step, optimizer, dataset, phase: Phase, counts: tuple[int, int, int], seed, progress, engine) -> dict:
    """One pass. ``counts``: the epoch, the first one of its phase and their number, over all phases."""
    (epoch, begin, total), config = counts, phase.training
    # One generator per epoch, so that a resumed run draws what an uninterrupted one would have drawn.
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    steps = dataset.count_batches(config.batch_size, shuffle=True, limit=config.images_per_epoch)
    sums: dict[str, float] = {}
    images = 0
    started = time.perf_counter()
    batches = dataset.batches(
        config.batch_size, augment=config.augment, shuffle=True, generator=generator, limit=config.images_per_epoch,
        pixels=phase.pixels, part=(engine.rank, engine.world),
    )  # fmt: skip

    def read(seen: _Seen) -> None:
        nonlocal images
        if seen.copied is not None:
            seen.copied.synchronize()
        loss = float(seen.total)
        if loss != loss or loss == float("inf"):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch + 1}, step {seen.step + 1}: "
                f"lower learning_rate (now {seen.rate:g}) or inspect the samples {seen.index.tolist()}"
            )
        for name, value in seen.losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(seen.index)
        images += len(seen.index)
        if progress:
            progress(epoch + 1, total, seen.step + 1, steps, loss)

    # What chance an objective has differs between processes, as between the samples of a batch.
    with _chance(dataset.device, 1_000_003 * seed + epoch + 500_009 * engine.rank):
        last = None
        for number, batch in enumerate(batches):
            rate = config.rate(epoch - begin, (epoch - begin) * steps + number)
            losses = train_step(step, optimizer, batch, _losses_of, rate, engine.backward)
            seen = _seen(number, rate, batch.index, losses, engine)
            # A GPU works on this step while the host reads the losses of the one before.
            ready, last = (last, seen) if seen.copied is not None else (seen, None)
            if ready is not None:
                read(ready)
        if last is not None:
            read(last)
    seconds = time.perf_counter() - started
    sums, images = _over_processes(sums, images, engine)
    row = {"phase": phase.name, "epoch": epoch + 1, "loss": sums.pop("total") / images}
    row |= {f"loss_{name}": value / images for name, value in sums.items()}
    return row | {"images_per_s": images / seconds, "seconds": seconds, "lr": rate}


@contextmanager
def _chance(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's own generators, which dropout draws from, seeded for the block and given back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _seen(number: int, rate: float, index: Tensor, losses: dict[str, Tensor], engine: Engine) -> _Seen:
    losses = {name: value.detach() for name, value in losses.items()}
    total = engine.mean(losses["total"])  # not finite on any process: not finite on all
    if not total.is_cuda:
        return _Seen(number, rate, index, losses, total, None)
    losses = {name: value.to("cpu", non_blocking=True) for name, value in losses.items()}
    total, copied = total.to("cpu", non_blocking=True), torch.cuda.Event()
    copied.record(torch.cuda.current_stream(engine.device))
    return _Seen(number, rate, index, losses, total, copied)


def _over_processes(sums: dict[str, float], images: int, engine: Engine) -> tuple[dict[str, float], int]:
    """Losses times images, and images, of all processes; a process without a hand names fewer losses."""
    parts = engine.gathered((sums, images))
    names = dict.fromkeys(name for part, _ in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part, _ in parts) for name in names}, sum(count for _, count in parts)


def _losses_of(step: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return step(batch)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, objective: Objective, rate: float,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> dict[str, Tensor]:  # fmt: skip
    """One full step: forward, loss, backward, update. Returns the loss terms, from before the update."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = objective(model, batch)
    backward(losses["total"])
    optimizer.step()
    return losses
