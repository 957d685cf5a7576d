"""Hands, maps and sheets of images on matplotlib axes, from which the figures are composed.

One style, one palette (Okabe & Ito, safe for colour-blind readers), and one colour per finger everywhere.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from msff.files import atomic_file
from msff.report.formatting import with_minus
from msff.report.pictures import NOTE, Note, note_of, photographs
from msff.skeleton import BONES, FINGER_OF_JOINT, FINGERS, JOINTS, JOINTS_PER_HAND, side_of

FINGER_COLOURS = {
    "thumb": "#D55E00", "index": "#E69F00", "middle": "#009E73", "ring": "#0072B2", "little": "#CC79A7",
}  # fmt: skip
WRIST_COLOUR = "#555555"
_LINES = {"right": "solid", "left": (0, (2.2, 0.9))}
METHOD_COLOURS = {
    "MS-FF": "#D55E00", "InterNet(2020)": "#0072B2", "PoseNet(2017)": "#009E73", "Chen(2018)": "#CC79A7",
    "Yang(2019)": "#E69F00", "Spurr(2018)": "#56B4E9", "Song-S (surrogate)": "#6A3D9A",
    "mean pose (baseline)": "#888888", "oracle (lower bound)": "#444444",
}  # fmt: skip
METHOD_MARKERS = {
    "MS-FF": "o", "InterNet(2020)": "s", "PoseNet(2017)": "^", "Chen(2018)": "v", "Yang(2019)": "D",
    "Spurr(2018)": "P", "Song-S (surrogate)": "X", "mean pose (baseline)": "_", "oracle (lower bound)": "x",
}  # fmt: skip
"""A second cue beside the colour."""
PAPER_COLOUR = "#222222"
NOTE_COLOUR = "#6B6B6B"
"""Of remarks in a figure: 5.3:1 on white."""
BAND_COLOUR = "#DDDDDD"
"""Of the paper's leads and margins."""
SAVE_DPI = 110
SHARPNESS = 2
"""Pixels of a picture per pixel on the page, for screens with small pixels."""


@contextmanager
def style():
    """Apply the style of every figure within the block; matplotlib's global settings are restored after it."""
    settings = {
        "figure.dpi": SAVE_DPI, "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.frameon": False,
        "figure.titlesize": 10, "figure.constrained_layout.use": True, "svg.hashsalt": "msff", "axes.spines.top": False,
        "axes.spines.right": False, "figure.facecolor": "white", "grid.linewidth": 0.6,
        "image.interpolation": "nearest",
    }  # fmt: skip
    with _defaults(), sns.axes_style("whitegrid"), mpl.rc_context(settings):
        yield
        interactive = mpl.is_interactive()
    # A notebook's backend is chosen at the first figure, inside the block; leaving the block would turn display off.
    mpl.interactive(interactive)


@contextmanager
def _defaults():
    """Apply matplotlib's own settings; a matplotlibrc in the working folder comes before that of a variable."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def save(figure: Figure, path: Path | str, sharpness: int = 1) -> Path:
    """Write a PNG of at most 256 colours without time or version stamps, atomically, and close the figure."""
    path = Path(path)
    with atomic_file(path) as partial:
        picture = Image.open(io.BytesIO(encoded(figure, sharpness * SAVE_DPI)))
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(partial, format="png", optimize=True, pnginfo=note_of(picture).png())
    return path


def encoded(figure: Figure, dpi: float, suffix: str = ".png", alt: str = "") -> bytes:
    """Return the figure as PNG or JPEG (".jpg") with its note, without time or version stamps, and close it."""
    stream = io.BytesIO()
    try:
        with _defaults():
            if any(ax.images for ax in figure.axes):  # laid out at the size that is written, and not again
                figure.set_dpi(dpi)
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
            note = Note(alt, photographs(figure)).text
            png = {"format": "png", "metadata": {"Software": None, NOTE: note}}
            jpeg = {"format": "jpg", "pil_kwargs": {"quality": 85, "subsampling": 0, NOTE: note}}
            figure.savefig(stream, dpi=dpi, **(png if suffix.lower() == ".png" else jpeg))
    finally:
        plt.close(figure)
    return stream.getvalue()


def method_points(label: str) -> dict[str, str]:
    """Return colour and marker of a method, as ``errorbar`` and ``plot`` take them."""
    return {"color": METHOD_COLOURS.get(label, PAPER_COLOUR), "marker": METHOD_MARKERS.get(label, "o")}


def draw_interval(
    ax: Axes, place: float, bounds: tuple[float, float, float], *, vertical: bool = False, **look
) -> None:
    """Draw (value, low, high) at ``place``, hollow where the interval is NaN; ``look`` is what ``errorbar`` takes."""
    value, low, high = bounds
    spread = None if np.isnan(low) else [[max(value - low, 0)], [max(high - value, 0)]]
    hollow = {"markerfacecolor": "white"} if spread is None else {}
    look = {"marker": "o", "ls": "none", "ms": 5.5, "capsize": 2.5, "lw": 1.2, "color": PAPER_COLOUR} | hollow | look
    if vertical:
        ax.errorbar(place, value, yerr=spread, **look)
    else:
        marker = "|" if look["marker"] == "_" else look["marker"]  # which the interval would hide
        ax.errorbar(value, place, xerr=spread, **look | {"marker": marker})


def name_rows(ax: Axes, names: Sequence[str], **look) -> None:
    """Name the horizontal rows 0, 1, ... of a chart from the top down; ``look`` is that of the names."""
    ax.set_yticks(range(len(names)), names, **look)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def say(ax: Axes, what: str = "no finished run") -> None:
    """Write into the middle of axes without data what is missing."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", color=PAPER_COLOUR)


def joint_colour(joint: int) -> str:
    """Return the colour of a joint 0..41 by its finger."""
    finger = FINGER_OF_JOINT[joint % JOINTS_PER_HAND]
    return WRIST_COLOUR if finger < 0 else FINGER_COLOURS[FINGERS[finger]]


def bones42() -> list[tuple[int, int]]:
    """Return (child, parent) of both hands' bones among the 42 joints."""
    return [(c + s, p + s) for s in range(0, JOINTS, JOINTS_PER_HAND) for c, p in BONES]


def drawn_bones(valid: np.ndarray) -> list[tuple[int, int]]:
    """Return (child, parent) of the bones whose ends are both valid; (21,) or (42,) bool."""
    return [(c, p) for c, p in bones42() if max(c, p) < len(valid) and valid[c] and valid[p]]


def draw_skeleton(
    ax: Axes, joints_px: np.ndarray, valid: np.ndarray, *, width: float, visible: np.ndarray | None = None
) -> None:
    """Draw bones and joints over an image. (21 or 42, 2) px; bones need both ends valid and finite.

    The right hand's bones are solid, the left hand's dashed; colours distinguish the fingers. Joints that are not
    ``visible`` are hollow.
    """
    valid = valid & np.isfinite(joints_px).all(1)
    bones = drawn_bones(valid)
    ends, round_ = [joints_px[list(bone)] for bone in bones], {"capstyle": "round"}
    lines = [_LINES[side_of(child)] for child, _ in bones]
    ax.add_collection(LineCollection(ends, colors="white", linewidths=width + 1.2, alpha=0.55, zorder=2, **round_))
    colours = [joint_colour(child) for child, _ in bones]
    ax.add_collection(LineCollection(ends, colors=colours, linewidths=width, linestyles=lines, zorder=3, **round_))
    shown = np.flatnonzero(valid)
    colours = [joint_colour(j) for j in shown]
    faces, edges = colours, "white"
    if visible is not None:
        faces, edges = [c if visible[j] else "white" for j, c in zip(shown, colours, strict=True)], colours
    ax.scatter(*joints_px[shown].T, s=(2.2 * width) ** 2, c=faces, edgecolors=edges, linewidths=0.5, zorder=4)


def draw_skeleton_3d(ax: Axes, joints_mm: np.ndarray, valid: np.ndarray, around_mm: np.ndarray) -> None:
    """Draw bones in 3D, camera frame (21 or 42, 3) mm: x right, z away, y down; a cube around others sets the scale."""
    valid = valid & np.isfinite(joints_mm).all(1)
    shown = joints_mm[:, [0, 2, 1]] * [1, 1, -1]  # the plot's axes: right, away, up
    for child, parent in drawn_bones(valid):
        look = {"color": joint_colour(child), "lw": 1.6, "ls": _LINES[side_of(child)]}
        ax.plot(*shown[[child, parent]].T, solid_capstyle="round", **look)
    ax.set(xticklabels=[], yticklabels=[], zticklabels=[])
    ax.tick_params(length=0)
    ax.view_init(elev=15, azim=-60)
    points = around_mm[:, [0, 2, 1]] * [1, 1, -1]
    centre = (points.max(0) + points.min(0)) / 2
    half = max((points.max(0) - points.min(0)).max() / 2, 1.0) * 1.05
    for setter, c in zip((ax.set_xlim, ax.set_ylim, ax.set_zlim), centre, strict=True):
        setter(c - half, c + half)
    ax.set_box_aspect((1, 1, 1), zoom=1.2)


def show_image(ax: Axes, image: np.ndarray) -> None:
    """Show an image (H, W, 3), uint8 or floats in [0, 1], without axes; joints outside do not shrink it."""
    ax.imshow(image)
    ax.set_axis_off()
    height, width = image.shape[:2]
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def contact_sheet(
    images: Sequence[np.ndarray], joints_px: Sequence[np.ndarray], valid: Sequence[np.ndarray], labels: Sequence[str],
    columns: int, title: str,
) -> Figure:  # fmt: skip
    """Draw images with skeletons and labels in rows of ``columns``, below a title as wide as these."""
    rows = -(-len(images) // columns)
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.45, rows * 1.61 + 0.3), squeeze=False)
        for ax, image, joints, known, label in zip(axes.flat, images, joints_px, valid, labels, strict=True):
            show_image(ax, image)
            draw_skeleton(ax, joints, known, width=1.3)
            ax.set_title(label, fontsize=7, pad=2)
        figure.suptitle(textwrap.fill(title, 16 * columns))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    return figure


def show_maps(maps: np.ndarray, titles: Sequence[str], title: str, columns: int = 8) -> Figure:
    """Draw feature or heat maps (K, H, W) side by side, each with its own range in its label; F_1 becomes a symbol."""
    maps = np.asarray(maps, float)
    if maps.ndim != 3:
        raise ValueError(f"maps must be (K, H, W), got {maps.shape}")
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    title = textwrap.fill(title, 16 * columns)
    height = rows * 1.55 + 0.17 * len(title.split("\n")) + 0.13
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.3, height), squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, values, title_of_map in zip(axes.flat, maps, titles, strict=False):
            ax.imshow(values, cmap="viridis")
            name = re.sub(r"\b([A-Z]'?)_(\d)\b", r"$\1_\2$", title_of_map)
            ends = (f"{v:.0f}" if abs(v) >= 100 else f"{v:.2g}" for v in (values.min(), values.max()))
            ax.set_title(f"{name}\n{with_minus(' to '.join(ends))}", fontsize=7, pad=2)
        figure.suptitle(title)
    return figure


def finger_legend(figure: Figure, points: float = 8) -> None:
    """Add a legend of fingers and hands below the axes, with letters of that size."""
    line = mpl.lines.Line2D
    handles = [line([], [], color=c, lw=2.2, label=finger) for finger, c in FINGER_COLOURS.items()]
    handles += [line([], [], color=WRIST_COLOUR, lw=1.8, ls=ls, label=f"{side} hand") for side, ls in _LINES.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=points, handlelength=1.8)
