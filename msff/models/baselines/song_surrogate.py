"""Song-S, a labelled SURROGATE of Song, Mu & Martin (CGF 41(7), 2022), and no reproduction.

No text, code or copy of that paper was found, its data show hands with objects, and the 20.58 mm on RHD in Table 1
(row Song) is untraced. Song-S is this study's own reduction of the published idea to a hand alone: regress a
hand, then fit it to 2D constraints found in the image (`msff.evaluation.song_refinement`). Its score says nothing about
the authors' method.

ResNet-50; three deconvolutions to 21 heat maps and to a map of 17 hand parts; from the global mean of the last map the
hand's joints relative to the wrist, its handedness, and RootNet's factor of the wrist's depth. 36.2 M parameters and
7.3 G multiply-adds at 256 px.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msff.choices import OpenChoice, open_choice, require
from msff.heatmaps import decode
from msff.models.backbone import build_backbone
from msff.models.heads import deconvolutions, normal
from msff.models.precision import in_float32
from msff.settings.networks import BackboneConfig
from msff.skeleton import FINGERS, JOINTS_PER_HAND, MASK_LEFT, MASK_OF_SIDE, SIDES, WRIST

MM_PER_DM = 100.0  # regressed joints and refinement are in decimetres, so that a hand has size 1
PARTS = 1 + len(MASK_LEFT)  # background, three segments per finger from tip to base, thumb first, palm
PALM_PART = PARTS - 1
SEGMENTS = 3  # per finger
UNKNOWN_LABEL = 255  # in a map of RHD's mask labels: a bin without label
UNKNOWN_PART = -1  # the same in a map of parts


@dataclass(frozen=True)
class SongConfig:
    """Sizes of Song-S. All are choices of this study, since no source gives any."""

    backbone: BackboneConfig = open_choice(
        BackboneConfig, "own choice", "The trunk of all methods here.", shown="ResNet-50"
    )
    deconv_channels: int = open_choice(256, "own choice", "As InterNet's and RootNet's heads.")
    hidden: int = open_choice(1024, "own choice", "One layer before the joints.")
    gamma_start: float = open_choice(0.8, "own choice", "As RootNet's here.")  # gamma before training

    def __post_init__(self):
        require(self, "deconv_channels", "hidden", at_least=1)
        require(self, "gamma_start", above=0)


@dataclass(frozen=True, eq=False)
class SongOutput:
    """The undecoded estimate for B crops of one hand each, the same in training and evaluation."""

    heat_maps: Tensor  # (B, 21, S/4, S/4) scores of each joint's position in the crop, hand-local canonical order
    part_logits: Tensor  # (B, 17, S/4, S/4) background, finger segments, palm
    relative_dm: Tensor  # (B, 21, 3) dm relative to the wrist, camera axes turned with the crop
    side_logit: Tensor  # (B,) of a left hand against a right one
    gamma: Tensor  # (B,) wrist depth / k, see `msff.models.auxiliary.rootnet.box_k_mm`


class SongSurrogate(nn.Module):
    """(B, 3, S, S) in [0, 1] -> `SongOutput`. One hand per crop, its handedness not given.

    Initialisation: deconvolutions and 1x1 convolutions N(0, 0.001), linear layers N(0, 0.01), biases 0 but gamma's,
    batch norm 1 and 0.
    """

    def __init__(self, config: SongConfig):
        super().__init__()
        self.config = config
        channels, width = config.backbone.channels[-1], config.deconv_channels
        self.backbone = build_backbone(config.backbone)
        self.up = nn.Sequential(*deconvolutions(channels, width))
        self.heat_maps = normal(nn.Conv2d(width, JOINTS_PER_HAND, 1), 0.001)
        self.parts = normal(nn.Conv2d(width, PARTS, 1), 0.001)
        self.joints = nn.Sequential(
            normal(nn.Linear(channels, config.hidden)), nn.ReLU(inplace=True),
            normal(nn.Linear(config.hidden, 3 * JOINTS_PER_HAND)),
        )  # fmt: skip
        self.side = normal(nn.Linear(channels, 1))
        self.gamma = normal(nn.Linear(channels, 1), bias=config.gamma_start)

    def forward(self, image: Tensor) -> SongOutput:
        f = self.backbone(image)[-1]  # (B, C, S/32, S/32)
        maps = self.up(f)  # (B, width, S/4, S/4)
        mean, plain = in_float32(f.mean((2, 3)))  # (B, C)
        with plain:
            joints = self.joints(mean).unflatten(1, (JOINTS_PER_HAND, 3))  # (B, 21, 3)
            side, gamma = self.side(mean)[:, 0], self.gamma(mean)[:, 0]  # (B,) each
        return SongOutput(self.heat_maps(maps), self.parts(maps), joints, side, gamma)


def peaks(heat_maps: Tensor, crop_size: int, amplitude: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the highest bin of each map, refined below a bin, and its height as a confidence.

    (M, 21, H, W) -> (M, 21, 2) crop px and (M, 21) in [0, 1], 1 for the peak of a perfect map.
    """
    maps = heat_maps.float()
    if not len(maps):
        return maps.new_zeros(0, maps.shape[1], 2), maps.new_zeros(0, maps.shape[1])
    bins = decode(maps[:, :, None], "subvoxel")[..., :2]  # (M, 21, 2) x, y
    return bins * (crop_size / maps.shape[-1]), (maps.amax((2, 3)) / amplitude).clamp(0, 1)


def part_classes(labels: Tensor, side: Tensor) -> Tensor:
    """Convert RHD's mask labels to the parts of one hand; the other hand and the person are background.

    uint8 (M, H, W) labels 0..33 or ``UNKNOWN_LABEL``, (M,) 0 right, 1 left -> int64 (M, H, W) 0..16 or
    ``UNKNOWN_PART``.
    """
    first = torch.tensor([MASK_OF_SIDE[s].start for s in SIDES], device=labels.device)[side]  # (M,)
    part = labels.long() - first[:, None, None] + 1  # (M, H, W)
    part = torch.where((part >= 1) & (part < PARTS), part, 0)
    return torch.where(labels == UNKNOWN_LABEL, UNKNOWN_PART, part)


def part_groups(parts: Tensor) -> Tensor:
    """Return the bins of each finger and the palm. int64 (M, H, W) parts -> bool (M, 6, H, W), thumb to palm."""
    fingers = [(parts > SEGMENTS * f) & (parts <= SEGMENTS * (f + 1)) for f in range(len(FINGERS))]
    return torch.stack([*fingers, parts == PALM_PART], 1)


def from_wrist(joints: Tensor) -> Tensor:
    """Return joints (M, 21, 3) relative to the wrist."""
    return joints - joints[:, WRIST : WRIST + 1]


SONG_CHOICES = (
    OpenChoice("SongSurrogate", "regression, then optimisation under 2D constraints", "memory, medium",
        "The idea as the abstract is remembered, without its object; no text, code or result on RHD was found."),
    OpenChoice("song_loss", "heat maps, parts, joints, side, depth", "own choice", "What the optimisation needs."),
    OpenChoice("training", "this study's schedule", "own choice", "None is known."),
)  # fmt: skip
"""What no source settles, beside the fields of its configs: everything."""
