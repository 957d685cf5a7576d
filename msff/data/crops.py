"""Square crops about the hand and their augmentation, for a whole batch; every function is pure.

The augmentation is InterNet's (Moon et al., ECCV 2020, and its code): shift and scale of the box, rotation, mirror,
gain per channel. Frames as in ``msff.camera``: pixel centres at integers, so crop pixel i has coordinate i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from msff.camera import crop_affine, invert_affine, square_box
from msff.device import constant, to_device
from msff.settings.training import AugmentConfig
from msff.skeleton import SWAP_HANDS


@dataclass(frozen=True)
class Augmentation:
    """The values drawn for B samples."""

    shift: Tensor  # (B, 2) in sides of the square box
    scale: Tensor  # (B,)
    rotation_rad: Tensor  # (B,)
    flip: Tensor  # (B,) bool
    gain: Tensor  # (B, 3)

    def to(self, device: torch.device | str) -> Augmentation:
        return Augmentation(*(to_device(getattr(self, f.name), torch.device(device)) for f in fields(self)))

    def at(self, rows: slice) -> Augmentation:
        """Return the values of some of the samples."""
        return Augmentation(*(getattr(self, f.name)[rows] for f in fields(self)))


def draw_augmentation(config: AugmentConfig | None, count: int, generator: torch.Generator) -> Augmentation:
    """Draw an augmentation for each of ``count`` samples, on the generator's device; ``None`` gives the identity.

    Every config consumes the same number of draws, so that two configs differ only in what they switch off.
    """
    device = generator.device
    if config is None:
        none, one = torch.zeros(count, 2, device=device), torch.ones(count, 3, device=device)
        return Augmentation(shift=none, scale=one[:, 0], rotation_rad=none[:, 0], flip=none[:, 0].bool(), gain=one)
    uniform = torch.rand(count, 7, generator=generator, device=device)
    normal = torch.randn(count, 2, generator=generator, device=device)
    turned = uniform[:, 2] < config.rotation_probability
    rotation_deg = config.rotation_deg * normal[:, 1].clamp(-2, 2)
    return Augmentation(
        shift=config.shift * (2 * uniform[:, :2] - 1),
        scale=1 + config.scale * normal[:, 0].clamp(-1, 1),
        rotation_rad=torch.where(turned, torch.deg2rad(rotation_deg), torch.zeros_like(rotation_deg)),
        flip=uniform[:, 3] < config.flip_probability,
        gain=1 + config.colour * (2 * uniform[:, 4:] - 1),
    )


def augmented_affine(box: Tensor, width: Tensor, size: int, augmentation: Augmentation) -> Tensor:
    """Return the map from image to crop pixels, including the mirror. Tight boxes (B, 4) x, y, w, h px, image widths
    (B,) px -> (B, 2, 3).

    The tight box becomes a square 1.25 times as large (InterNet code), is shifted, scaled, mirrored with the image
    (x -> W - 1 - x), then turned about its centre.
    """
    square = square_box(box)  # (B, 4), a new tensor
    side = square[:, 2]
    centre = square[:, :2] + side[:, None] * (0.5 + augmentation.shift)  # (B, 2)
    mirrored_x = width - 1 - centre[:, 0]
    centre = torch.stack([torch.where(augmentation.flip, mirrored_x, centre[:, 0]), centre[:, 1]], -1)
    side = side * augmentation.scale
    drawn = torch.cat([centre - side[:, None] / 2, side[:, None], side[:, None]], -1)  # (B, 4)
    affine = crop_affine(drawn, size, augmentation.rotation_rad)  # of the mirrored image where there is a mirror
    column, rest, offset = affine.unbind(-1)  # (B, 2) each
    after_mirror = torch.stack([-column, rest, offset + column * (width - 1)[:, None]], -1)  # (B, 2, 3)
    return torch.where(augmentation.flip[:, None, None], after_mirror, affine)


def sample_crops(images: Tensor | Sequence[Tensor], affine: Tensor, size: int, supersample: int = 1) -> Tensor:
    """Warp bilinearly, zeros outside. uint8 (B, 3, H, W), (B, 2, 3) image to crop px -> (B, 3, S, S) in [0, 1].

    With ``supersample`` k each crop pixel is the mean of k x k samples spread evenly over it, since a crop that shrinks
    its image would alias. On a CPU ``images`` may also be a sequence of B images (3, H, W).
    """
    if images[0].dtype != torch.uint8:
        raise TypeError(f"images must be uint8, got {images[0].dtype}")
    grid = crop_grid(affine, size, supersample)  # (B, kS, kS, 2) image px
    if isinstance(images, Tensor) and images.device.type != "cpu":
        return _pooled(_bilinear(images, grid), supersample) / 255
    # Image by image, and only the part that is sampled: whole images cost more to convert than to sample.
    pairs = zip(images, grid, strict=True)
    return torch.cat([_pooled(_bilinear_window(image, g), supersample) for image, g in pairs]) / 255


def _pooled(crops: Tensor, supersample: int) -> Tensor:
    """(B, 3, kS, kS) -> (B, 3, S, S), each pixel the mean of its k x k samples."""
    return F.avg_pool2d(crops, supersample) if supersample > 1 else crops


def crop_grid(affine: Tensor, size: int, supersample: int = 1) -> Tensor:
    """Return the image pixel of each sample of a crop. (B, 2, 3) image to crop px -> (B, kS, kS, 2) image px."""
    steps = (torch.arange(size * supersample, device=affine.device, dtype=affine.dtype) + 0.5) / supersample - 0.5
    along_x, along_y, origin = invert_affine(affine)[..., None, None].unbind(2)  # (B, 2, 1, 1) each
    planes = steps * along_x + steps[:, None] * along_y + origin  # (B, 2, kS, kS): rows, not pairs, are contiguous
    return planes.movedim(1, -1)


def _bilinear(images: Tensor, grid_px: Tensor) -> Tensor:
    """uint8 (B, C, H, W) and (B, h, w, 2) px -> (B, C, h, w) grey levels."""
    height, width = images.shape[-2:]
    # grid_sample's frame: -1 and 1 are the outer edges of the border pixels
    normalised = (2 * grid_px + 1) / constant((width, height), grid_px.device, grid_px.dtype) - 1
    return F.grid_sample(images.to(grid_px.dtype), normalised, "bilinear", "zeros", align_corners=False)


def _bilinear_window(image: Tensor, grid_px: Tensor) -> Tensor:
    """``_bilinear`` of one image (C, H, W) and an affine grid (h, w, 2) px -> (1, C, h, w).

    Only the part that the grid covers is converted.
    """
    size = torch.tensor([image.shape[2], image.shape[1]])
    corners = grid_px[[0, 0, -1, -1], [0, -1, 0, -1]]  # (4, 2): the grid is affine, so all else lies between them
    low = (corners.amin(0).floor().long()).clamp(min=0).minimum(size - 1)  # (2,) x, y
    high = (corners.amax(0).floor().long() + 2).clamp(min=1).minimum(size).maximum(low + 1)  # past the last pixel
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return _bilinear(image[None, :, y0:y1, x0:x1], (grid_px - low)[None])


def apply_gain(crops: Tensor, gain: Tensor) -> Tensor:
    """Multiply each channel and clip. (B, 3, S, S) [0, 1], (B, 3) -> (B, 3, S, S) [0, 1]."""
    return (crops * gain[:, :, None, None]).clamp(0, 1)


def swap_hands(values: Tensor, flip: Tensor) -> Tensor:
    """Exchange right and left where ``flip`` (B,) is True: (B, 42, ...) per joint or (B, 2) per side -> same."""
    order = tuple(SWAP_HANDS.tolist()) if values.shape[1] == len(SWAP_HANDS) else (1, 0)
    where = flip.view(-1, *([1] * (values.ndim - 1)))
    return torch.where(where, values[:, constant(order, values.device, torch.long)], values)
