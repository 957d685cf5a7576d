"""Losses of PoseNet (Zimmermann & Brox, ICCV 2017, lmb-freiburg/hand3d): its three stages and the side's classifier.

The stages train one after the other, each its own part of the weights: HandSegNet; ``PoseNet.pose2d``;
``PoseNet.lifting`` on the annotated joints' score maps. Weights that a stage does not use get no gradient, so that
one ``PoseNet`` goes through the last two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.loader import Batch
from msff.data.one_hand import one_hand
from msff.models.canonical_frame import replace_wrist_by_palm
from msff.models.posenet import LiftedHand
from msff.models.posenet_targets import (
    JitterConfig,
    PalmHands,
    canonical_targets,
    jittered,
    palm_hands,
    palm_visible,
    pooled,
    score_map_targets,
    truncated_normal,
)
from msff.models.posenet_tracks import one_hot

Masks = Callable[[Batch], Tensor]
"""The hand masks of a batch's crops, (B, S, S) bool: the pixels of any hand, warped by ``batch.affine`` as the image
was, mirror included, nearest neighbour. `Batch` has no mask, so whoever holds the dataset must provide them."""


@dataclass(frozen=True)
class StageRecipe:
    """How one stage is trained with Adam; rates are divided by 10 at each of ``decay_steps``."""

    iterations: int
    learning_rate: float
    decay_steps: tuple[int, ...]
    batch_size: int = 8
    decay_factor: float = 0.1


RECIPES = {
    "segmentation": StageRecipe(40_000, 1e-5, (20_000, 30_000)),
    "pose2d": StageRecipe(30_000, 1e-4, (10_000, 20_000)),
    "lifting": StageRecipe(80_000, 1e-5, (60_000,)),
}
"""The authors' schedules. Theirs starts the first two stages from a body pose network's weights; ours from Xavier's."""


@dataclass(frozen=True)
class SegmentationObjective:
    """What HandSegNet is trained for: an ``Objective`` of the training loop."""

    masks: Masks

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"total": segmentation_loss(model(batch.image), self.masks(batch))}


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax cross-entropy per pixel, mean. (B, 2, H, W), (B, H, W) bool -> scalar; 0 for an empty batch."""
    if mask.shape != logits[:, 0].shape:
        raise ValueError(f"mask must be {tuple(logits[:, 0].shape)}, got {tuple(mask.shape)}")
    return F.cross_entropy(logits.float(), mask.long(), reduction="sum") / max(mask.numel(), 1)


@dataclass(frozen=True)
class Pose2DConfig:
    """The score maps that PoseNet2D learns."""

    sigma_px: float = 25.0  # in a crop of 256 px
    joint_noise_px: float = 2.5  # deviation of the truncated normal on each joint, px of the image
    visible_offset: float = 1e-3  # added to the number of visible joints, by which the loss is divided

    def __post_init__(self):
        if self.sigma_px <= 0 or self.joint_noise_px < 0 or self.visible_offset <= 0:
            raise ValueError(
                "Pose2DConfig needs sigma_px > 0, joint_noise_px >= 0 and visible_offset > 0, "
                f"got {self.sigma_px}, {self.joint_noise_px} and {self.visible_offset}"
            )


@dataclass(frozen=True, eq=False)
class Pose2DObjective:
    """What ``PoseNet.pose2d`` is trained for: an ``Objective`` of the training loop.

    The authors also move the crop's centre by noise of 20 px; that is the loader's shift. ``generator`` None: no noise.
    """

    config: Pose2DConfig = field(default_factory=Pose2DConfig)
    generator: torch.Generator | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """A hand needs no frame here, so that all that are present count."""
        hands = one_hand(batch)
        joints_px = replace_wrist_by_palm(hands.joints_crop_px)
        if self.generator is not None:
            zoom = torch.linalg.det(batch.affine[hands.owner][:, :, :2]).abs().sqrt()  # (M,)
            noise = truncated_normal(joints_px.shape, self.generator).to(joints_px)
            joints_px = joints_px + self.config.joint_noise_px * zoom[:, None, None] * noise
        score_maps, size = model.pose2d(hands.image), batch.image.shape[-1]
        return score_map_loss(score_maps, joints_px, palm_visible(hands), size, self.config)


def score_map_loss(
    score_maps: tuple[Tensor, ...], joints_px: Tensor, visible: Tensor, size: int, config: Pose2DConfig
) -> dict[str, Tensor]:
    """Root mean square per visible joint's map at the crop's resolution. -> "total", the sum over stages, "stage1"...

    Maps (M, 21, S/8, S/8) are enlarged bilinearly with pixel centres kept in place. (M, 21, 2) px, (M, 21) bool.
    """
    target = score_map_targets(joints_px, visible, size, config.sigma_px)  # (M, 21, S, S)
    count = visible.sum() + config.visible_offset
    losses = {}
    for number, score_map in enumerate(score_maps, start=1):
        wide = F.interpolate(score_map.float(), (size, size), mode="bilinear", align_corners=False)  # (M, 21, S, S)
        mean = (wide - target).square().mean((2, 3))  # (M, 21)
        losses[f"stage{number}"] = (visible * mean.clamp(min=1e-12).sqrt()).sum() / count  # the root of 0 has no slope
    return {"total": sum(losses.values()), **losses}


@dataclass(frozen=True, eq=False)
class LiftingObjective:
    """What ``PoseNet.lifting`` is trained for: an ``Objective`` of the training loop. ``generator`` None: no jitter."""

    jitter: JitterConfig = field(default_factory=JitterConfig)
    sigma_px: float = 25.0  # in a crop of 256 px
    generator: torch.Generator | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        hands = palm_hands(batch)
        size = batch.image.shape[-1]
        joints_px = hands.joints_crop_px
        if self.generator is not None:
            joints_px = jittered(joints_px, hands.zoom, size, self.jitter, self.generator)
        score_map = pooled(score_map_targets(joints_px, hands.visible, size, self.sigma_px))  # (M, 21, S/8, S/8)
        return lifting_loss(model.lifting(score_map, one_hot(hands.side).to(score_map)), hands)


def lifting_loss(lifted: LiftedHand, hands: PalmHands) -> dict[str, Tensor]:
    """Mean squared error of canonical coordinates, over valid joints, and of the rotation's entries. -> "total"..."""
    canonical, rotation = canonical_targets(hands)
    off = (lifted.canonical.float() - canonical).square().mean(-1)  # (M, 21)
    losses = {
        "canonical": torch.where(hands.valid, off, 0.0).sum() / hands.valid.sum().clamp(min=1),
        "rotation": (lifted.rotation.float() - rotation).square().sum() / max(rotation.numel(), 1),
    }
    return {"total": losses["canonical"] + losses["rotation"], **losses}


@dataclass(frozen=True)
class SideObjective:
    """What ``SideNet`` is trained for: cross-entropy of the side of each crop with exactly one hand."""

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        single = (batch.side_present.sum(1) == 1) & batch.side_valid  # (B,)
        if not single.any():
            raise ValueError("the side's classifier needs crops of one hand of annotated side, found none in the batch")
        logits = model(batch.image[single])
        return {"total": F.cross_entropy(logits.float(), batch.side_present[single].argmax(1))}
