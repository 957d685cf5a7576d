"""The plain way of training and predicting: what the fast paths are measured against, and must agree with.

Float32, eager, memory in NCHW order, no autocast and no compilation, as public code of this family of networks is
written: the target volumes of Eq. (15) materialised for the whole batch and subtracted; the maximum and the softmax
taken over copies of the volume; torch's Adam or RMSprop as its defaults have it; crops cut one by one on the CPU.
Torch's global settings are left alone, on CUDA also TF32 in convolutions, which is its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.data.crops import Augmentation, apply_gain, augmented_affine, crop_grid
from msff.data.sample import HandSample
from msff.heatmaps import VolumeSpec
from msff.training.loop import Objective, TrainingConfig
from msff.training.objectives.heatmap import HandObjective, LossConfig, hand_loss


def plain_target(bins: Tensor, spec: VolumeSpec) -> Tensor:
    """Eq. (15) voxel by voxel: (B, J, 3) bins x, y, z -> (B, J, D, H, W)."""
    steps = torch.arange(spec.bins, dtype=bins.dtype, device=bins.device)
    zz, yy, xx = torch.meshgrid(steps, steps, steps, indexing="ij")  # (D, H, W) each
    x, y, z = bins[..., None, None, None, :].unbind(-1)  # (B, J, 1, 1, 1) each
    squared = (xx - x) ** 2 + (yy - y) ** 2 + (zz - z) ** 2
    return spec.amplitude * torch.exp(-squared / (2 * spec.sigma_bin**2))


def plain_volume_mse(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """`msff.heatmaps.volume_mse` with the target materialised."""
    target = plain_target(torch.where(valid[..., None], bins, 0), spec)
    return ((volume - target) ** 2 * valid[..., None, None, None]).mean()


def plain_integral_l1(volume: Tensor, bins: Tensor, valid: Tensor, spec: VolumeSpec) -> Tensor:
    """`msff.heatmaps.volume_integral_l1` with the softmax materialised."""
    error = (_plain_expectation(volume) - torch.where(valid[..., None], bins, 0)).abs()  # (B, J, 3)
    return (error * valid[..., None]).sum() / (3 * valid.sum()).clamp(min=1)


def _plain_expectation(volume: Tensor) -> Tensor:
    """Soft-arg-max: (B, J, D, H, W) -> (B, J, 3) bins x, y, z."""
    probability = volume.flatten(2).softmax(-1).view(volume.shape)
    marginals = (probability.sum(axes) for axes in ((2, 3), (2, 4), (3, 4)))  # over x, y, z
    return torch.stack([(m * torch.arange(m.shape[-1], device=m.device)).sum(-1) for m in marginals], -1)


def _plain_maximum(volume: Tensor) -> Tensor:
    """The highest voxel, one axis after the other: (B, J, D, H, W) -> (B, J, 3) bins x, y, z."""
    over_z, z = volume.max(2)  # (B, J, H, W)
    over_zy, y = over_z.max(2)  # (B, J, W)
    x = over_zy.argmax(2, keepdim=True)  # (B, J, 1)
    y = y.gather(2, x)
    z = z.flatten(2).gather(2, y * volume.shape[4] + x)
    return torch.cat([x, y, z], -1).float()


PLAIN_LOSSES = {"mse": plain_volume_mse, "integral": plain_integral_l1}
PLAIN_DECODERS = {"argmax": _plain_maximum, "expectation": _plain_expectation}


@dataclass(frozen=True)
class PlainHandObjective:
    """`HandObjective` with the plain losses of the volume."""

    spec: VolumeSpec
    config: LossConfig

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return hand_loss(model(batch.image), batch, self.spec, self.config, PLAIN_LOSSES)


def plain_objective(objective: Objective) -> Objective:
    """The plain form of the heat-map networks' objective; the others have only one."""
    return PlainHandObjective(objective.spec, objective.config) if isinstance(objective, HandObjective) else objective


def plain_optimizer(model: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """Over all that learns."""
    rule = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[training.optimizer]
    return rule([p for p in model.parameters() if p.requires_grad], lr=training.learning_rate)


def plain_crops(
    frames: Sequence[Tensor], samples: Sequence[HandSample], augmentation: Augmentation, size: int, supersample: int
) -> Tensor:
    """Augmented crops of uint8 frames (3, H, W) on the CPU, one after the other -> (B, 3, S, S) in [0, 1].

    The same pixels as `HandDataset` gives; the frames are decoded already, which a loader without a cache would have
    to do first.
    """
    crops = []
    for i, (frame, sample) in enumerate(zip(frames, samples, strict=True)):
        drawn = augmentation.at(slice(i, i + 1))
        box, width = torch.tensor(sample.box, dtype=torch.float32)[None], torch.tensor([float(sample.image_size[0])])
        grid_px = crop_grid(augmented_affine(box, width, size, drawn), size, supersample)  # (1, kS, kS, 2)
        frame_size = torch.tensor([frame.shape[2], frame.shape[1]])
        image = frame[None].float() / 255
        crop = F.grid_sample(image, (2 * grid_px + 1) / frame_size - 1, "bilinear", "zeros", align_corners=False)
        crops.append(apply_gain(F.avg_pool2d(crop, supersample), drawn.gain))
    return torch.cat(crops)
