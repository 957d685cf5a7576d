"""HandSegNet and the box from its mask: Zimmermann & Brox, ICCV 2017, repository lmb-freiburg/hand3d.

The full pipeline's first step, where no box is given. 13.60 M parameters, 26.2 G multiply-adds at 256 px. `FoundHand`
is that pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import open_choice
from msff.models.baselines.posenet import PoseNet, PoseNetConfig, PoseNetOutput
from msff.models.baselines.posenet_layers import LayerConfig, SameConv, vgg

CLASSES = 2  # background, hand
_MEAN = 0.5


class HandSegNet(nn.Module):
    """(B, 3, H, W) in [0, 1] -> logits (B, 2, H, W) of background and hand; H and W multiples of 8."""

    def __init__(self, layers: LayerConfig | None = None):
        super().__init__()
        layers = LayerConfig() if layers is None else layers
        self.encoder, encoded = vgg(((64,) * 2, (128,) * 2, (256,) * 4, (512, 512, 512, 512, 512, 128)), layers)
        hidden = layers.scaled(512)
        self.head = nn.Sequential(
            SameConv(encoded, hidden, 1, layers), SameConv(hidden, CLASSES, 1, layers, linear=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % 8 or image.shape[3] % 8:
            raise ValueError(f"image must be (B, 3, H, W) with H and W multiples of 8, got {tuple(image.shape)}")
        scores = self.head(self.encoder(image - _MEAN))  # (B, 2, H/8, W/8)
        return F.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=False)  # (B, 2, H, W)


class FoundHand(nn.Module):
    """PoseNet on hands that HandSegNet finds: crops (B, 3, S, S) in [0, 1] about the boxes that `box_of_mask` derives
    from ``segmentation``, and (B,) side (0 right, 1 left) -> `PoseNetOutput`.

    Only ``segmentation`` is trained: PoseNet's weights are those of the variant with the given box, see `start_from`.
    """

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.config = config
        self.segmentation = HandSegNet(config.layers)
        self.posenet = PoseNet(config)

    def forward(self, image: Tensor, side: Tensor) -> PoseNetOutput:
        return self.posenet(image, side)

    def start_from(self, posenet: PoseNet) -> None:
        """Copy the weights of a trained PoseNet of the same size."""
        if posenet.config != self.config:
            raise ValueError(f"the weights are of {posenet.config}, this network is {self.config}")
        self.posenet.load_state_dict(posenet.state_dict())


@dataclass(frozen=True)
class MaskBoxConfig:
    """How a box is derived from a mask; the authors' values."""

    dilation_px: int = open_choice(  # side of the square by which the region grows; for images of 240 x 320 px
        21, "own choice",
        "For the authors' images of 240 x 320 px, stretched to that shape. Here images keep their shape, and this "
        "length grows with them.",
    )  # fmt: skip
    margin: float = 1.25  # of the box about the region
    crop_size: int = 256  # px of the crop made from the box
    zoom: tuple[float, float] = (0.25, 5.0)  # least and greatest magnification of the crop
    fallback_centre: tuple[float, float] = (0.5, 0.5)  # x, y in longer sides of the image: 160 px of 320
    fallback_size: float = 100 / 320  # in longer sides: 100 px of 320, before the margin

    def __post_init__(self):
        object.__setattr__(self, "zoom", tuple(self.zoom))
        object.__setattr__(self, "fallback_centre", tuple(self.fallback_centre))
        if self.dilation_px < 1 or self.dilation_px % 2 == 0:
            raise ValueError(f"MaskBoxConfig.dilation_px must be odd and >= 1, got {self.dilation_px}")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"MaskBoxConfig.zoom must be two increasing positive numbers, got {self.zoom}")
        if self.margin <= 0 or self.crop_size < 1 or self.fallback_size <= 0:
            raise ValueError(
                "MaskBoxConfig needs margin > 0, crop_size >= 1 and fallback_size > 0, "
                f"got {self.margin}, {self.crop_size} and {self.fallback_size}"
            )


@torch.no_grad()
def grown_region(probability: Tensor, dilation_px: int = 21) -> Tensor:
    """Return the connected hand about the most certain pixel. (B, H, W) probability of hand -> (B, H, W) bool.

    The region is dilated by a square and cut with the foreground (probability > 0.5) until it is stable, so it bridges
    gaps of less than half the square. Without any foreground it is empty.
    """
    foreground = probability > 0.5  # what rounding gives
    best = probability.flatten(1).argmax(1)  # (B,)
    seed = F.one_hot(best, probability.shape[1:].numel())
    region = seed.view(probability.shape).bool() & foreground
    while True:
        wide = F.max_pool2d(region[:, None].float(), dilation_px, stride=1, padding=dilation_px // 2)[:, 0] > 0
        grown = wide & foreground
        if torch.equal(grown, region):
            return region
        region = grown


@torch.no_grad()
def box_of_mask(probability: Tensor, config: MaskBoxConfig | None = None) -> Tensor:
    """Return square boxes about the hand. (B, H, W) probability of hand -> (B, 4) x, y, w, h px.

    Centre of the region's bounds; side 1.25 times the longer of them, within the limits of the zoom.
    """
    config = MaskBoxConfig() if config is None else config
    region = grown_region(probability, config.dilation_px)
    found = region.flatten(1).any(1)  # (B,)
    bounds = [_bounds(region.any(axis)) for axis in (1, 2)]  # x from the columns, y from the rows
    low, high = (torch.stack([axis[end] for axis in bounds], 1).to(probability) for end in (0, 1))  # (B, 2)
    longer = max(probability.shape[1:])
    fallback = probability.new_tensor(config.fallback_centre) * longer
    centre = torch.where(found[:, None], (low + high) / 2, fallback)  # (B, 2)
    side = config.margin * torch.where(found, (high - low).amax(1), config.fallback_size * longer)  # (B,)
    zoom = (config.crop_size / side).clamp(*config.zoom)  # infinite for a single pixel, hence the greatest
    side = (config.crop_size / zoom)[:, None]  # (B, 1)
    return torch.cat([centre - side / 2, side, side], 1)


def _bounds(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last true index of each row. (B, N) bool -> two (B,); 0 and N - 1 for a row without any."""
    number = occupied.shape[1]
    return occupied.int().argmax(1), number - 1 - occupied.flip(1).int().argmax(1)
