"""One annotated image of any dataset, and splits too large to keep in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from msff.errors import MsffError
from msff.skeleton import HAND_SLICE, JOINTS, LEFT, RIGHT, ROOTS

HAND_TYPES = ("right", "left", "interacting")


class DataError(MsffError):
    """A dataset that cannot be used. The message names the file, what was expected and what to do."""


@dataclass(frozen=True, eq=False)
class HandSample:
    """One image with its hands, in the canonical 42-joint order (right 0-20, left 21-41, wrist last).

    Arrays are read-only. Joints that are not annotated are zero, with ``joint_valid`` False.
    """

    sample_id: str  # unique within its split, stable across machines
    image_path: Path
    image_size: tuple[int, int]  # width, height in px
    joints_cam_mm: np.ndarray  # (42, 3) float64, camera frame
    joints_image_px: np.ndarray  # (42, 2) float64, original image
    joint_valid: np.ndarray  # (42,) bool: annotated
    joint_visible: np.ndarray | None  # (42,) bool, or None if the dataset does not annotate it
    intrinsics: np.ndarray  # (3, 3) float64, px
    box: np.ndarray  # (4,) float64 x, y, w, h px: the annotated (tight) box
    hand_type: str  # "right", "left" or "interacting"
    hand_type_valid: bool = True
    meta: dict = field(default_factory=dict)  # the person, if known; in RHD, what of the hand is seen

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
    """A split that may be too large to keep as objects: each sample is made when it is read, and facts about the whole
    split are found without making samples. Slices are lists.
    """

    @abstractmethod
    def make(self, position: int) -> HandSample:
        """Return the sample at ``position``, 0 <= position < len(self)."""

    @abstractmethod
    def largest_size(self) -> tuple[int, int]:
        """Return the largest width and the largest height, px."""

    def hand_types(self) -> np.ndarray:
        """Return (N,) uint8 positions in ``HAND_TYPES``; this default makes every sample once."""
        return np.fromiter((HAND_TYPES.index(s.hand_type) for s in self), np.uint8, len(self))

    def image_numbers(self) -> np.ndarray:
        """Return (N,) int64, equal for samples of the same image; by default every sample has its own."""
        return np.arange(len(self))

    def __iter__(self) -> Iterator[HandSample]:
        """Yield every sample; unlike in ``Sequence``, an IndexError raised by ``make`` is an error, not the end."""
        for position in range(len(self)):
            yield self.make(position)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return [self.make(i) for i in range(*position.indices(len(self)))]
        wrapped = position + len(self) if position < 0 else position
        if not 0 <= wrapped < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        return self.make(int(wrapped))


def own_wrist_valid(joint_valid: np.ndarray) -> np.ndarray:
    """Return (42,) bool with all joints of a hand invalid if its wrist is not valid (InterNet code)."""
    result = np.array(joint_valid, dtype=bool)
    for side, own in HAND_SLICE.items():
        result[own] &= result[ROOTS[side]]
    return result


def hand_type_codes(samples: Sequence[HandSample]) -> np.ndarray:
    """Return (N,) uint8 positions in ``HAND_TYPES``."""
    if isinstance(samples, LazySamples):
        return samples.hand_types()
    return np.array([HAND_TYPES.index(s.hand_type) for s in samples], np.uint8)


def count_hand_types(samples: Sequence[HandSample]) -> dict[str, int]:
    """Return the number of samples by hand type, in the order of ``HAND_TYPES`` and without zeros."""
    counts = np.bincount(hand_type_codes(samples), minlength=len(HAND_TYPES)).tolist()
    return {name: count for name, count in zip(HAND_TYPES, counts, strict=True) if count}
