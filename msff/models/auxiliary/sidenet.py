"""SideNet: classifies a hand as right or left. An auxiliary network of this study, part of no method.

On track T2 it estimates the handedness for the methods that take it as input. None of their papers has such a
classifier: they assume the handedness as known.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from msff.choices import open_choice
from msff.models.backbone import build_backbone
from msff.settings.networks import RESNET18, BackboneConfig
from msff.skeleton import SIDES


@dataclass(frozen=True)
class SideNetConfig:
    """A choice of this study: a ResNet-18, without ImageNet weights unless a profile sets them."""

    backbone: BackboneConfig = open_choice(
        RESNET18, "own choice", shown="ResNet-18",
        reason="The authors assume the handedness as known; where it is not, this classifier predicts it.",
    )  # fmt: skip


class SideNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> logits (B, 2) of right and left, of which one is true. 11.2 M parameters."""

    def __init__(self, config: SideNetConfig | None = None):
        super().__init__()
        self.config = SideNetConfig() if config is None else config
        self.backbone = build_backbone(self.config.backbone)
        self.out = nn.Linear(self.config.backbone.channels[-1], len(SIDES))

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.backbone(image)[-1].mean((2, 3)))
