"""Decoding images to uint8, with threads, and keeping them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from msff.data.files import again
from msff.data.sample import DataError, HandSample, LazySamples

WORKERS = min(16, 2 * (os.cpu_count() or 1))  # Pillow releases the lock while it decodes


def decode_image(path: Path, mode: str | None = "RGB") -> np.ndarray:
    """uint8 (H, W, 3) of an image file; ``mode=None`` keeps the file's own channels (label maps)."""
    try:
        with Image.open(path) as image:
            image.load()
            return np.asarray(image if mode is None or image.mode == mode else image.convert(mode))
    except FileNotFoundError as error:
        raise DataError(f"{path}: image is missing; {again(path, 'unpack the archive that holds it again')}") from error
    except PermissionError as error:
        raise DataError(f"{path}: image cannot be read ({error.strerror}); check its permissions") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # Pillow: SyntaxError for a broken PNG
        raise DataError(f"{path}: image is truncated or damaged ({error}); {again(path, 'fetch it again')}") from error


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height px in an image file's header; no pixel is decoded."""
    try:
        with Image.open(path) as image:
            return image.size
    except PermissionError as error:
        raise DataError(f"{path}: image cannot be read ({error.strerror}); check its permissions") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: image is truncated or damaged ({error}); {again(path, 'fetch it again')}") from error


def decode_sample(sample: HandSample) -> np.ndarray:
    """uint8 (H, W, 3), checked against the size that the annotation states."""
    pixels = decode_image(sample.image_path)
    width, height = sample.image_size
    if pixels.shape != (height, width, 3):
        raise DataError(
            f"{sample.image_path}: expected {width}x{height} px as annotated, found "
            f"{pixels.shape[1]}x{pixels.shape[0]}; images and annotations are of different versions"
        )
    return pixels


def frame_size(samples: Sequence[HandSample]) -> tuple[int, int]:
    """The largest width and the largest height, px, as annotated."""
    if isinstance(samples, LazySamples):
        return samples.frame_size()
    return max(s.image_size[0] for s in samples), max(s.image_size[1] for s in samples)


class ImageStore:
    """Images of a list of samples as uint8 (N, 3, H, W), smaller ones padded with zeros at the right and bottom.

    With ``cache`` every image is decoded once, when first asked for, and stays on ``device``; without, each call
    decodes what it returns, for data larger than memory.
    """

    def __init__(self, samples: Sequence[HandSample], device: torch.device, cache: bool):
        self._samples = samples
        self._device = device
        self._width, self._height = frame_size(samples)
        self._cached: Tensor | None = None
        self._decoded = torch.zeros(len(samples), dtype=torch.bool)
        self._cache = cache

    def prepare(self, index: Tensor, pool: ThreadPoolExecutor) -> None:
        """Decode those of ``index`` that are not yet cached; nothing to do without a cache."""
        if not self._cache:
            return
        if self._cached is None:
            self._cached = self._blank(len(self._samples), self._device)
        new = index.cpu()[~self._decoded[index.cpu()]]
        for chunk in new.split(256):  # bounds the memory held twice
            self._cached[chunk.to(self._device)] = self.decode(chunk, pool).to(self._device)
            self._decoded[chunk] = True

    def decode(self, index: Tensor, pool: ThreadPoolExecutor) -> Tensor:
        """uint8 (B, 3, H, W) on the host, decoded now."""
        images = self._blank(len(index), torch.device("cpu"))

        def place(slot: int, position: int) -> None:
            pixels = decode_sample(self._samples[position])  # (h, w, 3)
            height, width, _ = pixels.shape
            images.numpy()[slot, :, :height, :width] = pixels.transpose(2, 0, 1)

        for _ in pool.map(place, range(len(index)), index.tolist()):
            pass
        return images

    def cached(self, index: Tensor) -> Tensor | list[Tensor]:
        """uint8 (B, 3, H, W) on the device, of prepared images; on a CPU B views (3, H, W) instead of a copy."""
        if self._device.type == "cpu":
            return [self._cached[i] for i in index.tolist()]
        return self._cached[index.to(self._device)]

    def _blank(self, count: int, device: torch.device) -> Tensor:
        shape = (count, 3, self._height, self._width)
        try:
            return torch.zeros(shape, dtype=torch.uint8, device=device)
        except (RuntimeError, MemoryError) as error:
            gib = count * 3 * self._height * self._width / 2**30
            raise DataError(
                f"{self._samples[0].image_path.parent}: {count:,} images need {gib:.1f} GiB on {device}, "
                "which is not there; open the dataset with cache=False"
            ) from error
