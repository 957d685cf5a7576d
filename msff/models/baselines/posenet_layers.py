"""Layers of Zimmermann & Brox (ICCV 2017, lmb-freiburg/hand3d): TensorFlow's 'SAME' padding, leaky ReLU, Xavier
initialisation. None of their networks has batch norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import open_choice, require


@dataclass(frozen=True)
class LayerConfig:
    """Settings of all layers; the authors' values by default, except for the gain."""

    slope: float = 0.01  # of the leaky ReLU
    bias: float = 1e-4  # of every layer before training
    gain: float = open_choice(  # of Xavier's initialisation, see `initialised`
        math.sqrt(2), "own choice",
        "The authors' is 1, but they start PoseNet2D and HandSegNet from weights trained on body poses, which are not "
        "available here; from scratch, a gain of 1 lets the signal fade.",
    )  # fmt: skip
    width: float = open_choice(  # multiplies every inner channel count
        1.0, "own choice", "The authors' network; a profile may shrink all inner layers alike."
    )

    def __post_init__(self):
        require(self, "width", "gain", above=0)
        require(self, "slope", at_least=0, below=1)

    def scaled(self, channels: int) -> int:
        """Scale a channel count of the authors' network to this width, to at least 4."""
        return max(4, round(channels * self.width))


class SameConv(nn.Module):
    """Convolution with TensorFlow's 'SAME' padding: (B, C, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)).

    If an odd number of pixels must be padded, as for stride 2 on even maps, the last row and column get one more.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, config: LayerConfig, stride: int = 1, linear=False):
        super().__init__()
        self.conv = initialised(nn.Conv2d(inputs, outputs, kernel, stride), config)
        self.kernel, self.stride = kernel, stride
        self.slope = None if linear else config.slope

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, (*self._padding(x.shape[3]), *self._padding(x.shape[2]))))
        return x if self.slope is None else F.leaky_relu(x, self.slope)

    def _padding(self, size: int) -> tuple[int, int]:
        """Return the padding before and after one axis of ``size`` px."""
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


def initialised(layer: nn.Conv2d | nn.Linear, config: LayerConfig) -> nn.Conv2d | nn.Linear:
    """Initialise a layer with Xavier-uniform weights (TensorFlow's default form) and constant bias.

    With the authors' gain of 1 each leaky ReLU halves the signal's variance: little is left after the fifteen layers
    of PoseNet2D's encoder. They start from weights trained on body poses; this study starts from scratch, where
    sqrt(2), which preserves the signal's size through leaky ReLUs, learns faster.
    """
    nn.init.xavier_uniform_(layer.weight, config.gain)
    nn.init.constant_(layer.bias, config.bias)
    return layer


def vgg(stages: Sequence[Sequence[int]], config: LayerConfig, inputs: int = 3) -> tuple[nn.Sequential, int]:
    """Return stages of 3x3 convolutions with max pooling by 2 between them, and the channels of the last stage."""
    layers: list[nn.Module] = []
    for number, stage in enumerate(stages):
        if number:
            layers.append(nn.MaxPool2d(2))
        for channels in stage:
            outputs = config.scaled(channels)
            layers.append(SameConv(inputs, outputs, 3, config))
            inputs = outputs
    return nn.Sequential(*layers), inputs


class FullyConnected(nn.Module):
    """Linear layers, each with leaky ReLU and dropout: (B, inputs) -> (B, sizes[-1])."""

    def __init__(self, inputs: int, sizes: Sequence[int], dropout: float, config: LayerConfig):
        super().__init__()
        sizes = [config.scaled(size) for size in sizes]
        self.outputs = sizes[-1]
        pairs = zip([inputs, *sizes[:-1]], sizes, strict=True)
        self.layers = nn.ModuleList(initialised(nn.Linear(a, b), config) for a, b in pairs)
        self.dropout, self.slope = nn.Dropout(dropout), config.slope

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.dropout(F.leaky_relu(layer(x), self.slope))
        return x
