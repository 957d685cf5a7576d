"""Boxes that HandSegNet finds in whole images, where no box is given: the pipeline of Zimmermann & Brox."""

from __future__ import annotations

import torch
from torch import Tensor

from msff.camera import CROP_FACTOR, invert_affine
from msff.data.batches import HandDataset
from msff.models.baselines.posenet_segmentation import FoundHand, MaskBoxConfig, box_of_mask

_AUTHORS_IMAGE = 320  # px, the longer side of the images that HandSegNet sees
_AUTHORS_CROP = 256  # px, of the crop that the box becomes; with the zoom it bounds the box


@torch.no_grad()
def found_boxes(model: FoundHand, frames: HandDataset, batch_size: int = 32) -> Tensor:
    """Boxes x, y, w, h px of the original images, one per sample, in their order. -> (N, 4) on the host.

    ``frames`` shows the whole image in each crop (``whole_frames``). The study's crop about such a box is the crop that
    the mask asks for. The authors' lengths in px are scaled to the crop.
    """
    model.eval()
    size = frames.crop_size
    dilation = 2 * round(21 / 2 * size / _AUTHORS_IMAGE - 0.5) + 1  # odd
    crop = round(_AUTHORS_CROP * size / _AUTHORS_IMAGE)
    config = MaskBoxConfig(dilation_px=max(3, dilation), crop_size=crop)
    boxes = []
    for batch in frames.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator()):
        probability = model.segmentation(batch.image).float().softmax(1)[:, 1]  # (B, S, S)
        square = box_of_mask(probability, config)  # (B, 4) crop px
        image_per_crop = invert_affine(batch.affine)  # (B, 2, 3), neither turned nor mirrored
        scale = image_per_crop[:, 0, :1]  # (B, 1) image px per crop px
        side = square[:, 2:] * scale / CROP_FACTOR  # (B, 2) of the box that is cropped so much larger
        centre = (square[:, :2] + square[:, 2:] / 2) * scale + image_per_crop[:, :, 2]  # (B, 2)
        boxes.append(torch.cat([centre - side / 2, side], 1).cpu())
    return torch.cat(boxes)
