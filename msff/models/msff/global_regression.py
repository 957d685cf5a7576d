"""Global regression module (Sec. C, Fig. 3, Eqs. 6-11): a top-down pyramid that gives every scale the deep semantics.

Eqs. (6), (7) and (11) are missing from the public text. Read from its words:
V_k = ReLU(R_1(F_k)) reduces the channels by a 1x1 convolution (6); U_k = B(G_{k+1}) is the coarser level, enlarged
twice by bilinear interpolation (7-10); G_k = V_k + U_k (11). The coarsest level is G_4 = V_4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn


def upsample2(x: Tensor, align_corners: bool = False) -> Tensor:
    """Bilinear x2 of Eqs. (8)-(10): (B, C, H, W) -> (B, C, 2H, 2W).

    By default pixels are squares with their centres at half integers; with ``align_corners`` the corner pixels of
    both maps coincide.
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)


@dataclass(frozen=True)
class GlobalRegressionConfig:
    """What the public text leaves open about the pyramid."""

    channels: int = 256  # of every level: deviation D7
    relu: Literal["lateral", "sum", "none"] = "lateral"  # on V_k, on G_k, or nowhere: deviation D8
    norm: bool = False  # batch norm after the 1x1 convolution (which then has no bias): deviation D9
    align_corners: bool = False  # of the bilinear x2: deviation D10

    def __post_init__(self):
        if self.channels < 1:
            raise ValueError(f"GlobalRegressionConfig.channels must be >= 1, got {self.channels}")
        if self.relu not in ("lateral", "sum", "none"):
            raise ValueError(f"GlobalRegressionConfig.relu must be lateral, sum or none, got {self.relu!r}")


class GlobalRegression(nn.Module):
    """Four maps (B, C_k, S/s_k, S/s_k), fine to coarse -> four maps of ``channels`` each, same sizes.

    With ``top_down=False`` it is only the lateral 1x1 convolutions (and their ReLU): what remains of the module when
    it is ablated, of the same width and the same number of parameters.

    With the ReLU on V_k the way down is linear: G_k is the sum of V_m over m >= k, each enlarged to level k. Where
    nothing but enlargement and a 1x1 convolution over all four levels follows, as without local optimisation, that
    convolution can undo the sums, and the network computes the same functions with the module as without it.
    Initialisation: He-normal convolutions, zero bias.
    """

    def __init__(self, in_channels: tuple[int, ...], config: GlobalRegressionConfig, top_down: bool = True):
        super().__init__()
        self.config, self.top_down = config, top_down
        self.lateral = nn.ModuleList(_lateral(c, config) for c in in_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        v = [self.reduce(k, f) for k, f in enumerate(maps)]
        if self.top_down:
            for k in range(len(v) - 2, -1, -1):
                v[k] = v[k] + upsample2(v[k + 1], self.config.align_corners)  # Eqs. (7), (11)
                v[k] = v[k].relu() if self.config.relu == "sum" else v[k]
        return v

    def reduce(self, k: int, f: Tensor) -> Tensor:
        """Eq. (6) for level k (0 is the finest): (B, C_k, H, W) -> V_k (B, channels, H, W)."""
        v = self.lateral[k](f)
        top = k == len(self.lateral) - 1 or not self.top_down  # has no sum: its ReLU comes here
        return v.relu() if self.config.relu == "lateral" or (self.config.relu == "sum" and top) else v


def _lateral(in_channels: int, config: GlobalRegressionConfig) -> nn.Module:
    conv = nn.Conv2d(in_channels, config.channels, 1, bias=not config.norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
        return conv
    return nn.Sequential(conv, nn.BatchNorm2d(config.channels))
