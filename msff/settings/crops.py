"""The augmentation of a training's crops."""

from __future__ import annotations

from dataclasses import dataclass

from msff.choices import require


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of InterNet's augmentation. A range of 0 switches that part off."""

    shift: float = 0.15  # the box moves by U(-shift, shift) of its side, per axis
    scale: float = 0.25  # its side is multiplied by 1 + scale * clip(N(0, 1), -1, 1)
    rotation_deg: float = 45.0  # rotation_deg * clip(N(0, 1), -2, 2) ...
    rotation_probability: float = 0.6  # ... in this share of the samples
    flip_probability: float = 0.5
    colour: float = 0.2  # gain U(1 - colour, 1 + colour) per channel

    def __post_init__(self):
        require(self, "rotation_probability", "flip_probability", at_least=0, at_most=1)
        require(self, "shift", "scale", "colour", at_least=0, below=1)
        require(self, "rotation_deg", at_least=0)
