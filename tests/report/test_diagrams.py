"""The drawing of a module: valid SVG with its words, and arrows from border to border."""

import re
from xml.etree import ElementTree

import torch

from msff.report.diagrams import HEIGHT, WIDTH, Arrow, Box, diagram, shape_text

SVG = "{http://www.w3.org/2000/svg}"
BOXES = [Box("F", "map", "2 x 3", 0, 0), Box("A<B", "mean", "2", 1, 0), Box("W", "weights", "2", 2, 1)]


def drawn(arrows, boxes=BOXES):
    return ElementTree.fromstring(diagram("A module", "What it does.", boxes, arrows).data)


def points(path):
    return [tuple(map(float, pair.split())) for pair in path.get("d")[1:].split(" L")]


def test_the_drawing_is_valid_and_carries_title_description_and_every_word():
    tree = drawn([Arrow("F", "A<B", "Eq. (3)")])
    assert tree.find(f"{SVG}title").text == "A module" and tree.find(f"{SVG}desc").text == "What it does."
    words = {text.text for text in tree.iter(f"{SVG}text")}
    assert words == {"F", "map", "2 x 3", "A<B", "mean", "2", "W", "weights", "Eq. (3)"}
    assert tree.get("viewBox") and "width:100%" in tree.get("style")
    assert not re.search("#[0-9a-f]{3}", ElementTree.tostring(tree, "unicode").split("<defs")[0])  # no fixed colour


def test_numbered_symbols_have_subscripts_and_primes():
    words = {text.text for text in drawn([Arrow("F'1", "V2", "U3")], [
        Box("F'1", "1x1 of G4", "2 x 3", 0, 0), Box("V2", "W2x", "2", 1, 0)
    ]).iter(f"{SVG}text")}  # fmt: skip
    assert words == {"F′₁", "1x1 of G₄", "2 x 3", "V₂", "W2x", "2", "U₃"}


def test_arrows_end_at_the_borders_and_bend_once():
    straight, bent, down = [p for p in drawn(
        [Arrow("F", "A<B"), Arrow("A<B", "W"), Arrow("F", "W", first="down")]
    ).findall(f"{SVG}path")]  # fmt: skip
    (x1, y1), (x2, y2) = points(straight)
    assert y1 == y2 and x1 - WIDTH / 2 == BOXES[0].centre[0] and x2 + WIDTH / 2 == BOXES[1].centre[0]
    assert len(points(bent)) == 3 and points(bent)[-1] == (BOXES[2].centre[0], BOXES[2].centre[1] - HEIGHT / 2)
    assert points(down)[-1] == (BOXES[2].centre[0] - WIDTH / 2, BOXES[2].centre[1])


def test_a_shape_is_written_without_the_batch():
    assert shape_text(torch.zeros(2, 16, 8, 4)) == "16 × 8 × 4"


def test_a_long_shape_is_set_smaller_so_that_it_fits_into_its_box():
    boxes = [Box("H", "volume", "42 × 64 × 64 × 64", 0, 0), Box("G", "sum", "64 × 8 × 8", 1, 0)]
    drawn = diagram("T", "d", boxes, []).data
    sizes = {text: float(size) for size, text in re.findall(r'font-size="([0-9.]+)"[^>]*>([^<]*)<', drawn)}
    assert sizes["42 × 64 × 64 × 64"] * 0.56 * len("42 × 64 × 64 × 64") <= WIDTH - 7.9
    assert sizes["42 × 64 × 64 × 64"] < sizes["64 × 8 × 8"] == 11
