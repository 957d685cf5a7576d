"""Losses of the auxiliary networks: RootNet's depth of the wrists, and SideNet's handedness, a choice of this study."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.models.auxiliary.rootnet import RootOutput, box_k_mm, wrist_bins, wrist_depth_mm
from msff.settings.losses import RootLossConfig
from msff.skeleton import ROOTS
from msff.training.objectives.shared import masked_mean, no_hands


def root_objective(model: nn.Module, batch: Batch, config: RootLossConfig) -> dict[str, Tensor]:
    """Return RootNet's loss: L1 on the wrists' (x, y, depth)."""
    return root_net_loss(model(batch.image), batch, config)


def root_net_loss(output: RootOutput, batch: Batch, config: RootLossConfig) -> dict[str, Tensor]:
    """Return the loss of a batch of wrists: scalars "total", "xy" (bins) and "depth" (``depth_unit_mm``).

    Each term is the mean over the valid wrists, 0 if there is none: a wrist that is absent or not annotated does not
    count, and one outside the crop counts for its depth alone. The batch's boxes must not be shifted or scaled, since
    k comes from the annotated box.
    """
    size, bins = batch.image.shape[-1], output.heat_map.shape[-1]
    valid = batch.joint_valid[:, list(ROOTS.values())]  # (B, 2)
    place_px = batch.joints_crop_px[:, list(ROOTS.values())]  # (B, 2, 2)
    inside = valid & ((place_px >= 0) & (place_px < size)).all(-1)  # (B, 2)
    off_bin = (wrist_bins(output.heat_map) - place_px / size * bins).abs().sum(-1)  # (B, 2)
    depth_mm = wrist_depth_mm(output.gamma, box_k_mm(batch.box, batch.intrinsics))  # (B, 2)
    off = (depth_mm - batch.root_depth_mm).abs() / config.depth_unit_mm  # (B, 2)
    losses = {"xy": masked_mean(off_bin, inside), "depth": masked_mean(off, valid)}
    return {"total": config.xy_weight * losses["xy"] + losses["depth"], **losses}


def side_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return SideNet's loss: the mean cross-entropy of the crops with exactly one hand of annotated handedness.

    0, with a gradient of 0, if there is none.
    """
    single = (batch.side_present.sum(1) == 1) & batch.side_valid  # (B,)
    if not single.any():
        return no_hands(model)
    logits = model(batch.image[single])
    return {"total": F.cross_entropy(logits.float(), batch.side_present[single].argmax(1))}
