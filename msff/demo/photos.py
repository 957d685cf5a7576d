"""Hand pose in photographs: for each photo a picture in 2D and 3D, and a JSON file."""

from __future__ import annotations

import json
import math
import mimetypes
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from msff.data.images import UNREADABLE, is_deep
from msff.data.sample import DataError
from msff.demo.predictor import Box, Predictor, check_box
from msff.demo.render import half_extent_mm, picture
from msff.errors import NO_SPACE, one_line
from msff.files import atomic_file, write_json

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")
"""Image files whose type Python's `mimetypes` may not recognise."""
SUFFIX = "-pose"  # added to the stem of every written file
MARK = "msff predict"  # in a picture's metadata and in JSON: only files with this mark are replaced


def predict_photo(
    photo: Path, predictor: Predictor, box: Box | None = None, focal_px: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write ``<photo>-pose.png`` and ``<photo>-pose.json`` beside the photo or into ``out``; return their paths.

    ``box`` None: the whole photo; ``focal_px`` None: its longer side. Joints are relative to the wrist in mm; every
    hand has the average size, which fixes its distance. DataError if the photo cannot be read or a file of that name
    exists that `msff predict` did not write.
    """
    image = read_photo(photo)
    height, width, _ = image.shape
    whole = check_box(photo, box, width, height)
    drawn, record = output_paths(photo, out, ".png")
    (pose,) = predictor([image], box, focal_px)
    about = {"made_by": MARK, "photo": photo.name, "image_size": [width, height], "box": list(whole)}
    write_json(record, about | predictor.about | pose.record())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    with atomic_file(drawn) as partial:
        pixels = picture(image, pose, whole, half_extent_mm([pose]), predictor.statements)
        Image.fromarray(pixels).save(partial, "PNG", pnginfo=mark)
    return [drawn, record]


def predict_folder(
    folder: Path, predictor: Predictor, boxes: Mapping[str, Box], focal_px: float | None = None, out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Predict every photo of a folder; return the written files and a message per picture that failed or is not read.

    ``boxes`` by file name; of other photos the whole image is used. Pictures of an earlier call are skipped, and hidden
    files, as the ``._*`` that macOS puts beside photos. OSError if the disk is full.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    photos = [path for path in files if path.suffix.lower() in PHOTO_SUFFIXES and not _written_here(path)]
    failed = [f"{path} is skipped: {reason}" for path in files if (reason := _why_skipped(path))]
    if not photos:
        expected = f"{folder} holds no photo: expected files that end in {', '.join(PHOTO_SUFFIXES)}"
        raise DataError("\n".join([expected, *failed]))
    boxes = {_composed(name): box for name, box in boxes.items()}
    unknown = sorted(boxes.keys() - {_composed(path.name) for path in photos})
    if unknown:
        raise DataError(f"{folder}: there are boxes for {', '.join(unknown)}, but no such photos")
    written: list[Path] = []
    stems: dict[str, Path] = {}
    for photo in photos:
        first = stems.setdefault(_composed(photo.stem).lower(), photo)
        if first is not photo:
            failed.append(f"{photo} would be drawn into the same file as {first.name}: rename one of them")
            continue
        try:
            written += predict_photo(photo, predictor, boxes.get(_composed(photo.name)), focal_px, out)
        except DataError as error:
            failed.append(str(error))
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            failed.append(f"{photo} is not done: {one_line(error)}")
    return written, failed


def _why_skipped(path: Path) -> str | None:
    """Return why a picture or a video in a folder of photos is not predicted; None for a photo and for other files."""
    suffix, (kind, _) = path.suffix.lower(), mimetypes.guess_type(path.name)
    if suffix in PHOTO_SUFFIXES or _written_here(path):
        return None
    if suffix in UNREAD_SUFFIXES or (kind or "").startswith("image/"):
        return f"{suffix[1:].upper()} files are not read; convert it to JPEG or PNG"
    return "name a video by itself" if (kind or "").startswith("video/") else None


def _composed(name: str) -> str:
    """Return a name with composed letters, as most systems write it; macOS writes letter and accent apart."""
    return unicodedata.normalize("NFC", name)


def read_photo(path: Path) -> np.ndarray:
    """Return uint8 (H, W, 3) RGB, rotated as its EXIF data states; DataError if it is missing or damaged.

    A grey image of 16 or 32 bits is scaled from its own darkest to its own brightest pixel.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return _scaled(upright) if is_deep(upright) else np.asarray(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a photo (PNG or JPEG)") from error
    except UNREADABLE as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}): expected an undamaged PNG or JPEG, or a video"
        ) from error


def _scaled(image: Image.Image) -> np.ndarray:
    """Return the one channel of an image, with its smallest finite value black and its largest white. (H, W, 3)."""
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no pixel is a finite number")
    low, high = finite.min(), finite.max()
    grey = np.rint(255 * (np.nan_to_num(values.clip(low, high), nan=low) - low) / ((high - low) or 1.0))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def read_boxes(path: Path) -> dict[str, Box]:
    """Read {file name: box} from a JSON file such as {"a.jpg": [x, y, w, h]} in px; DataError if it is invalid."""
    try:
        boxes = msgspec.json.decode(path.read_bytes(), type=dict[str, Box])
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a JSON file of boxes") from error
    except (OSError, ValueError, msgspec.DecodeError) as error:  # ValueError: bytes that are no UTF-8
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
    except (*UNREADABLE, AttributeError):
        return False
