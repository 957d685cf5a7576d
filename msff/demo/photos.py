"""Hand pose in photographs: for each photo a picture in 2D and 3D, and a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from msff.data.sample import DataError
from msff.demo.predictor import Box, Predictor, check_box
from msff.demo.render import caption_strip, half_extent_mm, render
from msff.files import atomic_file, write_json

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SUFFIX = "-pose"  # added to the stem of every written file
MARK = "msff predict"  # in a picture's metadata and in JSON: only files with this mark are replaced


def predict_photo(
    photo: Path, predictor: Predictor, box: Box | None = None, focal_px: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write ``<photo>-pose.png`` and ``<photo>-pose.json`` beside the photo or into ``out``; return their paths.

    ``box`` None: the whole photo; ``focal_px`` None: its longer side. Joints are relative to the wrist in mm; size and
    distance are estimated from the size of the box. DataError if the photo cannot be read or a file of that name exists
    that `msff predict` did not write.
    """
    image = read_photo(photo)
    height, width, _ = image.shape
    whole = check_box(photo, box, width, height)
    picture, record = output_paths(photo, out, ".png")
    (pose,) = predictor([image], box, focal_px)
    about = {"made_by": MARK, "photo": photo.name, "image_size": [width, height], "box": list(whole)}
    write_json(record, about | predictor.about | pose.record())
    half_mm = half_extent_mm([pose])
    drawn = render(image, pose, whole, half_mm)
    drawn = np.vstack([drawn, caption_strip(predictor.statements, drawn.shape[1], half_mm)])
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    with atomic_file(picture) as partial:
        Image.fromarray(drawn).save(partial, "PNG", pnginfo=mark)
    return [picture, record]


def predict_folder(
    folder: Path, predictor: Predictor, boxes: Mapping[str, Box], focal_px: float | None = None, out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Predict every photo of a folder; return the written files and a message per photo that failed.

    ``boxes`` by file name; of other photos the whole image is used. Pictures of an earlier call are skipped.
    """
    photos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    photos = [path for path in photos if not _written_here(path)]
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
    """Return uint8 (H, W, 3) RGB, rotated as its EXIF data states; DataError if it is missing or damaged."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a photo (PNG or JPEG)") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}): expected an undamaged PNG or JPEG, or a video"
        ) from error


def read_boxes(path: Path) -> dict[str, Box]:
    """Read {file name: box} from a JSON file such as {"a.jpg": [x, y, w, h]} in px; DataError if it is invalid."""
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
    """Return True for finite x, y, w, h with positive w and h."""
    return len(values) == 4 and all(map(math.isfinite, values)) and min(values[2:]) > 0


def output_paths(source: Path, out: Path | None, suffix: str) -> tuple[Path, Path]:
    """Return the paths of the picture and the JSON file; DataError if either is another program's file."""
    folder = out or source.parent
    picture, record = (folder / f"{source.stem}{SUFFIX}{end}" for end in (suffix, ".json"))
    for path in (picture, record):
        if path.exists() and not _written_here(path):
            raise DataError(f"{path} exists and was not written by `msff predict`: move it, or choose --out")
    return picture, record


def _written_here(path: Path) -> bool:
    """Return True if an earlier call wrote this file: by a PNG's metadata, else by the JSON file beside it."""
    if not path.stem.endswith(SUFFIX):
        return False
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                return image.info.get("Software") == MARK
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")).get("made_by") == MARK
    except (OSError, ValueError, AttributeError, SyntaxError):
        return False
