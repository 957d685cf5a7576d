"""Writes tiny folders in the two official on-disk formats, from random joints and images, for tests of the readers.

Nothing here is imported from the package: the formats are spelt out a second time, so that a test can disagree.
"""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

RHD_FOCAL, RHD_SIZE = 283.1, 320


def random_hand(rng: np.random.Generator, centre_m) -> np.ndarray:
    """(21, 3) metres: joints scattered within 8 cm of a centre."""
    return np.asarray(centre_m) + rng.uniform(-0.08, 0.08, (21, 3))


def random_image(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3), smooth enough to resample."""
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@dataclass
class Rhd:
    """One RHD split as it stands on disk."""

    folder: Path
    annotations: dict
    masks: list[np.ndarray]
    images: list[np.ndarray]

    @property
    def pickle_path(self) -> Path:
        return self.folder / f"anno_{self.folder.name}.pickle"

    def write_pickle(self, protocol: int = 2) -> None:
        self.pickle_path.write_bytes(pickle.dumps(self.annotations, protocol=protocol))


def write_rhd(root: Path, split: str, count: int = 4, seed: int = 0, size: int = RHD_SIZE, standin=None) -> Rhd:
    """Even samples show more of the right hand, odd ones of the left. Left 0-20, right 21-41, wrist first, metres."""
    rng = np.random.default_rng(seed)
    folder = root / split
    for kind in ("color", "mask", "depth"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    focal = RHD_FOCAL * size / RHD_SIZE
    k = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=np.float32)
    result = Rhd(folder, {}, [], [])
    for i in range(count):
        xyz = np.concatenate([random_hand(rng, (-0.1, 0, 0.7)), random_hand(rng, (0.1, 0, 0.6))]).astype(np.float32)
        homogeneous = xyz.astype(np.float64) @ k.T.astype(np.float64)
        uv = homogeneous[:, :2] / homogeneous[:, 2:]
        visible = rng.integers(0, 2, 42)
        visible[[0, 21]] = 1
        mask = np.zeros((size, size), np.uint8)
        reach = (12, 20) if i % 2 == 0 else (20, 12)  # half sizes of the left and right blob
        for hand, (label, half) in enumerate(zip((17, 33), reach, strict=True)):
            x, y = uv[21 * hand].round().astype(int)
            mask[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = label
        image = random_image(rng, size, size)
        Image.fromarray(image).save(folder / "color" / f"{i:05d}.png")
        for hand, label in ((0, 5), (1, 21)):  # a visible joint shows a pixel of its hand
            seen = uv[21 * hand : 21 * hand + 21][visible[21 * hand : 21 * hand + 21] == 1].round().astype(int)
            seen = seen[((seen >= 0) & (seen < size)).all(1)]
            mask[seen[:, 1], seen[:, 0]] = label
        Image.fromarray(mask).save(folder / "mask" / f"{i:05d}.png")
        code = np.full((size, size), round(0.65 / 5 * 65535))
        depth = np.stack([code >> 8, code & 255, np.zeros_like(code)], -1).astype(np.uint8)
        Image.fromarray(depth).save(folder / "depth" / f"{i:05d}.png")
        uv_vis = np.column_stack([uv, visible]).astype(np.float32)
        result.annotations[i] = {"K": k, "uv_vis": uv_vis, "xyz": xyz}
        result.masks.append(mask)
        result.images.append(image)
    result.write_pickle()
    if standin:
        (root / "standin.json").write_text(json.dumps({"dataset": standin, "generator_version": 1}))
    return result


@dataclass
class InterHand:
    """One InterHand2.6M split as it stands on disk."""

    root: Path
    split: str
    version: str
    data: dict
    camera: dict
    joint_3d: dict
    subset: str = "all"  # v0.0's folder: all, human_annot, machine_annot

    def path(self, kind: str) -> Path:
        folder = self.split if self.version == "v1.0" else self.subset
        return self.root / "annotations" / folder / f"InterHand2.6M_{self.split}_{kind}.json"

    def image_path(self, position: int) -> Path:
        return self.root / "images" / self.split / self.data["images"][position]["file_name"]

    def write(self) -> None:
        for kind in ("data", "camera", "joint_3d"):
            self.path(kind).parent.mkdir(parents=True, exist_ok=True)
            self.path(kind).write_text(json.dumps(getattr(self, kind)))


def _look(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A camera 900 mm from the world's origin that looks at it: rotation (3, 3), position (3,)."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return rotation, rotation.T @ [0.0, 0.0, -900.0]


def write_interhand(
    root: Path, split: str, frames: int = 3, seed: int = 0, version: str = "v1.0", standin=None, subset: str = "all"
) -> InterHand:
    """``frames`` x 2 cameras (one landscape, one portrait); hand types right, left, interacting in turn."""
    rng = np.random.default_rng(seed)
    sizes = {"400262": (512, 334), "400263": (334, 512)}
    camera: dict = {"campos": {}, "camrot": {}, "focal": {}, "princpt": {}}
    for name, (width, height) in sizes.items():
        rotation, position = _look(rng)
        camera["campos"][name], camera["camrot"][name] = position.tolist(), rotation.tolist()
        camera["focal"][name], camera["princpt"][name] = [1260.0, 1255.0], [width / 2 - 3, height / 2 + 5]
    result = InterHand(root, split, version, {"images": [], "annotations": []}, {"0": camera}, {"0": {}}, subset)
    for frame in range(frames):
        world_mm = 1000 * random_hand(rng, (0, 0, 0)), 1000 * random_hand(rng, (0, 0, 0))
        valid = np.ones(42, int)
        hand_type = ("right", "left", "interacting")[frame % 3]
        if hand_type != "interacting":
            valid[21:] = hand_type == "left"
            valid[:21] = hand_type == "right"
        frame_idx = 100 + 6 * frame
        world = np.concatenate(world_mm).tolist()
        entry = {"world_coord": world, "joint_valid": valid.reshape(42, 1).tolist(), "hand_type": hand_type}
        result.joint_3d["0"][str(frame_idx)] = entry if version == "v1.0" else world
        for name, (width, height) in sizes.items():
            index = len(result.data["images"])
            file_name = f"Capture0/ROM01/cam{name}/image{frame_idx}.jpg"
            path = root / "images" / split / file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random_image(rng, width, height)).save(path, quality=95)
            result.data["images"].append({
                "id": index, "file_name": file_name, "width": width, "height": height, "capture": 0, "subject": 7,
                "seq_name": "ROM01", "camera": name, "frame_idx": frame_idx,
            })  # fmt: skip
            result.data["annotations"].append({
                "id": 1000 + index, "image_id": index, "bbox": [60.5, 70.0, 150.0, 110.0],
                "joint_valid": valid.tolist(), "hand_type": hand_type, "hand_type_valid": 1,
            })  # fmt: skip
    result.write()
    if standin:
        (root / "standin.json").write_text(json.dumps({"dataset": standin, "generator_version": 1}))
    return result


def write_realworld(root: Path, count: int = 3, seed: int = 0) -> tuple[dict, np.ndarray]:
    """params.mat, pose_gt.mat and photos: a flat left hand 45 cm away, seen by a 1280x720 camera; returns both."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    pose_cm = np.zeros((count, 21, 3), np.float32)
    for finger, x in enumerate((-6, -3, 0, 3, 5)):  # thumb left of the palm, which faces the camera
        for joint in range(4):  # base to tip, bending towards the camera
            pose_cm[:, 1 + 4 * finger + joint] = x, -6 - 2 * joint, -0.5 * joint
    pose_cm += np.array([0, 6, 45], np.float32) + rng.uniform(-1, 1, (count, 1, 3)).astype(np.float32)
    params = {
        "image_path": np.array([f"images/{i:05d}.jpg" for i in range(count)]),
        "cam_param": np.tile([923.6, 923.7, 640.0, 362.3], (count, 1)),
        "bbox": np.tile(np.array([440, 160, 400, 400], np.int32), (count, 1)),
        "pose_root": pose_cm[:, 0], "pose_scale": np.full((1, count), 5, np.uint8),
    }  # fmt: skip
    for name in params["image_path"]:
        Image.fromarray(random_image(rng, 256, 256)).save(root / name)
    scipy.io.savemat(root / "params.mat", params)
    scipy.io.savemat(root / "pose_gt.mat", {"pose_gt": pose_cm})
    return params, pose_cm


def real_photos() -> Path:
    """The folder with real photos: MSFF_REALWORLD, or shared/data/realworld-98 beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "realworld-98"
    folder = Path(os.environ.get("MSFF_REALWORLD", beside))
    if not (folder / "params.mat").is_file():
        pytest.skip(
            "needs photos of the real-world test set: set MSFF_REALWORLD to their folder (msff/data/realworld.py)"
        )
    return folder
