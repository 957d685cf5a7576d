"""Chance in the objectives: noise that a resumed training draws again as an uninterrupted one would have."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from msff.data.batches import Batch


def batch_generator(batch: Batch, seed: int) -> torch.Generator:
    """A generator on the CPU that depends on the seed and on what the batch holds, in order, alone.

    The loop's order and crops come from a generator of its epoch, so a resumed training draws the same noise as an
    uninterrupted one, while the same images get other noise in each epoch.
    """
    drawn = b"".join(t.cpu().contiguous().numpy().tobytes() for t in (batch.index, batch.affine))
    # into 32 bits: torch's generator on the CPU ignores the others
    return torch.Generator().manual_seed(zlib.crc32(str(seed).encode() + drawn))
