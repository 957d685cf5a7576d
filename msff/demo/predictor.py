"""Pose prediction with a trained network: from uint8 pixels and a box to 42 joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from msff.camera import apply_affine, crop_affine, invert_affine, square_box
from msff.data.crops import sample_crops
from msff.data.sample import DataError
from msff.evaluation.hand_size import at_hand_size
from msff.evaluation.lifting import lift
from msff.heatmaps import bins_to_crop, decode
from msff.settings.networks import VolumeSpec
from msff.skeleton import HAND_SLICE, JOINT_NAMES, JOINTS_PER_HAND, SIDES, WRIST

Box = tuple[float, float, float, float]
"""x, y, w, h px of the hand or hands."""

ANY_DEPTH_MM = 1000.0  # where hands are lifted before they get their size


@dataclass(frozen=True, eq=False)
class Pose:
    """The predicted pose of one image."""

    joints_mm: np.ndarray  # (42, 3) camera frame
    joints_px: np.ndarray  # (42, 2) of the image
    sides: np.ndarray  # (2,) probabilities of a right and a left hand

    @property
    def shown(self) -> np.ndarray:
        """Return the joints of the hands with probability above 1/2, else of the likelier hand. -> (42,) bool."""
        present = self.sides > 0.5
        if not present.any():
            present = self.sides == self.sides.max()
        return np.repeat(present, JOINTS_PER_HAND)

    def record(self) -> dict:
        """Return each hand's probability and the shown hands' joints, in mm relative to the wrist and in image px."""
        hands = {}
        for side in SIDES:
            part = HAND_SLICE[side]
            if not self.shown[part].all():
                continue
            relative = self.joints_mm[part] - self.joints_mm[part][WRIST]
            hands[side] = {
                name: {"relative_mm": _rounded(mm), "image_px": _rounded(px)}
                for name, mm, px in zip(JOINT_NAMES, relative, self.joints_px[part], strict=True)
            }
        return {
            "probability": {side: round(float(p), 4) for side, p in zip(SIDES, self.sides, strict=True)},
            "hands": hands,
        }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in values]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network that estimates both hands, and how to read its output."""

    network: nn.Module  # in evaluation mode
    volume: VolumeSpec
    decoder: str
    supersample: int
    hand_mm: float  # `hand_size` that every hand gets: no single image shows how large a hand is
    run: str  # run id, or "demo"
    trained: str  # what it was trained on, a phrase
    expected: str  # its error on real photographs, a sentence
    measured: dict | None = None  # that error in numbers; None: not measured

    @property
    def statements(self) -> tuple[str, str]:
        """What it was trained on and its expected error: printed by every call and drawn below every picture."""
        return f"{self.trained}.", self.expected

    @property
    def about(self) -> dict:
        """The same for JSON."""
        return {
            "run": self.run, "trained_on": self.trained, "expected_error": self.expected, "measured": self.measured,
        }  # fmt: skip

    @torch.no_grad()
    def __call__(
        self, images: Sequence[np.ndarray], box: Box | None = None, focal_px: float | None = None
    ) -> list[Pose]:
        """Return the poses in images of one size, each uint8 (H, W, 3) RGB.

        ``box`` None: the whole image. ``focal_px`` None: the longer side, a field of view of about 53 degrees.
        """
        height, width, _ = images[0].shape
        device, count = next(self.network.parameters()).device, len(images)
        tight = torch.tensor([box or (0.0, 0.0, width, height)], dtype=torch.float32)  # (1, 4)
        focal = focal_px or float(max(width, height))
        intrinsics = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]])  # (1, 3, 3)
        affine = crop_affine(square_box(tight), self.volume.crop_size)  # (1, 2, 3)
        frames = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
        crops = sample_crops(frames, affine.expand(count, -1, -1), self.volume.crop_size, self.supersample)
        output = self.network(crops.to(device))
        crop_px, relative_mm = (x.cpu() for x in bins_to_crop(decode(output.volume, self.decoder), self.volume))
        depth_mm = torch.full((count, len(SIDES)), ANY_DEPTH_MM)
        joints_mm = lift(crop_px, relative_mm, depth_mm, affine.expand(count, -1, -1), intrinsics)
        joints_mm = at_hand_size(joints_mm, self.hand_mm)
        joints_px = apply_affine(invert_affine(affine), crop_px)
        sides = output.side_logits.sigmoid().cpu()
        return [Pose(*(a.numpy() for a in row)) for row in zip(joints_mm, joints_px, sides, strict=True)]


def check_box(where: Path, box: Box | None, width: int, height: int) -> Box:
    """Return the box, or for None the whole image; DataError if it lies outside the image."""
    x, y, w, h = box or (0.0, 0.0, float(width), float(height))
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DataError(f"{where}: the box {x:g},{y:g},{w:g},{h:g} lies outside the image of {width} x {height} px")
    return x, y, w, h
