"""How a training runs, whatever it learns: in which precision, compiled or not, on one process or on several.

Several processes are those that torchrun has started. Lightning Fabric joins them and averages their gradients
(PyTorch's DistributedDataParallel, by gloo on the CPU and NCCL on GPUs). Each process sees its part of every batch, so
that batch norm takes its statistics from that part, as in the official code's data parallel training; the running ones
that are kept are those of the first process.
"""

from __future__ import annotations

import ctypes
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn

from msff.volume_kernels import can_compile

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from msff.data.batches import Batch

Objective = Callable[[nn.Module, "Batch"], dict[str, Tensor]]
"""Loss of a network on a batch: scalars by name, of which "total" is minimised and the others are recorded."""

PRECISIONS = ("float32", "bf16")
_PATIENCE = timedelta(hours=12)  # for a process that renders data or waits for a lock while the others wait for it

_T = TypeVar("_T")


@dataclass(frozen=True)
class SpeedConfig:
    """How fast a training runs, not what it learns: no part of the configuration that a run is known by.

    Where the device cannot do what is asked for, the training runs without it, and its record says so.
    """

    precision: Literal["float32", "bf16"] = "float32"  # of the network's own layers; losses and geometry are float32
    compile: bool = False  # by torch.compile, on CUDA alone

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(f"SpeedConfig.precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")


def count_processes() -> int:
    """How many processes torchrun has started together; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def own_device(wanted: str | None = None) -> str:
    """The device of this process: the one wanted, else CUDA if there is any; of several processes each has its GPU."""
    device = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    if count_processes() == 1 or device != "cuda":
        return device
    started, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if started > found:
        raise ValueError(f"torchrun has started {started} processes here for {found} GPUs: --nproc-per-node {found}")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def usable_precision(wanted: str, device: torch.device) -> str:
    """bf16 only where the device multiplies it itself and does not emulate it, else float32."""
    if wanted != "bf16":
        return "float32"
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16" if native else "float32"


@cache  # once per process
def keep_freed_memory() -> bool:
    """Make the C library keep what is freed for what is asked for next; False where it is none that can, as glibc can.

    By default it gives large tensors back to the system, which hands them out again page by page, filled with zeros:
    a tenth of a training step on the CPU. The peak of memory stays what it was.
    """
    try:
        tune = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    return bool(tune(trim_threshold, -1) and tune(mmap_max, 0))


class Engine:
    """What runs the steps of a training on ``device``: one process, or this one of those that torchrun has started."""

    def __init__(self, device: torch.device | str = "cpu", speed: SpeedConfig | None = None):
        self.device = torch.device(own_device(str(device)))
        self.world = count_processes()
        self.rank = int(os.environ["RANK"]) if self.world > 1 else 0
        self._speed = speed or SpeedConfig()

    @cached_property
    def precision(self) -> str:
        """What the device makes of the precision that was asked for."""
        return usable_precision(self._speed.precision, self.device)

    @cached_property
    def compiled(self) -> bool:
        """Whether networks are compiled."""
        return self._speed.compile and can_compile(self.device)

    @cached_property
    def _fabric(self) -> Fabric:
        return _fabric(self.device)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def describe(self) -> dict:
        """What a run's record says of it."""
        return {"precision": self.precision, "compiled": self.compiled, "processes": self.world}

    # steps

    def network(self, model: nn.Module) -> nn.Module:
        """The same network in the engine's precision, for predictions."""
        if self.device.type == "cpu":
            keep_freed_memory()
        return model if self.precision == "float32" else _Autocast(model, self.device.type)

    def step(self, model: nn.Module, objective: Objective) -> Callable[[Batch], dict[str, Tensor]]:
        """The objective's losses of a batch, whose gradients ``backward`` averages over the processes.

        Only what the objective asks of the network by calling it is compiled, other methods and children are not.
        """
        if self.compiled:
            # CUDA graphs spare the launches, but are recorded anew for each number of hands, and DDP's hooks were
            # never tried with them. TORCH_COMPILE_DISABLE=1 in the environment switches all of it off.
            graphs = {"triton.cudagraphs": self.world == 1, "triton.cudagraph_skip_dynamic_graphs": True}
            model = torch.compile(model, options=graphs)
        return self._fabric.setup_module(_Step(self.network(model), objective))

    def backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    # processes

    def mean(self, value: Tensor) -> Tensor:
        """Over the processes. No barrier as Fabric's: it is taken every step, and a GPU need not wait for it."""
        if self.world == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.world

    def gathered(self, value: _T) -> list[_T]:
        """The values of all processes, in their order; of anything that can be pickled."""
        values = [value] * self.world
        if self.world > 1:
            self.barrier()  # joins the processes if this is the first that they have to do with each other
            torch.distributed.all_gather_object(values, value)
        return values

    def agreed(self, value: _T) -> _T:
        """The first process's value, so that all take the same way."""
        return self._fabric.broadcast(value) if self.world > 1 else value

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            self._fabric.barrier()

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """The first process runs the block before the others: what it leaves on the disk, they find."""
        if not self.is_first:
            self.barrier()
        yield
        if self.is_first:
            self.barrier()

    def first_alone(self, write: Callable[[], object]) -> None:
        """The first process writes, the others wait until it has."""
        if self.is_first:
            write()
        self.barrier()

    def share(self, count: int) -> slice:
        """This process's part of ``count`` rows: consecutive ones, and in the order of the processes."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def align(self, model: nn.Module) -> None:
        """Give all processes the first one's running statistics, as they were after the last step."""
        for buffer in model.buffers() if self.world > 1 else ():
            torch.distributed.broadcast(buffer, 0)


def _fabric(device: torch.device) -> Fabric:
    """Fabric, in float32: its own mixed precision would round the batch itself, annotations in mm and px included."""
    from lightning_fabric import Fabric  # takes seconds, and most commands train nothing
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    world = count_processes()
    if world == 1:
        index = [device.index or 0] if device.type == "cuda" else 1
        return Fabric(accelerator=device.type, devices=index, plugins=[LightningEnvironment()])
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    strategy = DDPStrategy(timeout=_PATIENCE)
    fabric = Fabric(
        accelerator=device.type, devices=local, num_nodes=world // local, strategy=strategy,
        plugins=[TorchElasticEnvironment()],
    )  # fmt: skip
    fabric.launch()
    return fabric


class _Step(nn.Module):
    """Network and objective as one module: whatever the objective calls, the gradients of all processes meet.

    Of several processes every weight that learns must have a part in every loss, were it times 0, see ``no_hands``.
    """

    def __init__(self, network: nn.Module, objective: Objective):
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.objective(self.network, batch)
        return {name: value if name == "total" else value.detach() for name, value in losses.items()}


class _Autocast(nn.Module):
    """A network whose own computations run under bf16 autocast: its call, its methods and its children alike.

    What an objective or a decoder makes of their output stays outside, and so in float32.
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
            if name == "model":  # not there yet
                raise
        value = getattr(self.model, name)
        return self._cast(value) if isinstance(value, nn.Module) or inspect.ismethod(value) else value

    def _cast(self, function: Callable) -> Callable:
        def run(*inputs, **options):
            with torch.autocast(self.device_type, torch.bfloat16):
                return function(*inputs, **options)

        return run
