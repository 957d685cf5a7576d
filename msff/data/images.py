"""Images decoded to uint8 by threads, and kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from msff.data.reading import FETCH, again
from msff.data.sample import DataError, HandSample, LazySamples
from msff.device import to_device

WORKERS = min(16, 2 * (os.cpu_count() or 1))  # Pillow releases the lock while it decodes

UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""Pillow's errors for a damaged file: SyntaxError for a broken PNG, RuntimeError for a broken AVIF, the last for more
than 179 million pixels."""


def is_deep(image: Image.Image) -> bool:
    """Return True for 16 or 32 bits a pixel in one channel, integer or float; Pillow's conversions clip them to 255."""
    return image.mode.startswith(("I", "F"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; DataError if it is missing or damaged."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: image is missing; {again(path, 'unpack the archive that holds it again')}") from error
    except PermissionError as error:
        raise DataError(f"{path}: image cannot be read ({error.strerror}); check its permissions") from error
    except UNREADABLE as error:
        raise DataError(f"{path}: image is truncated or damaged ({error}); {again(path, 'fetch it again')}") from error


def decode_image(path: Path, mode: str | None = "RGB") -> np.ndarray:
    """Decode an image file to uint8 (H, W, 3); ``mode=None`` keeps the file's own channels (label maps).

    DataError if it is missing, damaged or of more than 8 bits a channel.
    """
    with _opened(path) as image:
        coding = " ".join(str(tile[3]) for tile in image.tile)  # Pillow keeps the upper byte of "RGB;16B"
        if is_deep(image) or re.search(";16[BLN]", coding):
            found = f"found pixels of mode {image.mode}, stored as {coding}"
            raise DataError(f"{path}: expected 8 bits a channel, {found}; {again(path, FETCH)}")
        image.load()
        return np.asarray(image if mode is None or image.mode == mode else image.convert(mode))


def stored_size(path: Path) -> tuple[int, int]:
    """Read width and height px from an image file's header, without decoding it."""
    with _opened(path) as image:
        return image.size


def decode_sample(sample: HandSample) -> np.ndarray:
    """Decode a sample's image to uint8 (H, W, 3); DataError if its size is not the annotated one."""
    pixels, (width, height) = decode_image(sample.image_path), sample.image_size
    if pixels.shape[:2] != (height, width):
        raise DataError(
            f"{sample.image_path}: expected {width}x{height} px as annotated, found "
            f"{pixels.shape[1]}x{pixels.shape[0]}; images and annotations are of different versions"
        )
    return pixels


def image_slots(samples: Sequence[HandSample]) -> tuple[Tensor, Tensor]:
    """Return int64 (N,) slot of each sample's image and (U,) first sample of each slot; one slot per image file."""
    if isinstance(samples, LazySamples):
        numbers = samples.image_numbers()
    else:
        slots: dict[tuple, int] = {}
        numbers = np.fromiter((slots.setdefault(_file(s), len(slots)) for s in samples), np.int64, len(samples))
    _, first, slot = np.unique(numbers, return_index=True, return_inverse=True)
    return torch.from_numpy(slot), torch.from_numpy(first)


def _file(sample: HandSample) -> tuple[Path, tuple[int, int]]:
    """Return the key of an image; it includes the annotated size, so that every annotation is checked."""
    return sample.image_path, sample.image_size


class ImageStore:
    """Images of a list of samples as uint8 (N, 3, H, W), smaller ones padded with zeros at the right and bottom.

    With ``cache`` every image is decoded once, when it is first needed, and stays on ``device``; without, each call
    decodes its images, for data larger than memory. Samples of the same file share its pixels. ``read`` returns uint8
    (h, w, ``channels``) of a sample, such as its mask instead of its colour image; ``what`` names them in errors.
    """

    def __init__(
        self, samples: Sequence[HandSample], device: torch.device, cache: bool,
        read: Callable[[HandSample], np.ndarray] = decode_sample, channels: int = 3, what: str = "images",
    ):  # fmt: skip
        self._samples = samples
        self._device = device
        if isinstance(samples, LazySamples):
            self._width, self._height = samples.largest_size()
        else:
            self._width, self._height = (max(s.image_size[axis] for s in samples) for axis in (0, 1))
        self._read, self._channels, self._what = read, channels, what
        self._cached: Tensor | None = None  # (U, C, H, W), one for each slot
        self._cache = cache

    def prepare(self, index: Tensor, pool: ThreadPoolExecutor) -> None:
        """Decode the images of ``index`` that are not cached yet."""
        if self._cached is None:
            self._slot, self._first = image_slots(self._samples)  # (N,), (U,)
            self._decoded = torch.zeros(len(self._first), dtype=torch.bool)
            self._cached = self._blank(len(self._first), self._device)
        slots = self._slot[index.cpu()].unique()
        for chunk in slots[~self._decoded[slots]].split(256):  # bounds the memory held twice
            self._cached[chunk.to(self._device)] = self.decode(self._first[chunk], pool).to(self._device)
            self._decoded[chunk] = True

    def decode(self, index: Tensor, pool: ThreadPoolExecutor) -> Tensor:
        """Decode uint8 (B, 3, H, W) on the host."""
        images = self._blank(len(index), torch.device("cpu"))
        files: dict[tuple, tuple[HandSample, list[int]]] = {}  # a sample of each file, and its rows
        for row, position in enumerate(index.tolist()):
            sample = self._samples[position]
            files.setdefault(_file(sample), (sample, []))[1].append(row)

        def place(sample: HandSample, rows: list[int]) -> None:
            pixels = self._read(sample)  # (h, w, C)
            height, width, _ = pixels.shape
            for row in rows:
                images.numpy()[row, :, :height, :width] = pixels.transpose(2, 0, 1)

        for _ in pool.map(place, *zip(*files.values(), strict=True)) if files else ():
            pass
        return images

    def cached(self, index: Tensor) -> Tensor | list[Tensor]:
        """Return prepared images, uint8 (B, 3, H, W) on the device; on a CPU B views (3, H, W) instead of a copy."""
        slots = self._slot[index.cpu()]
        if self._device.type == "cpu":
            return [self._cached[i] for i in slots.tolist()]
        return self._cached[to_device(slots, self._device)]

    def fetch(self, index: Tensor, pool: ThreadPoolExecutor) -> Tensor | list[Tensor]:
        """Return images as `cached` does, after decoding those that are not cached; without a cache, all."""
        if not self._cache:
            return self.decode(index, pool).to(self._device)
        self.prepare(index, pool)
        return self.cached(index)

    def _blank(self, count: int, device: torch.device) -> Tensor:
        shape = (count, self._channels, self._height, self._width)
        try:
            return torch.zeros(shape, dtype=torch.uint8, device=device)
        except (RuntimeError, MemoryError) as error:
            gib = count * self._channels * self._height * self._width / 2**30
            raise DataError(
                f"{self._samples[0].image_path.parent}: {count:,} {self._what} need {gib:.1f} GiB on {device}, "
                "which has less free; open the dataset with cache=False"
            ) from error
