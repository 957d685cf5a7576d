"""Losses of PoseNet (Zimmermann & Brox, ICCV 2017, lmb-freiburg/hand3d), which learns in three stages.

The stages train one after the other, each its own part of the weights: ``FoundHand.segmentation``;
``PoseNet.pose2d``; ``PoseNet.lifting`` on the annotated joints' score maps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import OpenChoice, choice_at
from msff.data.batches import Batch
from msff.data.single_hand import single_hands
from msff.models.baselines.canonical_frame import replace_wrist_by_palm
from msff.models.baselines.posenet import PoseNetOutput
from msff.models.baselines.posenet_targets import (
    PalmHands,
    canonical_targets,
    jittered,
    palm_hands,
    palm_visible,
    pooled,
    score_map_profiles,
    score_map_targets,
    truncated_normal,
)
from msff.settings.losses import JitterConfig, Pose2DConfig
from msff.settings.native import POSENET_NATIVE
from msff.training.objectives.shared import batch_generator, masked_mean

Masks = Callable[[Batch], Tensor]
"""The hand masks of a batch's crops, (B, S, S) bool: the pixels of any hand, warped by ``batch.affine`` as the image
was, mirror included, nearest neighbour. `Batch` has no mask, so they come from the dataset's owner."""


def segmentation_objective(model: nn.Module, batch: Batch, masks: Masks) -> dict[str, Tensor]:
    """Return the loss of ``FoundHand.segmentation``."""
    return {"total": segmentation_loss(model.segmentation(batch.image), masks(batch))}


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy per pixel. (B, 2, H, W), (B, H, W) bool -> scalar; 0 for an empty batch."""
    return F.cross_entropy(logits.float(), mask.long(), reduction="sum") / max(mask.numel(), 1)


def pose2d_objective(
    model: nn.Module, batch: Batch, config: Pose2DConfig, seed: int | None = None
) -> dict[str, Tensor]:
    """Return the loss of ``PoseNet.pose2d``; ``seed`` is of the noise on the joints, None: no noise.

    A hand needs no frame here, so that all that are present count. The authors also move the crop's centre by noise of
    20 px; that is the loader's shift.
    """
    hands = single_hands(batch)
    joints_px = replace_wrist_by_palm(hands.joints_crop_px)
    if seed is not None:
        zoom = torch.linalg.det(batch.affine[hands.owner][:, :, :2]).abs().sqrt()  # (M,)
        noise = truncated_normal(joints_px.shape, batch_generator(batch, seed)).to(joints_px)
        joints_px = joints_px + config.joint_noise_px * zoom[:, None, None] * noise
    score_maps, size = model.pose2d(hands.image), batch.image.shape[-1]
    return score_map_loss(score_maps, joints_px, palm_visible(hands), size, config)


def score_map_loss(
    score_maps: tuple[Tensor, ...], joints_px: Tensor, visible: Tensor, size: int, config: Pose2DConfig
) -> dict[str, Tensor]:
    """Return the root mean square per visible joint's map at crop resolution: "total" over the stages, "stage1"...

    Maps (M, 21, S/8, S/8) are enlarged bilinearly with pixel centres kept in place. (M, 21, 2) px, (M, 21) bool.
    """
    profiles = score_map_profiles(joints_px, visible, size, config.sigma_px)  # (M, 21, 2, S)
    count = visible.sum() + config.visible_offset
    losses = {}
    for number, score_map in enumerate(score_maps, start=1):
        mean = mean_square_of_enlarged(score_map.float(), profiles)  # (M, 21)
        losses[f"stage{number}"] = (visible * mean.clamp(min=1e-12).sqrt()).sum() / count  # the root of 0 has no slope
    return {"total": sum(losses.values()), **losses}


def mean_square_of_enlarged(score_map: Tensor, profiles: Tensor) -> Tensor:
    """Mean square difference of enlarged maps from targets that are products. -> (M, 21).

    (M, 21, h, h) maps, (M, 21, 2, S) columns and rows of the targets. With U the bilinear enlargement of one axis, the
    square expands to |U s U'|^2 - 2 <s, (U'y)(U'x)'> + |y|^2 |x|^2, so that no map of S x S pixels is ever made.
    """
    cells, size = score_map.shape[-1], profiles.shape[-1]
    identity = torch.eye(cells, device=score_map.device, dtype=score_map.dtype)
    enlarge = F.interpolate(identity[None], size, mode="linear", align_corners=False)[0]  # (h, S), U'
    gram = enlarge @ enlarge.T  # (h, h)
    own = (gram @ score_map @ gram * score_map).sum((2, 3))  # (M, 21)
    x, y = (profiles @ enlarge.T).unbind(2)  # (M, 21, h) each
    cross = ((score_map @ x[..., None])[..., 0] * y).sum(-1)  # (M, 21)
    target = profiles.square().sum(-1).prod(-1)  # (M, 21)
    return (own - 2 * cross + target) / size**2


def lifting_objective(
    model: nn.Module, batch: Batch, jitter: JitterConfig, sigma_px: float, seed: int | None = None
) -> dict[str, Tensor]:
    """Return the loss of ``PoseNet.lifting``.

    ``sigma_px`` of the score maps in a crop of 256 px; ``seed`` of the jitter, None: no jitter.
    """
    hands, size = palm_hands(batch), batch.image.shape[-1]
    joints_px = hands.joints_crop_px
    if seed is not None:
        joints_px = jittered(joints_px, hands.zoom, size, jitter, batch_generator(batch, seed))
    score_map = pooled(score_map_targets(joints_px, hands.visible, size, sigma_px))  # (M, 21, S/8, S/8)
    return lifting_loss(model.lifting(score_map, hands.side), hands)


def lifting_loss(lifted: PoseNetOutput, hands: PalmHands) -> dict[str, Tensor]:
    """Mean squared error of canonical coordinates, over valid joints, and of the rotation's entries. -> "total"..."""
    canonical, rotation = canonical_targets(hands)
    off = (lifted.canonical.float() - canonical).square().mean(-1)  # (M, 21)
    losses = {
        "canonical": masked_mean(off, hands.valid),
        "rotation": (lifted.rotation.float() - rotation).square().sum() / max(rotation.numel(), 1),
    }
    return {"total": losses["canonical"] + losses["rotation"], **losses}


POSENET_TRAINING_CHOICES = (
    OpenChoice("mean_square_of_enlarged", "the square is expanded", "own choice",
        "The authors enlarge the score maps to the crop before comparing them. Here the loss has the same value "
        "without the enlarged maps."),
    OpenChoice("jittered", "joints, crop's centre, offset; then magnification", "own choice",
        "The authors' noise; the order of shift and magnification is not given."),
    OpenChoice("augmentation", "shift of the box", "own choice",
        "PoseNet2D's crop is shifted uniformly by up to 0.14 of its side, about 20 of 140 px in the image. Theirs is "
        "shifted by a truncated normal and enlarged to contain every joint. HandSegNet's hues are unchanged."),
    OpenChoice("training images", "of one dataset", "own choice",
        "The released weights were trained on RHD and STB; here each row is trained on the dataset it is tested on."),
    choice_at(POSENET_NATIVE["pose2d"], "images_per_epoch", "own choice",
        "The authors count iterations of 8 hands. Here 1000 of them are an epoch, fewer if there are fewer images."),
)  # fmt: skip
"""What no public source settles about PoseNet's training, beside the fields of its configs."""
