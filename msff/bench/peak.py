"""What the machine's matrix units can do: the yardstick for the networks' multiply-adds per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}
_TRIALS, _SECONDS = 5, 0.3  # at least, for each size


def matrix_peak(device: str, precisions: tuple[str, ...]) -> dict[str, float]:
    """Billions of multiply-adds per second of square matrix products, the best over sizes and trials.

    By precision: "float32", "tf32" (CUDA), "bf16".
    """
    sizes = _SIZES.get(torch.device(device).type, _SIZES["cpu"])
    return {precision: max(_rate(device, precision, size) for size in sizes) for precision in precisions}


def multiplied_in(precision: str, device: str) -> str:
    """Which of ``matrix_peak`` bounds a network of that precision: cuDNN's float32 convolutions may run in TF32."""
    cuda = torch.device(device).type == "cuda"
    return "tf32" if precision == "float32" and cuda and torch.backends.cudnn.allow_tf32 else precision


def _rate(device: str, precision: str, size: int) -> float:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    with _tf32(precision == "tf32"):
        a @ b
        times, started = [], time.perf_counter()
        while len(times) < _TRIALS or time.perf_counter() - started < _SECONDS:
            times.append(_seconds(a, b))
        return size**3 / min(times) / 1e9


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.is_cuda:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        a @ b
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    a @ b
    return time.perf_counter() - begin


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
