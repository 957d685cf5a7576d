"""Local optimisation module (Sec. D, Fig. 4, Eqs. 12-13): deeper features for each level of the pyramid.

One pass: channel split; one half unchanged, the other through 1x1, 3x3 and 1x1 convolutions, channel conversion and
a residual connection; concatenation, channel shuffle, bilinear x2. The levels at 1/4, 1/8, 1/16 and 1/32 get 0, 1, 2
and 3 passes, so that all end at 1/4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from msff.choices import OpenChoice, open_choice, require
from msff.models.msff.channel_conversion import ChannelConversion
from msff.models.msff.global_regression import upsample2


@dataclass(frozen=True)
class LocalOptimizationConfig:
    """What Fig. 4 and the public text leave open."""

    passes: tuple[int, int, int, int] = open_choice(
        (0, 1, 2, 3), tag="D11",
        source="Eq. (13), how often each of the four maps is processed, is lost from the public text.",
        reason="Each pass doubles the resolution, and all maps must reach 1/4: one pass per factor of two. Passes of "
        "1, 1, 2, 3 also reach it if the finest map's pass keeps its size.",
    )  # fmt: skip
    residual: Literal["half", "whole"] = open_choice(  # around the convolved half, or around the whole pass
        "half", tag="D16",
        source="Residual connections; between which points is not said.",
        reason="Around the convolutions and their channel conversion, because the other half is already an identity.",
    )  # fmt: skip

    def __post_init__(self):
        object.__setattr__(self, "passes", tuple(self.passes))
        if self.passes not in ((0, 1, 2, 3), (1, 1, 2, 3)):
            raise ValueError(
                "LocalOptimizationConfig.passes must be (0, 1, 2, 3) or (1, 1, 2, 3), or the levels do not meet at "
                f"1/4; got {self.passes}"
            )
        require(self, "residual", one_of=("half", "whole"))


class LocalOptimization(nn.Module):
    """L of Eq. (12), one pass without its upsampling: (B, C, H, W) -> (B, C, H, W).

    ``conversion`` makes the channel conversion of the convolved half; ``nn.Identity``
    ablates it.
    Initialisation: He-normal convolutions, batch norm 1 and 0.
    """

    def __init__(
        self,
        channels: int,
        config: LocalOptimizationConfig,
        conversion: Callable[[int], nn.Module] = ChannelConversion,
    ):
        super().__init__()
        if channels % 2:
            raise ValueError(f"{channels} channels cannot be split into halves: choose an even number")
        self.residual = config.residual
        half = channels // 2
        self.branch = nn.Sequential(*_convolution(half, 1), *_convolution(half, 3), *_convolution(half, 1))
        self.conversion = conversion(half)

    def forward(self, g: Tensor) -> Tensor:
        kept, split = g.chunk(2, 1)  # (B, C/2, H, W) each
        out = self.conversion(self.branch(split))
        if self.residual == "half":
            out = out + split
        out = channel_shuffle(torch.cat([kept, out], 1))  # (B, C, H, W)
        return out + g if self.residual == "whole" else out


def _convolution(channels: int, kernel: int) -> tuple[nn.Module, ...]:
    """Return a convolution with batch norm and ReLU: (B, C, H, W) -> (B, C, H, W)."""
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def channel_shuffle(x: Tensor, groups: int = 2) -> Tensor:
    """Interleave ``groups`` runs of channels, as ShuffleNet; 2 groups: 0 1 2 3 -> 0 2 1 3. (B, C, H, W) -> same."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class LocalOptimizationPyramid(nn.Module):
    """Eqs. (12)-(13), every level through its passes to 1/4.

    Four (B, C, S/s_k, S/s_k), fine to coarse -> four (B, C, S/4, S/4); fewer maps are the
    coarsest ones. ``one_pass`` makes an L; with ``nn.Identity``, which ablates the module,
    each level is only enlarged.
    """

    def __init__(self, config: LocalOptimizationConfig, one_pass: Callable[[], nn.Module]):
        super().__init__()
        self.levels = nn.ModuleList(nn.ModuleList(one_pass() for _ in range(n)) for n in config.passes)

    def forward(self, g: list[Tensor]) -> list[Tensor]:
        finest = len(self.levels) - len(g)
        return [self.level(k, g_k) for k, g_k in enumerate(g, finest)]

    def level(self, k: int, g: Tensor) -> Tensor:
        """Return level k (0 is the finest) at 1/4: (B, C, H, W) -> (B, C, 2^k H, 2^k W)."""
        for one_pass in self.levels[k]:
            g = one_pass(g)  # L
            if k > 0:
                g = upsample2(g)  # B
        return g


LOCAL_OPTIMIZATION_CHOICES = (
    OpenChoice("LocalOptimization.split", "halves", "A channel split into two branches, no ratio.",
        "As ShuffleNet V2, whose parts the text names.", "D12"),
    OpenChoice("LocalOptimization.3x3", "not depthwise", "1x1, 3x3 and 1x1 convolution kernels.",
        "An ordinary 3x3 convolution; ShuffleNet V2's is depthwise.", "D13"),
    OpenChoice("LocalOptimization.norm", "batch norm", "No normalisation is named.",
        "After each convolution, as in ShuffleNet V2 and the trunk; up to nine convolutions follow each other.", "D14"),
    OpenChoice("LocalOptimization.relu", "after every convolution", "No activation is named.",
        "Also before channel conversion, whose average would cancel signs otherwise.", "D15"),
    OpenChoice("LocalOptimization.shuffle", "2 groups", "A channel shuffle, no number of groups.",
        "One group per branch, as ShuffleNet V2.", "D17"),
    OpenChoice("LocalOptimization.weights", "not shared", "The same symbol for every pass and level.",
        "Passes work at different resolutions; separate weights are the usual reading of stacked blocks.", "D18"),
    OpenChoice("LocalOptimization.upsampling", "pixels are squares", "Nothing on where pixel centres lie.", "As D10.",
        "D19"),
    OpenChoice("LocalOptimization.conversion", "as on the trunk's maps",
        "The channel conversion module inside the branch, without sizes.", "The same form and ratio (D3-D6).", "D20"),
)  # fmt: skip
