"""InterHand2.6M's data file, decoded straight into typed records.

The data file of the 1.36 million training images is 0.8 GB of JSON: it is mapped into memory, and no dict is made.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from msff.data.reading import FETCH, again, check_relative, readable, require_file, sentence
from msff.data.sample import DataError, own_wrist_valid
from msff.skeleton import JOINTS

INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what the index can hold
PIXELS = Annotated[int, msgspec.Meta(ge=1, le=2**15)]


class ImageEntry(msgspec.Struct, gc=False):
    id: INT64
    file_name: str
    width: PIXELS
    height: PIXELS
    capture: int | str
    camera: int | str
    frame_idx: int | str
    subject: int | str | None = None


class AnnotationEntry(msgspec.Struct, gc=False):
    id: INT64
    image_id: INT64
    bbox: tuple[float, float, float, float]  # x, y, w, h px
    joint_valid: msgspec.Raw  # 42 or 42x1 numbers; few distinct ones, so decoded once each
    hand_type: str
    hand_type_valid: bool | float = True


class DataFile(msgspec.Struct):
    images: list[ImageEntry]
    annotations: list[AnnotationEntry]
    info: Any = None  # COCO's free field

    @property
    def description(self) -> str:
        """The description in ``info``; empty if there is none."""
        text = self.info.get("description") if isinstance(self.info, dict) else None
        return text if isinstance(text, str) else ""


def decode_data(path: Path, what: str, remedy: str) -> DataFile:
    """Decode the data file; ``joint_valid`` becomes an integer whose bit j is joint j's flag."""
    require_file(path, what, remedy)
    try:
        with readable(path), open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closes with its last view
        data = msgspec.json.decode(memoryview(mapped), type=DataFile)
    except msgspec.ValidationError as error:
        raise DataError(
            f"{path}: not in the form of InterHand2.6M's data files: {error}. {sentence(again(path, remedy))}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a whole JSON file ({error}); {again(path)}") from error
    if not data.annotations:
        raise DataError(f"{path}: no sample; expected at least one annotation. {sentence(again(path, remedy))}")
    for image in data.images:
        check_relative(image.file_name, f"{path}: image {image.id}")
    bits: dict[bytes, int] = {}  # a few patterns in a million annotations
    for annotation in data.annotations:
        spelt = bytes(annotation.joint_valid)
        if spelt not in bits:
            bits[spelt] = _bits(spelt, f"{path}: annotation {annotation.id}", sentence(again(path, FETCH)))
        annotation.joint_valid = bits[spelt]
    return data


def _bits(spelt: bytes, where: str, remedy: str) -> int:
    """42 or 42x1 numbers in JSON -> an integer whose bit j is set if joint j and its own wrist are valid."""
    try:
        flags = np.array(msgspec.json.decode(spelt), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: joint_valid is not a list of numbers ({error}). {remedy}") from error
    if flags.shape != (JOINTS,):
        raise DataError(f"{where}: expected 42 joint_valid flags, found {flags.size}. {remedy}")
    return sum(1 << int(j) for j in np.flatnonzero(own_wrist_valid(flags > 0)))


def unpack_bits(bits: np.ndarray) -> np.ndarray:
    """Return the bits as booleans. (N,) uint64 -> (N, 42) bool."""
    return ((bits[:, None] >> np.arange(JOINTS, dtype=np.uint64)) & np.uint64(1)).astype(bool)
