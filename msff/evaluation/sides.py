"""Handedness predicted by SideNet, for the methods that take it as input (track T2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.data.batches import Batch, HandDataset
from msff.models.auxiliary.sidenet import SideNet


@dataclass(frozen=True, eq=False)
class SideProbabilities:
    """Maps crops of one hand each to the probabilities of right and left."""

    model: SideNet

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """-> (B, 2), rows sum to 1."""
        return self.model.eval()(batch.image).float().softmax(-1)


def side_accuracy(sides: SideProbabilities, hands: HandDataset, batch_size: int = 64) -> dict[str, float]:
    """Return the share of hands with annotated handedness for which it is predicted correctly, in per cent.

    ``hands`` shows one hand per crop. ValueError if no handedness is annotated.
    """
    right, seen = 0, 0
    for batch in hands.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator()):
        known = batch.side_valid  # (B,)
        right += int((sides(batch).argmax(1) == batch.side_present.argmax(1))[known].sum())
        seen += int(known.sum())
    if not seen:
        raise ValueError("no hand of annotated side to measure the classifier on")
    return {"accuracy_percent": 100 * right / seen, "hands": seen}
