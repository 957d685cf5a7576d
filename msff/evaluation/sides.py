"""Which hand a crop shows, as SideNet tells it to the methods that must be told (track T2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.data.batches import Batch, HandDataset
from msff.models.auxiliary.sidenet import SideNet


@dataclass(frozen=True, eq=False)
class SideProbabilities:
    """Probability of the right and the left hand for each crop of one hand."""

    model: SideNet

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """-> (B, 2), rows sum to 1."""
        return self.model.eval()(batch.image).float().softmax(-1)


def side_accuracy(sides: SideProbabilities, hands: HandDataset, batch_size: int = 64) -> dict[str, float]:
    """Share of the hands whose side is named right, in per cent, among those of annotated side.

    ``hands`` shows one hand per crop. ValueError if no side is annotated.
    """
    right, seen = 0, 0
    for batch in hands.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator()):
        known = batch.side_valid  # (B,)
        right += int((sides(batch).argmax(1) == batch.side_present.argmax(1))[known].sum())
        seen += int(known.sum())
    if not seen:
        raise ValueError("no hand of annotated side to measure the classifier on")
    return {"accuracy_percent": 100 * right / seen, "hands": seen}
