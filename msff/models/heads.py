"""The heads: heat-map volume (Eq. 15), handedness and relative root depth (Sec. A)."""

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
        self.conv = nn.Conv2d(channels, joints * bins, 1)
        nn.init.normal_(self.conv.weight, std=std)
        nn.init.zeros_(self.conv.bias)

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


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return two linear layers, initialised as InterNet's: normal with standard deviation 0.01, zero bias."""
    layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))
    for linear in (layers[0], layers[2]):
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
    return layers
