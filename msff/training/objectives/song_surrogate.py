"""Loss of Song-S (`msff.models.baselines.song_surrogate`): heat maps, parts, joints, side and depth of one hand.

The terms and the weight 0.1 of the parts are this study's specification of the surrogate; no source gives any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.data.single_hand import SingleHands, single_hands
from msff.models.auxiliary.rootnet import box_k_mm, wrist_depth_mm
from msff.models.baselines.canonical_frame import turn_with_crop
from msff.models.baselines.song_surrogate import (
    MM_PER_DM,
    UNKNOWN_PART,
    SongOutput,
    part_classes,
)
from msff.settings.losses import SongLossConfig
from msff.skeleton import WRIST
from msff.training.objectives.shared import masked_mean, no_hands

Masks = Callable[[Batch], Tensor]
"""RHD's mask labels on the crops of a batch (``msff.data.masks.MaskStore``): uint8 (B, S/4, S/4), labels 0..33, each
taken from the nearest pixel of the image at the centre of its bin (crop px 4 x, 4 y), 0 outside the image. In a
mirrored crop the labels of the left and the right hand are exchanged, as every other field of a batch.
``UNKNOWN_LABEL`` where there is no mask."""


def song_objective(
    model: nn.Module, batch: Batch, config: SongLossConfig, masks: Masks | None = None
) -> dict[str, Tensor]:
    """Return ``song_loss`` of the network's output for the hands of the batch; 0 if there is none.

    Every annotated hand of a crop is a sample of its own. A crop that shows both hands does not determine which one is
    wanted, so use crops of one hand. ``masks`` returns the parts; None: the part maps are not trained.
    """
    hands = single_hands(batch)
    if not len(hands):  # batch norm would take the mean of nothing
        return no_hands(model)
    labels = None if masks is None else masks(batch)[hands.owner]
    return song_loss(model(hands.image), hands, batch, config, labels)


def song_loss(
    output: SongOutput, hands: SingleHands, batch: Batch, config: SongLossConfig, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the loss of M hands: scalars "total", "heat_map", "part", "joint" (dm), "side", "depth" (dm).

    ``labels`` uint8 (M, S/4, S/4) are RHD's, of the hands' crops; "part" is 0 without them. "total" is the weighted
    sum, the others are unweighted; each is a mean over what is annotated, 0 if nothing is. The joints' target is
    turned with the crop. The depth rests on the annotated box, which no augmentation changes.
    """
    owner, affine = hands.owner, batch.affine[hands.owner]
    joints_dm = turn_with_crop(hands.from_wrist_mm, affine) / MM_PER_DM  # (M, 21, 3)
    depth_mm = wrist_depth_mm(output.gamma[:, None], box_k_mm(batch.box[owner], batch.intrinsics[owner]))[:, 0]
    off_mm = (depth_mm - hands.joints_cam_mm[:, WRIST, 2]).abs()  # (M,)
    is_left = hands.side.to(output.side_logit.dtype)
    side = F.binary_cross_entropy_with_logits(output.side_logit, is_left, reduction="none")  # (M,)
    losses = {
        "heat_map": heat_map_mse(output.heat_maps, hands.joints_crop_px, hands.valid, hands.image.shape[-1], config),
        "part": part_cross_entropy(output.part_logits, labels, hands.side),
        "joint": masked_mean((output.relative_dm - joints_dm).abs().mean(-1), hands.valid),
        "side": masked_mean(side, batch.side_valid[owner]),
        "depth": masked_mean(off_mm / MM_PER_DM, hands.valid[:, WRIST]),
    }
    return {"total": sum(getattr(config, f"{name}_weight") * value for name, value in losses.items()), **losses}


def heat_map_mse(
    heat_maps: Tensor, joints_crop_px: Tensor, valid: Tensor, crop_size: int, config: SongLossConfig
) -> Tensor:
    """Mean squared difference from the Gaussians, over the maps of the valid joints in the crop. -> scalar.

    (M, 21, H, W), (M, 21, 2) crop px, bool (M, 21).
    """
    target, inside = gaussian_maps(joints_crop_px, heat_maps.shape[-1], crop_size, config)
    return masked_mean((heat_maps - target).square().mean((2, 3)), valid & inside)


def gaussian_maps(joints_crop_px: Tensor, bins: int, crop_size: int, config: SongLossConfig) -> tuple[Tensor, Tensor]:
    """(M, 21, 2) crop px -> maps (M, 21, bins, bins) with their peak at px / crop_size * bins, bool (M, 21) inside."""
    centre = joints_crop_px / crop_size * bins  # (M, 21, 2) x, y
    inside = ((centre >= 0) & (centre < bins)).all(-1)
    places = torch.arange(bins, dtype=centre.dtype, device=centre.device)
    x, y = torch.exp(-((places - centre[..., None]) ** 2) / (2 * config.sigma_bin**2)).unbind(-2)  # (M, 21, bins) each
    return config.amplitude * y[..., :, None] * x[..., None, :], inside


def part_cross_entropy(part_logits: Tensor, labels: Tensor | None, side: Tensor) -> Tensor:
    """Cross-entropy over the bins whose label is known, 0 without any. (M, 17, H, W), (M, H, W), (M,) -> scalar."""
    if labels is None:
        return 0.0 * part_logits.sum()
    target = part_classes(labels, side)
    each = F.cross_entropy(part_logits.float(), target, ignore_index=UNKNOWN_PART, reduction="none")  # (M, H, W)
    return masked_mean(each, target != UNKNOWN_PART)
