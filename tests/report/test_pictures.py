"""What pictures record about themselves, and their versions for the dark theme."""

import io

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from msff.report.drawing import encoded, save, show_maps, style
from msff.report.pictures import Note, dark, note_of


def opened(data):
    return Image.open(io.BytesIO(data))


def with_a_photograph():
    """A white figure of 4 x 2 inches whose lower right quarter is an image."""
    with style():
        figure = plt.figure(figsize=(4, 2), layout="none")
        figure.add_axes((0.5, 0, 0.5, 0.5)).imshow(np.full((2, 4, 3), (40, 90, 200), np.uint8))
        figure.axes[0].set_axis_off()
    return figure


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_holds_its_alternative_and_where_its_photographs_are(suffix):
    note = note_of(opened(encoded(with_a_photograph(), 50, suffix, alt="A hand – “left”")))
    assert note.alt == "A hand – “left”"
    assert np.allclose(note.photographs, [[0.5, 0.5, 1, 1]])


def test_a_file_of_few_colours_keeps_the_note(tmp_path):
    kept = note_of(Image.open(save(with_a_photograph(), tmp_path / "a.png")))
    assert kept == Note("", ((0.5, 0.5, 1.0, 1.0),))


def test_maps_are_noted_to_the_pixel_where_they_are_drawn_and_a_chart_has_none():
    """Though the file has another resolution than the figure, so that its letters take other room."""
    picture = opened(encoded(show_maps(np.zeros((2, 3, 3)), ["a", "b"], "A title of two lines, made up"), 220))
    pixels, sizes = np.asarray(picture.convert("RGB")), picture.size * 2
    for box in note_of(picture).photographs:
        left, top, right, bottom = (round(share * size) for share, size in zip(box, sizes, strict=True))
        assert (pixels[top + 1 : bottom - 1, left + 1 : right - 1] == (68, 1, 84)).all()  # the lowest of viridis
        assert (pixels[[top - 2, bottom + 1], left:right] == 255).all()
        assert (pixels[top:bottom, [left - 2, right + 1]] == 255).all()
    assert len(note_of(picture).photographs) == 2
    assert note_of(opened(encoded(plt.figure(), 50))) == Note()


def test_other_files_have_no_note():
    assert note_of(Image.new("RGB", (2, 2))) is None
    commented = Image.new("RGB", (2, 2))
    commented.info["comment"] = b"from a camera"
    assert note_of(commented) is None


def test_in_the_dark_the_photograph_stays_and_what_is_around_it_is_inverted_with_its_hue():
    white, red, photograph = (255, 255, 255), (255, 0, 0), (250, 240, 10)
    quarters = np.array([[white, red], [photograph, (0, 0, 0)]], np.uint8)
    picture = Image.fromarray(quarters.repeat(8, 0).repeat(8, 1))
    seen = np.asarray(dark(picture, [(0, 0.5, 0.5, 1)])).astype(int)
    assert (seen[9:15, 1:7] == photograph).all()
    assert seen[:7, :7].max() < 25 and seen[9:, 9:].min() > 230
    assert (seen[:7, 9:].argmax(-1) == 0).all() and seen[:7, 9:, 0].min() > 200  # still red


def test_in_the_dark_no_bright_line_frames_a_photograph_whose_border_is_part_of_a_pixel():
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[8:, :] = 20  # a dark photograph, of which half a row of pixels is ground
    pixels[7, :] = 137
    seen = np.asarray(dark(Image.fromarray(pixels), [(0, 7 / 16, 1, 1)]))
    assert seen.max() < 140
