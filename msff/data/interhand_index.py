"""InterHand2.6M's annotations of a split as Arrow tables: one row per annotation, frame and camera; checked.

The data file of the 1.36 million training images is 0.8 GB of JSON: it is mapped into memory and decoded straight into
typed records, without a dict.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from msff.data.reading import (
    FETCH,
    again,
    check_intrinsics,
    check_relative,
    numbers,
    read_json,
    readable,
    require_file,
    sentence,
)
from msff.data.sample import HAND_TYPES, DataError, own_wrist_valid
from msff.skeleton import JOINTS

TABLES = ("annotations", "frames", "cameras")
Tables = dict[str, pa.Table]
CHUNK = 1 << 15  # annotations whose 42 joints are checked at once
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


def build_index(folder: Path, split: str, version: str, remedy: str) -> Tables:
    """{"annotations", "frames", "cameras"} of a split's JSON files in ``folder``; DataError for what is not sound."""
    paths = annotation_files(folder, split)
    data = decode_data(paths["data"], f"the data file of {split}", remedy)
    joints = read_json(paths["joint_3d"], f"the joint_3d file of {split}", remedy)
    cameras = read_json(paths["camera"], f"the camera file of {split}", remedy)
    images = _images(paths["data"], data)
    annotations = _annotation_columns(paths["data"], data, images)
    frame_row, frame_keys = _codes([(i.capture, i.frame_idx) for i in images])
    camera_row, camera_keys = _codes([(i.capture, i.camera) for i in images])
    about = {"version": version, "description": data.description}
    del data, images
    world = [_world(paths["joint_3d"], joints, key) for key in frame_keys]
    rigs = [_rig(paths["camera"], cameras, key) for key in camera_keys]
    tables = {
        "annotations": pa.table({**annotations, "frame_row": frame_row, "camera_row": camera_row}),
        "frames": pa.table({"world_mm": _lists(np.array(world))}),
        "cameras": pa.table({
            "camera": [c for _, c in camera_keys],
            "rotation": _lists(np.array([r[0] for r in rigs])), "position": _lists(np.array([r[1] for r in rigs])),
            "intrinsics": _lists(np.array([r[2] for r in rigs])),
        }),
    }  # fmt: skip
    _check_geometry(paths["joint_3d"], tables)
    return {k: table.replace_schema_metadata(about) for k, table in tables.items()}


def check_index(tables: Tables) -> None:
    """Raise ValueError if an annotation of a kept index leads to a frame or a camera that is not in it."""
    for name, other in (("frame_row", "frames"), ("camera_row", "cameras")):
        rows, count = tables["annotations"][name].to_numpy(), len(tables[other])
        if len(rows) and not 0 <= rows.min() <= rows.max() < count:
            raise ValueError(f"{name} {rows.min()} to {rows.max()}, but {count} {other}")


def annotation_files(folder: Path, split: str) -> dict[str, Path]:
    """Return the three files of a split by kind."""
    return {kind: folder / f"InterHand2.6M_{split}_{kind}.json" for kind in ("data", "camera", "joint_3d")}


def _images(path: Path, data: DataFile) -> list[ImageEntry]:
    """Return each annotation's image."""
    images: dict[int, ImageEntry] = {}
    for image in data.images:
        if (other := images.setdefault(image.id, image)) != image:
            raise DataError(
                f"{path}: image id {image.id} stands for {other.file_name} and for {image.file_name}, or for two "
                f"cameras, frames or sizes of it; {again(path, FETCH)}"
            )
    for annotation in data.annotations:
        if annotation.image_id not in images:
            raise DataError(
                f"{path}: annotation {annotation.id} belongs to image {annotation.image_id}, which the file does not "
                f"list; {again(path)}"
            )
    return [images[annotation.image_id] for annotation in data.annotations]


def _annotation_columns(path: Path, data: DataFile, images: Sequence[ImageEntry]) -> dict[str, pa.Array]:
    """The columns of the annotations; ``images`` holds each one's image."""
    boxes = np.array([a.bbox for a in data.annotations], dtype=np.float64)  # (N, 4)
    bad = np.flatnonzero(~(np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)))
    types = [a.hand_type for a in data.annotations]
    unknown = {*types} - {*HAND_TYPES}
    remedy = sentence(again(path, FETCH))
    if len(bad):
        where = f"{path}: annotation {data.annotations[bad[0]].id} ({images[bad[0]].file_name})"
        raise DataError(
            f"{where}: expected a box x, y, w, h of positive size, found {boxes[bad[0]].tolist()}. {remedy}"
        )
    if unknown:
        expected = f"hand_type must be one of {', '.join(HAND_TYPES)}"
        raise DataError(f"{path}: {expected}, found {sorted(unknown)}. {remedy}")
    code = {name: i for i, name in enumerate(HAND_TYPES)}
    return {
        "annotation_id": pa.array([a.id for a in data.annotations], pa.int64()),
        "file_name": pa.array([i.file_name for i in images], pa.string()),
        "width": pa.array([i.width for i in images], pa.int32()),
        "height": pa.array([i.height for i in images], pa.int32()),
        "subject": pa.array([_text(i.subject) for i in images], pa.string()).dictionary_encode(),
        "box": _lists(boxes),
        "joint_valid": pa.array([a.joint_valid for a in data.annotations], pa.uint64()),
        "hand_type": pa.array([code[t] for t in types], pa.uint8()),
        "hand_type_valid": pa.array([bool(a.hand_type_valid) for a in data.annotations], pa.bool_()),
    }


def _text(value: int | str | None) -> str | None:
    return None if value is None else str(value)


def _codes(keys: Sequence[tuple]) -> tuple[pa.Array, list[tuple[str, str]]]:
    """Position of each key among the distinct ones, in order of first appearance, and those as text."""
    positions: dict[tuple, int] = {}
    codes = [positions.setdefault(key, len(positions)) for key in keys]
    return pa.array(codes, pa.int32()), [(str(a), str(b)) for a, b in positions]


def _lists(rows: np.ndarray) -> pa.Array:
    """(N, ...) float64 -> one fixed-size list per row."""
    flat = np.ascontiguousarray(rows, dtype=np.float64).reshape(len(rows), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def _world(path: Path, joints: dict, key: tuple[str, str]) -> np.ndarray:
    """(42, 3) mm in the world frame: {capture: {frame: {world_coord: 42x3}}}, or the bare 42x3 of the first release."""
    capture, frame = key
    where = f"{path}: frame {frame} of capture {capture}"
    try:
        entry = joints[capture][frame]
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: not in the file; images and joints are of different versions") from error
    world_mm = entry.get("world_coord") if isinstance(entry, dict) else entry
    return numbers(world_mm, (JOINTS, 3), where, "world_coord", again(path, FETCH))


def _rig(path: Path, cameras: dict, key: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (3, 3), position (3,) mm in the world, K (3, 3) px: {capture: {campos, camrot, ...: {camera: ...}}}."""
    capture, camera = key
    where, fetch = f"{path}: camera {camera} of capture {capture}", again(path, FETCH)
    remedy = sentence(fetch)
    try:
        raw = {k: cameras[capture][k][camera] for k in ("camrot", "campos", "focal", "princpt")}
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: nothing under {error}; images and cameras are of different versions") from error
    shapes = ((3, 3), (3,), (2,), (2,))
    rotation, position, focal, centre = (
        numbers(value, shape, where, name, fetch) for (name, value), shape in zip(raw.items(), shapes, strict=True)
    )
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        raise DataError(f"{where}: camrot is not a 3x3 rotation: {rotation.tolist()}. {remedy}")
    if np.linalg.det(rotation) < 0:
        raise DataError(f"{where}: camrot mirrors (its determinant is -1): {rotation.tolist()}. {remedy}")
    if not np.isfinite(position).all():
        raise DataError(f"{where}: expected a finite campos, found {position.tolist()}. {remedy}")
    k = [[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]]
    return rotation, position, check_intrinsics(k, where, fetch)


def _check_geometry(path: Path, tables: Tables) -> None:
    """DataError if a valid joint is not finite or lies behind its camera."""
    table = tables["annotations"]
    world_mm = values(tables["frames"]["world_mm"]).reshape(-1, JOINTS, 3)
    rotation = values(tables["cameras"]["rotation"]).reshape(-1, 3, 3)
    position = values(tables["cameras"]["position"]).reshape(-1, 3)
    frame_row, camera_row, bits = (table[k].to_numpy() for k in ("frame_row", "camera_row", "joint_valid"))
    for at in range(0, len(bits), CHUNK):
        part = slice(at, at + CHUNK)
        camera = camera_row[part]
        offset = world_mm[frame_row[part]] - position[camera][:, None]  # (n, 42, 3)
        depth_mm = np.einsum("njc,nc->nj", offset, rotation[camera][:, 2])  # (n, 42)
        valid = unpack_bits(bits[part])
        for wrong, text in (
            (valid & ~np.isfinite(offset).all(-1), "joints are NaN or infinite though marked valid"),
            (valid & ~(depth_mm > 0), "valid joints lie behind camera {}; the files are of different versions"),
        ):
            if wrong.any():
                row = at + int(np.flatnonzero(wrong.any(1))[0])
                named = text.format(tables["cameras"]["camera"][int(camera_row[row])])
                where = f"annotation {table['annotation_id'][row]} ({table['file_name'][row]})"
                raise DataError(f"{path}: {where}: {named}. {sentence(again(path, FETCH))}")


def values(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, or of fixed-size lists one after the other; without a copy if it is in one piece."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)
