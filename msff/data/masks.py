"""RHD's mask labels (README of the dataset; Zimmermann & Brox, ICCV 2017) on the crops of a batch.

0 is background, 1 a person without hands, 2-17 the left hand (finger segments from tip to base, thumb first, and the
palm), 18-33 the right hand in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msff.camera import invert_affine
from msff.data.batches import Batch
from msff.data.images import WORKERS, ImageStore
from msff.data.rhd import LABELS, read_mask
from msff.data.sample import HandSample
from msff.skeleton import MASK_OF_SIDE, MASK_PERSON, SIDES


def mask_path(sample: HandSample) -> Path:
    """Return the path of a colour image's mask in RHD's layout: mask/ beside color/, under the same name."""
    return sample.image_path.parent.parent / "mask" / sample.image_path.name


def read_labels(sample: HandSample) -> np.ndarray:
    """Read uint8 (H, W, 1) labels 0..33; DataError if they have another size than the image."""
    return read_mask(mask_path(sample), sample.image_path)[..., None]


class MaskStore:
    """The masks of ``samples`` in RHD's layout, those of the dataset whose batches are given, in the same order.

    With ``cache`` each is decoded once, when it is first needed, and stays on ``device``; without, for every batch.
    """

    def __init__(self, samples: Sequence[HandSample], device: torch.device | str = "cpu", cache: bool = True):
        self._store = ImageStore(samples, torch.device(device), cache, read_labels, channels=1, what="masks")

    def on_crops(self, batch: Batch, bins: int) -> Tensor:
        """Return the ``crop_labels`` of a batch: uint8 (B, bins, bins)."""
        labels = self._labels(batch.index).to(batch.affine.device)
        return crop_labels(labels, batch.affine, batch.image.shape[-1], bins)

    def _labels(self, index: Tensor) -> Tensor:
        """uint8 (B, H, W) on the device."""
        with ThreadPoolExecutor(WORKERS) as pool:  # starts a thread only if there is something to decode
            masks = self._store.fetch(index, pool)
        return (masks if isinstance(masks, Tensor) else torch.stack(masks))[:, 0]


def hand_pixels(labels: Tensor) -> Tensor:
    """Return where labels (...) belong to either hand: bool (...)."""
    return (labels > MASK_PERSON) & (labels < LABELS)


def crop_labels(labels: Tensor, affine: Tensor, crop_size: int, bins: int) -> Tensor:
    """Return an image's labels on its crop, with right and left exchanged where the crop is mirrored.

    uint8 (B, H, W), (B, 2, 3) image to crop px -> uint8 (B, bins, bins). Bin (x, y) has the label of the image pixel
    nearest to crop px (x, y) * crop_size / bins, 0 outside the image.
    """
    step = torch.arange(bins, dtype=affine.dtype, device=affine.device) * (crop_size / bins)
    along_x, along_y, origin = invert_affine(affine)[:, None, None].unbind(-1)  # (B, 1, 1, 2) each
    place_px = step[:, None] * along_x + step[:, None, None] * along_y + origin  # (B, bins, bins, 2)
    x, y = place_px.round().long().unbind(-1)
    height, width = labels.shape[1:]
    row = torch.arange(len(labels), device=labels.device)[:, None, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = torch.where(inside, labels[row, y.clamp(0, height - 1), x.clamp(0, width - 1)], 0)
    mirrored = torch.linalg.det(affine[..., :2]) < 0  # (B,)
    other_hand = torch.arange(256, dtype=torch.uint8)  # label -> label of the same part of the other hand
    for one, other in (MASK_OF_SIDE[s] for s in SIDES), (MASK_OF_SIDE[s] for s in reversed(SIDES)):
        other_hand[one.start : one.stop] = torch.arange(other.start, other.stop, dtype=torch.uint8)
    return torch.where(mirrored[:, None, None], other_hand.to(labels.device)[found.long()], found)
