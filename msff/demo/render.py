"""The picture of a pose: the image with box and skeleton, the 3D view beside it, and below both what produced it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from msff.demo.predictor import Box, Pose
from msff.report.drawing import FINGER_COLOURS, bones42, joint_colour
from msff.skeleton import side_of

HEIGHTS = 480, 720  # px of the drawn image, at least and at most
WIDTH = 1280  # px of the drawn image, at most
FAR_PX = 5_000  # joints are drawn at most this far from the upper left corner: OpenCV's coordinates are limited
WHITE, GREY = (255, 255, 255), "#333333"
_AZIMUTH, _ELEVATION = math.radians(-60), math.radians(15)  # as in `msff.report.drawing.draw_skeleton_3d`
_SUBPIXEL = 4  # fractional bits of OpenCV's coordinates


def half_extent_mm(poses: Sequence[Pose]) -> float:
    """Return half the side of the 3D view that holds the hands of 95 % of the poses."""
    extents = [np.abs(view_3d(pose, 1.0)[pose.shown]).max() for pose in poses]
    return 1.1 * max(float(np.quantile(extents, 0.95)), 1.0)


def render(image: np.ndarray, pose: Pose, box: Box, half_mm: float) -> np.ndarray:
    """Return the image with box and skeleton, and beside it a square view in 3D. -> uint8 (h, w + h, 3), even sides.

    ``half_mm``: half the side of the 3D view.
    """
    height, width, _ = image.shape
    scale = min(min(max(height, HEIGHTS[0]), HEIGHTS[1]) / height, WIDTH / width)
    w, h = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    left = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    factor = np.array([w / width, h / height])
    corners = np.array([box[:2], np.add(box[:2], box[2:])]) * factor  # (2, 2)
    cv2.rectangle(left, *map(_fixed, corners), WHITE, 1, cv2.LINE_AA, _SUBPIXEL)
    _skeleton(left, (pose.joints_px + 0.5) * factor - 0.5, pose.shown)
    right = np.full((h, h, 3), 255, np.uint8)
    _skeleton(right, view_3d(pose, half_mm) * h / 2 + h / 2, pose.shown)
    return np.hstack([left, right])


def view_3d(pose: Pose, half_mm: float) -> np.ndarray:
    """Return the joints seen from the front right and above, orthographic. -> (42, 2), -1 to 1 right and down."""
    points = pose.joints_mm[:, [0, 2, 1]] * [1, 1, -1]  # right, away, up
    shown = points[pose.shown]
    points = points - (shown.max(0) + shown.min(0)) / 2
    sin, cos = math.sin(_AZIMUTH), math.cos(_AZIMUTH)
    right = np.array([-sin, cos, 0])
    up = np.array([-math.sin(_ELEVATION) * cos, -math.sin(_ELEVATION) * sin, math.cos(_ELEVATION)])
    return np.stack([points @ right, -points @ up], 1) / half_mm


def picture(image: np.ndarray, pose: Pose, box: Box, half_mm: float, statements: tuple[str, ...]) -> np.ndarray:
    """Return what ``render`` draws with the statements below it. -> uint8 (h, w, 3), even sides."""
    drawn = render(image, pose, box, half_mm)
    return np.vstack([drawn, caption_strip(statements, drawn.shape[1], half_mm)])


@lru_cache(1)  # the frames of a video have the same
def caption_strip(parts: tuple[str, ...], width: int, half_mm: float) -> np.ndarray:
    """Return a strip with the legend and the wrapped ``parts``. -> uint8 (h, ``width``, 3), h even."""
    size = max(11, min(16, width // 70))
    font = ImageFont.load_default(size)
    lines = [line for part in parts for line in textwrap.wrap(part, int(width / (0.56 * size)) - 2)]
    height = 2 * math.ceil((len(lines) + 1.8) * 1.3 * size / 2)
    strip = Image.new("RGB", (width, height), "white")
    pen, x, y = ImageDraw.Draw(strip), size, 0.4 * size
    legend = {**FINGER_COLOURS, f"right hand solid, left hand dashed; 3D view {2 * half_mm:.0f} mm wide": GREY}
    for text, colour in legend.items():
        pen.text((x, y), text, fill=colour, font=font)
        x += pen.textlength(f"{text}  ", font=font)
    for row, line in enumerate(lines, 1):
        pen.text((size, y + 1.3 * size * row), line, fill=GREY, font=font)
    return np.asarray(strip)


def _skeleton(canvas: np.ndarray, joints_px: np.ndarray, shown: np.ndarray) -> None:
    """Draw bones and joints in place: the right hand's bones solid, the left hand's dashed. (42, 2) px."""
    width = max(1, round(canvas.shape[0] / 240))
    for child, parent in bones42():
        if shown[child]:
            ends, colour = joints_px[[child, parent]].clip(-FAR_PX, FAR_PX), ImageColor.getrgb(joint_colour(child))
            _line(canvas, ends, WHITE, width + 2)
            for piece in [ends] if side_of(child) == "right" else dashes(ends, 6.0 * width):
                _line(canvas, piece, colour, width)
    for joint in np.flatnonzero(shown):
        for colour, radius in ((WHITE, width + 2), (ImageColor.getrgb(joint_colour(joint)), width + 1)):
            centre, radius = _fixed(joints_px[joint]), radius << _SUBPIXEL
            cv2.circle(canvas, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL)


def dashes(ends: np.ndarray, length: float) -> list[np.ndarray]:
    """Split a line (2, 2) px into dashes of about ``length`` px with gaps half as long."""
    start, step = ends[0], ends[1] - ends[0]
    count = max(1, round((np.hypot(*step) / length + 0.5) / 1.5))
    dash = 1 / (1.5 * count - 0.5)
    return [np.stack([start + step * 1.5 * i * dash, start + step * (1.5 * i + 1) * dash]) for i in range(count)]


def _line(canvas: np.ndarray, ends: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    cv2.line(canvas, *map(_fixed, ends), colour, width, cv2.LINE_AA, _SUBPIXEL)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Return a point in OpenCV's fixed-point coordinates."""
    x, y = point.clip(-FAR_PX, FAR_PX) * 2**_SUBPIXEL
    return round(x), round(y)
