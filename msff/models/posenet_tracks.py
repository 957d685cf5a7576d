"""From PoseNet's scale-normalised hands to millimetres: with the true scale and side, and without either.

Zimmermann & Brox (ICCV 2017) assume both as known. Without them the scale is the mean bone length of the training
hands of that side, and a ResNet-18 tells the side of the crop: both are choices of this study.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.one_hand import OneHand
from msff.models.backbone import Backbone, BackboneConfig
from msff.models.canonical_frame import replace_palm_by_wrist
from msff.models.posenet import PoseNet
from msff.skeleton import SIDES, WRIST


def one_hot(side: Tensor) -> Tensor:
    """(M,) 0 right, 1 left -> (M, 2) float32."""
    return F.one_hot(side, len(SIDES)).float()


def from_wrist_mm(joints: Tensor, scale_mm: Tensor) -> Tensor:
    """Palm-relative, scale-normalised (M, 21, 3) with the palm in the wrist's place and s (M,) mm -> (M, 21, 3) mm.

    The result holds the wrist again, at the origin. Its palm is the one that the network gave, so metrics that
    align at the palm see what they would have seen.
    """
    hands = replace_palm_by_wrist(joints) * scale_mm[:, None, None]
    return hands - hands[:, WRIST : WRIST + 1]


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


@dataclass(frozen=True)
class SideNetConfig:
    """The classifier of the side: a ResNet-18 without ImageNet weights, so that it runs without a download."""

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(block="basic", blocks=(2, 2, 2, 2)))


class SideNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> logits (B, 2) of right and left, of which one is true. 11.2 M parameters."""

    def __init__(self, config: SideNetConfig | None = None):
        super().__init__()
        self.config = SideNetConfig() if config is None else config
        self.backbone = Backbone(self.config.backbone)
        self.out = nn.Linear(self.config.backbone.channels[-1], len(SIDES))

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.backbone(image)[-1].mean((2, 3)))


def predict_with_truth(model: PoseNet, hands: OneHand) -> Tensor:
    """Track with the annotated side and scale of each hand: (M, 21, 3) mm from the own wrist, camera frame."""
    return from_wrist_mm(model(hands.image, one_hot(hands.side)).joints, hands.scale_mm)


def predict_without_truth(
    model: PoseNet, side_net: SideNet, mean_scale: MeanScale, image: Tensor
) -> tuple[Tensor, Tensor]:
    """Track without annotation: (B, 3, S, S) -> (B, 21, 3) mm from the own wrist, and the found side (B,)."""
    side = side_net(image).argmax(-1)  # (B,)
    return from_wrist_mm(model(image, one_hot(side)).joints, mean_scale.of(side)), side
