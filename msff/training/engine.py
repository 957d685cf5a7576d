"""The engine of a training: its precision, compilation and processes.

Several processes are those that torchrun has started. Lightning Fabric joins them and averages their gradients
(PyTorch's DistributedDataParallel, by gloo on the CPU and NCCL on GPUs). Each process takes its part of every batch, so
that batch norm computes its statistics from that part, as in the official code's data parallel training; the running
statistics that are kept are those of the first process.
"""

from __future__ import annotations

import ctypes
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from msff.accelerator import count_processes, own_device
from msff.data.batches import Batch
from msff.device import can_compile, usable_precision
from msff.settings.training import SpeedConfig

Objective = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""Loss of a network on a batch: scalars by name, of which "total" is minimised and the others are recorded."""

_PATIENCE = timedelta(hours=12)  # while the first process renders data, predicts or stores

_T = TypeVar("_T")


class Engine:
    """Runs the steps of a training on ``device``, in one process or in each of those that torchrun has started."""

    def __init__(self, device: torch.device | str = "cpu", speed: SpeedConfig | None = None):
        self.device = torch.device(own_device(str(device)))
        self.world = count_processes()
        self.rank = int(os.environ["RANK"]) if self.world > 1 else 0
        self._speed = speed or SpeedConfig()

    @cached_property
    def precision(self) -> str:
        """The wanted precision if the device supports it, else "float32"."""
        return usable_precision(self._speed.precision, self.device)

    @cached_property
    def compiled(self) -> bool:
        """Whether networks are compiled."""
        return self._speed.compile and can_compile(self.device)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that predicts and writes files."""
        return self.rank == 0

    def describe(self) -> dict:
        """Return precision, compilation and number of processes for a run's record."""
        return {"precision": self.precision, "compiled": self.compiled, "processes": self.world}

    # steps

    def network(self, model: nn.Module) -> nn.Module:
        """Return the network in the engine's precision, for predictions."""
        if self.device.type == "cpu":
            keep_freed_memory()
        return model if self.precision == "float32" else _Autocast(model, self.device.type)

    def step(self, model: nn.Module, objective: Objective) -> Callable[[Batch], dict[str, Tensor]]:
        """Return the function from a batch to its losses; ``backward`` averages their gradients over the processes.

        Only the network's own call is compiled, not its other methods and children.
        """
        if self.compiled:
            # CUDA graphs save the launches, but are recorded again for each number of hands, and DDP's hooks were
            # never tried with them. TORCH_COMPILE_DISABLE=1 in the environment switches all of it off.
            graphs = {"triton.cudagraphs": self.world == 1, "triton.cudagraph_skip_dynamic_graphs": True}
            model = torch.compile(model, options=graphs)
        return self._fabric.setup_module(_Step(self.network(model), objective))

    def backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    @cached_property
    def _fabric(self) -> Any:
        """Fabric in float32: its own mixed precision would also round the batch, annotations in mm and px included."""
        from lightning_fabric import Fabric  # takes seconds, and most commands train nothing
        from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
        from lightning_fabric.strategies import DDPStrategy

        kind = self.device.type
        if self.world == 1:
            index = [self.device.index or 0] if kind == "cuda" else 1
            return Fabric(accelerator=kind, devices=index, plugins=[LightningEnvironment()])
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        fabric = Fabric(
            accelerator=kind, devices=local, num_nodes=self.world // local, strategy=DDPStrategy(timeout=_PATIENCE),
            plugins=[TorchElasticEnvironment()],
        )  # fmt: skip
        fabric.launch()
        return fabric

    # processes

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes, without Fabric's barrier, for which a GPU would wait in every step."""
        if self.world == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.world

    def gathered(self, value: _T) -> list[_T]:
        """Return the values of all processes in their order; they must be picklable."""
        values = [value] * self.world
        if self.world > 1:
            self.barrier()  # joins the processes if nothing has before
            torch.distributed.all_gather_object(values, value)
        return values

    def agreed(self, value: _T) -> _T:
        """Return the first process's value, so that all take the same decision."""
        return self._fabric.broadcast(value) if self.world > 1 else value

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            self._fabric.barrier()

    def first_alone(self, write: Callable[[], object]) -> None:
        """Call ``write`` in the first process while the others wait."""
        if self.is_first:
            write()
        self.barrier()

    def align(self, model: nn.Module) -> None:
        """Give all processes the first one's buffers, such as running statistics, as they are after the last step."""
        for buffer in model.buffers() if self.world > 1 else ():
            torch.distributed.broadcast(buffer, 0)


class _Step(nn.Module):
    """Network and objective as one module, so that DDP averages gradients for any part of the network that is called.

    With several processes every trained weight must contribute to every loss, if only times 0, see ``no_hands``.
    """

    def __init__(self, network: nn.Module, objective: Objective):
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.objective(self.network, batch)
        return {name: value if name == "total" else value.detach() for name, value in losses.items()}


class _Autocast(nn.Module):
    """A network whose own computations run under bf16 autocast: its call, its methods and its children.

    What an objective or a decoder computes from their output stays outside, in float32.
    """

    def __init__(self, model: nn.Module, device_type: str):
        super().__init__()
        self.model, self.device_type = model, device_type

    def forward(self, *inputs, **options):
        return self._cast(self.model)(*inputs, **options)

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "model":  # before it is set
                raise
        value = getattr(self.model, name)
        return self._cast(value) if isinstance(value, nn.Module) or inspect.ismethod(value) else value

    def _cast(self, function: Callable) -> Callable:
        def run(*inputs, **options):
            with torch.autocast(self.device_type, torch.bfloat16):
                return function(*inputs, **options)

        return run


@cache  # once per process
def keep_freed_memory() -> None:
    """Stop glibc from returning freed memory to the system; do nothing with another C library.

    By default tensors of more than 32 MiB are mapped again in every step, page by page and filled with zeros: 13 % of
    the CPU time of a training step of profile "cpu-long". The peak of memory does not change.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, -1)
        mallopt(mmap_max, 0)
