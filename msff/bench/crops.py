"""The data side of a training step: augmented crops, from the study's cache and one by one on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from msff.bench.measure import compare
from msff.data.batches import Batch, HandDataset
from msff.data.crops import Augmentation, apply_gain, augmented_affine, crop_grid, draw_augmentation
from msff.data.images import decode_sample
from msff.data.sample import HandSample
from msff.settings.training import AugmentConfig
from msff.study.machine import machine
from msff.study.workspace import Workspace

KEPT_IMAGES = 512  # decoded once, then cropped again and again


@dataclass(frozen=True)
class Frames:
    """Images on disk, few enough to be kept decoded, and how a training cuts its crops from them."""

    samples: tuple[HandSample, ...]
    crop_size: int  # px
    supersample: int
    augment: AugmentConfig | None

    def batches(self, batch: int, device: str) -> Iterator[Batch]:
        """Yield augmented batches without end, as a training draws them."""
        dataset = HandDataset(self.samples, self.crop_size, device=device, supersample=self.supersample)
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from dataset.batches(batch, augment=self.augment, shuffle=True, generator=generator)

    def plain_crops(self, batch: int, device: str) -> Iterator[Tensor]:
        """Yield the crops of `batches` without their labels, (B, 3, S, S): frames are cropped one by one on the CPU.

        The frames are decoded beforehand, which a loader without a cache would do in every step.
        """
        frames = [torch.from_numpy(decode_sample(s).copy()).permute(2, 0, 1).contiguous() for s in self.samples]
        generator = torch.Generator().manual_seed(0)
        while True:
            for chosen in torch.randperm(len(frames), generator=generator).split(batch)[: len(frames) // batch]:
                drawn = draw_augmentation(self.augment, batch, generator)
                crops = [
                    self._plain_crop(frames[i], self.samples[i], drawn.at(slice(k, k + 1)))
                    for k, i in enumerate(chosen)
                ]
                yield torch.cat(crops).to(device)

    def _plain_crop(self, frame: Tensor, sample: HandSample, drawn: Augmentation) -> Tensor:
        """(3, H, W) uint8 -> (1, 3, S, S) in [0, 1]."""
        box, width = torch.tensor(sample.box, dtype=torch.float32)[None], torch.tensor([float(sample.image_size[0])])
        affine = augmented_affine(box, width, self.crop_size, drawn)
        grid_px = crop_grid(affine, self.crop_size, self.supersample)  # (1, kS, kS, 2)
        grid = (2 * grid_px + 1) / torch.tensor([frame.shape[2], frame.shape[1]]) - 1
        crop = F.grid_sample(frame[None].float() / 255, grid, "bilinear", "zeros", align_corners=False)
        return apply_gain(F.avg_pool2d(crop, self.supersample), drawn.gain)


def study_frames(workspace: Workspace, dataset: str, view: str, augment: AugmentConfig | None) -> Frames:
    """Return the first training images of a dataset; a missing stand-in is rendered."""
    crops = workspace.samples(dataset, "train", view)
    samples = tuple(crops.samples[i] for i in range(min(KEPT_IMAGES, len(crops))))
    return Frames(samples, crops.crop_size, crops.supersample, augment)


@contextmanager
def cropping(frames: Frames, batch: int, device: str, implementation: str) -> Iterator[Callable[[], object]]:
    """Give the step that makes the next batch of crops."""
    make = frames.batches if implementation == "fast" else frames.plain_crops
    yield partial(next, make(batch, device))


def bench_data(frames: Frames, batch: int, device: str, seconds: float) -> dict:
    """Measure shuffled, augmented crops: with all labels as in training, and plain crops alone."""
    batch = min(batch, len(frames.samples))
    head = {"bench": "data", "size": frames.crop_size, "batch": batch, "images": len(frames.samples)}
    return head | compare(partial(cropping, frames, batch, device), device, batch, seconds) | machine(device)
