"""Chen (2018): the estimator of "Generating Realistic Training Images Based on Tonality-Alignment Generative
Adversarial Networks for Hand Pose Estimation" (TAGAN), Chen et al., arXiv:1811.09916.

The paper augments the training set; its estimator of 3D pose on RHD, as the author's code of that month has it
(repository Kuzphi/UniversalHand3dFrame), is PoseNet's three networks without dropout, started from PoseNet's trained
weights and trained end to end. The augmentation is in ``msff.training.objectives.tonality``.
"""

from __future__ import annotations

from dataclasses import replace

from msff.models.baselines.posenet import PoseNet, PoseNetConfig
from msff.models.choice import Choice


def chen_config(posenet: PoseNetConfig | None = None) -> PoseNetConfig:
    """PoseNet's sizes without dropout."""
    return replace(PoseNetConfig() if posenet is None else posenet, prior_dropout=0.0, viewpoint_dropout=0.0)


class Chen(PoseNet):
    """(B, 3, S, S) in [0, 1] and (B,) side (0 right, 1 left) -> `PoseNetOutput`; no dropout whatever ``config``
    says."""

    def __init__(self, config: PoseNetConfig):
        super().__init__(chen_config(config))

    def start_from(self, posenet: PoseNet) -> None:
        """Take over the weights of a trained PoseNet of the same size."""
        if chen_config(posenet.config) != self.config:
            raise ValueError(f"the weights are of {chen_config(posenet.config)}, this network is {self.config}")
        self.load_state_dict(posenet.state_dict())


CHEN_CHOICES = (
    # what the row means
    Choice("source", "arXiv:1811.09916",
        "The table gives a name and a year, its references no such paper; a table that has the same figure cites this "
        "one.",
        "own choice"),
    # network
    Choice("Chen.start_from", "this study's PoseNet",
        "The author starts from PoseNet's released weights, which have learnt from RHD and STB.",
        "own choice"),
    # augmentation
    Choice("augment_batch", "composites of real pairs, made during training",
        "The paper adds images to the training set that a trained generator toned; neither images nor generator are "
        "public. Here part of each batch gets another crop's background, toned by statistics in Lab.",
        "own choice"),
    Choice("TonalityConfig.share", 0.5, "Half of each batch stays as it is.", "own choice"),
    Choice("TonalityConfig.feather_px", 2.5, "In a crop of 256 px; hides the cut.", "own choice"),
    Choice("TonalityConfig.strength", (0.5, 1.0), "From half of the background's tonality to all of it.", "own choice"),
    Choice("TonalityConfig.gain_limit", 3.0, "A flat hand on a busy background would turn to noise.", "own choice"),
    # loss
    Choice("distance_loss", "annotated joints alone",
        "The author's mean is over all 21; on RHD all are annotated.",
        "own choice"),
    Choice("palm_hands", "hands without palm, scale bone or frame are left out", "As for PoseNet.", "own choice"),
    # training
    Choice("TrainingConfig.optimizer", "rmsprop",
        "Without momentum. The smoothing of its mean square is not said: torch's 0.99, which the author's code leaves.",
        "released code"),
    Choice("TrainingConfig.batch_size", 24, "6 on each of 4 devices.", "released code"),
    Choice("TrainingConfig.augment", None,
        "The author's settings have gains of colour and mirrors, which his code does not apply to poses in 3D on RHD.",
        "released code"),
)  # fmt: skip
"""What no public source settles and what is done otherwise here, beyond ``POSENET_CHOICES``, which hold as well."""
