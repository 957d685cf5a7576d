"""Local optimisation module (Sec. D, Fig. 4, Eqs. 12-13): deeper features for each level of the pyramid.

One pass: channel split; one half untouched, the other through 1x1, 3x3 and 1x1 convolutions, channel conversion and
a residual connection; concatenation, channel shuffle, bilinear x2. The levels at 1/4, 1/8, 1/16 and 1/32 get 0, 1, 2
and 3 passes, so that all end at 1/4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import upsample2


@dataclass(frozen=True)
class LocalOptimizationConfig:
    """What Fig. 4 and the public text leave open."""

    passes: tuple[int, int, int, int] = (0, 1, 2, 3)  # the counts are lost from the text: deviation D11
    split: float = 0.5  # share of the channels that goes through the convolutions: deviation D12
    depthwise: bool = False  # 3x3 convolution per channel, as ShuffleNet V2: deviation D13
    norm: bool = True  # batch norm after each convolution (which then has no bias): deviation D14
    last_relu: bool = True  # ReLU after the third convolution, too: deviation D15
    residual: Literal["half", "whole", "none"] = "half"  # around the worked half, or around the pass: deviation D16
    shuffle_groups: int = 2  # deviation D17
    share_weights: bool = False  # one set of weights for all passes of a level: deviation D18
    align_corners: bool = False  # of the bilinear x2: deviation D19
    conversion: ChannelConversionConfig = field(default_factory=ChannelConversionConfig)  # deviation D20

    def __post_init__(self):
        object.__setattr__(self, "passes", tuple(self.passes))
        if self.passes != (0, 1, 2, 3):
            raise ValueError(f"passes must be (0, 1, 2, 3), or the levels do not meet at 1/4; got {self.passes}")
        if not 0 < self.split < 1:
            raise ValueError(f"LocalOptimizationConfig.split must lie in (0, 1), got {self.split}")
        if self.residual not in ("half", "whole", "none"):
            raise ValueError(f"LocalOptimizationConfig.residual must be half, whole or none, got {self.residual!r}")
        if self.shuffle_groups < 1:
            raise ValueError(f"LocalOptimizationConfig.shuffle_groups must be >= 1, got {self.shuffle_groups}")


class LocalOptimization(nn.Module):
    """One pass, L of Eq. (12), without the upsampling: (B, C, H, W) -> (B, C, H, W).

    Initialisation: He-normal convolutions, zero bias, batch norm 1 and 0.
    """

    def __init__(self, channels: int, config: LocalOptimizationConfig):
        super().__init__()
        self.groups, self.residual = config.shuffle_groups, config.residual
        self.branch_channels = round(channels * config.split)
        if not 0 < self.branch_channels < channels or channels % self.groups:
            raise ValueError(
                f"{channels} channels cannot be split by {config.split} and shuffled in {self.groups} groups: "
                "choose a number of channels that is a multiple of both parts"
            )
        c = self.branch_channels
        self.branch = nn.Sequential(
            *_convolution(c, 1, config),
            nn.ReLU(inplace=True),
            *_convolution(c, 3, config),
            nn.ReLU(inplace=True),
            *_convolution(c, 1, config),
            *([nn.ReLU(inplace=True)] if config.last_relu else []),
        )
        self.conversion = ChannelConversion(c, config.conversion)

    def forward(self, g: Tensor) -> Tensor:
        kept, worked = g.split([g.shape[1] - self.branch_channels, self.branch_channels], 1)
        out = self.conversion(self.branch(worked))
        if self.residual == "half":
            out = out + worked
        out = channel_shuffle(torch.cat([kept, out], 1), self.groups)  # (B, C, H, W)
        return out + g if self.residual == "whole" else out


def _convolution(channels: int, kernel: int, config: LocalOptimizationConfig) -> list[nn.Module]:
    groups = channels if config.depthwise and kernel > 1 else 1
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=not config.norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is None:
        return [conv, nn.BatchNorm2d(channels)]
    nn.init.zeros_(conv.bias)
    return [conv]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels, as ShuffleNet; 2 groups: 0 1 2 3 -> 0 2 1 3. (B, C, H, W) -> same."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


class LocalOptimizationPyramid(nn.Module):
    """Eqs. (12)-(13): each level through its passes up to 1/4. Four (B, C, S/s_k, S/s_k) -> four (B, C, S/4, S/4).

    With ``enabled=False`` each pass is only its bilinear x2: what remains of the module when it is ablated.
    """

    def __init__(self, channels: int, config: LocalOptimizationConfig, enabled: bool = True):
        super().__init__()
        self.config, self.enabled = config, enabled
        counts = [min(n, 1) if config.share_weights else n for n in config.passes] if enabled else [0] * 4
        self.levels = nn.ModuleList(
            nn.ModuleList(LocalOptimization(channels, config) for _ in range(n)) for n in counts
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [self.level(k, g) for k, g in enumerate(maps)]

    def level(self, k: int, g: Tensor) -> Tensor:
        """Level k, 0 is the finest: (B, C, H, W) -> (B, C, 2^passes H, 2^passes W)."""
        for n in range(self.config.passes[k]):
            if self.enabled:
                g = self.levels[k][0 if self.config.share_weights else n](g)
            g = upsample2(g, self.config.align_corners)
        return g
