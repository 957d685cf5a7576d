"""A Sphinx extension of this book alone: links into the repository, the paper's equation numbers, kinds of pictures.

The theme derives a page's place in the repository from where it was staged, which no repository contains. Here the
buttons lead to the notebook or chapter that a reader can edit, and for generated pages to the code that writes them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from docutils import nodes
from PIL import Image

from msff.report.formatting import with_minus
from msff.report.pictures import dark, note_of

GENERATED = "msff/report/book/run_pages.py"
"""Writes the pages of single runs and their lists."""
WIDE_PX = 940
"""A picture with more pixels in a row scrolls on a phone."""


def setup(app) -> dict:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", number_as_in_the_paper)
    app.connect("doctree-read", mark_pictures)
    app.connect("doctree-read", set_minus_signs)
    app.connect("html-page-context", lead_to_sources, priority=900)  # the theme adds its buttons at 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def source_of(staged: str) -> str:
    """Return the file of the repository that a page is made from; ``staged`` is its path in the book, with suffix."""
    if not staged.startswith("book/_executed/"):
        return staged
    stem, suffix = posixpath.splitext(posixpath.basename(staged))
    return f"notebooks/{stem.partition('--')[0]}.ipynb" if suffix == ".ipynb" else GENERATED


def lead_to_sources(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Make the edit, issue, source and launch buttons of a page lead to its source in the repository."""
    if pagename not in app.env.found_docs:
        return
    staged = app.env.doc2path(pagename, base=False)
    for group in context.get("header_buttons", ()):
        for button in group.get("buttons", [group]):
            if "url" in button:
                url = button["url"].replace(f"{pagename}.html", source_of(staged))  # an issue's title
                button["url"] = url.replace(staged, source_of(staged))


def number_as_in_the_paper(app, doctree: nodes.document) -> None:
    """Give an equation labelled ``eq-7`` the number 7, one labelled ``eq-8-10`` the numbers 8-10."""
    equations = app.env.get_domain("math").equations
    for block in doctree.findall(nodes.math_block):
        if label := re.fullmatch(r"eq-(\d+(?:-\d+)?)", block.get("label") or ""):
            block["number"] = label[1].replace("-", "–")
            equations[block["label"]] = (app.env.docname, block["number"])


def set_minus_signs(app, doctree: nodes.document) -> None:
    """Set minus signs in prose and tables, but not in code, mathematics or HTML."""
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, (nodes.literal, nodes.math, nodes.FixedTextElement)):
            text.parent.replace(text, nodes.Text(with_minus(text)))


def mark_pictures(app, doctree: nodes.document) -> None:
    """Give pictures their text alternatives and what the style sheet needs: classes, and versions for the dark theme.

    Shrunk to the width of a phone, the text of a wide picture could not be read, so it scrolls in a box of its own
    (``msff-wide`` in ``msff-swipe``). The dark theme inverts a chart (``msff-chart``); a picture with photographs
    (``msff-light``) has a version of its own beside it, ``msff-dark``.
    """
    for image in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix not in (".png", ".jpg") or not path.is_file():
            continue
        with Image.open(path) as picture:
            width, note = picture.width, note_of(picture)
            if note and note.photographs:
                name = f"{path.stem}-dark{path.suffix}"
                dark(picture, note.photographs).save(path.with_name(name), quality=85, subsampling=0)
        if note and note.alt:
            image["alt"] = note.alt
        pictures = [image]
        if width > WIDE_PX:
            image["classes"].append("msff-wide")
        if note and note.photographs:
            twin = image.deepcopy()
            twin["uri"] = posixpath.join(posixpath.dirname(image["uri"]), name)
            twin["candidates"] = {"*": twin["uri"]}
            app.env.images.add_file(app.env.docname, twin["uri"])
            twin["classes"] += ["msff-dark", "dark-light"]  # the second keeps the theme's filter off
            image["classes"].append("msff-light")
            pictures.append(twin)
        elif note:
            image["classes"].append("msff-chart")
        parent, place = image.parent, image.parent.index(image)
        if width > WIDE_PX:
            pictures = [nodes.container("", *pictures, classes=["msff-swipe"])]
        parent[place : place + 1] = pictures
