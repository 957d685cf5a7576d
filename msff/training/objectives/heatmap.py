"""Loss of the heat-map networks: volume, handedness and relative root depth (InterNet code; the paper gives none)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.heatmaps import encode_bins, encode_depth, in_volume, volume_integral_l1, volume_mse
from msff.models.output import HandOutput
from msff.settings.losses import LossConfig
from msff.settings.networks import VolumeSpec

_VOLUME_LOSSES = {"mse": volume_mse, "integral": volume_integral_l1}


@dataclass(frozen=True)
class HandObjective:
    """The objective of the heat-map networks."""

    spec: VolumeSpec
    config: LossConfig = field(default_factory=LossConfig)

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``hand_loss`` of the network's output."""
        return hand_loss(model(batch.image), batch, self.spec, self.config)


def hand_loss(
    output: HandOutput, batch: Batch, spec: VolumeSpec, config: LossConfig,
    volume_losses: Mapping[str, Callable[..., Tensor]] = _VOLUME_LOSSES,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the loss of one batch: scalars "total", "volume", "side" (handedness) and "root" (relative depth).

    "total" is the weighted sum, the others are unweighted. Joints outside crop or depth range count as invalid.
    """
    bins = encode_bins(batch.joints_crop_px, batch.relative_depth_mm, spec)  # (B, 42, 3)
    valid = batch.joint_valid & in_volume(bins, spec)  # (B, 42)
    losses = {
        "volume": volume_losses[config.volume](output.volume, bins, valid, spec),
        "side": side_loss(output.side_logits, batch.side_present, batch.side_valid),
        "root": root_loss(output.relative_root_bin, batch.relative_root_depth_mm, batch.relative_root_valid, spec),
    }
    total = sum(getattr(config, f"{name}_weight") * value for name, value in losses.items())
    return {"total": total, **losses}


def side_loss(logits: Tensor, present: Tensor, valid: Tensor) -> Tensor:
    """Return the mean cross-entropy of both hands, invalid samples as 0. (B, 2), (B, 2), (B,) -> scalar."""
    each = F.binary_cross_entropy_with_logits(logits.float(), present.float(), reduction="none")  # (B, 2)
    return (each * valid[:, None]).mean()


def root_loss(relative_root_bin: Tensor, relative_root_mm: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """Return the L1 in bins, mean over the batch with invalid samples as 0. (B,), (B,) mm, (B,) -> scalar.

    A relative depth outside the range that the bins cover is invalid, as in InterNet's code.
    """
    target = encode_depth(relative_root_mm, spec)  # (B,)
    valid = valid & (target >= 0) & (target < spec.bins)
    target = torch.where(valid, target, 0)
    return ((relative_root_bin.float() - target).abs() * valid).mean()
