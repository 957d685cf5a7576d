"""Loss and recipe of Chen (2018): arXiv:1811.09916, in the author's code (Kuzphi/UniversalHand3dFrame)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from msff.data.loader import Batch
from msff.models.posenet_targets import PalmHands, palm_hands
from msff.models.posenet_tracks import one_hot
from msff.training.posenet_loss import Masks
from msff.training.tonality import TonalityConfig, augment_batch


@dataclass(frozen=True)
class ChenRecipe:
    """The author's schedule."""

    learning_rate: float = 2.5e-5
    momentum: float = 0.0
    weight_decay: float = 0.0
    smoothing: float = 0.99  # of RMSprop's mean square; not stated, torch's default, which the author's code leaves
    decay_every: int = 30  # epochs
    decay_factor: float = 0.1
    epochs: int = 100
    batch_size: int = 24  # 6 on each of 4 devices

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.RMSprop:
        return torch.optim.RMSprop(
            parameters, lr=self.learning_rate, alpha=self.smoothing, momentum=self.momentum,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    def rate(self, epoch: int) -> float:
        """Learning rate in epoch 0.. ."""
        return self.learning_rate * self.decay_factor ** (epoch // self.decay_every)


@dataclass(frozen=True, eq=False)
class ChenObjective:
    """What Chen's estimator is trained for: an ``Objective`` of the training loop.

    With ``masks`` and ``generator`` part of each batch is augmented by tonality-aligned compositing; with neither,
    the estimator alone is trained: the difference of the two is what the method claims.
    """

    tonality: TonalityConfig = field(default_factory=TonalityConfig)
    masks: Masks | None = None
    generator: torch.Generator | None = None

    def __post_init__(self):
        if (self.masks is None) != (self.generator is None):
            raise ValueError("ChenObjective needs both masks and generator for the augmentation, or neither")

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if self.masks is not None:
            image = augment_batch(batch.image, self.masks(batch), self.tonality, self.generator)
            batch = replace(batch, image=image)
        hands = palm_hands(batch)
        return {"total": distance_loss(model(hands.image, one_hot(hands.side)).joints, hands)}


def distance_loss(joints: Tensor, hands: PalmHands) -> Tensor:
    """Mean distance over the batch's valid joints, the palm among them, whether visible or not. (M, 21, 3) -> mm."""
    off = (joints.float() - hands.relative).norm(dim=-1) * hands.scale_mm[:, None]  # (M, 21) mm
    return torch.where(hands.valid, off, 0.0).sum() / hands.valid.sum().clamp(min=1)
