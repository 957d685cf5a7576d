"""What a picture of this project records about itself, and its version for the dark theme.

A PNG or JPEG written by `msff.report.drawing.encoded` holds a note: its text alternative and where it shows photographs
or maps. A chart, without any, is inverted by the style sheet. In other pictures only what surrounds the photographs is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

NOTE = "comment"
"""The key of the note in a PNG's text, and the name of a JPEG's comment."""
_INVERSION, _BRIGHTNESS = 0.944, 1.25
_HALF_TURN_OF_HUE = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
"""The steps of the filter of `.msff-chart` in `book/_static/msff.css`, as CSS defines them."""


@dataclass(frozen=True)
class Note:
    """What a picture records about itself."""

    alt: str = ""
    photographs: tuple[tuple[float, float, float, float], ...] = ()  # left, top, right, bottom as shares of its size

    def png(self) -> PngInfo:
        """Return the note as a PNG's text."""
        info = PngInfo()
        info.add_text(NOTE, self.text)
        return info

    @property
    def text(self) -> str:
        """The note as text."""
        return json.dumps(asdict(self))


def note_of(picture: Image.Image) -> Note | None:
    """Return the note of an opened picture, None if it is not one of this project's."""
    text = picture.info.get(NOTE, b"{}")
    try:
        fields = json.loads(text)
        return Note(fields["alt"], tuple(map(tuple, fields["photographs"])))
    except (ValueError, KeyError, TypeError):
        return None


def photographs(figure: Figure) -> tuple[tuple[float, float, float, float], ...]:
    """Return where a figure that has been laid out shows images: left, top, right, bottom as shares of its size."""
    width, height = figure.bbox.size
    boxes = [image.get_window_extent() for ax in figure.axes for image in ax.images]
    return tuple(
        tuple(round(float(share), 5) for share in (b.x0 / width, 1 - b.y1 / height, b.x1 / width, 1 - b.y0 / height))
        for b in boxes
    )


def dark(picture: Image.Image, photographs: Sequence[tuple[float, float, float, float]]) -> Image.Image:
    """Return the picture with light and dark exchanged and hues kept, except in these boxes of shares of its size."""
    colours = np.asarray(picture.convert("RGB")) / 255.0  # (H, W, 3)
    inverted = _INVERSION + (1 - 2 * _INVERSION) * colours
    inverted = (_BRIGHTNESS * (inverted @ _HALF_TURN_OF_HUE.T).clip(0, 1)).clip(0, 1)
    height, width = colours.shape[:2]
    darker = np.minimum(inverted, colours)
    for box in photographs:
        left, top, right, bottom = (round(share * size) for share, size in zip(box, (width, height) * 2, strict=True))
        # The pixels of the border are part photograph, part ground.
        for edge, source in ((1, darker), (-1, colours)):
            inside = slice(max(top - edge, 0), bottom + edge), slice(max(left - edge, 0), right + edge)
            inverted[inside] = source[inside]
    return Image.fromarray(np.rint(255 * inverted).astype(np.uint8))
