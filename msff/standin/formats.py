"""The two official layouts on disk: which files, which units, which order."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from msff.files import listing_digest
from msff.skeleton import JOINTS, RHD_FROM_CANONICAL
from msff.standin import layouts

PARTS = "annotations.partial"  # per-image annotations while the set is unfinished; each marks its image as whole
STANDIN_MARK = "msff stand-in, rendered, not photographs"
SIZES = (96, 1024)  # px: at 96 a typical hand is about 40 px wide and a finger 4; below, no finger can be made out
_RHD_FILES = ("{0}/anno_{0}.pickle",)  # annotations of a split
_INTERHAND_FILES = tuple(f"annotations/{{0}}/InterHand2.6M_{{0}}_{n}.json" for n in ("data", "camera", "joint_3d"))
_DEPTH_RANGE_M = 5.0
_JPEG_QUALITY = 92
_PNG_LEVEL = 1  # quick; the default level is four times slower for 10 % smaller files


@dataclass(frozen=True)
class Request:
    """The identity of a stand-in dataset to be rendered, and the device."""

    dataset: str
    generator_version: int
    seed: int
    train: int
    test: int
    size: int
    device: str = field(default="cpu", compare=False)  # decides no more than grey levels, as the processor does

    def __post_init__(self):
        if self.dataset not in DATASETS:
            raise ValueError(f"unknown stand-in {self.dataset!r}; known: {', '.join(DATASETS)}")
        for name in ("train", "test"):
            count = getattr(self, name)
            if count < 1:
                raise ValueError(f"{name} must be at least 1 image, got {count}")
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise ValueError(
                f"size must lie in {SIZES[0]}..{SIZES[1]} px, got {self.size}: in smaller frames no finger can be made "
                "out; the official frames are 320 px (RHD) and 512 px wide (InterHand2.6M)"
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    def identity(self) -> dict:
        """What the manifest keeps, and what an equal dataset has to agree in."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


def part_path(root: Path, split: str, index: int) -> Path:
    return root / PARTS / f"{split}_{index:07d}.npz"


def write_whole(path: Path, write: Callable) -> None:
    """Write a file so that it is whole or absent: ``write`` (a binary stream) to a temporary name, then rename.

    Its bytes are on the disk before it has its name, so that this holds of a power cut too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: dict) -> None:
    write_whole(path, lambda stream: stream.write(json.dumps(value, separators=(",", ":")).encode()))


def _png(array: np.ndarray) -> bytes:
    return _encoded(array, format="PNG", compress_level=_PNG_LEVEL)


def _jpeg(array: np.ndarray) -> bytes:
    return _encoded(array, format="JPEG", quality=_JPEG_QUALITY)


def _encoded(array: np.ndarray, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, **how)
    return stream.getvalue()


def save_images(root: Path, images: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Write encoded images under their names in ``root``; returns names and SHA-256 for the part of their scene."""
    for name, data in images.items():
        write_whole(root / name, lambda stream, data=data: stream.write(data))
    digests = [hashlib.sha256(data).hexdigest() for data in images.values()]
    return {"files": np.array(list(images)), "sha256": np.array(digests)}


def images_digest(root: Path, split: str, count: int) -> str:
    """`listing_digest` of a split's images from the parts, which keep each image's hash: no image is read again."""
    listed: list[tuple[str, str]] = []
    for i in range(count):
        with np.load(part_path(root, split, i)) as part:
            listed += zip(part["files"].tolist(), part["sha256"].tolist(), strict=True)
    return listing_digest(listed)


def settled(values, decimals: int) -> np.ndarray:
    """float64, rounded and without negative zeros: the last bits of a sum differ between processors."""
    return np.round(np.asarray(values, np.float64), decimals) + 0.0


def save_part(root: Path, split: str, index: int, arrays: dict[str, np.ndarray]) -> None:
    write_whole(part_path(root, split, index), lambda stream: np.savez(stream, **arrays))


def encode_depth(depth_mm: np.ndarray) -> np.ndarray:
    """RHD's depth coding: (H, W) mm -> (H, W, 3) uint8, high byte, low byte, 0; 65535 stands for 5 m and beyond.

    Pixels without a hand (0) are coded as the far plane.
    """
    metres = np.where(depth_mm > 0, depth_mm / 1000, _DEPTH_RANGE_M)
    code = np.clip(np.rint(metres / _DEPTH_RANGE_M * 65535), 0, 65535).astype(np.uint16)
    return np.stack([code >> 8, code & 255, np.zeros_like(code)], -1).astype(np.uint8)


def _rhd_write(root: Path, split: str, indices: list[int], request: Request) -> None:
    batch = layouts.rhd_scenes(request.seed, split, indices, request.size, request.device).cpu()
    for i, index in enumerate(indices):
        uv = np.concatenate([settled(batch.joints_px[i].numpy(), 4), batch.visible[i, :, None].numpy()], 1)
        arrays = {
            "uv_vis": uv[RHD_FROM_CANONICAL], "K": settled(batch.intrinsics[i].numpy(), 6),
            "xyz": settled(batch.joints_cam_mm[i].numpy()[RHD_FROM_CANONICAL] / 1000, 7),
        }  # fmt: skip
        pictures = (
            batch.images[i].permute(1, 2, 0).numpy(), batch.mask[i].numpy(), encode_depth(batch.depth_mm[i].numpy()),
        )  # fmt: skip
        named = dict(zip(_rhd_names(split, index), map(_png, pictures), strict=True))
        save_part(root, split, index, arrays | save_images(root, named))


def _rhd_names(split: str, index: int) -> list[str]:
    return [f"{split}/{kind}/{index:05d}.png" for kind in ("color", "mask", "depth")]


def _rhd_annotate(root: Path, split: str, count: int, _request: Request) -> list[Path]:
    """anno_<split>.pickle: {id: {uv_vis (42, 3), xyz (42, 3) m, K (3, 3)}} in RHD's joint order."""
    table = {}
    for i in range(count):
        with np.load(part_path(root, split, i)) as part:
            table[i] = {k: part[k] for k in ("uv_vis", "xyz", "K")}
    path = root / _RHD_FILES[0].format(split)
    write_whole(path, lambda stream: pickle.dump(table, stream, protocol=4))
    return [path]


def _height(request: Request) -> int:
    return round(request.size * layouts.INTERHAND_HEIGHT / layouts.INTERHAND_WIDTH)


def _studio_name(key: layouts.StudioKey, camera: int, hand_type: str) -> str:
    name = "Interaction" if hand_type == "interacting" else f"{hand_type.capitalize()}_Hand"
    sequence = f"ROM{key.sequence:02d}_{name}"
    return f"Capture{key.capture}/{sequence}/cam{_camera_id(camera)}/image{key.frame:05d}.jpg"


def _camera_id(camera: int) -> str:
    return str(400000 + 7 * camera + (10000 if camera in layouts.GREY_CAMERAS else 0))


def _interhand_write(root: Path, split: str, indices: list[int], request: Request) -> None:
    frames = layouts.interhand_frames(
        request.seed, split, indices, request.size, _height(request), request.device
    )  # fmt: skip
    batch, world, valid = frames.batch.cpu(), frames.world_mm.cpu(), frames.joint_valid.cpu()
    for i, key in enumerate(frames.keys):
        right, left = batch.side_present[i].tolist()
        hand_type = "interacting" if right and left else "right" if right else "left"
        name = _studio_name(key, frames.cameras[i], hand_type)
        arrays = {
            "px": batch.joints_px[i].numpy(), "world": world[i].numpy(), "valid": valid[i].numpy(),
            "name": np.array(name), "hand_type": np.array(hand_type), "camera": np.array(frames.cameras[i]),
        }  # fmt: skip
        picture = _jpeg(batch.images[i].permute(1, 2, 0).numpy())
        save_part(root, split, key.index, arrays | save_images(root, {f"images/{split}/{name}": picture}))


def _interhand_annotate(root: Path, split: str, count: int, request: Request) -> list[Path]:
    """The three v1.0 annotation files of a split; COCO's "info" marks them as rendered."""
    made = {key: getattr(request, key) for key in ("dataset", "generator_version", "seed")}
    data: dict = {"info": {"description": STANDIN_MARK} | made, "images": [], "annotations": []}
    joints: dict = {}
    for i in range(count):
        with np.load(part_path(root, split, i)) as part:
            record = {k: part[k] for k in part.files}
        image, annotation = _coco(i, record, request)
        data["images"].append(image)
        data["annotations"].append(annotation)
        joints.setdefault(str(image["capture"]), {})[str(image["frame_idx"])] = {
            "world_coord": settled(record["world"], 5).tolist(),
            "joint_valid": record["valid"].astype(int)[:, None].tolist(),
            "hand_type": annotation["hand_type"], "hand_type_valid": 1, "seq": image["seq_name"],
        }  # fmt: skip
    cameras = {capture: _camera_json(request, split, int(capture)) for capture in joints}
    paths = [root / name.format(split) for name in _INTERHAND_FILES]
    for path, value in zip(paths, (data, cameras, joints), strict=True):
        write_json(path, value)
    return paths


def _coco(index: int, record: dict, request: Request) -> tuple[dict, dict]:
    key, name = layouts.StudioKey.of(index), str(record["name"])
    hand_type = str(record["hand_type"])
    present = np.repeat([hand_type != "left", hand_type != "right"], JOINTS // 2)
    low, high = record["px"][present].min(0), record["px"][present].max(0)
    margin = 0.06 * (high - low).max()  # the official boxes hold the hand, not only its joints
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, [request.size - 1, _height(request) - 1])
    image = {
        "id": index, "file_name": name, "width": request.size, "height": _height(request), "capture": key.capture,
        "subject": key.capture, "seq_name": name.split("/")[1], "camera": _camera_id(int(record["camera"])),
        "frame_idx": key.frame,
    }  # fmt: skip
    annotation = {
        "id": index, "image_id": index, "bbox": settled([*low, *(high - low)], 3).tolist(),
        "joint_valid": record["valid"].astype(int)[:, None].tolist(), "hand_type": hand_type, "hand_type_valid": 1,
    }  # fmt: skip
    return image, annotation


def _camera_json(request: Request, split: str, capture: int) -> dict:
    rig = layouts.rig_of(request.seed, split, capture)
    result: dict = {"campos": {}, "camrot": {}, "focal": {}, "princpt": {}}
    for c in range(layouts.CAMERAS):
        k = layouts.rig_intrinsics(rig, c, request.size, _height(request))
        values = {
            "campos": (rig.position[c], 5), "camrot": (rig.rotation[c], 9), "focal": (k.diagonal()[:2], 6),
            "princpt": (k[:2, 2], 6),
        }  # fmt: skip
        for name, (value, decimals) in values.items():
            result[name][_camera_id(c)] = settled(value, decimals).tolist()
    return result


@dataclass(frozen=True)
class Layout:
    """How one official layout is written."""

    size: int  # px: frame side, or width
    height: float  # of a frame, in widths
    splits: tuple[str, str]
    bytes_per_px: float  # on disk, measured, with some margin
    write: Callable[[Path, str, list[int], Request], None]  # renders images and their parts
    annotate: Callable[[Path, str, int, Request], list[Path]]  # writes the annotation files from the parts


DATASETS = {
    "standin-rhd": Layout(
        layouts.RHD_SIZE, 1.0, ("training", "evaluation"), 3.2, _rhd_write, _rhd_annotate
    ),
    "standin-interhand": Layout(
        layouts.INTERHAND_WIDTH, layouts.INTERHAND_HEIGHT / layouts.INTERHAND_WIDTH, ("train", "test"), 0.4,
        _interhand_write, _interhand_annotate,
    ),
}  # fmt: skip
