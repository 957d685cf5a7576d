"""Random numbers of B scenes at once: rows of uniform numbers, consumed in order, each row a function of its key."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps

import numpy as np
import torch
from torch import Tensor

ROW = 1024  # numbers in a row; a scene that needs more raises


def row(*key: int) -> np.ndarray:
    """(ROW,) float64 uniform in [0, 1) that depends on ``key`` alone, the same on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).random(ROW)


_BUILDING = threading.RLock()


def once(build: Callable) -> Callable:
    """Keep what ``build`` returns, by its arguments (a device by its name); other threads wait while one builds."""
    made: dict = {}
    signature = inspect.signature(build)

    @wraps(build)
    def get(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = tuple(str(v) if isinstance(v, torch.device) else v for v in bound.arguments.values())
        if key not in made:
            with _BUILDING:
                if key not in made:
                    made[key] = build(*args, **kwargs)
        return made[key]

    return get


@lru_cache(maxsize=256)
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float64) -> Tensor:
    """A table on a device, copied there once."""
    return torch.tensor(values, dtype=dtype, device=device)


class Draws:
    """Independent draws for B scenes. Every method consumes the next numbers of each row.

    Args:
        uniform: (B, N) float64 in [0, 1), on the device where the draws are wanted.
    """

    def __init__(self, uniform: Tensor):
        if uniform.ndim != 2 or uniform.dtype != torch.float64:
            raise ValueError(
                f"uniform must be a float64 matrix (B, N), got {uniform.dtype} of shape {tuple(uniform.shape)}"
            )
        self._uniform = uniform
        self._next = 0

    @staticmethod
    def of_keys(keys: Sequence[tuple[int, ...]], device: torch.device | str = "cpu") -> Draws:
        """One row per key; equal keys share their numbers, so that scenes of one person share his looks."""
        rows = {key: row(*key) for key in set(keys)}
        return Draws(torch.from_numpy(np.stack([rows[key] for key in keys])).to(device))

    @staticmethod
    def of_generator(generator: torch.Generator, count: int, device: torch.device | str) -> Draws:
        """``count`` rows from the generator (on its own device), moved to ``device``."""
        uniform = torch.rand(count, ROW, dtype=torch.float64, generator=generator, device=generator.device)
        return Draws(uniform.to(device))

    def __len__(self) -> int:
        return len(self._uniform)

    @property
    def device(self) -> torch.device:
        return self._uniform.device

    def take(self, *shape: int) -> Tensor:
        """(B, *shape) uniform in [0, 1)."""
        count = int(np.prod(shape))
        if self._next + count > self._uniform.shape[1]:
            raise ValueError(f"a row holds {self._uniform.shape[1]} numbers, {self._next + count} were requested")
        part = self._uniform[:, self._next : self._next + count]
        self._next += count
        return part.reshape(len(part), *shape)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) uniform in [low, high)."""
        return low + (high - low) * self.take(*shape)

    def normal(self, mean: float, deviation: float, *shape: int) -> Tensor:
        """(B, *shape) Gaussian, by the inverse of its distribution, cut at 5 deviations."""
        return mean + deviation * torch.special.ndtri(self.take(*shape).clamp(3e-7, 1 - 3e-7))

    def flag(self, probability: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true with ``probability``."""
        return self.take(*shape) < probability

    def sign(self, *shape: int) -> Tensor:
        """(B, *shape) -1.0 or 1.0."""
        return torch.where(self.flag(0.5, *shape), -1.0, 1.0).double()

    def choice(self, probabilities: Sequence[float], *shape: int) -> Tensor:
        """(B, *shape) int64 index, drawn with the given probabilities (their sum is taken as 1)."""
        edges = constant(tuple(probabilities), self.device).cumsum(0)
        edges = edges / edges[-1]
        return torch.searchsorted(edges[:-1].contiguous(), self.take(*shape).contiguous(), right=True)
