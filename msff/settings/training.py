"""The schedule of a training, the augmentation of its crops, and how fast a device runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msff.choices import open_choice, require

OPTIMIZERS = ("adam", "rmsprop")
PRECISIONS = ("float32", "bf16")


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


@dataclass(frozen=True)
class TrainingConfig:
    """The paper: batch 16, 20 epochs, initial rate 1e-4, divided by 10 at epochs 15 and 17. The rest is unstated."""

    batch_size: int = 16
    epochs: int = 20
    learning_rate: float = 1e-4
    decay_epochs: tuple[int, ...] = (15, 17)
    decay_factor: float = 0.1
    images_per_epoch: int | None = None  # None: every training image once
    optimizer: str = open_choice(  # "rmsprop" is Chen's
        "adam", tag="D32",
        source="Initial rate 0.0001 and its decay, but not the optimiser.",
        reason="InterNet's, with the same rate and decay.",
    )  # fmt: skip
    warmup_steps: int = 0  # linear; 0 as in InterNet's code
    augment: AugmentConfig | None = open_choice(
        AugmentConfig, tag="D33", shown="InterNet's ranges",
        source="Nothing on augmentation.",
        reason="InterNet's shift, scale, rotation, mirror and colour gain.",
    )  # fmt: skip

    def __post_init__(self):
        require(self, "batch_size", "epochs", at_least=1)
        require(self, "learning_rate", above=0)
        require(self, "optimizer", one_of=OPTIMIZERS)

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate in epoch 0.., step 0.. of the phase."""
        decayed = self.learning_rate * self.decay_factor ** sum(epoch >= e for e in self.decay_epochs)
        return decayed * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else decayed


@dataclass(frozen=True)
class SpeedConfig:
    """Precision and compilation. No part of a run's configuration hash.

    A training runs without what its device does not support, and its record says so.
    """

    precision: Literal["float32", "bf16"] = "float32"  # of the network's own layers; losses and geometry are float32
    compile: bool = False  # by torch.compile, on CUDA alone

    def __post_init__(self):
        require(self, "precision", one_of=PRECISIONS)
