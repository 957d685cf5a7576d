"""Rendered Hand Pose Dataset v1.1 as published (Zimmermann & Brox, ICCV 2017): folders, pickle, masks; read only.

One hand per image is used, the dominant one: left if the mask shows more left than right pixels, else right
(the rule of Zimmermann & Brox's and Spurr et al.'s evaluation code). Metres become millimetres and RHD's joint order
the canonical one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from msff.data.images import WORKERS, decode_image, stored_size
from msff.data.reading import (
    FETCH,
    again,
    check,
    check_intrinsics,
    numbers,
    read_pickle,
    require_files,
    require_folder,
    sentence,
)
from msff.data.sample import DataError, HandSample
from msff.skeleton import CANONICAL_FROM_RHD, HAND_SLICE, JOINTS, MASK_OF_SIDE, MIDDLE_MCP

SPLITS = ("training", "evaluation")
PUBLISHED_COUNTS = {"training": 41258, "evaluation": 2728}
ARCHIVE_ROOT = "RHD_published_v2"
DEPTH_RANGE_MM = 5000.0
LABELS = 34  # mask labels 0..33
FALLBACK_SHARE = 200 / 320  # of the image width: Zimmermann & Brox crop 200 of 320 px where no joint is visible
REMEDY = "unpack RHD_v1-1.zip (RHD_published_v2) there, or render the stand-in with `msff data make standin-rhd`"


def rhd_root(root: Path) -> Path:
    """Return the folder that holds training/ and evaluation/: ``root`` or the archive's folder inside it."""
    root = Path(root)
    return root / ARCHIVE_ROOT if check(Path.is_dir, root / ARCHIVE_ROOT) else root


def read_rhd(root: Path, split: str) -> list[HandSample]:
    """Return the samples of ``split`` ("training" or "evaluation") in ascending id.

    Training samples whose chosen hand has no visible joint are left out; evaluation keeps them, with
    ``meta["no_visible_joint"]``, and a box about the middle finger's base if nothing of the hand is visible.
    """
    records = read_annotations(root, split)
    folder = rhd_root(root) / split
    names = [f"{i:05d}.png" for i in sorted(records)]
    for kind in ("color", "mask"):
        require_files(folder / kind, names, f"{kind} images of {split}", again(folder / kind))
    samples, errors = read_each(root, split, records)
    if errors:
        raise errors[0]
    if not samples:
        raise DataError(f"{folder}: no sample left whose hand is visible; expected at least one. {sentence(REMEDY)}")
    return samples


def read_each(root: Path, split: str, records: dict[int, dict]) -> tuple[list[HandSample], list[DataError]]:
    """Return the samples of those ``records`` of ``read_annotations`` that are sound, and the errors of the others.

    Their images must exist; training samples without visible joint are left out.
    """
    folder = rhd_root(root) / split

    def attempt(index: int) -> HandSample | DataError:
        try:
            return _read_sample(folder, index, records[index])
        except DataError as error:
            return error

    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(attempt, sorted(records)))
    samples = [r for r in results if isinstance(r, HandSample)]
    if split == "training":
        samples = [s for s in samples if not s.meta["no_visible_joint"]]
    return samples, [r for r in results if isinstance(r, DataError)]


def read_annotations(root: Path, split: str) -> dict[int, dict]:
    """Return a split's pickle: {id: {uv_vis (42, 3), xyz (42, 3) m, K (3, 3)}}, checked and otherwise as published."""
    if split not in SPLITS:
        raise DataError(f"unknown RHD split {split!r}; expected one of {', '.join(SPLITS)}")
    require_folder(Path(root), "RHD", REMEDY)
    folder = require_folder(rhd_root(root) / split, f"RHD's {split} split", REMEDY)
    path = folder / f"anno_{split}.pickle"
    records = read_pickle(path, f"the annotations of {split}", REMEDY)
    if not isinstance(records, dict) or not records:
        found = "no sample" if records == {} else f"a {type(records).__name__}"
        raise DataError(f"{path}: expected a dict of samples, found {found}; {again(path)}")
    for index, record in records.items():
        _check_record(f"{path}: sample {index}", index, record, again(path, FETCH))
    return records


def _check_record(where: str, index: int, record: dict, remedy: str) -> None:
    is_id = isinstance(index, (int, np.integer)) and not isinstance(index, bool) and index >= 0
    if not is_id or not isinstance(record, dict):
        expected = "expected an id from 0 on and a dict of annotations"
        raise DataError(f"{where}: {expected}, found id {index!r}. {sentence(remedy)}")
    for key, shape in (("uv_vis", (42, 3)), ("xyz", (42, 3)), ("K", (3, 3))):
        if key not in record:
            raise DataError(f"{where}: expected {key} of shape {shape}, found nothing. {sentence(remedy)}")
        array = numbers(record[key], shape, where, key, remedy)
        if key == "uv_vis" and not np.isin(array[:, 2], (0, 1)).all():
            found = sorted({*array[:, 2].tolist()} - {0.0, 1.0})[0]
            raise DataError(f"{where}: uv_vis marks visibility by 0 or 1, found {found}. {sentence(remedy)}")
    check_intrinsics(record["K"], where, remedy)


def _read_sample(folder: Path, index: int, record: dict) -> HandSample:
    """Make the sample of one record and its mask."""
    mask_path, image_path = folder / "mask" / f"{index:05d}.png", folder / "color" / f"{index:05d}.png"
    mask = read_mask(mask_path, image_path)
    side = dominant_side(mask)
    own = HAND_SLICE[side]
    uv_vis = np.asarray(record["uv_vis"], dtype=np.float64)[CANONICAL_FROM_RHD]  # (42, 3)
    cam_mm = np.asarray(record["xyz"], dtype=np.float64)[CANONICAL_FROM_RHD] * 1000.0  # (42, 3) m -> mm
    chosen = np.zeros(JOINTS, dtype=bool)
    chosen[own] = True
    visible = chosen & (uv_vis[:, 2] == 1)
    path = folder / f"anno_{folder.name}.pickle"
    where, remedy = f"on its {side} hand", again(path, FETCH)
    if not np.isfinite(uv_vis[own]).all() or not np.isfinite(cam_mm[own]).all():
        raise DataError(f"{path}: sample {index} has NaN or infinite joints {where}; {remedy}")
    if visible.any() and not (cam_mm[own, 2] > 0).all():  # a hand outside the image may be anywhere
        raise DataError(f"{path}: sample {index} has joints behind the camera {where}; {remedy}")
    box, seen = hand_box(mask, side, uv_vis[own, :2], visible[own])
    return HandSample(
        sample_id=f"{index:05d}",
        image_path=image_path,
        image_size=(mask.shape[1], mask.shape[0]),
        joints_cam_mm=np.where(chosen[:, None], cam_mm, 0.0),
        joints_image_px=np.where(chosen[:, None], uv_vis[:, :2], 0.0),
        joint_valid=chosen,
        joint_visible=visible,
        intrinsics=np.asarray(record["K"], dtype=np.float64),
        box=box,
        hand_type=side,
        meta={"no_visible_joint": not visible.any(), "fallback_box": not seen},
    )


def read_mask(mask_path: Path, image_path: Path) -> np.ndarray:
    """Read (H, W) labels 0..33; DataError if they have another size than the colour image."""
    mask = decode_image(mask_path, mode=None)
    if mask.ndim != 2 or mask.max(initial=0) >= LABELS:
        found = f"found {mask.shape}, largest {mask.max()}"
        raise DataError(f"{mask_path}: expected one channel of labels 0..33, {found}; {again(mask_path)}")
    size = stored_size(image_path)
    if size != (mask.shape[1], mask.shape[0]):
        found = f"found {mask.shape[1]}x{mask.shape[0]}"
        raise DataError(
            f"{mask_path}: expected {size[0]}x{size[1]} px as its colour image has, {found}; {again(mask_path)}"
        )
    return mask


def read_depth_mm(path: Path) -> np.ndarray:
    """Read (H, W) float64 mm along the camera's axis, 0 to 5000, coded in the first two channels of a depth image."""
    code = decode_image(path, mode=None)
    if code.ndim != 3 or code.shape[2] < 3:
        raise DataError(f"{path}: expected a depth image of 3 or 4 channels, found {code.shape}; {again(path)}")
    return (code[..., 0].astype(np.int64) * 256 + code[..., 1]) / 65535 * DEPTH_RANGE_MM


def dominant_side(mask: np.ndarray) -> str:
    """Return "left" if the mask (H, W) has more left than right pixels, else "right", also for a tie or none."""
    counts = np.bincount(mask.ravel(), minlength=LABELS)
    left, right = (counts[list(MASK_OF_SIDE[s])].sum() for s in ("left", "right"))
    return "left" if left > right else "right"


def hand_box(mask: np.ndarray, side: str, hand_px: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the tight box (x, y, w, h) px of a hand's mask pixels and visible joints, and if it has any of them.

    ``mask`` (H, W) labels, ``hand_px`` (21, 2) px, ``visible`` (21,) bool. A pixel covers half a pixel either side of
    its centre. Without any the box is a square of 200/320 of the width about the middle finger's base, which is first
    moved into the image.
    """
    height, width = mask.shape
    labels = MASK_OF_SIDE[side]
    own = (mask >= labels.start) & (mask < labels.stop)
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    inside = visible & (hand_px >= -0.5).all(-1) & (hand_px <= [width - 0.5, height - 0.5]).all(-1)
    points = hand_px[inside]
    if len(rows):
        corners = [[columns[0] - 0.5, rows[0] - 0.5], [columns[-1] + 0.5, rows[-1] + 0.5]]
        points = np.concatenate([points, corners])
    if not len(points) or not (np.ptp(points, axis=0) > 0).all():
        side_px = FALLBACK_SHARE * width
        centre = np.clip(hand_px[MIDDLE_MCP], 0, [width - 1, height - 1])
        return np.array([*(centre - side_px / 2), side_px, side_px]), False
    low, high = points.min(0), points.max(0)
    return np.array([*low, *(high - low)]), True
