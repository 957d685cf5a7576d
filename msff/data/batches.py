"""Batches of crops with their targets, from a list of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from msff.camera import apply_affine
from msff.data.crops import Augmentation, apply_gain, augmented_affine, draw_augmentation, sample_crops, swap_hands
from msff.data.images import WORKERS, ImageStore
from msff.data.sample import DataError, HandSample, LazySamples, own_wrist_valid
from msff.device import constant, to_device
from msff.settings.training import AugmentConfig
from msff.skeleton import ROOTS, root_index

KEPT_SAMPLES = 100_000  # a larger split (3 kB per sample) makes its samples for every batch


@dataclass(frozen=True)
class Batch:
    """B crops with every target that a loss or a metric needs, on one device.

    In a mirrored crop right and left are exchanged in every per-hand field, and ``joints_cam_mm`` has x negated.
    """

    image: Tensor  # (B, 3, S, S) float32 in [0, 1]
    affine: Tensor  # (B, 2, 3) original image px -> crop px (includes the mirror)
    intrinsics: Tensor  # (B, 3, 3) px, of the original image
    joints_cam_mm: Tensor  # (B, 42, 3) camera frame of the original image
    joints_crop_px: Tensor  # (B, 42, 2); 0 where not valid
    relative_depth_mm: Tensor  # (B, 42) z minus z of the same hand's wrist; 0 where not valid
    joint_valid: Tensor  # (B, 42) bool: annotated, and the same hand's wrist too
    joint_visible: Tensor  # (B, 42) bool: all valid ones if visibility is not annotated
    side_present: Tensor  # (B, 2) float32 right, left
    side_valid: Tensor  # (B,) bool
    root_depth_mm: Tensor  # (B, 2) z of the right and left wrist; 0 where not valid
    relative_root_depth_mm: Tensor  # (B,) z of the left minus z of the right wrist (InterHand2.6M); 0 where not valid
    relative_root_valid: Tensor  # (B,) bool: interacting and both wrists valid
    box: Tensor  # (B, 4) the annotated tight box x, y, w, h px, never augmented
    index: Tensor  # (B,) int64 position in dataset.samples

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class _Labels:
    """The annotations of N samples as float32 and bool tensors, before any crop."""

    joints_cam_mm: Tensor  # (N, 42, 3)
    joints_image_px: Tensor  # (N, 42, 2)
    joint_valid: Tensor  # (N, 42)
    joint_visible: Tensor  # (N, 42)
    intrinsics: Tensor  # (N, 3, 3)
    box: Tensor  # (N, 4)
    side_present: Tensor  # (N, 2)
    side_valid: Tensor  # (N,)
    width: Tensor  # (N,) px

    @staticmethod
    def of(samples: Sequence[HandSample], device: torch.device) -> _Labels:
        valid = np.stack([own_wrist_valid(s.joint_valid) for s in samples])
        visible = [v if s.joint_visible is None else v & s.joint_visible for s, v in zip(samples, valid, strict=True)]

        def stack(arrays, dtype=np.float32) -> Tensor:
            return torch.from_numpy(np.stack(arrays).astype(dtype)).to(device)

        return _Labels(
            joints_cam_mm=stack([s.joints_cam_mm for s in samples]),
            joints_image_px=stack([s.joints_image_px for s in samples]),
            joint_valid=stack(valid, bool),
            joint_visible=stack(visible, bool),
            intrinsics=stack([s.intrinsics for s in samples]),
            box=stack([s.box for s in samples]),
            side_present=stack([s.side_present for s in samples]),
            side_valid=stack([s.hand_type_valid for s in samples], bool),
            width=stack([s.image_size[0] for s in samples]),
        )

    def at(self, index: Tensor) -> _Labels:
        return _Labels(*(getattr(self, f.name)[index] for f in fields(self)))

    def flipped(self, flip: Tensor) -> _Labels:
        """Exchange hands and negate camera x where ``flip`` (B,) is True; image pixels stay those of the original."""
        negated = constant((-1.0, 1.0, 1.0), flip.device, self.joints_cam_mm.dtype)
        mirror = torch.where(flip[:, None, None], negated, 1.0)  # (B, 1, 3)
        per_hand = ("joints_cam_mm", "joints_image_px", "joint_valid", "joint_visible", "side_present")
        swapped = {name: swap_hands(getattr(self, name), flip) for name in per_hand}
        return replace(self, **swapped | {"joints_cam_mm": swapped["joints_cam_mm"] * mirror})


class HandDataset:
    """Crops of ``samples`` in batches on ``device``.

    A thread pool decodes the images: once if ``cache``, which keeps them as uint8 on the device, else for every batch,
    one batch ahead. ``supersample`` k averages k x k samples per crop pixel, against aliasing in small crops.
    """

    def __init__(
        self, samples: Sequence[HandSample], crop_size: int, *, device: torch.device | str = "cpu", cache: bool = True,
        supersample: int = 1,
    ):  # fmt: skip
        if not samples:
            raise DataError("a dataset needs at least one sample, found none; check the folder and the split")
        lazy = isinstance(samples, LazySamples) and len(samples) > KEPT_SAMPLES
        self.samples = samples if lazy else list(samples)
        self.crop_size = crop_size
        self.device = torch.device(device)
        self.supersample = supersample
        self.cached = cache
        self._images = ImageStore(self.samples, self.device, cache)
        self._kept = None if lazy else _Labels.of(self.samples, self.device)

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, rows: Sequence[int]) -> HandDataset:
        """Return a dataset of the samples at these positions, in that order."""
        return HandDataset(
            [self.samples[row] for row in rows], self.crop_size, device=self.device, cache=self.cached,
            supersample=self.supersample,
        )  # fmt: skip

    def count_batches(self, batch_size: int, *, shuffle: bool, limit: int | None = None) -> int:
        """Return the number of batches that ``batches`` yields."""
        count = len(self) if limit is None else min(limit, len(self))
        whole, rest = divmod(count, batch_size)
        return whole if shuffle and whole else whole + bool(rest)

    def batches(
        self, batch_size: int, *, augment: AugmentConfig | None, shuffle: bool, generator: torch.Generator,
        limit: int | None = None, pixels: bool = True, part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield one pass over the samples, or over ``limit`` of them; without ``pixels`` all images are black.

        Without ``shuffle`` the order is that of ``samples`` and a smaller last batch is kept. With it the order is
        drawn from ``generator`` and a smaller last batch is dropped unless it is the only one: batch statistics of a
        few samples would disturb training.

        ``part`` (k, n) yields every n-th sample of each batch, starting with the k-th. Augmentation is drawn for whole
        batches, so that the n parts together equal one pass without ``part``.
        """
        number, parts = part
        order = torch.arange(len(self))
        if shuffle:
            order = torch.randperm(len(self), generator=generator, device=generator.device).cpu()
        count = self.count_batches(batch_size, shuffle=shuffle, limit=limit)
        order = order[: len(self) if limit is None else limit][: count * batch_size]
        whole = order.split(batch_size)
        if len(whole[-1]) < parts:
            raise ValueError(f"a batch of {len(whole[-1])} samples cannot be shared by {parts} processes")
        with ThreadPoolExecutor(WORKERS) as pool:
            indices = [index[number::parts] for index in whole]
            images = self._pixels(indices, pool) if pixels else ((index, None) for index in indices)
            for batch, (index, pixel_values) in zip(whole, images, strict=True):
                drawn = draw_augmentation(augment, len(batch), generator)
                yield self._batch(index, pixel_values, drawn.at(slice(number, None, parts)))

    def in_order(self, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """Yield all samples, or the first ``limit``, in their order and without augmentation."""
        return self.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator(), limit=limit)

    def _pixels(
        self, indices: Sequence[Tensor], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Tensor, Tensor | list[Tensor]]]:
        """Yield index (B,) and uint8 images (B, 3, H, W), or B images (3, H, W), on the device, for each batch."""
        if self.cached:
            self._images.prepare(torch.cat(indices), pool)
            for index in indices:
                yield index, self._images.cached(index)
            return
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self._images.decode, indices[0], pool)
            for position, index in enumerate(indices):
                images = pending.result()
                if position + 1 < len(indices):
                    pending = ahead.submit(self._images.decode, indices[position + 1], pool)
                yield index, images.to(self.device)

    def _labels(self, index: Tensor) -> _Labels:
        """Return the labels of a batch; of a split too large to keep them, made for it."""
        if self._kept is None:
            return _Labels.of([self.samples[i] for i in index.tolist()], self.device)
        return self._kept.at(index)

    def _batch(self, index: Tensor, images: Tensor | list[Tensor] | None, augmentation: Augmentation) -> Batch:
        """Make one batch; without images its crops are black and take no memory."""
        augmentation = augmentation.to(self.device)
        index = to_device(index, self.device)
        plain = self._labels(index)
        affine = augmented_affine(plain.box, plain.width, self.crop_size, augmentation)
        if images is None:
            crops = affine.new_zeros(()).expand(len(index), 3, self.crop_size, self.crop_size)
        else:
            crops = apply_gain(sample_crops(images, affine, self.crop_size, self.supersample), augmentation.gain)
        labels = plain.flipped(augmentation.flip)
        valid = labels.joint_valid
        depth_mm = torch.where(valid, labels.joints_cam_mm[..., 2], 0.0)  # (B, 42)
        roots = constant((ROOTS["right"], ROOTS["left"]), self.device, torch.long)
        root_depth_mm = depth_mm[:, roots]  # (B, 2)
        relative_root_valid = valid[:, roots].all(-1) & labels.side_present.bool().all(-1)
        own_root = constant(tuple(root_index().tolist()), self.device, torch.long)  # (42,)
        return Batch(
            image=crops,
            affine=affine,
            intrinsics=labels.intrinsics,
            joints_cam_mm=labels.joints_cam_mm,
            joints_crop_px=torch.where(valid[..., None], apply_affine(affine, labels.joints_image_px), 0.0),
            relative_depth_mm=torch.where(valid, depth_mm - depth_mm[:, own_root], 0.0),
            joint_valid=valid,
            joint_visible=labels.joint_visible,
            side_present=labels.side_present,
            side_valid=labels.side_valid,
            root_depth_mm=root_depth_mm,
            relative_root_depth_mm=torch.where(relative_root_valid, root_depth_mm[:, 1] - root_depth_mm[:, 0], 0.0),
            relative_root_valid=relative_root_valid,
            box=labels.box,
            index=index,
        )
