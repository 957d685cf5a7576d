"""Estimate the hands of the real photographs with MediaPipe Hands and store its landmarks.

MediaPipe 0.10.21 (Apache-2.0) is the last release whose wheel contains the models, and it needs numpy < 2, which this
project does not. It therefore runs in an environment of its own and imports nothing of the project:

    python3.11 -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.21
    MSFF_REALWORLD=... /tmp/mediapipe/bin/python tools/mediapipe_photos.py results/mediapipe

The whole photo is the input, at most one hand is searched, with a detection confidence of 0.1. The output is
``landmarks.npz``: ``sample_id`` (N,), ``world_mm`` (N, 21, 3) in MediaPipe's order (wrist, then thumb to little finger,
each from base to tip) with x right, y down, z away, NaN where no hand was found; and ``landmarks.json`` with version,
licence and settings. It contains no photo and no annotation; `msff.study.photos` measures it.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

VERSION, LICENCE, CONFIDENCE = "0.10.21", "Apache-2.0", 0.1


def photo_paths(root: str | None) -> list[Path]:
    """Return the photos below the folder that MSFF_REALWORLD names, by name. SystemExit if there is none."""
    if not root:
        sys.exit("MSFF_REALWORLD is not set: set it to the folder that holds params.mat, pose_gt.mat and images/")
    paths = sorted((Path(root) / "images").glob("*.jpg"))
    if not paths:
        sys.exit(f"{root}/images: expected photos NNNNN.jpg, found none; check MSFF_REALWORLD")
    return paths


def world_mm(result) -> np.ndarray:
    """Return the first hand's world landmarks in mm, (21, 3); NaN if no hand was found."""
    if not result.multi_hand_world_landmarks:
        return np.full((21, 3), np.nan, np.float32)
    points = result.multi_hand_world_landmarks[0].landmark
    return np.array([(p.x, p.y, p.z) for p in points], np.float32) * 1000  # m -> mm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for landmarks.npz and landmarks.json")
    out, paths = parser.parse_args().out, photo_paths(os.environ.get("MSFF_REALWORLD"))
    try:
        import cv2
        import mediapipe
    except ImportError as error:
        sys.exit(f"{error}: install mediapipe=={VERSION} in an environment of its own, see the head of {__file__}")
    if mediapipe.__version__ != VERSION:
        sys.exit(f"mediapipe {mediapipe.__version__} is installed, the numbers are of {VERSION}: install that version")
    options = {"static_image_mode": True, "max_num_hands": 1, "min_detection_confidence": CONFIDENCE}
    found = []
    with mediapipe.solutions.hands.Hands(**options) as hands:
        for path in paths:
            image = cv2.imread(str(path))
            if image is None:
                sys.exit(f"{path}: not a readable photo; download it again")
            found.append(world_mm(hands.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))))
    out.mkdir(parents=True, exist_ok=True)
    joints = np.stack(found)
    np.savez_compressed(out / "landmarks.npz", sample_id=np.array([p.stem for p in paths]), world_mm=joints)
    hits = int(np.isfinite(joints).all((1, 2)).sum())
    record = {"tool": "MediaPipe Hands", "version": VERSION, "licence": LICENCE, "photos": len(paths), "found": hits}
    (out / "landmarks.json").write_text(json.dumps(record | {"options": options}, indent=1, sort_keys=True) + "\n")
    print(f"{hits} hands in {len(paths)} photos -> {out}")


if __name__ == "__main__":
    main()
