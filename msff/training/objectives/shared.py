"""What several objectives share: noise that a resumed training repeats, and means over valid values."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from msff.data.batches import Batch


def batch_generator(batch: Batch, seed: int) -> torch.Generator:
    """Return a generator on the CPU that depends on the seed and the batch's images and crops alone.

    The loop draws order and crops from a generator of the epoch, so that a resumed training draws the same noise as an
    uninterrupted one, while the same images get different noise in each epoch.
    """
    drawn = b"".join(t.cpu().contiguous().numpy().tobytes() for t in (batch.index, batch.affine))
    # 32 bits: torch's generator on the CPU ignores the others
    return torch.Generator().manual_seed(zlib.crc32(str(seed).encode() + drawn))


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over the valid values; 0, with a gradient of 0, if there is none."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def no_hands(model: nn.Module) -> dict[str, Tensor]:
    """Return the loss of a batch in which no hand counts: 0, with a gradient of 0 for every trained weight."""
    return {"total": sum((p * 0).sum() for p in model.parameters() if p.requires_grad)}
