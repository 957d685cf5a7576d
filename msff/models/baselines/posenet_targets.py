"""PoseNet's targets for the hands of a batch, and the score maps on which its lifting networks are trained.

After Zimmermann & Brox (ICCV 2017, lmb-freiburg/hand3d). Lengths that the authors state in px of their 256 px crop are
scaled to the crop size; lengths in px of their images are scaled by the crop's zoom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from msff.data.batches import Batch
from msff.data.single_hand import SingleHands, single_hands
from msff.models.baselines.canonical_frame import (
    palm_flags,
    palm_relative,
    replace_wrist_by_palm,
    to_canonical,
    turn_with_crop,
)
from msff.models.baselines.posenet import MAP_STRIDE
from msff.settings.losses import JitterConfig
from msff.skeleton import LITTLE_MCP, SCALE_BONE, WRIST

_AUTHORS_CROP = 256  # px
FRAME_JOINTS = [WRIST, *SCALE_BONE, LITTLE_MCP]  # without these a hand has no palm, scale or frame


@dataclass(frozen=True, eq=False)
class PalmHands:
    """M hands with the palm as root; row ``WRIST`` is the palm."""

    image: Tensor  # (M, 3, S, S)
    side: Tensor  # (M,) 0 right, 1 left
    joints_crop_px: Tensor  # (M, 21, 2)
    zoom: Tensor  # (M,) crop px per image px
    visible: Tensor  # (M, 21) bool
    valid: Tensor  # (M, 21) bool
    scale_mm: Tensor  # (M,) length of the scale bone
    relative: Tensor  # (M, 21, 3) from the palm, units of the scale bone; camera axes, turned with the crop

    def __len__(self) -> int:
        return len(self.side)


def palm_hands(batch: Batch) -> PalmHands:
    """Return the hands of a batch with a palm, a scale and a canonical frame; others are left out."""
    hands = single_hands(batch)
    hands = hands.at(hands.valid[:, FRAME_JOINTS].all(1) & (hands.scale_mm > 0))
    affine = batch.affine[hands.owner]  # (M, 2, 3)
    relative = palm_relative(hands.joints_cam_mm) / hands.scale_mm[:, None, None]  # (M, 21, 3)
    return PalmHands(
        image=hands.image,
        side=hands.side,
        joints_crop_px=replace_wrist_by_palm(hands.joints_crop_px),
        zoom=torch.linalg.det(affine[:, :, :2]).abs().sqrt(),
        visible=palm_visible(hands),
        valid=palm_flags(hands.valid, both=True),
        scale_mm=hands.scale_mm,
        relative=turn_with_crop(relative, affine),
    )


def palm_visible(hands: SingleHands) -> Tensor:
    """Return visibility (M, 21) bool: the palm is visible if wrist or middle MCP is, provided that both are valid."""
    return palm_flags(hands.visible, both=False) & palm_flags(hands.valid, both=True)


def canonical_targets(hands: PalmHands) -> tuple[Tensor, Tensor]:
    """Return canonical joints (M, 21, 3) and viewpoint (M, 3, 3)."""
    return to_canonical(hands.relative, hands.side)


def score_map_profiles(joints_px: Tensor, visible: Tensor, size: int, sigma_px: float = 25.0) -> Tensor:
    """Return the column and row profiles whose product is a score map. -> (M, 21, 2, size), x first.

    The map is exp(-d^2 / sigma^2) about the joint (M, 21, 2) crop px. ``sigma_px`` is in px of a crop of 256 px; note
    the missing factor of 2. The centre is truncated to whole pixels; the map of a joint that is not ``visible``
    (M, 21), or whose centre is not strictly inside the border pixels, is 0.
    """
    sigma = sigma_px * size / _AUTHORS_CROP
    centre = joints_px.trunc()  # (M, 21, 2)
    shown = visible & ((centre > 0) & (centre < size - 1)).all(-1)  # (M, 21)
    steps = torch.arange(size, device=joints_px.device, dtype=joints_px.dtype)
    return torch.exp(-((steps - centre[..., None]) / sigma).square()) * shown[..., None, None]


def score_map_targets(joints_px: Tensor, visible: Tensor, size: int, sigma_px: float = 25.0) -> Tensor:
    """Return the score maps of ``score_map_profiles``. -> (M, 21, size, size), at most 1."""
    x, y = score_map_profiles(joints_px, visible, size, sigma_px).unbind(2)  # (M, 21, size) each
    return y[..., :, None] * x[..., None, :]


def pooled(score_maps: Tensor) -> Tensor:
    """Average over the cells of the networks' maps. (M, 21, S, S) -> (M, 21, S/8, S/8)."""
    return F.avg_pool2d(score_maps, MAP_STRIDE)


def jittered(joints_px: Tensor, zoom: Tensor, size: int, config: JitterConfig, generator: torch.Generator) -> Tensor:
    """Return the joints in the crop with noise. (M, 21, 2) crop px, (M,) crop per image px -> (M, 21, 2)."""
    count, unit = len(joints_px), zoom[:, None]  # (M, 1)
    shaken = joints_px + config.joint_px * unit[..., None] * truncated_normal(joints_px.shape, generator).to(joints_px)
    centre = config.centre_px * unit * truncated_normal((count, 2), generator).to(joints_px)  # (M, 2)
    offset = config.offset_px * unit * truncated_normal((count, 2), generator).to(joints_px)  # (M, 2)
    low, high = config.zoom
    magnify = low + (high - low) * torch.rand(count, generator=generator, device=generator.device).to(joints_px)  # (M,)
    magnify = magnify * size / (size + 2 * centre.abs().amax(-1))
    return (shaken - (size / 2 + centre + offset)[:, None]) * magnify[:, None, None] + size / 2


def truncated_normal(shape: tuple[int, ...], generator: torch.Generator, bound: float = 2.0) -> Tensor:
    """Draw from a standard normal truncated at ``bound`` (TensorFlow's: 2), on the generator's device."""
    uniform = 2 * torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64) - 1
    return (math.sqrt(2) * torch.erfinv(uniform * math.erf(bound / math.sqrt(2)))).float()
