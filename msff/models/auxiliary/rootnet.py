"""RootNet (Moon et al., ICCV 2019): the absolute depth of a wrist from the crop and the size of its box.

The shared depth network of track T2, after the description in the RootNet paper and in InterNet's protocol: a ResNet;
three deconvolutions and a 1x1 convolution to a 2D map whose soft-arg-max is the wrist's position (x, y); the global
mean of the last map and a 1x1 convolution to a factor gamma. Depth = gamma * k, where k is the depth at which a hand
of 300 mm x 300 mm would fill the box. For one root, as in the original: 34.0 M parameters and 7.2 G multiply-adds at
256 px. Ours predicts both wrists of a crop, right and left, since a crop of two interacting hands is one sample here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from msff.camera import square_box
from msff.choices import require
from msff.models.backbone import build_backbone
from msff.models.heads import deconvolutions, normal
from msff.models.precision import in_float32
from msff.settings.networks import BackboneConfig
from msff.skeleton import SIDES
from msff.volume_kernels import soft_argmax

HAND_AREA_MM2 = 300.0 * 300.0  # A_real of a hand


@dataclass(frozen=True)
class RootNetConfig:
    """The original's sizes by default, except for ``roots``."""

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(normalise=True))  # ImageNet mean and std
    deconv_channels: int = 256
    roots: int = len(SIDES)  # right and left wrist; the original has one
    gamma_start: float = 0.8  # gamma before training, unstated; a hand's square box is narrower than A_real's 300 mm

    def __post_init__(self):
        require(self, "deconv_channels", "roots", at_least=1)


@dataclass(frozen=True, eq=False)
class RootOutput:
    """The undecoded estimate for B crops with R roots each."""

    heat_map: Tensor  # (B, R, S/4, S/4) scores of the wrist's position
    gamma: Tensor  # (B, R) depth / k


class RootNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> `RootOutput`, right wrist first.

    Initialisation: deconvolutions and 1x1 convolutions N(0, 0.001), biases 0 but gamma's, batch norm 1 and 0.
    """

    def __init__(self, config: RootNetConfig):
        super().__init__()
        self.config = config
        channels, width = config.backbone.channels[-1], config.deconv_channels
        self.backbone = build_backbone(config.backbone)
        self.place = nn.Sequential(*deconvolutions(channels, width), normal(nn.Conv2d(width, config.roots, 1), 0.001))
        self.gamma = normal(nn.Conv2d(channels, config.roots, 1), 0.001, config.gamma_start)

    def forward(self, image: Tensor) -> RootOutput:
        f = self.backbone(image)[-1]  # (B, C, S/32, S/32)
        mean, plain = in_float32(f.mean((2, 3), keepdim=True))
        with plain:
            gamma = self.gamma(mean).flatten(1)  # (B, R)
        return RootOutput(self.place(f), gamma)


def wrist_bins(heat_map: Tensor) -> Tensor:
    """Decode by soft-arg-max: (B, R, H, W) -> (B, R, 2) expected x, y in bins of the map."""
    return soft_argmax(heat_map.float()[:, :, None])[..., :2]


def wrist_depth_mm(gamma: Tensor, k_mm: Tensor) -> Tensor:
    """Return gamma * k. (B, R), (B,) mm -> (B, R) mm, camera frame."""
    return gamma.float() * k_mm[:, None]


def box_k_mm(box: Tensor, intrinsics: Tensor) -> Tensor:
    """Return k = sqrt(fx fy A_real / A_box). Tight boxes (B, 4) x, y, w, h px, (B, 3, 3) px -> (B,) mm.

    A_box is the area in px^2 of the square that the crop shows (1:1, x 1.25). Turning or mirroring the crop does not
    change it; shifting or scaling the box would.
    """
    area_px2 = square_box(box)[:, 2:].prod(-1)  # (B,)
    if not (area_px2 > 0).all():
        row = int((~(area_px2 > 0)).nonzero()[0, 0])
        raise ValueError(f"box {row} has no area: {box[row].tolist()}")
    return torch.sqrt(intrinsics[:, 0, 0] * intrinsics[:, 1, 1] * HAND_AREA_MM2 / area_px2)
