"""Draw a module as a small SVG: boxes with symbol, name and shape on a grid of three columns, joined by arrows.

The drawing takes the colour of the text around it, so it suits a light and a dark page, and three columns stay readable
at the width of a phone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import Literal

from IPython.display import HTML
from torch import Tensor

WIDTH, HEIGHT = 106, 60
GAP_X, GAP_Y = 26, 28
MARGIN = 6
COLUMNS = 3
_LINES = (15, "bold", 19), (11.5, "normal", 35), (11, "normal", 51)  # size, weight, place of symbol, name and shape
_numbers = count(1)
_SYMBOL = re.compile(r"\b([A-Z])(['′]?)(\d)\b")


@dataclass(frozen=True)
class Box:
    """One quantity or step at a column 0..2 and row; ``shape`` is a tensor's or any short text."""

    symbol: str
    name: str
    shape: str
    column: int
    row: int

    @property
    def centre(self) -> tuple[float, float]:
        return (MARGIN + self.column * (WIDTH + GAP_X) + WIDTH / 2, MARGIN + self.row * (HEIGHT + GAP_Y) + HEIGHT / 2)


@dataclass(frozen=True)
class Arrow:
    """From one box's symbol to another's; a bent arrow runs ``first`` across or down."""

    start: str
    end: str
    label: str = ""
    first: Literal["across", "down"] = "across"


def shape_text(x: Tensor) -> str:
    """Return a tensor's shape without the batch: (B, C, H, W) -> "C x H x W"."""
    return " × ".join(str(size) for size in x.shape[1:])


def diagram(title: str, description: str, boxes: Sequence[Box], arrows: Iterable[Arrow]) -> HTML:
    """Return the drawing as inline SVG with title and description for screen readers; each symbol names one box."""
    named = {box.symbol: box for box in boxes}
    name = f"diagram-{next(_numbers)}-{'-'.join(title.lower().split())}"
    width = COLUMNS * WIDTH + (COLUMNS - 1) * GAP_X + 2 * MARGIN
    rows = max(box.row for box in boxes) + 1
    height = rows * HEIGHT + (rows - 1) * GAP_Y + 2 * MARGIN
    drawn = [_arrow(named[a.start], named[a.end], a, f"{name}-tip") for a in arrows] + [_box(box) for box in boxes]
    return HTML(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" style="display:block;width:100%;max-width:32rem;margin:auto" '
        'font-family="system-ui, sans-serif" fill="currentColor" stroke="none">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>' + "".join(drawn) + "</svg>"
    )


def _box(box: Box) -> str:
    x, y = box.centre
    frame = (
        f'<rect x="{x - WIDTH / 2}" y="{y - HEIGHT / 2}" width="{WIDTH}" height="{HEIGHT}" rx="7" '
        'fill="currentColor" fill-opacity="0.07" stroke="currentColor" stroke-opacity="0.6"/>'
    )
    return frame + "".join(
        f'<text x="{x}" y="{y - HEIGHT / 2 + down}" font-size="{_fitting(text, size):.3g}" font-weight="{weight}" '
        f'text-anchor="middle">{_typeset(text)}</text>'
        for text, (size, weight, down) in zip((box.symbol, box.name, box.shape), _LINES, strict=True)
    )


def _typeset(text: str) -> str:
    """Return a text with its symbols as in the equations: F'1 with a prime and a subscript."""
    return _SYMBOL.sub(lambda m: m[1] + m[2].replace("'", "′") + chr(0x2080 + int(m[3])), escape(text, quote=False))


def _fitting(text: str, size: float) -> float:
    """Return the size at which a line fits into its box: about 0.56 of it per character, and 4 at either side."""
    return min(size, (WIDTH - 8) / (0.56 * max(len(text), 1)))


def _arrow(start: Box, end: Box, arrow: Arrow, tip: str) -> str:
    """Return the line from border to border, bent once if the boxes share neither row nor column, and its label."""
    (x1, y1), (x2, y2) = start.centre, end.centre
    dx, dy = WIDTH / 2 * ((x2 > x1) - (x2 < x1)), HEIGHT / 2 * ((y2 > y1) - (y2 < y1))  # from a centre to the border
    across = y1 == y2 or (x1 != x2 and arrow.first == "across")  # how it leaves
    bend = (x2, y1) if across else (x1, y2)
    arrives_across = y1 == y2 or (x1 != x2 and not across)
    first = (x1 + dx, y1) if across else (x1, y1 + dy)
    last = (x2 - dx, y2) if arrives_across else (x2, y2 - dy)
    points = [first, last] if x1 == x2 or y1 == y2 else [first, bend, last]
    path = " L".join(f"{x} {y}" for x, y in points)
    line = f'<path d="M{path}" fill="none" stroke="currentColor" stroke-width="1.5" marker-end="url(#{tip})"/>'
    if not arrow.label:
        return line
    x, y = (sum(values) / 2 for values in zip(points[0], points[1], strict=True))
    place = f'x="{x}" y="{y - 5}" text-anchor="middle"' if across else f'x="{x + 6}" y="{y + 4}"'
    return f'{line}<text {place} font-size="11">{_typeset(arrow.label)}</text>'
