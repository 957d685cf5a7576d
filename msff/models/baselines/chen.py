"""Chen (2018): the estimator of "Generating Realistic Training Images Based on Tonality-Alignment Generative
Adversarial Networks for Hand Pose Estimation" (TAGAN), Chen et al., arXiv:1811.09916.

The paper augments the training set; its estimator of 3D pose on RHD, as the author's code of that month has it
(repository Kuzphi/UniversalHand3dFrame), is PoseNet's three networks without dropout, started from PoseNet's trained
weights and trained end to end. The augmentation is in ``msff.training.objectives.tonality``.
"""

from __future__ import annotations

from dataclasses import replace

from msff.choices import OpenChoice
from msff.models.baselines.posenet import PoseNet, PoseNetConfig


def chen_config(posenet: PoseNetConfig | None = None) -> PoseNetConfig:
    """Return PoseNet's sizes without dropout."""
    return replace(PoseNetConfig() if posenet is None else posenet, prior_dropout=0.0, viewpoint_dropout=0.0)


class Chen(PoseNet):
    """(B, 3, S, S) in [0, 1] and (B,) side (0 right, 1 left) -> `PoseNetOutput`; always without
    dropout."""

    def __init__(self, config: PoseNetConfig):
        super().__init__(chen_config(config))

    def start_from(self, posenet: PoseNet) -> None:
        """Copy the weights of a trained PoseNet of the same size."""
        if chen_config(posenet.config) != self.config:
            raise ValueError(f"the weights are of {chen_config(posenet.config)}, this network is {self.config}")
        self.load_state_dict(posenet.state_dict())


CHEN_CHOICES = (
    OpenChoice("source", "arXiv:1811.09916", "own choice",
        "The table gives a name and a year, but no listed reference matches; another paper's table with the same "
        "number cites this one."),
    OpenChoice("Chen.start_from", "this study's PoseNet", "own choice",
        "The author starts from PoseNet's released weights, which were trained on RHD and STB."),
)  # fmt: skip
"""What no public source settles about the network, beyond PoseNet's choices, which hold as well."""
