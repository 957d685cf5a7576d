"""Loss of SideNet, the helper that tells right from left: a choice of this study."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.training.objectives.vae import no_hands


@dataclass(frozen=True)
class SideObjective:
    """What ``SideNet`` is trained for, an ``Objective`` of the training loop: cross-entropy of the side, mean over the
    crops with exactly one hand, whose side is annotated; without such a crop 0 with a gradient of 0."""

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        single = (batch.side_present.sum(1) == 1) & batch.side_valid  # (B,)
        if not single.any():
            return no_hands(model)
        logits = model(batch.image[single])
        return {"total": F.cross_entropy(logits.float(), batch.side_present[single].argmax(1))}
