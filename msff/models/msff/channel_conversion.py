"""Channel conversion module (Sec. B, Fig. 2, Eqs. 3-5): weigh the channels of a map by what the whole map holds.

Eq. (4) as printed, sigmoid(W1 A + W2 A), mentions a ReLU in the text that it does not contain, and is one linear map
of A. Squeeze-and-excitation (Hu et al., CVPR 2018), sigmoid(W2 ReLU(W1 A)), is what it most probably means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ChannelConversionConfig:
    """``form`` picks Eq. (4): "se" as meant, "printed" as typeset, "none" to ablate."""

    form: Literal["se", "printed", "none"] = "se"  # deviation D3
    reduction: int = 16  # C / hidden units of "se"; the paper gives no ratio: deviation D4
    min_hidden: int = (
        8  # lower bound of the hidden units, for slim networks; never reached by the default: deviation D5
    )
    bias: bool = False  # Eq. (4) shows none: deviation D6

    def __post_init__(self):
        if self.form not in ("se", "printed", "none"):
            raise ValueError(f"ChannelConversionConfig.form must be se, printed or none, got {self.form!r}")
        if self.reduction < 1 or self.min_hidden < 1:
            raise ValueError(f"reduction and min_hidden must be >= 1, got {self.reduction} and {self.min_hidden}")

    def hidden(self, channels: int) -> int:
        return max(channels // self.reduction, self.min_hidden)


class ChannelConversion(nn.Module):
    """(B, C, H, W) -> (B, C, H, W). Initialisation: He-uniform of ``nn.Linear``."""

    def __init__(self, channels: int, config: ChannelConversionConfig):
        super().__init__()
        self.form = config.form
        if config.form != "none":
            hidden = config.hidden(channels) if config.form == "se" else channels
            self.w1 = nn.Linear(channels, hidden, bias=config.bias)
            self.w2 = nn.Linear(hidden, channels, bias=config.bias)

    def forward(self, f: Tensor) -> Tensor:
        if self.form == "none":
            return f
        return self.weights(self.aggregate(f))[:, :, None, None] * f  # Eq. (5), (B, C, H, W)

    def aggregate(self, f: Tensor) -> Tensor:
        """Eq. (3), the mean of each channel: (B, C, H, W) -> A (B, C)."""
        return f.mean((2, 3))

    def weights(self, a: Tensor) -> Tensor:
        """Eq. (4), the weight of each channel in (0, 1): A (B, C) -> W (B, C)."""
        if self.form == "none":
            return torch.ones_like(a)
        excited = self.w2(self.w1(a).relu()) if self.form == "se" else self.w1(a) + self.w2(a)
        return excited.sigmoid()
