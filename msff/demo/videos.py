"""Hand pose in a video: the same video with 2D and 3D drawn into it, and a JSON file with the pose of every frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from msff.data.sample import DataError
from msff.demo.photos import MARK, output_paths
from msff.demo.predictor import Box, Predictor, check_box
from msff.demo.render import half_extent_mm, picture
from msff.files import atomic_file, write_json

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
CODEC = "mp4v"  # MPEG-4 Part 2: the mp4 codec that OpenCV's wheels contain on every platform
SPARE_FRAMES, SPARE_SHARE = 2, 0.02  # that may be missing: most containers state a duration, not a number of frames
BATCH = 8  # frames per forward pass


def predict_video(
    video: Path, predictor: Predictor, box: Box | None = None, focal_px: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write ``<video>-pose.mp4`` and ``<video>-pose.json`` beside the video or into ``out``; return their paths.

    ``box`` and ``focal_px`` hold for every frame; None as for a photo. Frames are predicted independently. The video is
    read twice, so that the 3D view has one scale. DataError as for a photo, and at the end if the file holds fewer
    frames than it states; those that it holds are written.
    """
    with _opened(video) as capture:
        drawn, record = output_paths(video, out, ".mp4")
        fps, stated, poses, size = _rate(capture), int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), [], (0, 0)
        frames = _frames(capture, f"{video.name}: poses")
        while images := list(islice(frames, BATCH)):
            size = images[0].shape[1::-1]
            box = check_box(video, box, *size)
            poses += predictor(images, box, focal_px)
    if not poses:
        raise DataError(f"{video} holds no frame that can be read: expected an undamaged video")
    about = {"made_by": MARK, "video": video.name, "fps": fps, "image_size": list(size), "box": list(box)}
    moments = [{"frame": i, "time_s": round(i / fps, 3), **pose.record()} for i, pose in enumerate(poses)]
    write_json(record, about | predictor.about | {"frames": moments}, indent=None)
    with _opened(video) as capture, atomic_file(drawn) as partial:
        frames, look = _frames(capture, f"{video.name}: drawing"), (box, half_extent_mm(poses), predictor.statements)
        _write(partial, (picture(frame, pose, *look) for frame, pose in zip(frames, poses, strict=False)), fps)
    if stated - len(poses) > max(SPARE_FRAMES, SPARE_SHARE * stated):
        raise DataError(
            f"{video}: only {len(poses):,} of about {stated:,} frames could be read, so it is cut short or damaged. "
            f"Their poses are in {drawn} and {record}; for all of them fetch or copy the video again"
        )
    return [drawn, record]


@contextmanager
def _opened(video: Path) -> Iterator[cv2.VideoCapture]:
    if not video.is_file():
        raise DataError(f"{video} does not exist: name a photo, a folder of photos or a video")
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f"{video} cannot be read as a video: expected one of {', '.join(VIDEO_SUFFIXES)}")
        yield capture
    finally:
        capture.release()


def _rate(capture: cv2.VideoCapture) -> float:
    """Return the frames per second; 25 where the file states no usable rate."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else 25.0


def _frames(capture: cv2.VideoCapture, label: str) -> Iterator[np.ndarray]:
    """Yield the frames, uint8 (H, W, 3) RGB, upright, with a progress bar on a terminal."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    with tqdm(total=int(count) if count > 0 else None, desc=label, unit="frame", disable=None) as bar:
        while True:
            there, frame = capture.read()
            if not there:
                return
            bar.update()
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _write(path: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    """Write an mp4 file and open it again; DataError if a frame is missing, since OpenCV reports no failed write."""
    first, count = next(pictures), 0
    size = first.shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODEC), fps, size)
    try:
        if not writer.isOpened():
            raise DataError(f"{path.parent}: OpenCV cannot write a {CODEC} video of {size} px there")
        for drawn in chain([first], pictures):
            writer.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    written = cv2.VideoCapture(str(path))
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT))  # 0 if it does not open
    written.release()
    if found != count:
        raise DataError(f"{path.parent}: the video was not written whole, {found} of {count} frames; check the disk")
