"""RHD as InterNet reads it: COCO-style RHD_training.json and RHD_evaluation.json beside the official images; read only.

The files come with InterNet's release (RHD.annotations.zip). One annotation is one hand: ``joint_img`` (21, 2) px,
``joint_cam`` (21, 3) mm, ``joint_valid`` (21), ``bbox`` x, y, w, h px and ``hand_type``, in RHD's own order, wrist
first; InterNet puts a left hand into slots 0-20 and a right one into 21-41. The camera stands with the image:
``cam_param`` {focal (2), princpt (2)}. Whether an image has one annotation or two is the file's choice; both are read.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from msff.data import interhand_json
from msff.data.files import (
    again,
    check_intrinsics,
    check_relative,
    require_file,
    require_files,
    require_folder,
    sentence,
)
from msff.data.images import WORKERS, stored_size
from msff.data.rhd import SPLITS, rhd_root
from msff.data.sample import DataError, HandSample
from msff.skeleton import CANONICAL_FROM_RHD, JOINTS, JOINTS_PER_HAND

METRES_BELOW = 10.0  # a wrist nearer than 10 mm is a wrist in metres
REMEDY = "unpack RHD.annotations.zip of InterNet's release into the folder that holds training/ and evaluation/"
SLOT = {"left": slice(0, JOINTS_PER_HAND), "right": slice(JOINTS_PER_HAND, JOINTS)}  # InterNet's, of RHD's 42


INT64, PIXELS = interhand_json.INT64, interhand_json.PIXELS


class _Camera(msgspec.Struct):
    focal: tuple[float, float]
    princpt: tuple[float, float]


class _Image(msgspec.Struct):
    id: INT64
    file_name: str
    width: PIXELS
    height: PIXELS
    cam_param: _Camera


class _Annotation(msgspec.Struct):
    id: INT64
    image_id: INT64
    bbox: tuple[float, float, float, float]
    joint_img: list[list[float]]
    joint_cam: list[list[float]]
    joint_valid: list[float]
    hand_type: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]


def read_rhd_json(root: Path, split: str) -> list[HandSample]:
    """One sample per annotation of ``split`` ("training" or "evaluation"), in the file's order.

    ``sample_id`` is the image's number and the side, as one image may show both hands.
    """
    if split not in SPLITS:
        raise DataError(f"unknown RHD split {split!r}; expected one of {', '.join(SPLITS)}")
    folder = rhd_root(require_folder(Path(root), "RHD", REMEDY))
    path = folder / f"RHD_{split}.json"
    file = _decode(path, split)
    for kind, entries in (("image", file.images), ("annotation", file.annotations)):
        twice = [i for i, count in Counter(entry.id for entry in entries).items() if count > 1]
        if twice:
            raise DataError(f"{path}: {kind} id {twice[0]} occurs twice; {again(path)}")
    images = {image.id: image for image in file.images}
    for annotation in file.annotations:
        if annotation.image_id not in images:
            raise DataError(
                f"{path}: annotation {annotation.id} belongs to image {annotation.image_id}, which the file does not "
                f"list; {again(path)}"
            )
    colour = folder / split / "color"
    pairs = [(annotation, images[annotation.image_id]) for annotation in file.annotations]
    require_files(colour, {image.file_name for _, image in pairs}, f"color images of {split}", again(colour))
    _check_sizes(path, colour, pairs)
    return [_sample(path, colour, *pair) for pair in pairs]


def _check_sizes(path: Path, colour: Path, pairs: list[tuple[_Annotation, _Image]]) -> None:
    """DataError if an image's header gives another size than its entry."""
    with ThreadPoolExecutor(WORKERS) as pool:
        stored = pool.map(lambda pair: stored_size(colour / pair[1].file_name), pairs)
    for (annotation, image), size in zip(pairs, stored, strict=True):
        if size != (image.width, image.height):
            raise DataError(
                f"{path}: annotation {annotation.id} ({image.file_name}): expected an image of {image.width}x"
                f"{image.height} px as annotated, found {size[0]}x{size[1]}; {again(path)}"
            )


def _decode(path: Path, split: str) -> _File:
    require_file(path, f"InterNet's annotations of {split}", REMEDY)
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not as InterNet's RHD files are: {error}. {sentence(REMEDY)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole JSON file ({error}); {again(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    for image in file.images:
        check_relative(image.file_name, f"{path}: image {image.id}")
    if not file.annotations:
        raise DataError(f"{path}: no sample; expected at least one annotation. {sentence(REMEDY)}")
    return file


def _sample(path: Path, colour: Path, annotation: _Annotation, image: _Image) -> HandSample:
    where = f"{path}: annotation {annotation.id} ({image.file_name})"
    if annotation.hand_type not in SLOT:
        raise DataError(f"{where}: hand_type must be right or left, found {annotation.hand_type!r}. {sentence(REMEDY)}")
    hand_px = _array(annotation.joint_img, (JOINTS_PER_HAND, 2), "joint_img", where)
    hand_mm = _array(annotation.joint_cam, (JOINTS_PER_HAND, 3), "joint_cam", where)
    hand_valid = _array(annotation.joint_valid, (JOINTS_PER_HAND,), "joint_valid", where) > 0
    if not (hand_mm[hand_valid, 2] > METRES_BELOW).all():
        raise DataError(
            f"{where}: joints lie behind the camera, or are in metres where millimetres belong. {sentence(REMEDY)}"
        )
    if not min(annotation.bbox[2:]) > 0:
        raise DataError(
            f"{where}: expected a box x, y, w, h of positive size, found {annotation.bbox}. {sentence(REMEDY)}"
        )
    slot = SLOT[annotation.hand_type]
    rhd_mm, rhd_px, rhd_valid = np.zeros((JOINTS, 3)), np.zeros((JOINTS, 2)), np.zeros(JOINTS, dtype=bool)
    rhd_mm[slot], rhd_px[slot], rhd_valid[slot] = hand_mm, hand_px, hand_valid
    valid = rhd_valid[CANONICAL_FROM_RHD]  # (42,)
    (fx, fy), (cx, cy) = image.cam_param.focal, image.cam_param.princpt
    return HandSample(
        sample_id=f"{Path(image.file_name).stem}-{annotation.hand_type}",
        image_path=colour / image.file_name,
        image_size=(image.width, image.height),
        joints_cam_mm=np.where(valid[:, None], rhd_mm[CANONICAL_FROM_RHD], 0.0),
        joints_image_px=np.where(valid[:, None], rhd_px[CANONICAL_FROM_RHD], 0.0),
        joint_valid=valid,
        joint_visible=None,
        intrinsics=check_intrinsics([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], where),
        box=np.array(annotation.bbox),
        hand_type=annotation.hand_type,
        meta={"split": path.stem.removeprefix("RHD_"), "annotation_id": annotation.id, "image_id": annotation.image_id},
    )


def _array(numbers: list, shape: tuple[int, ...], name: str, where: str) -> np.ndarray:
    try:
        array = np.array(numbers, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: {name} is ragged ({error}). {sentence(REMEDY)}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(f"{where}: expected finite {name} of shape {shape}, found {array.shape}. {sentence(REMEDY)}")
    return array
