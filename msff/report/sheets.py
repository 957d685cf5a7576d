"""Contact sheets of a dataset on disk: whole images in a grid, plain or with ground truth."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from msff.data.datasets import load, spec, standin_manifest
from msff.data.images import decode_image, decode_sample
from msff.data.sample import HandSample
from msff.files import atomic_file
from msff.report.drawing import FINGER_COLOURS, WRIST_COLOUR, bones42, finger_legend, joint_colour, style
from msff.skeleton import FINGERS, MASK_OF_SIDE, MASK_PERSON, side_of

COLUMNS = 8
TILE_PX = {"rhd": (160, 160), "interhand": (176, 115)}  # width, height of a whole frame on the sheet
GAP_PX, LINE_PX, BOTTOM_PX, DPI = 4, 19, 30, 100
TRUTH_NOTES = {
    "rhd": "joints of the scored hand, hollow where not visible; box; small: mask over grey, depth (near is light)",
    "interhand": "valid joints of the hands present; box as annotated",
}
MAX_BYTES = 2_500_000
_DEPTH_MARGIN_MM = 15.0
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class Sheet:
    """Samples of one part of a dataset, ready to draw."""

    dataset: str
    part: str  # "train", "test", "val"
    samples: list[HandSample]
    available: int  # samples that the part has
    requested: int
    seed: int  # of the choice
    generator: str  # of a stand-in: generator version and seed of the dataset; else empty

    @property
    def caption(self) -> str:
        """Return data, number of images and whether they are rendered."""
        label, found = spec(self.dataset).label, f"{len(self.samples):,} of {self.available:,} images"
        if self.requested > self.available:
            found = f"all {self.available:,} images ({self.requested:,} were requested)"
        chosen = f"{label}, {self.part} part: {found}, choice by seed {self.seed}"
        return f"{chosen}\nrendered, not photographs: {self.generator}" if self.generator else chosen


def read_sheet(dataset: str, root: Path | str, part: str = "test", count: int = 64, seed: int = 0) -> Sheet:
    """Read up to ``count`` samples of a dataset in folder ``root`` with the project's readers."""
    return choose_sheet(dataset, root, part, load(dataset, root, part), count, seed)


def choose_sheet(
    dataset: str, root: Path | str, part: str, samples: list[HandSample], count: int = 64, seed: int = 0
) -> Sheet:
    """Choose up to ``count`` of a part's samples at random, in their order."""
    if count < 1:
        raise ValueError(f"--count must be at least 1 image, got {count}")
    if seed < 0:
        raise ValueError(f"--seed must not be negative, got {seed}")
    rows = sorted(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    manifest = standin_manifest(Path(root)) if spec(dataset).is_standin else None
    generator = ""
    if manifest is not None:
        generator = f"generator version {manifest.get('generator_version')}, seed {manifest.get('seed')}"
    return Sheet(dataset, part, [samples[i] for i in rows], len(samples), count, seed, generator)


def draw_sheet(sheet: Sheet, truth: bool = False) -> Figure:
    """Draw the images in rows of 8; with ``truth`` joints, bones and box, for RHD also mask and depth beside each."""
    layout = spec(sheet.dataset).layout
    width, height = TILE_PX[layout]
    panels = truth and layout == "rhd"
    cell = (width + (height // 2 if panels else 0), height)
    columns = min(COLUMNS, len(sheet.samples))
    origins = _origins(len(sheet.samples), columns, cell)
    mosaic = np.full((origins[-1][1] + height, columns * (cell[0] + GAP_PX) - GAP_PX, 3), 255, np.uint8)
    placed = [_place(mosaic, s, origin, (width, height)) for s, origin in zip(sheet.samples, origins, strict=True)]
    if panels:
        for sample, (x, y) in zip(sheet.samples, origins, strict=True):
            for k, panel in enumerate(rhd_panels(sample)):
                side = height // 2
                mosaic[y + k * side : y + (k + 1) * side, x + width : x + width + side] = _resized(panel, side, side)
    figure, ax = _canvas(mosaic, sheet.caption + (f"\n{TRUTH_NOTES[layout]}" if truth else ""), legend=truth)
    if truth:
        for sample, (scale, shift) in zip(sheet.samples, placed, strict=True):
            draw_truth(ax, sample, scale, shift)
        for sample, (x, y) in zip(sheet.samples, origins, strict=True):
            _note(ax, sample, x, y + height)
    return figure


def _origins(count: int, columns: int, cell: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the upper left corner of every cell, px."""
    return [((i % columns) * (cell[0] + GAP_PX), (i // columns) * (cell[1] + GAP_PX)) for i in range(count)]


def _place(mosaic: np.ndarray, sample: HandSample, origin: tuple[int, int], tile: tuple[int, int]):
    """Put the whole image into its tile, centred; return scale and shift from the image's to the mosaic's pixels."""
    pixels = decode_sample(sample)  # (H, W, 3)
    scale = min(tile[0] / pixels.shape[1], tile[1] / pixels.shape[0])
    width, height = max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale))
    x, y = origin[0] + (tile[0] - width) // 2, origin[1] + (tile[1] - height) // 2
    mosaic[y : y + height, x : x + width] = _resized(pixels, width, height)
    # a pixel's centre has whole coordinates in both
    return scale, np.array([x, y]) + 0.5 * scale - 0.5


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _canvas(mosaic: np.ndarray, caption: str, legend: bool) -> tuple[Figure, Axes]:
    """Return a figure whose pixels are the mosaic's, with the caption above and the legend below."""
    height, width = mosaic.shape[:2]
    bottom = BOTTOM_PX if legend else GAP_PX
    top = LINE_PX * (caption.count("\n") + 1) + 2 * GAP_PX
    page = (max(width, 720), height + top + bottom)
    with style():
        figure = plt.figure(figsize=(page[0] / DPI, page[1] / DPI), dpi=DPI, layout="none")
        left = (page[0] - width) / 2 / page[0]
        ax = figure.add_axes((left, bottom / page[1], width / page[0], height / page[1]))
        ax.imshow(mosaic, aspect="auto", interpolation="nearest")
        ax.set_axis_off()
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        figure.text(0.5, 1 - 0.5 * top / page[1], caption, ha="center", va="center", fontsize=9, linespacing=1.5)
        if legend:
            finger_legend(figure)
            figure.legends[0].set_loc("lower center")
    return figure, ax


def draw_truth(ax: Axes, sample: HandSample, scale: float, shift: np.ndarray) -> None:
    """Draw box, bones and joints of a sample at ``scale * px + shift``; occluded joints hollow, invalid ones not."""
    joints = sample.joints_image_px * scale + shift  # (42, 2)
    x, y, w, h = sample.box * scale
    frame = _inside(ax, sample, scale, shift)
    box = ax.add_patch(Rectangle(np.array([x, y]) + shift, w, h, fill=False, ec="white", lw=0.7, zorder=2))
    box.set_clip_path(frame)
    bones = [(c, p) for c, p in bones42() if sample.joint_valid[c] and sample.joint_valid[p]]
    for side, line in (("right", "solid"), ("left", (0, (2.2, 0.9)))):
        own = [(c, p) for c, p in bones if side_of(c) == side]
        ends, colours = [joints[[c, p]] for c, p in own], [joint_colour(c) for c, _ in own]
        under = LineCollection(ends, colors="white", linewidths=1.9, alpha=0.55, zorder=3)
        over = LineCollection(ends, colors=colours, linewidths=1.1, linestyles=[line], zorder=4)
        for collection in (under, over):
            ax.add_collection(collection)
            collection.set_clip_path(frame)
    shown = np.flatnonzero(sample.joint_valid)
    seen = sample.joint_valid if sample.joint_visible is None else sample.joint_visible
    faces = [joint_colour(j) if seen[j] else "white" for j in shown]
    dots = ax.scatter(
        *joints[shown].T, s=5, c=faces, edgecolors=[joint_colour(j) for j in shown], linewidths=0.6, zorder=5
    )
    dots.set_clip_path(frame)


def _inside(ax: Axes, sample: HandSample, scale: float, shift: np.ndarray) -> Rectangle:
    """Return the image's rectangle, to which its drawing is clipped."""
    width, height = sample.image_size
    return Rectangle(shift - 0.5 * scale, width * scale, height * scale, transform=ax.transData)


def _note(ax: Axes, sample: HandSample, x: float, y: float) -> None:
    """Write hand type and joint counts into the lower left corner of a tile."""
    valid = int(sample.joint_valid.sum())
    if sample.joint_visible is None:
        counts = f"{valid} of {21 * len(sample.hand_slices)} joints valid"
    else:
        counts = f"{int(sample.joint_visible.sum())} of {valid} joints visible"
    behind = {"facecolor": "black", "alpha": 0.55, "pad": 0.8, "edgecolor": "none"}
    ax.text(
        x + 1, y - 2, f"{sample.hand_type}: {counts}", fontsize=4.6, color="white", ha="left", va="bottom", bbox=behind,
        zorder=6,
    )  # fmt: skip


def rhd_panels(sample: HandSample) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask over the grey image, and depth: two (H, W, 3) uint8. Only the RHD layout has the files for it."""
    folder, name = sample.image_path.parents[1], sample.image_path.name
    mask = decode_image(folder / "mask" / name, mode=None)  # (H, W)
    depth_mm = decode_depth(decode_image(folder / "depth" / name))
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
    for labels in MASK_OF_SIDE.values():
        names = [FINGER_COLOURS[f] for f in FINGERS for _ in range(3)] + [WRIST_COLOUR]
        table[labels.start : labels.stop] = 255 * np.array([mpl.colors.to_rgb(c) for c in names])
    return table


def decode_depth(code: np.ndarray) -> np.ndarray:
    """Decode RHD's depth images. (H, W, 3) uint8, high byte, low byte -> (H, W) mm."""
    return (code[..., 0].astype(np.int32) * 256 + code[..., 1]) / 65535 * 5000.0


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


def encoded(figure: Figure, suffix: str = ".jpg") -> bytes:
    """Return the figure as JPEG or PNG (".png", with 256 colours if above 2.5 MB) and close it."""
    if suffix.lower() not in _SUFFIXES:
        raise ValueError(f"a sheet is written as {', '.join(_SUFFIXES)}, got {suffix!r}")
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI, pil_kwargs={"compress_level": 0})
    plt.close(figure)
    picture, stream = Image.open(raw).convert("RGB"), io.BytesIO()  # without matplotlib's version stamp
    if suffix.lower() != ".png":
        picture.save(stream, "JPEG", quality=85, subsampling=0)
        return stream.getvalue()
    picture.save(stream, "PNG", optimize=True)
    if len(stream.getvalue()) > MAX_BYTES:
        stream = io.BytesIO()
        picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def write_sheet(sheet: Sheet, path: Path, truth: bool = False) -> Path:
    """Draw and write a sheet, atomically; the suffix chooses PNG or JPEG."""
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"--out must end in {', '.join(_SUFFIXES)}, got {str(path)!r}")
    data = encoded(draw_sheet(sheet, truth), path.suffix)
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return path
