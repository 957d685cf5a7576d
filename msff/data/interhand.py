"""InterHand2.6M as published (Moon et al., ECCV 2020): three JSON files per split and the images; read only.

v1.0 keeps annotations/{train,val,test}/, v0.0 annotations/{all,human_annot,machine_annot}/ with bare 42x3 joints.
Its joint order is the canonical one. World to camera: R (world - campos), as in the InterNet code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from msff.camera import project
from msff.data.files import DOWNLOAD_AGAIN, check_intrinsics, read_json, require_files, require_folder
from msff.data.sample import DataError, HandSample
from msff.skeleton import HAND_SLICE, JOINTS, ROOTS

SPLITS = ("train", "val", "test")
PUBLISHED_COUNTS = {"train": 1361062, "val": 380125, "test": 849160}  # v1.0, H+M (the data set's home page)
V0_FOLDERS = ("all", "human_annot", "machine_annot")
IMAGE_KEYS = {"id", "file_name", "width", "height", "capture", "camera", "frame_idx"}
ANNOTATION_KEYS = {"id", "image_id", "bbox", "joint_valid", "hand_type"}
REMEDY = (
    "unpack InterHand2.6M's annotations/ and images/ there, or render the stand-in with "
    "`msff data make standin-interhand`"
)


def annotation_folder(root: Path, split: str) -> tuple[Path, str]:
    """Folder of a split's JSON files, and the dataset version that this layout means."""
    if split not in SPLITS:
        raise DataError(f"unknown InterHand2.6M split {split!r}; expected one of {', '.join(SPLITS)}")
    require_folder(Path(root), "InterHand2.6M", REMEDY)
    annotations = require_folder(Path(root) / "annotations", "InterHand2.6M's annotations", REMEDY)
    for name in V0_FOLDERS:
        if not (annotations / split).is_dir() and (annotations / name / f"InterHand2.6M_{split}_data.json").is_file():
            return annotations / name, "v0.0"
    return require_folder(annotations / split, f"the annotations of {split}", REMEDY), "v1.0"


def read_interhand(root: Path, split: str) -> list[HandSample]:
    """Samples of ``split`` ("train", "val" or "test") in annotation order, single and interacting hands alike.

    A hand whose wrist is not valid has no valid joint, as its root-relative pose is unknown (InterNet code).
    Visibility is not annotated: ``joint_visible`` is None.
    """
    folder, version = annotation_folder(root, split)
    content = {
        kind: read_json(folder / f"InterHand2.6M_{split}_{kind}.json", f"the {kind} file of {split}", REMEDY)
        for kind in ("data", "camera", "joint_3d")
    }
    path = folder / f"InterHand2.6M_{split}_data.json"
    images, annotations = _index(path, content["data"])
    image_folder = require_folder(Path(root) / "images" / split, f"the images of {split}", REMEDY)
    require_files(
        [image_folder / images[a["image_id"]]["file_name"] for a in annotations], f"images of {split}", DOWNLOAD_AGAIN
    )
    cameras = _Cameras(folder / f"InterHand2.6M_{split}_camera.json", content["camera"])
    joints = _Joints(folder / f"InterHand2.6M_{split}_joint_3d.json", content["joint_3d"])
    return [_read_sample(a, images[a["image_id"]], image_folder, cameras, joints, version, path) for a in annotations]


def annotated_images(root: Path, split: str) -> set[str]:
    """File names, relative to images/<split>/, of the images that have an annotation."""
    folder, _ = annotation_folder(root, split)
    path = folder / f"InterHand2.6M_{split}_data.json"
    images, annotations = _index(path, read_json(path, f"the data file of {split}", REMEDY))
    return {images[a["image_id"]]["file_name"] for a in annotations}


def _index(path: Path, data: dict) -> tuple[dict[int, dict], list[dict]]:
    """{image id: image}, annotations; checked."""
    for key in ("images", "annotations"):
        if not isinstance(data.get(key), list):
            raise DataError(f"{path}: expected a list {key!r}, found {type(data.get(key)).__name__}; {DOWNLOAD_AGAIN}")
    if not data["annotations"]:
        raise DataError(f"{path}: no sample; expected at least one annotation. {REMEDY}")
    for kind, keys in (("images", IMAGE_KEYS), ("annotations", ANNOTATION_KEYS)):
        for entry in data[kind]:
            if not keys <= entry.keys():
                raise DataError(f"{path}: {kind} entry {entry.get('id')} lacks {sorted(keys - entry.keys())}; {REMEDY}")
    images = {image["id"]: image for image in data["images"]}
    for annotation in data["annotations"]:
        if annotation["image_id"] not in images:
            raise DataError(
                f"{path}: annotation {annotation['id']} belongs to image {annotation['image_id']}, which the file does "
                f"not list; {DOWNLOAD_AGAIN}"
            )
    return images, data["annotations"]


class _Cameras:
    """camera.json: {capture: {campos, camrot, focal, princpt: {camera: ...}}}."""

    def __init__(self, path: Path, content: dict):
        self._path, self._content, self._known = path, content, {}

    def get(self, capture: str, camera: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotation (3, 3), position (3,) mm in the world, intrinsics (3, 3) px."""
        if (capture, camera) not in self._known:
            self._known[capture, camera] = self._read(capture, camera)
        return self._known[capture, camera]

    def _read(self, capture: str, camera: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        where = f"{self._path}: camera {camera} of capture {capture}"
        try:
            entry = {k: self._content[capture][k][camera] for k in ("camrot", "campos", "focal", "princpt")}
        except KeyError as error:
            raise DataError(f"{where}: nothing under {error}; images and cameras are of different versions") from error
        rotation, position = np.array(entry["camrot"], dtype=np.float64), np.array(entry["campos"], dtype=np.float64)
        if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise DataError(f"{where}: camrot is not a 3x3 rotation: {rotation.tolist()}. Fetch the official file")
        (fx, fy), (cx, cy) = entry["focal"], entry["princpt"]
        return rotation, position, check_intrinsics([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], where)


class _Joints:
    """joint_3d.json: {capture: {frame: {world_coord: 42x3 mm}}}, or the bare 42x3 of v0.0."""

    def __init__(self, path: Path, content: dict):
        self._path, self._content = path, content

    def get(self, capture: str, frame: str) -> np.ndarray:
        """(42, 3) float64 mm, world frame."""
        where = f"{self._path}: frame {frame} of capture {capture}"
        try:
            entry = self._content[capture][frame]
        except KeyError as error:
            raise DataError(f"{where}: not in the file; images and joints are of different versions") from error
        world_mm = np.array(entry["world_coord"] if isinstance(entry, dict) else entry, dtype=np.float64)
        if world_mm.shape != (JOINTS, 3):
            raise DataError(f"{where}: expected 42x3 joints, found {world_mm.shape}. Fetch the official file")
        return world_mm


def own_wrist_valid(joint_valid: np.ndarray) -> np.ndarray:
    """(42,) bool -> (42,) bool: False throughout a hand whose wrist is not valid."""
    result = np.array(joint_valid, dtype=bool)
    for side, own in HAND_SLICE.items():
        result[own] &= result[ROOTS[side]]
    return result


def _read_sample(annotation, image, image_folder, cameras, joints, version, path) -> HandSample:
    where = f"{path}: annotation {annotation['id']} ({image['file_name']})"
    capture, camera, frame = str(image["capture"]), str(image["camera"]), str(image["frame_idx"])
    rotation, position, intrinsics = cameras.get(capture, camera)
    valid = own_wrist_valid(_flags(annotation["joint_valid"], where))
    cam_mm = np.where(valid[:, None], (joints.get(capture, frame) - position) @ rotation.T, 0.0)  # (42, 3)
    if not np.isfinite(cam_mm).all():
        raise DataError(f"{where}: joints are NaN or infinite though marked valid. Fetch the official files")
    if (cam_mm[valid, 2] <= 0).any():
        raise DataError(f"{where}: valid joints lie behind camera {camera}; the files are of different versions")
    image_px = np.zeros((JOINTS, 2))
    image_px[valid] = project(torch.from_numpy(cam_mm[valid]), torch.from_numpy(intrinsics)).numpy()
    box = np.array(annotation["bbox"], dtype=np.float64)
    if box.shape != (4,) or not (box[2:] > 0).all():
        raise DataError(f"{where}: expected a box x, y, w, h with positive size, found {box.tolist()}")
    return HandSample(
        sample_id=str(Path(image["file_name"]).with_suffix("").as_posix()),
        image_path=image_folder / image["file_name"],
        image_size=(int(image["width"]), int(image["height"])),
        joints_cam_mm=cam_mm,
        joints_image_px=image_px,
        joint_valid=valid,
        joint_visible=None,
        intrinsics=intrinsics,
        box=box,
        hand_type=annotation["hand_type"],
        hand_type_valid=bool(annotation.get("hand_type_valid", True)),
        meta={
            "version": version, "annotation_id": annotation["id"], "capture": capture, "camera": camera,
            "frame": frame, "sequence": image.get("seq_name"), "subject": image.get("subject"),
        },
    )  # fmt: skip


def _flags(values, where: str) -> np.ndarray:
    """(42,) bool from 42 or 42x1 numbers."""
    flags = np.array(values, dtype=np.float64).reshape(-1)
    if flags.shape != (JOINTS,):
        raise DataError(f"{where}: expected 42 joint_valid flags, found {flags.size}. Fetch the official file")
    return flags > 0
