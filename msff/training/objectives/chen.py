"""Loss of Chen (2018): arXiv:1811.09916, in the author's code (Kuzphi/UniversalHand3dFrame)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from msff.choices import OpenChoice, choice_at
from msff.data.batches import Batch
from msff.models.baselines.posenet_targets import PalmHands, palm_hands
from msff.settings.losses import TonalityConfig
from msff.settings.native import CHEN_NATIVE
from msff.training.objectives.posenet import Masks
from msff.training.objectives.shared import batch_generator, masked_mean
from msff.training.objectives.tonality import augment_batch


def chen_objective(
    model: nn.Module, batch: Batch, tonality: TonalityConfig, masks: Masks | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Return the loss of Chen's estimator; ``seed`` is that of the compositing.

    With ``masks`` part of each batch is augmented by tonality-aligned compositing; without, the estimator alone is
    trained, from PoseNet's weights (`Chen.start_from`): the difference of the two is what the method claims.
    """
    if masks is not None:
        image = augment_batch(batch.image, masks(batch), tonality, batch_generator(batch, seed))
        batch = replace(batch, image=image)
    hands = palm_hands(batch)
    return {"total": distance_loss(model(hands.image, hands.side).pose, hands)}


def distance_loss(joints: Tensor, hands: PalmHands) -> Tensor:
    """Mean distance over the batch's valid joints, the palm among them, whether visible or not. (M, 21, 3) -> mm."""
    off = (joints.float() - hands.relative).norm(dim=-1) * hands.scale_mm[:, None]  # (M, 21) mm
    return masked_mean(off, hands.valid)


CHEN_TRAINING_CHOICES = (
    OpenChoice("augment_batch", "composites of real pairs, made during training", "own choice",
        "The paper adds images to the training set that a trained generator toned; neither images nor generator are "
        "public. Here part of each batch gets another crop's background, toned by statistics in Lab."),
    OpenChoice("distance_loss", "annotated joints alone", "own choice",
        "The author's mean is over all 21; on RHD all are annotated."),
    OpenChoice("palm_hands", "hands without palm, scale bone or frame are left out", "own choice", "As for PoseNet."),
    choice_at(CHEN_NATIVE, "optimizer", "released code",
        "Without momentum. The smoothing of its mean square is not said: torch's 0.99, which the author's code "
        "leaves."),
    choice_at(CHEN_NATIVE, "batch_size", "released code", "6 on each of 4 devices."),
    choice_at(CHEN_NATIVE, "augment", "released code",
        "The author's settings have gains of colour and mirrors, which the code does not apply to 3D poses on RHD."),
)  # fmt: skip
"""What no public source settles about Chen's training, beside the fields of `TonalityConfig`."""
