"""Contact sheets of a dataset on disk: whole images in a grid, plain or with ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from msff.data.datasets import spec
from msff.data.images import decode_image, decode_sample
from msff.data.loading import load, standin_manifest
from msff.data.rhd import read_depth_mm
from msff.data.sample import HandSample
from msff.files import atomic_file
from msff.report import drawing
from msff.skeleton import FINGERS, JOINTS_PER_HAND, MASK_OF_SIDE, MASK_PERSON

COLUMNS, WITH_TRUTH = 8, 4
"""Images in a row: plain, and with ground truth, whose words must be readable on a phone."""
DPI = 100
WITH_MASKS = "joints of the scored hand, hollow where not visible; box; small: mask over grey, depth (near is light)"
WITHOUT_MASKS = "valid joints of the hands present; box as annotated"
_DEPTH_MARGIN_MM = 15.0
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class Sheet:
    """Samples of one part of a dataset, ready to draw."""

    dataset: str
    samples: list[HandSample]
    caption: str  # data, number of images and whether they are rendered


def read_sheet(dataset: str, root: Path | str, part: str = "test", count: int = 64, seed: int = 0) -> Sheet:
    """Read up to ``count`` samples of a dataset in folder ``root`` with the project's readers."""
    return choose_sheet(dataset, root, part, load(dataset, root, part), count, seed)


def choose_sheet(
    dataset: str, root: Path | str, part: str, samples: list[HandSample], count: int = 64, seed: int = 0
) -> Sheet:
    """Choose up to ``count`` samples of a part ("train", "test", "val") at random, in their order."""
    if count < 1:
        raise ValueError(f"--count must be at least 1 image, got {count}")
    if seed < 0:
        raise ValueError(f"--seed must not be negative, got {seed}")
    rows = sorted(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    found = f"{len(rows):,} of {len(samples):,} images"
    if count > len(samples):
        found = f"all {len(samples):,} images ({count:,} were requested)"
    caption = f"{spec(dataset).label}, {part} part: {found}, choice by seed {seed}"
    if spec(dataset).is_standin and (manifest := standin_manifest(Path(root))) is not None:
        version, made_by = manifest.get("generator_version"), manifest.get("seed")
        caption += f"\nrendered, not photographs: generator version {version}, seed {made_by}"
    return Sheet(dataset, [samples[i] for i in rows], caption)


def draw_sheet(sheet: Sheet, truth: bool = False) -> Figure:
    """Draw the images in rows of 8, or with ``truth`` of 4: joints, bones, box; for RHD also mask and depth beside."""
    dataset = spec(sheet.dataset)
    tiles = [_tile(sample, truth and dataset.has_masks) for sample in sheet.samples]
    columns = min(WITH_TRUTH if truth else COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    caption = sheet.caption + (f"\n{WITH_MASKS if dataset.has_masks else WITHOUT_MASKS}" if truth else "")
    height = 1.15 if dataset.layout == "interhand" else 1.6  # inches of a whole frame; that layout's are wide
    width = height * max(tile.shape[1] / tile.shape[0] for tile in tiles)
    wide = max(columns * width, 7.2)
    font = max(9.0, 0.85 * wide)  # points: a page shows wide sheets smaller
    top, bottom = 0.1 + 0.022 * font * len(caption.split("\n")), 0.033 * font if truth else 0.05
    size = wide, rows * height + top + bottom
    with drawing.style():
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="none")
        ends = {"left": 0.002, "right": 0.998, "top": 1 - top / size[1], "bottom": bottom / size[1]}
        figure.subplots_adjust(**ends, wspace=0.02, hspace=0.03)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, sample, tile in zip(axes.flat, sheet.samples, tiles, strict=False):
            drawing.show_image(ax, tile)
            ax.images[0].set_interpolation("antialiased")
            if truth:
                draw_truth(ax, sample, 0.92 * wide)
        figure.text(0.5, 1 - 0.05 / size[1], caption, ha="center", va="top", fontsize=font, linespacing=1.4)
        if truth:
            drawing.finger_legend(figure, 0.9 * font)
    return figure


def _tile(sample: HandSample, panels: bool) -> np.ndarray:
    """Return the whole image, with ``panels`` mask and depth at half its size to the right of it. -> (H, W, 3)."""
    pixels = decode_sample(sample)
    if not panels:
        return pixels
    half = pixels.shape[0] // 2
    small = [Image.fromarray(panel).resize((half, half), Image.Resampling.LANCZOS) for panel in rhd_panels(sample)]
    return np.hstack([pixels[: 2 * half], np.vstack(small)])


def draw_truth(ax: Axes, sample: HandSample, points: float) -> None:
    """Draw box, bones and joints of a sample over its image, hollow where not visible, with hand type and counts.

    ``points`` is the size of the letters.
    """
    x, y, width, height = sample.box
    ax.add_patch(Rectangle((x, y), width, height, fill=False, ec="white", lw=0.7, zorder=2))
    valid = sample.joint_valid
    seen = valid if sample.joint_visible is None else sample.joint_visible
    drawing.draw_skeleton(ax, sample.joints_image_px, valid, width=1.0, visible=seen)
    if sample.joint_visible is None:
        counts = f"{valid.sum()} of {JOINTS_PER_HAND * len(sample.hand_slices)} joints valid"
    else:
        counts = f"{seen.sum()} of {valid.sum()} joints visible"
    ground = {"facecolor": "black", "alpha": 0.55, "pad": 0.8, "edgecolor": "none"}
    look = {"fontsize": points, "color": "white", "va": "bottom", "bbox": ground, "zorder": 6}
    ax.text(0.01, 0.02, f"{sample.hand_type}: {counts}", transform=ax.transAxes, **look)


def rhd_panels(sample: HandSample) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask over the grey image, and depth: two (H, W, 3) uint8. Only the RHD layout has the files for it."""
    folder, name = sample.image_path.parents[1], sample.image_path.name
    mask = decode_image(folder / "mask" / name, mode=None)  # (H, W)
    depth_mm = read_depth_mm(folder / "depth" / name)
    return mask_overlay(decode_sample(sample), mask), depth_picture(depth_mm, mask > MASK_PERSON)


def mask_overlay(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw fingers and palms in colour over the grey image. (H, W, 3), (H, W) labels 0..33 -> (H, W, 3) uint8."""
    grey = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    colours = _label_colours()[mask]  # (H, W, 3)
    share = np.where(mask > MASK_PERSON, 0.7, np.where(mask == MASK_PERSON, 0.35, 0.0))[..., None]
    return np.rint(grey + share * (colours - grey)).astype(np.uint8)


def _label_colours() -> np.ndarray:
    """Return the mask labels' colours: three segments per finger from the tip, then the palm. -> (34, 3), 0..255."""
    table = np.zeros((MASK_OF_SIDE["right"].stop, 3))
    table[MASK_PERSON] = 255
    colours = [drawing.FINGER_COLOURS[f] for f in FINGERS for _ in range(3)] + [drawing.WRIST_COLOUR]
    for labels in MASK_OF_SIDE.values():
        table[labels.start : labels.stop] = 255 * mpl.colors.to_rgba_array(colours)[:, :3]
    return table


def depth_picture(depth_mm: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """Colour the hands' depth range, near yellow, far dark, else grey. (H, W) mm, (H, W) bool -> (H, W, 3) uint8."""
    picture = np.full((*depth_mm.shape, 3), 225, np.uint8)
    if not hand.any():
        return picture
    near, far = depth_mm[hand].min() - _DEPTH_MARGIN_MM, depth_mm[hand].max() + _DEPTH_MARGIN_MM
    inside = (depth_mm >= near) & (depth_mm <= far)
    share = (far - depth_mm[inside]) / (far - near)
    picture[inside] = np.rint(255 * mpl.colormaps["viridis"](share)[:, :3])
    return picture


def write_sheet(sheet: Sheet, path: Path, truth: bool = False) -> Path:
    """Draw and write a sheet, atomically; the suffix chooses PNG or JPEG."""
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"--out must end in {', '.join(_SUFFIXES)}, got {str(path)!r}")
    with atomic_file(path) as partial:
        partial.write_bytes(drawing.encoded(draw_sheet(sheet, truth), DPI, path.suffix))
    return path
