"""InterHand2.6M annotation files of the published size, and what it costs to index them; no images.

    python tests/big_interhand.py FOLDER            # writes them (1.0 GB) unless they are there, then measures
    python tests/big_interhand.py FOLDER --files    # also makes the 1,361,062 (empty) image files, to be looked for

Prints the seconds to index, the peak memory of the process, the seconds to reopen and the seconds per sample.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from make_official import _look

PUBLISHED = 1_361_062  # annotations of v1.0's train, H+M (the data set's home page)
CAMERAS, CAPTURES, SEQUENCES = 100, 27, 40


def file_name(index: int) -> str:
    frame = index // CAMERAS
    return f"Capture{frame % CAPTURES}/{_sequence(frame)}/cam{400262 + index % CAMERAS}/image{18000 + 3 * frame}.jpg"


def _sequence(frame: int) -> str:
    return f"{frame % SEQUENCES:04d}_relaxed_fingers"


def write_big(root: Path, count: int = PUBLISHED, split: str = "train", seed: int = 0) -> Path:
    """The three JSON files of ``count`` annotations under ``root``/annotations/``split``; returns that folder."""
    rng = np.random.default_rng(seed)
    folder = root / "annotations" / split
    folder.mkdir(parents=True, exist_ok=True)
    _write_data(folder / f"InterHand2.6M_{split}_data.json", count)
    frames = -(-count // CAMERAS)
    joints: dict = {str(c): {} for c in range(CAPTURES)}
    for frame in range(frames):
        world = np.round(rng.uniform(-80, 80, (42, 3)), 6).tolist()
        entry = {"world_coord": world, "joint_valid": [[1]] * 42, "hand_type": "interacting", "hand_type_valid": True}
        joints[str(frame % CAPTURES)][str(18000 + 3 * frame)] = entry | {"seq": _sequence(frame)}
    cameras: dict = {}
    for capture in range(CAPTURES):
        entry = cameras[str(capture)] = {"campos": {}, "camrot": {}, "focal": {}, "princpt": {}}
        for camera in range(400262, 400262 + CAMERAS):
            rotation, position = _look(rng)
            entry["camrot"][str(camera)], entry["campos"][str(camera)] = rotation.tolist(), position.tolist()
            entry["focal"][str(camera)], entry["princpt"][str(camera)] = [1261.7, 1261.5], [166.7, 257.3]
    (folder / f"InterHand2.6M_{split}_joint_3d.json").write_text(json.dumps(joints))
    (folder / f"InterHand2.6M_{split}_camera.json").write_text(json.dumps(cameras))
    return folder


def _write_data(path: Path, count: int) -> None:
    """The data file as json.dump spells it, written piece by piece."""
    both, right = json.dumps([[1]] * 42), json.dumps([[1]] * 21 + [[0]] * 21)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"images": [')
        for i in range(count):
            frame = i // CAMERAS
            file.write(
                f'{", " * (i > 0)}{{"id": {i}, "file_name": "{file_name(i)}", "width": 334, "height": 512, '
                f'"capture": {frame % CAPTURES}, "subject": {frame % 26}, "seq_name": "{_sequence(frame)}", '
                f'"camera": "{400262 + i % CAMERAS}", "frame_idx": {18000 + 3 * frame}}}'
            )
        file.write('], "annotations": [')
        for i in range(count):
            box = f"[{100 + i % 50}.32423464, {50 + i % 70}.23423423, 170.83475830, 160.23842348]"
            valid, hand_type = (both, "interacting") if i % 2 else (right, "right")
            file.write(
                f'{", " * (i > 0)}{{"id": {i}, "image_id": {i}, "bbox": {box}, "joint_valid": {valid}, '
                f'"hand_type": "{hand_type}", "hand_type_valid": 1}}'
            )
        file.write("]}")


def write_empty_images(root: Path, count: int = PUBLISHED, split: str = "train") -> None:
    """Empty files under the names that ``write_big`` annotates."""
    folders: dict[Path, list[str]] = {}
    for i in range(count):
        path = root / "images" / split / file_name(i)
        folders.setdefault(path.parent, []).append(path.name)
    for folder, names in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()


def measure(root: Path, split: str = "train", check_files: bool = False, keep_from: int = 20_000) -> dict:
    """Seconds and peak GB of this process for one reading of the split."""
    from msff.data.interhand import InterHandConfig, read_interhand

    started = time.perf_counter()
    samples = read_interhand(root, split, InterHandConfig(check_files=check_files, keep_from=keep_from))
    opened = time.perf_counter()
    for i in range(0, len(samples), -(-len(samples) // 1000)):
        samples[i]
    each = (time.perf_counter() - opened) / min(len(samples), 1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    return {"samples": len(samples), "seconds": round(opened - started, 2), "peak_gb": round(peak, 2),
            "seconds_per_sample": round(each, 6)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotations", type=int, default=PUBLISHED)
    parser.add_argument("--files", action="store_true", help="make empty image files and look for them")
    parser.add_argument("--once", action="store_true", help="measure one reading in this process")
    args = parser.parse_args()
    if args.once:
        print(json.dumps(measure(args.folder, check_files=args.files)))
        return
    if not (args.folder / "annotations" / "train" / "InterHand2.6M_train_camera.json").exists():
        write_big(args.folder, args.annotations)
    if args.files and not (args.folder / "images").exists():
        write_empty_images(args.folder, args.annotations)
    again = [sys.executable, __file__, str(args.folder), "--once", *(["--files"] if args.files else [])]
    for what in ("index", "reopen"):  # each in its own process, for its own peak of memory
        print(what, subprocess.run(again, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
