"""HandSegNet and the box from its mask: Zimmermann & Brox, ICCV 2017, repository lmb-freiburg/hand3d.

The full pipeline's first step, where no box is given. 13.60 M parameters, 26.2 G multiply-adds at 256 px. `FoundHand`
is that pipeline.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.models.baselines.posenet import PoseNet, PoseNetConfig, PoseNetOutput
from msff.models.baselines.posenet_layers import LayerConfig, SameConv, vgg

CLASSES = 2  # background, hand
_MEAN = 0.5
_MARGIN = 1.25  # of the box about the region
_ZOOM = (0.25, 5.0)  # least and greatest magnification of the crop
_FALLBACK_SIZE = 100 / 320  # of the longer side of an image without a hand: 100 px of 320, before the margin


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


@torch.no_grad()
def grown_region(probability: Tensor, dilation_px: int) -> Tensor:
    """Return the connected hand about the most certain pixel. (B, H, W) probability of hand -> (B, H, W) bool.

    The region is dilated by a square of that (odd) side and cut with the foreground (probability > 0.5) until it is
    stable, so it bridges gaps of less than half the square. Without any foreground it is empty.
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
def box_of_mask(probability: Tensor, dilation_px: int = 21, crop_size: int = 256) -> Tensor:
    """Return square boxes about the hand. (B, H, W) probability of hand -> (B, 4) x, y, w, h px.

    Centre of the region's bounds; side 1.25 times the longer of them, within the limits of the zoom to a crop of
    ``crop_size`` px. The default sizes are the authors', for images of 240 x 320 px.
    """
    region = grown_region(probability, dilation_px)
    found = region.flatten(1).any(1)  # (B,)
    bounds = [_bounds(region.any(axis)) for axis in (1, 2)]  # x from the columns, y from the rows
    low, high = (torch.stack([axis[end] for axis in bounds], 1).to(probability) for end in (0, 1))  # (B, 2)
    longer = max(probability.shape[1:])
    centre = torch.where(found[:, None], (low + high) / 2, longer / 2)  # (B, 2); without a hand 160 px of 320
    side = _MARGIN * torch.where(found, (high - low).amax(1), _FALLBACK_SIZE * longer)  # (B,)
    zoom = (crop_size / side).clamp(*_ZOOM)  # infinite for a single pixel, hence the greatest
    side = (crop_size / zoom)[:, None]  # (B, 1)
    return torch.cat([centre - side / 2, side, side], 1)


def _bounds(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last true index of each row. (B, N) bool -> two (B,); 0 and N - 1 for a row without any."""
    number = occupied.shape[1]
    return occupied.int().argmax(1), number - 1 - occupied.flip(1).int().argmax(1)
