"""Hand pose in photographs: for each a picture with 2D and 3D, and a JSON file."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageOps, UnidentifiedImageError

from msff.data.sample import DataError
from msff.demo.predictor import Box, Pose, Predictor, check_box
from msff.report.drawing import draw_skeleton, draw_skeleton_3d, finger_legend, keep_frame, show_image, style
from msff.study.store import atomic_file, write_json

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SUFFIX = "-pose"  # of the names of all that is written
MARK = "msff predict"  # in a picture's own metadata, and in JSON: whatever has it may be replaced
SHOWN_PX = 1200  # longer side of the photo in the picture, at most
DPI = 130


def predict_photo(
    photo: Path, predictor: Predictor, box: Box | None = None, focal_px: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write ``<photo>-pose.png`` and ``<photo>-pose.json`` beside the photo or into ``out``; returns their paths.

    ``box`` None: the whole photo; ``focal_px`` None: its longer side. Shape is relative to the wrist in mm; size and
    distance rest on the size of the box and are rough. DataError says what cannot be read, or must not be replaced.
    """
    image = read_photo(photo)
    height, width, _ = image.shape
    whole = check_box(photo, box, width, height)
    folder = out or photo.parent
    picture, record = (folder / f"{photo.stem}{SUFFIX}{suffix}" for suffix in (".png", ".json"))
    check_free(picture)
    check_free(record)
    (pose,) = predictor([image], box, focal_px)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"made_by": MARK, "photo": photo.name, "image_size": [width, height], "box": list(whole)}
    write_json(record, about | predictor.about | pose.record())
    _save(draw(image, pose, predictor.trained, predictor.expected, box), picture)
    return [picture, record]


def predict_folder(
    folder: Path, predictor: Predictor, boxes: Mapping[str, Box], focal_px: float | None = None, out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Every photo of a folder; returns what was written and a message for each photo that could not be done.

    ``boxes`` by file name; other photos are looked at as a whole. Pictures of an earlier call are passed over.
    """
    photos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    photos = [path for path in photos if not _made_here(path)]
    if not photos:
        raise DataError(f"{folder} holds no photo: expected files that end in {', '.join(PHOTO_SUFFIXES)}")
    unknown = sorted(boxes.keys() - {path.name for path in photos})
    if unknown:
        raise DataError(f"{folder}: there are boxes for {', '.join(unknown)}, but no such photos")
    written: list[Path] = []
    failed: list[str] = []
    stems: dict[str, Path] = {}
    for photo in photos:
        first = stems.setdefault(photo.stem.lower(), photo)
        if first is not photo:
            failed.append(f"{photo} would be drawn into the same file as {first.name}: rename one of them")
            continue
        try:
            written += predict_photo(photo, predictor, boxes.get(photo.name), focal_px, out)
        except DataError as error:
            failed.append(str(error))
    return written, failed


def read_photo(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB, upright as its camera says; DataError if it is missing or no whole image."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a photo (PNG or JPEG)") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}): expected a whole PNG or JPEG, or a video"
        ) from error


def read_boxes(path: Path) -> dict[str, Box]:
    """{file name: box} of a JSON file such as {"a.jpg": [x, y, w, h]} in px; DataError if it is another one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        boxes = {name: tuple(float(v) for v in box) for name, box in value.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a JSON file of boxes") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no file of boxes ({error}): expected JSON of file name: [x, y, w, h]") from error
    for name, box in boxes.items():
        if not is_box(box):
            raise DataError(f"{path}: the box of {name} must be x, y, w, h in px with positive w and h, found {box}")
    return boxes


def is_box(values: tuple[float, ...]) -> bool:
    """Whether these are x, y, w, h of a box with an area."""
    return len(values) == 4 and all(map(math.isfinite, values)) and min(values[2:]) > 0


def check_free(path: Path) -> None:
    """DataError if ``path`` is there and was not made here: nobody's file is replaced."""
    if path.exists() and not _made_here(path):
        raise DataError(f"{path} exists and was not written by `msff predict`: move it, or name a folder with --out")


def _made_here(path: Path) -> bool:
    """Whether a file was written by an earlier call; of a video its JSON says so."""
    if not path.stem.endswith(SUFFIX):
        return False
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                return image.info.get("Software") == MARK
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")).get("made_by") == MARK
    except (OSError, ValueError, AttributeError, SyntaxError):
        return False


# The picture


def draw(image: np.ndarray, pose: Pose, trained: str, expected: str, box: Box | None) -> Figure:
    """The skeleton over the photo with the box, and beside it in 3D; below, what made it and which error to expect."""
    small, scale = _shrunk(image)
    height, width, _ = small.shape
    panel = 5.0  # inches
    shown = min(max(panel * width / height, 2.8), 9.0)
    text = "\n".join(
        line for part in (trained, expected) for line in textwrap.wrap(part, round(16.5 * (shown + panel)))
    )
    foot = 0.5 + 0.155 * (text.count("\n") + 1)
    across, down = shown + panel, panel + foot
    with style(), mpl.rc_context({"figure.constrained_layout.use": False, "image.interpolation": "bilinear"}):
        figure = plt.figure(figsize=(across, down))
        left = figure.add_axes((0.1 / across, foot / down, (shown - 0.2) / across, (panel - 0.1) / down))
        right = figure.add_axes((shown / across, (foot + 0.25) / down, (panel - 0.4) / across, (panel - 0.4) / down),
                                projection="3d")  # fmt: skip
        show_image(left, small)
        draw_skeleton(left, pose.joints_px * scale, pose.shown)
        if box is not None:
            x, y, w, h = (v * scale for v in box)
            left.add_patch(mpl.patches.Rectangle((x, y), w, h, fill=False, ec="white", lw=1.2, ls="--", alpha=0.8))
        keep_frame(left, small)
        draw_skeleton_3d(right, pose.joints_mm, pose.shown)
        cube = f"3D, from the front right; the cube's side is {np.ptp(right.get_xlim()):.0f} mm"
        figure.text((shown + panel / 2) / across, (foot + 0.06) / down, cube, ha="center", fontsize=8, color="#333333")
        finger_legend(figure)
        figure.legends[0].set_bbox_to_anchor((0.5, (foot - 0.38) / down), figure.transFigure)
        figure.text(0.5, 0.08 / down, text, ha="center", va="bottom", fontsize=7.5, color="#333333")
    return figure


def _shrunk(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The photo at the size in which it is shown, and the factor."""
    height, width, _ = image.shape
    scale = min(1.0, SHOWN_PX / max(height, width))
    if scale == 1:
        return image, scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)), scale


def _save(figure: Figure, path: Path) -> None:
    """The figure in full colour, marked as ours."""
    try:
        with atomic_file(path) as partial:
            figure.savefig(partial, dpi=DPI, metadata={"Software": MARK})
    finally:
        plt.close(figure)
