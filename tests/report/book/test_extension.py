"""Buttons into the repository, only where one is set, and equations with the paper's numbers."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document
from PIL import Image
from sphinx.application import Sphinx

from msff.report.book.build import _config
from msff.report.book.extension import GENERATED, mark_pictures, set_minus_signs, source_of
from msff.report.pictures import Note

REPO = Path(__file__).parents[3]
URL = "https://github.com/someone/msff"


@pytest.mark.parametrize(
    "staged, source",
    [
        ("book/rule.md", "book/rule.md"),
        ("book/_executed/02-backbone.ipynb", "notebooks/02-backbone.ipynb"),
        ("book/_executed/08-ablation--own.ipynb", "notebooks/08-ablation.ipynb"),
        ("book/_executed/runs/07-train--standin-rhd--msff--full--seed0.ipynb", "notebooks/07-train.ipynb"),
        ("book/_executed/larger/cpu/runs/standin-rhd--msff--full--seed0.md", GENERATED),
    ],
)
def test_a_staged_page_has_its_source_in_the_repository(staged, source):
    assert source_of(staged) == source and (REPO / source).exists()


def test_without_a_repository_there_is_no_button_and_one_setting_makes_them(tmp_path):
    shutil.copyfile(REPO / "CITATION.cff", tmp_path / "CITATION.cff")
    text = (REPO / "_config.yml").read_text()
    (tmp_path / "_config.yml").write_text(text)
    unset = _theme(tmp_path)
    assert not any("button" in key for key in unset if key != "use_download_button") and URL not in str(unset)
    (tmp_path / "_config.yml").write_text(text.replace('repository_url: ""', f"repository_url: {URL}"))
    theme = _theme(tmp_path)
    assert theme["use_edit_page_button"] and theme["use_source_button"] and theme["use_issues_button"]
    assert set(theme["launch_buttons"]) == {"notebook_interface", "binderhub_url", "colab_url"}
    (tmp_path / "_config.yml").write_text(
        text.replace('repository_url: ""', "repository_url: https://gitlab.com/someone/msff")
    )
    assert "colab_url" not in _theme(tmp_path)["launch_buttons"]  # which reads from GitHub alone


def _theme(root):
    return yaml.safe_load(_config(root, "cpu"))["sphinx"]["config"]["html_theme_options"]


@pytest.mark.slow
def test_buttons_lead_to_notebooks_and_chapters_and_equations_have_the_papers_numbers(tmp_path):
    """A book of two pages, built by Sphinx with the theme."""
    folder = tmp_path / "source" / "book" / "_executed"
    folder.mkdir(parents=True)
    text = "# Page\n\n$$a$$ (eq-8-10)\n\n$$b$$ (eq-7)\n\n$$c$$ (other)\n\nSee {eq}`eq-7`."
    notebook = {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python"}},
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}],
    }  # fmt: skip
    (folder / "02-page.ipynb").write_text(json.dumps(notebook))
    (folder.parent / "rule.md").write_text("# Rule\n\n[](_executed/02-page.ipynb)")
    (tmp_path / "CITATION.cff").write_text((REPO / "CITATION.cff").read_text())
    config = (REPO / "_config.yml").read_text().replace('repository_url: ""', f"repository_url: {URL}")
    (tmp_path / "_config.yml").write_text(config)
    settings = {
        "extensions": ["myst_nb", "sphinx_book_theme", "msff.report.book.extension"], "nb_execution_mode": "off",
        "myst_enable_extensions": ["dollarmath"], "html_theme": "sphinx_book_theme", "root_doc": "book/rule",
        "html_theme_options": _theme(tmp_path), "numfig": True,  # as jupyter-book sets it
        "math_numfig": yaml.safe_load(config)["sphinx"]["config"]["math_numfig"],
    }  # fmt: skip
    app = Sphinx(tmp_path / "source", None, tmp_path / "html", tmp_path / "doctrees", "html", settings, status=None)
    app.build()
    page, chapter = (
        (tmp_path / "html" / "book" / f"{name}.html").read_text() for name in ("_executed/02-page", "rule")
    )
    assert {
        f"{URL}/blob/main/notebooks/02-page.ipynb?plain=1", f"{URL}/edit/main/notebooks/02-page.ipynb",
        f"{URL}/issues/new?title=Issue%20on%20page%20%2Fnotebooks/02-page.ipynb&body=Your%20issue%20content%20here.",
        "https://mybinder.org/v2/gh/someone/msff/main?urlpath=lab/tree/notebooks/02-page.ipynb",
        "https://colab.research.google.com/github/someone/msff/blob/main/notebooks/02-page.ipynb",
    } <= set(re.findall(r'href="(https://[^"]+)"', page))  # fmt: skip
    assert f"{URL}/edit/main/book/rule.md" in chapter and "mybinder" not in chapter
    assert not re.search(r'href="http[^"]*_executed', page + chapter)
    assert re.findall(r'class="eqno">\(([^)]+)\)', page) == ["8–10", "7", "3"]
    assert re.search(r'href="#equation-eq-7">\(7\)</a>', page)


def marked(folder, size, note, suffix=".png"):
    """The image nodes that a picture of this size with this note becomes."""
    picture, path = Image.new("RGB", size, "white"), folder / f"picture{suffix}"
    picture.save(path, **({"pnginfo": note.png()} if suffix == ".png" else {"comment": note.text}) if note else {})
    document = new_document("page")
    document += nodes.paragraph("", "", nodes.image(uri=path.name, alt="as written"))
    images = SimpleNamespace(add_file=lambda docname, uri: (folder / uri).stat())
    mark_pictures(SimpleNamespace(srcdir=folder, env=SimpleNamespace(docname="page", images=images)), document)
    return list(document.findall(nodes.image))


@pytest.mark.parametrize("size, wide", [((1800, 700), True), ((960, 1200), True), ((800, 300), False)])
def test_a_wide_picture_scrolls_on_a_phone_and_a_chart_is_inverted_in_the_dark(tmp_path, size, wide):
    (chart,) = marked(tmp_path, size, Note("A curve"))
    assert ("msff-swipe" in chart.parent["classes"]) == wide
    assert chart["classes"] == ["msff-wide"] * wide + ["msff-chart"] and chart["alt"] == "A curve"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_with_a_photograph_has_a_version_for_the_dark(tmp_path, suffix):
    light, dark = marked(tmp_path, (80, 40), Note("A hand", ((0.5, 0, 1, 1),)), suffix)
    assert (light["classes"], dark["classes"]) == (["msff-light"], ["msff-dark", "dark-light"])
    assert light["alt"] == dark["alt"] == "A hand" and dark["uri"] == f"picture-dark{suffix}" == dark["candidates"]["*"]
    drawn = Image.open(tmp_path / dark["uri"]).convert("L")
    assert drawn.getpixel((10, 20)) < 30 and drawn.getpixel((70, 20)) > 240


def test_other_pictures_keep_their_alternatives_and_colours(tmp_path):
    (image,) = marked(tmp_path, (80, 40), None)
    assert image["classes"] == [] and image["alt"] == "as written"
    document = new_document("page")
    document += [nodes.image(uri=name) for name in ("missing.png", "diagram.svg")]
    mark_pictures(SimpleNamespace(srcdir=tmp_path), document)
    assert [node["classes"] for node in document.findall(nodes.image)] == [[], []]


def test_prose_has_minus_signs_and_code_has_hyphens():
    document = new_document("page")
    document += [
        nodes.paragraph("", "", nodes.Text("MS-FF - InterNet: -1.45 [-2.10, -0.80], seeds 1-3")),
        nodes.paragraph("", "", nodes.literal("", "--rate -1")),
        nodes.literal_block("", "x - 1"),
    ]
    set_minus_signs(None, document)
    prose, literal, block = (node.astext() for node in document)
    assert prose == "MS-FF \u2212 InterNet: \u22121.45 [\u22122.10, \u22120.80], seeds 1-3"
    assert (literal, block) == ("--rate -1", "x - 1")
