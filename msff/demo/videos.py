"""Hand pose in a video: the same video with 2D and 3D drawn into it, and a JSON file with every frame's pose."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from tqdm import tqdm

from msff.data.sample import DataError
from msff.demo.photos import MARK, SUFFIX, check_free
from msff.demo.predictor import Box, Pose, Predictor, check_box
from msff.report.drawing import FINGER_COLOURS, bones42, joint_colour
from msff.skeleton import side_of
from msff.study.store import atomic_file, write_json

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
CODEC = "mp4v"  # MPEG-4 Part 2: the one for mp4 that OpenCV's own wheels bring along everywhere
HEIGHTS = 480, 720  # px of the drawn frames, at least and at most
WIDTH = 1280  # px, at most
BATCH = 8  # frames at a time
FAR_PX = 5_000  # no joint is drawn farther outside; OpenCV's numbers end there, and nobody sees it
_AZIMUTH, _ELEVATION = math.radians(-60), math.radians(15)  # as in ``draw_skeleton_3d``
_SUBPIXEL = 4  # bits

Colour = tuple[int, int, int]


def predict_video(
    video: Path, predictor: Predictor, box: Box | None = None, focal_px: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write ``<video>-pose.mp4`` and ``<video>-pose.json`` beside the video or into ``out``; returns their paths.

    ``box`` holds for every frame, and ``focal_px`` too; None as for a photo. Each frame is looked at by itself. The
    video is read twice, so that all frames are drawn in 3D at one scale. DataError says what cannot be read, or must
    not be replaced.
    """
    folder = out or video.parent
    drawn, record = (folder / f"{video.stem}{SUFFIX}{suffix}" for suffix in (".mp4", ".json"))
    check_free(drawn)
    check_free(record)
    poses: list[Pose] = []
    with _opened(video) as capture:
        fps, size = _rate(capture), (0, 0)
        frames = _frames(capture, f"{video.name}: poses")
        while images := list(islice(frames, BATCH)):
            size = images[0].shape[1::-1]
            box = check_box(video, box, *size)
            poses += predictor(images, box, focal_px)
    if not poses:
        raise DataError(f"{video} holds no frame that can be read: expected a whole video")
    folder.mkdir(parents=True, exist_ok=True)
    about = {"made_by": MARK, "video": video.name, "fps": fps, "image_size": list(size), "box": list(box)}
    moments = [{"frame": i, "time_s": round(i / fps, 3), **pose.record()} for i, pose in enumerate(poses)]
    write_json(record, about | predictor.about | {"frames": moments}, indent=None)
    with _opened(video) as capture, atomic_file(drawn) as partial:
        _draw_all(_frames(capture, f"{video.name}: drawing"), poses, predictor, box, fps, partial)
    return [drawn, record]


@contextmanager
def _opened(video: Path) -> Iterator[cv2.VideoCapture]:
    if not video.is_file():
        raise DataError(f"{video} does not exist: name a photo, a folder of photos or a video")
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise DataError(f"{video} cannot be read as a video: expected one of {', '.join(VIDEO_SUFFIXES)}, whole")
        yield capture
    finally:
        capture.release()


def _rate(capture: cv2.VideoCapture) -> float:
    """Frames per second; 25 where the file does not say."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else 25.0


def _frames(capture: cv2.VideoCapture, label: str) -> Iterator[np.ndarray]:
    """The frames, uint8 (H, W, 3) RGB, upright, under a progress bar where somebody watches."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    with tqdm(total=int(count) if count > 0 else None, desc=label, unit="frame", disable=None) as bar:
        while True:
            there, frame = capture.read()
            if not there:
                return
            bar.update()
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


# The picture


def _draw_all(frames, poses: Sequence[Pose], predictor: Predictor, box: Box, fps: float, path: Path) -> None:
    half_mm = _half_extent(poses)
    writer, foot = None, None
    try:
        for frame, pose in zip(frames, poses, strict=False):
            picture = _frame(frame, pose, box, half_mm)
            if writer is None:
                foot = _foot(predictor, picture.shape[1])
                size = picture.shape[1], picture.shape[0] + foot.shape[0]
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODEC), fps, size)
                if not writer.isOpened():
                    raise DataError(f"{path.parent}: OpenCV cannot write a {CODEC} video of {size} px there")
            writer.write(cv2.cvtColor(np.vstack([picture, foot]), cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()


def _half_extent(poses: Sequence[Pose]) -> float:
    """Half the side in mm of a cube that holds the hands of 19 frames out of 20."""
    extents = [np.ptp(pose.joints_mm[pose.shown], axis=0).max() / 2 for pose in poses]
    return max(float(np.quantile(extents, 0.95)), 1.0) * 1.15


def _frame(frame: np.ndarray, pose: Pose, box: Box, half_mm: float) -> np.ndarray:
    """The frame with the skeleton and the box, and a square panel with the same in 3D. -> uint8 (h, w + h, 3), even."""
    height, width, _ = frame.shape
    scale = min(min(max(height, HEIGHTS[0]), HEIGHTS[1]) / height, WIDTH / width)
    w, h = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    left = cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    factor = np.array([w / width, h / height])
    corners = np.array([box[:2], box[:2]]) + [[0, 0], box[2:]]  # (2, 2)
    cv2.rectangle(
        left, *(_fixed(c) for c in (corners * factor).clip(-FAR_PX, FAR_PX)), (255, 255, 255), 1, cv2.LINE_AA, _SUBPIXEL
    )
    _skeleton(left, (pose.joints_px + 0.5) * factor - 0.5, pose.shown)
    right = np.full((h, h, 3), 255, np.uint8)
    _skeleton(right, _turned(pose, half_mm) * h / 2 + h / 2, pose.shown)
    return np.hstack([left, right])


def _turned(pose: Pose, half_mm: float) -> np.ndarray:
    """The joints as seen from the front right and above, without perspective. -> (42, 2), -1 to 1 right and down."""
    points = pose.joints_mm[:, [0, 2, 1]] * [1, 1, -1]  # right, away, up
    shown = points[pose.shown]
    points = points - (shown.max(0) + shown.min(0)) / 2
    right = np.array([-math.sin(_AZIMUTH), math.cos(_AZIMUTH), 0])
    up = np.array([
        -math.sin(_ELEVATION) * math.cos(_AZIMUTH), -math.sin(_ELEVATION) * math.sin(_AZIMUTH), math.cos(_ELEVATION)
    ])  # fmt: skip
    return np.stack([points @ right, -points @ up], 1) / half_mm


def _skeleton(canvas: np.ndarray, joints_px: np.ndarray, shown: np.ndarray) -> None:
    """Bones and joints, in place: the right hand's bones solid, the left one's dashed. (42, 2) px."""
    width = max(1, round(canvas.shape[0] / 240))
    joints_px = joints_px.clip(-FAR_PX, FAR_PX)
    for child, parent in bones42():
        if shown[child]:
            ends, colour = joints_px[[child, parent]], ImageColor.getrgb(joint_colour(child))
            _line(canvas, ends, (255, 255, 255), width + 2)
            for piece in [ends] if side_of(child) == "right" else _dashes(ends, 6.0 * width):
                _line(canvas, piece, colour, width)
    for joint in np.flatnonzero(shown):
        _dot(canvas, joints_px[joint], width + 2.0, (255, 255, 255))
        _dot(canvas, joints_px[joint], width + 1.0, ImageColor.getrgb(joint_colour(joint)))


def _dashes(ends: np.ndarray, length: float) -> list[np.ndarray]:
    """A line (2, 2) px in dashes of about ``length`` px with gaps of half of it."""
    start, step = ends[0], ends[1] - ends[0]
    count = max(1, round((np.hypot(*step) / length + 0.5) / 1.5))
    unit = 1 / (1.5 * count - 0.5)
    return [np.stack([start + step * 1.5 * i * unit, start + step * (1.5 * i + 1) * unit]) for i in range(count)]


def _line(canvas: np.ndarray, ends: np.ndarray, colour: Colour, width: int) -> None:
    a, b = (_fixed(point) for point in ends)
    cv2.line(canvas, a, b, colour, width, cv2.LINE_AA, _SUBPIXEL)


def _dot(canvas: np.ndarray, centre: np.ndarray, radius: float, colour: Colour) -> None:
    cv2.circle(canvas, _fixed(centre), round(radius * 2**_SUBPIXEL), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """A point in the fixed-point numbers of OpenCV."""
    x, y = point * 2**_SUBPIXEL
    return round(x), round(y)


def _foot(predictor: Predictor, width: int) -> np.ndarray:
    """A strip with the legend, what was trained and which error to expect. -> uint8 (h, ``width``, 3), h even."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    size = max(11, min(16, width // 70))
    font = ImageFont.truetype(path, size)
    letters = int(width / (0.56 * size)) - 2
    parts = (predictor.trained, predictor.expected)
    lines = [line for part in parts for line in textwrap.wrap(part, letters)]
    height = 2 * math.ceil((len(lines) + 1.8) * 1.3 * size / 2)
    strip = Image.new("RGB", (width, height), "white")
    pen, x, y = ImageDraw.Draw(strip), size, 0.4 * size
    for finger, colour in FINGER_COLOURS.items():
        pen.text((x, y), finger, fill=colour, font=font)
        x += pen.textlength(f"{finger}  ", font=font)
    pen.text((x, y), "right hand solid, left hand dashed", fill="#333333", font=font)
    for row, line in enumerate(lines, 1):
        pen.text((size, y + 1.3 * size * row), line, fill="#333333", font=font)
    return np.asarray(strip)
