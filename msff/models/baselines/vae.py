"""The encoders, the pose decoder and the Gaussian code of the variational autoencoders of Spurr and Yang.

Sources: Spurr et al., "Cross-modal Deep Variational Hand Pose Estimation", CVPR 2018, and spurra/vae-hands-3d; Yang &
Yao, "Disentangling Latent Hands for Image Synthesis and Pose Estimation", CVPR 2019, arXiv:1812.01002.

Additional letters: N hands, Z dimensions of the code. A ``pose`` is defined in
`msff.models.baselines.pose_convention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import require
from msff.models.backbone import build_backbone
from msff.models.precision import in_float32
from msff.settings.networks import RESNET18, BackboneConfig
from msff.skeleton import JOINTS_PER_HAND, SIDES

POSE_DIMS = 3 * JOINTS_PER_HAND
_GREY = 0.5  # images enter as rgb / 255 - 0.5
_POOLED = 2  # side of the map after the average pool


@dataclass(frozen=True)
class VaeSize:
    """Sizes that a profile may shrink. The defaults are those of the released network of Spurr et al."""

    crop_size: int = 256  # px
    backbone: BackboneConfig = RESNET18
    hidden: int = 512  # units of every hidden layer
    encoder_layers: int = 3  # hidden layers from a pose to its code
    decoder_layers: int = 5  # hidden layers from a code to a pose

    def __post_init__(self):
        if self.crop_size < 64 or self.crop_size % 32:
            raise ValueError(f"VaeSize.crop_size must be a multiple of 32 and at least 64, got {self.crop_size}")
        require(self, "hidden", "encoder_layers", "decoder_layers", at_least=1)


@dataclass(frozen=True, eq=False)
class Latent:
    """The Gaussian q(z | input) of N inputs, with a diagonal covariance."""

    mean: Tensor  # (N, Z)
    log_variance: Tensor  # (N, Z)

    @staticmethod
    def of(code: Tensor) -> Latent:
        """Split a code (N, 2 Z), means first, into a Gaussian."""
        return Latent(*in_float32(code)[0].chunk(2, -1))

    def at(self, noise: Tensor | None) -> Tensor:
        """Return mean + standard deviation * noise, or the mean for None. (N, Z) standard normal -> (N, Z)."""
        return self.mean if noise is None else self.mean + (0.5 * self.log_variance).exp() * noise


def mlp(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """Return ``layers`` fully connected layers with ReLU and a linear one. Initialisation is torch's."""
    widths, parts = (inputs, *(hidden for _ in range(layers))), []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.Linear(hidden, outputs))


class ImageEncoder(nn.Module):
    """(N, 3, S, S) in [0, 1], (N,) side -> code (N, ``outputs``).

    ResNet; average pool of stride 1 to 2 x 2 (7 x 7 at 256 px); one linear layer, which with ``hand_side`` also
    receives the handedness as one-hot. At 256 px ResNet-18 gives 4 * 512 = 2048 features.
    """

    def __init__(self, size: VaeSize, outputs: int, hand_side: bool):
        super().__init__()
        self.size, self.hand_side = size, hand_side
        self.backbone = build_backbone(size.backbone)
        self.pool = nn.AvgPool2d(size.crop_size // 32 + 1 - _POOLED, stride=1)
        features = _POOLED**2 * size.backbone.channels[-1]
        self.code = nn.Linear(features + len(SIDES) * hand_side, outputs)

    def forward(self, image: Tensor, side: Tensor | None = None) -> Tensor:
        if image.shape[-2:] != (self.size.crop_size,) * 2:
            raise ValueError(
                f"image must be (N, 3, {self.size.crop_size}, {self.size.crop_size}), got {tuple(image.shape)}"
            )
        if self.hand_side and side is None:
            raise ValueError("this network needs the handedness: pass side (N,) with 0 right, 1 left")
        shifted = image if self.size.backbone.normalise else image - _GREY
        f = self.pool(self.backbone(shifted)[-1]).flatten(1)  # (N, C, S/32, S/32) -> (N, 4 C)
        if self.hand_side:
            f = torch.cat([f, F.one_hot(side, len(SIDES)).to(f)], -1)  # (N, 4 C + 2)
        f, plain = in_float32(f)
        with plain:
            return self.code(f)
