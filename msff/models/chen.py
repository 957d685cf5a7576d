"""Chen (2018): the estimator of "Generating Realistic Training Images Based on Tonality-Alignment Generative
Adversarial Networks for Hand Pose Estimation" (TAGAN), Chen et al., arXiv:1811.09916.

The paper augments the training set; its estimator of 3D pose on RHD, as the author's code of that month has it
(repository Kuzphi/UniversalHand3dFrame), is PoseNet's three networks without dropout, started from PoseNet's trained
weights and trained end to end. The augmentation is in ``msff.training.tonality``.
"""

from __future__ import annotations

from dataclasses import replace

from msff.models.posenet import PoseNet, PoseNetConfig


def chen_config(posenet: PoseNetConfig | None = None) -> PoseNetConfig:
    """PoseNet's sizes without dropout."""
    return replace(PoseNetConfig() if posenet is None else posenet, prior_dropout=0.0, viewpoint_dropout=0.0)


class Chen(PoseNet):
    """(B, 3, S, S) in [0, 1] and sides (B, 2) one-hot, right and left -> `PoseNetOutput`; no dropout whatever
    ``config`` says."""

    def __init__(self, config: PoseNetConfig):
        super().__init__(chen_config(config))

    def start_from(self, posenet: PoseNet) -> None:
        """Take over the weights of a trained PoseNet of the same size."""
        if chen_config(posenet.config) != self.config:
            raise ValueError(f"the weights are of {chen_config(posenet.config)}, this network is {self.config}")
        self.load_state_dict(posenet.state_dict())
