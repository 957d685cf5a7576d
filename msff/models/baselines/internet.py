"""InterNet (Moon et al., ECCV 2020), after the paper and its code: the network on which MS-FF builds.

ResNet-50; one deconvolution head per hand to a 21-joint volume; handedness and relative root depth from the
global mean of the last map. 47.3 M parameters, 11.9 G multiply-adds at 256 px.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from msff.choices import require
from msff.models.backbone import build_backbone
from msff.models.heads import HandednessHead, RelativeDepthHead, VolumeHead, deconvolutions
from msff.models.output import HandOutput
from msff.settings.networks import BackboneConfig
from msff.skeleton import JOINTS_PER_HAND, SIDES


@dataclass(frozen=True)
class InterNetConfig:
    """InterNet's own sizes by default."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    bins: int = 64
    deconv_channels: int = 256
    head_hidden: int = 512

    def __post_init__(self):
        require(self, "bins", at_least=2)
        require(self, "deconv_channels", "head_hidden", at_least=1)


class InterNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> `HandOutput` with a volume (B, 42, bins, S/4, S/4), right hand first.

    Initialisation: convolutions and deconvolutions N(0, 0.001), linear layers N(0, 0.01), batch norm 1 and 0.
    """

    def __init__(self, config: InterNetConfig):
        super().__init__()
        self.config = config
        channels = config.backbone.channels[-1]
        self.backbone = build_backbone(config.backbone)
        self.hands = nn.ModuleDict({side: _hand_head(channels, config) for side in SIDES})
        self.handedness = HandednessHead(channels, config.head_hidden)
        self.relative_depth = RelativeDepthHead(channels, config.head_hidden, config.bins)

    def forward(self, image: Tensor) -> HandOutput:
        f = self.backbone(image)[-1]  # (B, C, S/32, S/32)
        volumes = [self.hands[side](f) for side in SIDES]  # each (B, 21, D, S/4, S/4)
        return HandOutput(torch.cat(volumes, 1), self.handedness(f), self.relative_depth(f))


def _hand_head(channels: int, config: InterNetConfig) -> nn.Sequential:
    """Three deconvolutions x2, then the volume of one hand: (B, C, H, W) -> (B, 21, D, 8H, 8W)."""
    width = config.deconv_channels
    return nn.Sequential(*deconvolutions(channels, width), VolumeHead(width, config.bins, JOINTS_PER_HAND))
