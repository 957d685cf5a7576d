"""Global regression module (Sec. C, Fig. 3, Eqs. 6-11): a top-down pyramid that brings deep semantics to each scale.

Eqs. (6), (7) and (11) are missing from the public text. Read from its words:
V_k = ReLU(R_1(F_k)) reduces the channels by a 1x1 convolution (6); U_k = B(G_{k+1}) is the coarser level, enlarged
twice by bilinear interpolation (7-10); G_k = V_k + U_k (11). The coarsest level is G_4 = V_4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import OpenChoice, open_choice, require


def upsample2(x: Tensor) -> Tensor:
    """Return B of Eqs. (7)-(10), the bilinear enlargement x2: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class GlobalRegressionConfig:
    """What the public text leaves open about the pyramid."""

    channels: int = open_choice(  # of every level
        256, tag="D7",
        source="All levels have the same dimension, which is not given.",
        reason="The width of the feature pyramid network and of InterNet's deconvolutions.",
    )  # fmt: skip
    relu: Literal["lateral", "sum"] = open_choice(  # on V_k or on G_k
        "lateral", tag="D8",
        source="Eqs. (6) and (7) are missing; the text around them names a ReLU.",
        reason="It is named together with the 1x1 convolution that makes V_k, so it follows that convolution. The sum "
        "is left as it is: the feature pyramid network has a 3x3 convolution after it, which the text does not name.",
    )  # fmt: skip
    norm: bool = open_choice(  # batch norm after the 1x1 convolution, which then has no bias
        False, tag="D9",
        source="Eq. (6) is missing; the text around it names the convolution and a ReLU.",
        reason="No batch norm is named; the feature pyramid network has none there. It matters: the variant "
        "\"grm-norm\" has it, and a lower error.",
    )  # fmt: skip
    enlarged: Literal["G", "V"] = open_choice(  # U_k = B(G_{k+1}) or B(V_{k+1})
        "G", tag="D38",
        source="Eqs. (7) and (11) are missing: the coarser level that is enlarged may be V_{k+1} or G_{k+1}.",
        reason="G_{k+1}, as in the feature pyramid network, so that the deepest map reaches every level; V_{k+1} "
        "would carry it one level only.",
    )  # fmt: skip

    def __post_init__(self):
        require(self, "channels", at_least=1)
        require(self, "relu", one_of=("lateral", "sum"))
        require(self, "enlarged", one_of=("G", "V"))


class TopDown(nn.Module):
    """V_k (B, C, S/s_k, S/s_k), fine to coarse -> G_k of the same shapes, Eqs. (7)-(11).

    With the ReLU on V_k the way down is linear: G_k is the sum of V_m over m >= k, each
    enlarged to level k. If only enlargement and a 1x1 convolution over all four levels
    follow, as without local optimisation, that convolution can undo the sums, and the
    network computes the same functions with the module as without it.
    """

    def __init__(self, config: GlobalRegressionConfig):
        super().__init__()
        self.relu = nn.ReLU() if config.relu == "sum" else nn.Identity()
        self.enlarged = config.enlarged

    def forward(self, v: list[Tensor]) -> list[Tensor]:
        g = [self.relu(v[-1])]  # G_4 = V_4
        for v_k, coarser in reversed(list(pairwise(v))):
            u_k = upsample2(g[0] if self.enlarged == "G" else coarser)  # Eqs. (7)-(10)
            g.insert(0, self.relu(v_k + u_k))  # Eq. (11)
        return g


class GlobalRegression(nn.Module):
    """Four maps F_k (B, C_k, S/s_k, S/s_k), fine to coarse -> four maps G_k of the same sizes.

    Each G_k has ``channels`` channels. ``top_down`` makes the module that takes V to G;
    ``nn.Identity`` ablates it. The lateral convolutions stay, so that the ablated network
    has the same widths and as many parameters.
    Initialisation: He-normal convolutions, zero bias.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        config: GlobalRegressionConfig,
        top_down: Callable[[GlobalRegressionConfig], nn.Module] = TopDown,
    ):
        super().__init__()
        self.lateral = nn.ModuleList(_lateral(c, config) for c in in_channels)
        self.relu = nn.ReLU() if config.relu == "lateral" else nn.Identity()
        self.top_down = top_down(config)

    def forward(self, f: list[Tensor]) -> list[Tensor]:
        v = [self.relu(r(f_k)) for r, f_k in zip(self.lateral, f, strict=True)]  # Eq. (6)
        return self.top_down(v)


def _lateral(in_channels: int, config: GlobalRegressionConfig) -> nn.Module:
    """Return R of Eq. (6), a 1x1 convolution: (B, in_channels, H, W) -> (B, channels, H, W)."""
    conv = nn.Conv2d(in_channels, config.channels, 1, bias=not config.norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if config.norm:
        return nn.Sequential(conv, nn.BatchNorm2d(config.channels))
    nn.init.zeros_(conv.bias)
    return conv


GLOBAL_REGRESSION_CHOICES = (
    OpenChoice("GlobalRegression.upsample2", "pixels are squares",
        "Eqs. (8)-(10) are missing and say nothing of where pixel centres lie.",
        "The scales stay aligned with the crop's frame (`align_corners=False`).", "D10"),
)  # fmt: skip
