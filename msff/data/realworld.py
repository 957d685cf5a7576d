"""The real-world test set of Ge et al., CVPR 2019: 583 photos of one hand each, test only; read only.

Layout of the public repository's data/real_world_testset: images/NNNNN.jpg (256 px crops), params.mat (``image_path``;
``cam_param`` fx, fy, u0, v0 and ``bbox`` x, y, w, h of the crop, both in pixels of the uncropped photo; ``pose_root``,
the wrist; ``pose_scale``) and pose_gt.mat (``pose_gt`` N x 21 x 3 cm, camera frame; wrist first, then thumb to little
finger, each from base to tip). To get all of them (research and education only, see its LICENSE):

    git clone --depth 1 --filter=blob:none --sparse https://github.com/3d-hand-shape/hand-graph-cnn
    git -C hand-graph-cnn sparse-checkout set data/real_world_testset

What the files do not state, and how it is treated here (checked on every sixth photo, tests/data/test_realworld.py):

* Side: there is no such field. Every hand is taken for a left one: the fingers bend to the palm as only a left hand's
  do in all 98 photos examined (``bends_like_left``), and lettering in the background shows that none is mirrored.
* Pixels: the crop's, K is moved and scaled with it as in the repository's viewer; the 2D joints are projections.
* Box: the central 1/1.25 of the photo, so that the square crop 1.25 times as large is the photo as published, which is
  what Ge et al. put in. The joints span 0.67 to 0.80 of it. No annotation enters.
* Visibility is not annotated; all 21 joints are valid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from msff.camera import CROP_FACTOR
from msff.data.datasets import DATASETS
from msff.data.reading import (
    DOWNLOAD_AGAIN,
    check_intrinsics,
    check_relative,
    numbers,
    require_file,
    require_files,
    require_folder,
    sentence,
)
from msff.data.sample import DataError, HandSample
from msff.skeleton import (
    CANONICAL_FROM_REALWORLD,
    FINGER_BASES,
    FINGERTIPS,
    HAND_SLICE,
    JOINTS,
    JOINTS_PER_HAND,
    LITTLE_MCP,
    WRIST,
)

SPLITS = ("test",)
PUBLISHED_COUNT = 583
PHOTO_PX = 256
SIDE = "left"
CM = 10.0  # mm
REMEDY = DATASETS["realworld"].remedy


def read_realworld(root: Path, split: str = "test") -> list[HandSample]:
    """Return the photos in the order of params.mat; DataError if anything is missing or unsound."""
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r} of the real-world set; it is test only")
    root = require_folder(Path(root), "the real-world test set", REMEDY)
    names, cameras, boxes, pose_cm = _arrays(root)
    require_files(root, names, "photos", DOWNLOAD_AGAIN)
    return [_sample(root, *row) for row in zip(names, cameras, boxes, pose_cm, strict=True)]


def _arrays(root: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Read names (N), cameras (N, 4) px, crops (N, 4) px and joints (N, 21, 3) cm, checked against each other."""
    params_path, pose_path = root / "params.mat", root / "pose_gt.mat"
    params, pose = _load_mat(params_path), _load_mat(pose_path)
    names = [str(name).strip() for name in np.ravel(_variable(params_path, params, "image_path"))]
    for name in names:
        check_relative(name, str(params_path))
    if not names:
        raise DataError(f"{params_path}: no sample; expected at least one photo. {sentence(REMEDY)}")
    cameras, boxes, root_cm = (
        _finite(params_path, params, key, (len(names), columns))
        for key, columns in (("cam_param", 4), ("bbox", 4), ("pose_root", 3))
    )
    pose_cm = _finite(pose_path, pose, "pose_gt", (len(names), JOINTS_PER_HAND, 3))
    if not np.allclose(pose_cm[:, 0], root_cm, atol=1e-3):
        raise DataError(
            f"{pose_path}: joint 0 is not pose_root of params.mat; files of different sets. {sentence(REMEDY)}"
        )
    return names, cameras, boxes, pose_cm


def _variable(path: Path, content: dict, key: str) -> np.ndarray:
    if key not in content:
        raise DataError(f"{path}: expected a variable {key}, found none of that name; {DOWNLOAD_AGAIN}")
    return content[key]


def _finite(path: Path, content: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a variable as float64 of that shape; DataError for anything but finite numbers."""
    array = numbers(_variable(path, content, key), shape, str(path), key, DOWNLOAD_AGAIN)
    if not np.isfinite(array).all():
        raise DataError(f"{path}: expected finite {key}, found NaN or infinite values; {DOWNLOAD_AGAIN}")
    return array


def _load_mat(path: Path) -> dict:
    require_file(path, "a MATLAB file", REMEDY)
    try:
        import scipy.io

        return scipy.io.loadmat(path)
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    except Exception as error:  # scipy's parser raises OSError, ValueError, zlib.error ...
        raise DataError(f"{path}: not a whole MATLAB file ({error!r}); {DOWNLOAD_AGAIN}") from error


def _sample(root: Path, name: str, camera: np.ndarray, crop: np.ndarray, pose_cm: np.ndarray) -> HandSample:
    where = f"{root / 'params.mat'}: {name}"
    if not (crop[2:] > 0).all():
        raise DataError(
            f"{where}: expected a crop x, y, w, h of positive size, found {crop.tolist()}. {sentence(REMEDY)}"
        )
    k = check_intrinsics(crop_intrinsics(camera, crop), where)
    own = HAND_SLICE[SIDE]
    cam_mm, image_px = np.zeros((JOINTS, 3)), np.zeros((JOINTS, 2))
    cam_mm[own] = pose_cm[CANONICAL_FROM_REALWORLD] * CM  # (21, 3)
    if not (cam_mm[own, 2] > 0).all():
        raise DataError(f"{root / 'pose_gt.mat'}: {name}: joints lie behind the camera. {sentence(REMEDY)}")
    image_px[own] = (cam_mm[own] @ k.T)[:, :2] / cam_mm[own, 2:]
    valid = np.zeros(JOINTS, dtype=bool)
    valid[own] = True
    side_px = PHOTO_PX / CROP_FACTOR
    corner = (PHOTO_PX - side_px) / 2
    return HandSample(
        sample_id=Path(name).stem,
        image_path=root / name,
        image_size=(PHOTO_PX, PHOTO_PX),
        joints_cam_mm=cam_mm,
        joints_image_px=image_px,
        joint_valid=valid,
        joint_visible=None,
        intrinsics=k,
        box=np.array([corner, corner, side_px, side_px]),
        hand_type=SIDE,
    )


def crop_intrinsics(camera: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Return the crop's K: fx, fy, u0, v0 and x, y, w, h, px of the uncropped photo -> (3, 3) px of the 256 px crop."""
    (fx, fy, u0, v0), (x, y, w, h) = camera, crop
    along_x, along_y = PHOTO_PX / w, PHOTO_PX / h
    return np.array([[fx * along_x, 0, (u0 - x) * along_x], [0, fy * along_y, (v0 - y) * along_y], [0, 0, 1]])


def bends_like_left(hand_mm: np.ndarray) -> bool:
    """Return True if the fingers of one hand, (21, 3) mm in canonical order and camera frame, bend as a left hand's do.

    The cross product of wrist to index base and wrist to little base leaves a left hand at its back; fingers bend the
    other way. For a flat hand the sign is noise.
    """
    across = np.cross(hand_mm[FINGER_BASES[1]] - hand_mm[WRIST], hand_mm[LITTLE_MCP] - hand_mm[WRIST])
    bend = (hand_mm[list(FINGERTIPS[1:])] - hand_mm[list(FINGER_BASES[1:])]).mean(0)
    return bool(across @ bend < 0)
