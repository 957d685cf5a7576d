"""The few test images that figures show, as crops with ground truth; stored for pages without the dataset."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from msff.camera import apply_affine, project
from msff.data.batches import HandDataset
from msff.data.sample import HandSample
from msff.files import atomic_file
from msff.study.store import Run, StoreError
from msff.study.workspace import Workspace

DISPLAY_PX = 192  # side of the crops that figures show, finer than a slim profile's own input
_JPEG_QUALITY = 92
_ARRAYS = ("valid", "truth", "affine", "intrinsics")


@dataclass(frozen=True, eq=False)
class Examples:
    """A few test images with ground truth and cameras."""

    dataset: str
    rows: list[int]  # positions in the test part
    images: np.ndarray  # (n, S, S, 3) float32 in [0, 1]
    valid: np.ndarray  # (n, 42) bool
    truth: np.ndarray  # (n, 42, 3) mm, camera frame
    affine: np.ndarray  # (n, 2, 3) original image px -> crop px
    intrinsics: np.ndarray  # (n, 3, 3) px, of the original image

    def at(self, places: Sequence[int]) -> Examples:
        """Return the examples at these places, in this order."""
        arrays = {name: getattr(self, name)[places] for name in ("images", *_ARRAYS)}
        return Examples(self.dataset, [self.rows[i] for i in places], **arrays)

    def to_crop(self, joints_cam_mm: np.ndarray) -> np.ndarray:
        """Project camera frame to the pixels of these crops: (n, 42, 3) mm -> (n, 42, 2) px."""
        cam = torch.as_tensor(joints_cam_mm, dtype=torch.float32)
        return apply_affine(torch.as_tensor(self.affine), project(cam, torch.as_tensor(self.intrinsics))).numpy()

    def predicted(self, run: Run, track: str = "T2") -> np.ndarray:
        """Return the run's joints for these images: (n, 42, 3) mm, camera frame."""
        return run.predictions.joints[track][self.rows]


def examples(workspace: Workspace, dataset: str, count: int, kind: str | None = None) -> Examples:
    """Return ``count`` test images spread evenly over the test part, of one hand type if given ("interacting", ...).

    They are stored if the dataset is on this machine, else read from the store. ValueError if the part has fewer such
    images, StoreError if they are neither here nor stored.
    """
    path, source = _place(workspace, dataset, f"{kind or 'any'}-{count}")
    if not workspace.has_data(dataset):
        if _source(path) != source:
            raise StoreError(
                f"{path} is missing or of other images, and {dataset} is not on this machine: restore the file, or "
                f"render the images (`msff study run --profile {workspace.profile.name}` does)"
            )
        return _load(path, dataset)
    samples = workspace.samples(dataset, "test").samples
    rows = [i for i, s in enumerate(samples) if kind is None or s.hand_type == kind]
    if len(rows) < count:
        raise ValueError(f"{dataset} has {len(rows)} {kind or ''} images in its test part, {count} were requested")
    spread = [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return _save(read_examples(samples, dataset, spread), path, source)


def chosen_examples(workspace: Workspace, dataset: str, rows: Sequence[int], name: str) -> Examples | None:
    """Return the test images at ``rows``, stored under ``name`` if the dataset is on this machine, else from the store.

    The stored ones may be other rows if runs were added since; None if the dataset is neither here nor stored.
    """
    path, source = _place(workspace, dataset, name)
    if workspace.has_data(dataset):
        found = read_examples(workspace.samples(dataset, "test").samples, dataset, list(rows))
        return _save(found, path, json.dumps([source, found.rows]))
    stored = _source(path)
    return _load(path, dataset) if stored and json.loads(stored)[0] == source else None


def _place(workspace: Workspace, dataset: str, name: str) -> tuple[Path, str]:
    """Return the file of stored examples and the words that identify the test part."""
    source = json.dumps(workspace.data_config(dataset, "test"), sort_keys=True)
    return workspace.store.root / "examples" / f"{dataset}-{name}.npz", source


def read_examples(samples: Sequence[HandSample], dataset: str, rows: list[int]) -> Examples:
    """Return the samples at these rows as examples."""
    chosen = HandDataset([samples[i] for i in rows], DISPLAY_PX)
    batch = next(iter(chosen.in_order(len(rows))))
    return Examples(
        dataset, rows, batch.image.permute(0, 2, 3, 1).numpy(), batch.joint_valid.numpy(), batch.joints_cam_mm.numpy(),
        batch.affine.numpy(), batch.intrinsics.numpy(),
    )  # fmt: skip


def _save(found: Examples, path: Path, source: str) -> Examples:
    if _source(path) != source:
        pictures = [_encoded(image) for image in found.images]
        with atomic_file(path) as partial:
            np.savez_compressed(
                partial, source=np.array(source), rows=np.array(found.rows), sizes=np.array(list(map(len, pictures))),
                jpeg=np.frombuffer(b"".join(pictures), np.uint8), **{name: getattr(found, name) for name in _ARRAYS},
            )  # fmt: skip
    return found


def _load(path: Path, dataset: str) -> Examples:
    with np.load(path, allow_pickle=False) as file:
        ends = np.cumsum(file["sizes"])
        pictures = np.split(file["jpeg"], ends[:-1])
        images = np.stack([np.asarray(Image.open(io.BytesIO(p.tobytes()))) for p in pictures]).astype(np.float32) / 255
        return Examples(dataset, file["rows"].tolist(), images, **{name: file[name] for name in _ARRAYS})


def _source(path: Path) -> str:
    """Return which images a file of examples holds; "" without the file."""
    if not path.exists():
        return ""
    with np.load(path, allow_pickle=False) as file:
        return str(file["source"])


def _encoded(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
