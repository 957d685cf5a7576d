"""CUDA tensors without CUDA: torch's fake tensors have shapes, types and devices, but no values and no kernels.

An operation on tensors of two devices raises, as on a GPU. What depends on values has to be made up: every condition
holds, every mask keeps everything, every number read on the host is 1. Backward passes do not work.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from msff import volume_kernels

aten = torch.ops.aten


class FakeCuda(FakeTensorMode):
    """A ``FakeTensorMode`` that makes up what depends on values; ``condition`` is every bool that Python asks for."""

    def __init__(self, condition: bool = True):
        super().__init__(allow_non_fake_inputs=True)  # real host tensors become fake ones on the host
        self.condition = condition

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        _check_devices(func, args, kwargs or {})
        if func is aten._local_scalar_dense.default:
            kind = args[0].dtype
            return self.condition if kind == torch.bool else 1.0 if kind.is_floating_point else 1
        if func is aten._pin_memory.default:
            if args[0].device.type != "cpu":
                raise RuntimeError(f"cannot pin a tensor on {args[0].device}: only host memory can be pinned")
            return args[0]
        if func is aten.equal.default:
            return True
        if func is aten.nonzero.default:
            return self._zeros((args[0].numel(), args[0].ndim), args[0])
        if func is aten.bincount.default:
            return self._zeros((args[2],), args[0])
        if func is aten.repeat_interleave.Tensor:  # once each
            return self._zeros((args[0].numel(),), args[0])
        if func is aten._unique2.default:
            return [self._zeros(shape, args[0]) for shape in (args[0].numel(), args[0].shape, args[0].numel())]
        if func is aten.index.Tensor:
            args = (args[0], [row for index in args[1] for row in self._without_mask(index)])
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _zeros(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        with self:
            return torch.zeros(shape, dtype=torch.long, device=like.device)

    def _without_mask(self, index: torch.Tensor | None) -> list[torch.Tensor | None]:
        """The row numbers of all elements of a mask, one tensor per axis; any other index as it is."""
        if index is None or index.dtype != torch.bool:
            return [index]
        return [self._zeros((index.numel(),), index)] * index.ndim


def _check_devices(func, args, kwargs) -> None:
    """Raise for the two mixtures that a GPU refuses and torch's fake tensors accept."""
    indexing = func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
    if indexing and args[0].device.type == "cpu" and any(i is not None and i.device.type != "cpu" for i in args[1]):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    generator = kwargs.get("generator")
    if generator is not None:
        device = torch.device(kwargs.get("device") or next((a.device for a in args if hasattr(a, "device")), "cpu"))
        if device.type != generator.device.type:
            raise RuntimeError(f"Expected a {device.type!r} generator but found {generator.device.type!r}")


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Zeros, if the tensor is on the host, which alone has arrays."""
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device} tensor to numpy: use Tensor.cpu() first")
    return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


@contextmanager
def fake_cuda(condition: bool = True) -> Iterator[None]:
    """A block in which "cuda" is there: a GPU that computes in bf16 and has no compiler."""
    with (
        mock.patch.object(FakeTensor, "numpy", _numpy, create=True),
        mock.patch.object(volume_kernels, "can_compile", lambda device: False),
        mock.patch.object(torch.cuda, "get_device_capability", lambda *_: (9, 0)),
        mock.patch.object(torch.cuda, "is_bf16_supported", lambda *_: True),
        mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        FakeCuda(condition),
    ):
        yield


@contextmanager
def fresh_constants() -> Iterator[None]:
    """A block whose cached constants are made on the host for real, and forgotten: no fake tensor stays in a cache."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if not name.startswith(("msff.data", "msff.standin")):
                continue
            for function in [f for f in vars(module).values() if callable(f) and hasattr(f, "__wrapped__")]:
                if "device" in inspect.signature(function).parameters:
                    stack.enter_context(mock.patch.object(module, function.__name__, _moving(function)))
        yield


def _moving(build: Callable) -> Callable:
    """Build on the host, outside of the fake, then move every tensor to the device that was asked for."""

    def get(*args, **kwargs):
        bound = inspect.signature(build).bind(*args, **kwargs)
        bound.apply_defaults()
        device = torch.device(bound.arguments["device"])
        bound.arguments["device"] = "cpu" if isinstance(bound.arguments["device"], str) else torch.device("cpu")
        with unset_fake_temporarily():
            built = build(*bound.args, **bound.kwargs)
        return built if device.type == "cpu" else _on(device, built)

    return get


def _on(device: torch.device, value):
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    if is_dataclass(value):
        return replace(value, **{f.name: _on(device, getattr(value, f.name)) for f in fields(value)})
    return type(value)(_on(device, part) for part in value) if isinstance(value, (list, tuple)) else value


def to_cuda(module: nn.Module) -> nn.Module:
    """What ``module.to("cuda")`` does, which fake tensors do not support: move parameters and buffers, nothing else."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = _moved(tensor)
    return module


def _moved(tensor: torch.Tensor) -> torch.Tensor:
    moved = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
