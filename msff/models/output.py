"""The output type of the heat-map networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class HandOutput:
    """The undecoded estimate for a batch of crops, the same in training and evaluation.

    ``volume`` (B, 42, D, H, W): 2.5D heat maps H_2.5D of Eq. (15), canonical joint order, depth first.
    ``side_logits`` (B, 2): right, left hand present.
    ``relative_root_bin`` (B,): depth of the left wrist minus that of the right, in bins.
    """

    volume: Tensor
    side_logits: Tensor
    relative_root_bin: Tensor
