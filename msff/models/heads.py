"""The heads: heat-map volume (Eq. 15), handedness and relative root depth (Sec. A); and InterNet's deconvolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msff.models.precision import in_float32
from msff.skeleton import JOINTS


class VolumeHead(nn.Module):
    """1x1 convolution to a volume: (B, C, H, W) -> (B, joints, bins, H, W). Eq. (15).

    Initialisation as InterNet's: normal with standard deviation ``std``, zero bias.
    """

    def __init__(self, channels: int, bins: int, joints: int = JOINTS, std: float = 0.001):
        super().__init__()
        self.joints, self.bins = joints, bins
        self.conv = normal(nn.Conv2d(channels, joints * bins, 1), std)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).unflatten(1, (self.joints, self.bins))  # (B, joints, D, H, W)


class HandednessHead(nn.Module):
    """Global mean, FC ``hidden`` ReLU, FC 2: (B, C, H, W) -> logits (B, 2) of right, left present. Source: InterNet."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.layers = _mlp(channels, hidden, 2)

    def forward(self, f: Tensor) -> Tensor:
        return self.layers(f.mean((2, 3)))


class RelativeDepthHead(nn.Module):
    """Estimate the depth of the left wrist minus that of the right: (B, C, H, W) -> (B,) bins.

    Global mean, FC ``hidden`` ReLU, FC ``bins``, expectation under the softmax. Source: InterNet.
    """

    def __init__(self, channels: int, hidden: int, bins: int):
        super().__init__()
        self.layers = _mlp(channels, hidden, bins)

    def forward(self, f: Tensor) -> Tensor:
        mean, plain = in_float32(f.mean((2, 3)))
        with plain:
            probability = self.layers(mean).float().softmax(-1)  # (B, bins)
        return (probability * torch.arange(probability.shape[-1], device=f.device)).sum(-1)


def normal(layer: nn.Conv2d | nn.Linear, std: float = 0.01, bias: float = 0.0) -> nn.Conv2d | nn.Linear:
    """Initialise a layer as InterNet's: normal weights of standard deviation ``std``, constant bias."""
    nn.init.normal_(layer.weight, std=std)
    nn.init.constant_(layer.bias, bias)
    return layer


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return two linear layers with a ReLU between them: (B, inputs) -> (B, outputs)."""
    layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))
    for linear in (layers[0], layers[2]):
        normal(linear)
    return layers


def deconvolutions(channels: int, width: int) -> list[nn.Module]:
    """Return InterNet's three deconvolutions x2 with batch norm and ReLU: (B, channels, H, W) -> (B, width, 8H, 8W).

    Initialisation: normal with standard deviation 0.001.
    """
    layers: list[nn.Module] = []
    for inputs in (channels, width, width):
        deconv = nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1, bias=False)
        nn.init.normal_(deconv.weight, std=0.001)
        layers += [deconv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return layers
