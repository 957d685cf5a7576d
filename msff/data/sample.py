"""One annotated image, whatever dataset it came from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from msff.errors import MsffError
from msff.skeleton import JOINTS, LEFT, RIGHT

HAND_TYPES = ("right", "left", "interacting")


class DataError(MsffError):
    """A dataset that cannot be used. The message names the file, what was expected and what to do."""


@dataclass(frozen=True, eq=False)
class HandSample:
    """One image with its hands, in the canonical 42-joint order (right 0-20, left 21-41, wrist last).

    Arrays are read-only. Joints that the dataset does not give are zero with ``joint_valid`` False.
    """

    sample_id: str  # unique within its split, stable across machines
    image_path: Path
    image_size: tuple[int, int]  # width, height in px
    joints_cam_mm: np.ndarray  # (42, 3) float64, camera frame
    joints_image_px: np.ndarray  # (42, 2) float64, original image
    joint_valid: np.ndarray  # (42,) bool: annotated
    joint_visible: np.ndarray | None  # (42,) bool, or None where the dataset does not say
    intrinsics: np.ndarray  # (3, 3) float64, px
    box: np.ndarray  # (4,) float64 x, y, w, h px: the annotated (tight) box
    hand_type: str  # "right", "left" or "interacting"
    hand_type_valid: bool = True
    meta: dict = field(default_factory=dict)  # capture, sequence, camera, frame ...: for grouping, never for a metric

    def __post_init__(self):
        if self.hand_type not in HAND_TYPES:
            raise DataError(f"{self.image_path}: hand_type must be right, left or interacting, got {self.hand_type!r}")
        for name, shape in (
            ("joints_cam_mm", (JOINTS, 3)), ("joints_image_px", (JOINTS, 2)), ("joint_valid", (JOINTS,)),
            ("joint_visible", (JOINTS,)), ("intrinsics", (3, 3)), ("box", (4,)),
        ):  # fmt: skip
            array = getattr(self, name)
            if array is None and name == "joint_visible":
                continue
            array = np.array(array, dtype=bool if name in ("joint_valid", "joint_visible") else np.float64)
            if array.shape != shape:
                raise DataError(f"{self.image_path}: {name} must have shape {shape}, found {array.shape}")
            if array.dtype != bool and not np.isfinite(array).all():
                raise DataError(f"{self.image_path}: {name} holds NaN or infinite values")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def side_present(self) -> np.ndarray:
        """(2,) bool: right, left hand present, from ``hand_type``."""
        return np.array([self.hand_type != "left", self.hand_type != "right"])

    @property
    def hand_slices(self) -> list[slice]:
        """The slices of the 42 joints that belong to the present hands."""
        return [s for s, present in zip((RIGHT, LEFT), self.side_present, strict=True) if present]


class LazySamples(Sequence[HandSample]):
    """A split that may be too large to keep as objects: samples are made when asked for, and what concerns the whole
    split is answered without making them. Slices are lists.
    """

    @abstractmethod
    def make(self, position: int) -> HandSample:
        """The sample at ``position``, 0 <= position < len(self)."""

    @abstractmethod
    def frame_size(self) -> tuple[int, int]:
        """The largest width and the largest height, px."""

    @abstractmethod
    def count_distinct_ids(self) -> int:
        """How many different sample ids there are."""

    @abstractmethod
    def count_hand_types(self) -> dict[str, int]:
        """{hand type: samples}."""

    def hand_types(self) -> np.ndarray:
        """(N,) uint8 positions in ``HAND_TYPES``; here by making every sample once."""
        return np.fromiter((HAND_TYPES.index(s.hand_type) for s in self), np.uint8, len(self))

    def image_numbers(self) -> np.ndarray:
        """(N,) int64: equal where samples show the same image; here each its own."""
        return np.arange(len(self))

    def __iter__(self) -> Iterator[HandSample]:
        """Every sample; an IndexError from within is an error here, not the end as ``Sequence`` would take it."""
        for position in range(len(self)):
            yield self.make(position)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return [self.make(i) for i in range(*position.indices(len(self)))]
        wrapped = position + len(self) if position < 0 else position
        if not 0 <= wrapped < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        return self.make(int(wrapped))
