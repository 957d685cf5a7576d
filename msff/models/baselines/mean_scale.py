"""A hand's scale where it is not given: the mean of the training hands of its side, a choice of this study."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.skeleton import SIDES


@dataclass(frozen=True)
class MeanScale:
    """Mean length of the scale bone of the training hands, mm, per side."""

    right_mm: float
    left_mm: float

    @classmethod
    def fit(cls, scale_mm: Tensor, side: Tensor) -> MeanScale:
        """(N,) mm and (N,) 0 right, 1 left. A side without a hand gets the mean of the other."""
        if not len(scale_mm) or not torch.isfinite(scale_mm).all():
            raise ValueError(f"the mean scale needs at least one hand, all finite; got {len(scale_mm)} hands")
        everyone = scale_mm.mean()
        right, left = (scale_mm[side == s].mean() if (side == s).any() else everyone for s in range(len(SIDES)))
        return cls(right.item(), left.item())

    def of(self, side: Tensor) -> Tensor:
        """(M,) 0 right, 1 left -> (M,) mm."""
        return torch.tensor([self.right_mm, self.left_mm], device=side.device)[side]
