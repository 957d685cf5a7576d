"""The book as one PDF: the pages joined, and printed where there is a Chromium."""

import json
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from plotly.offline import get_plotlyjs
from pypdf import PdfReader

from msff.report.book import BookError, pdf
from msff.report.book.pdf import entries, joined, write_pdf

REPO = Path(__file__).parents[3]
BAR = """<nav class="bd-links"><ul><li><a class="reference" href="#">Home</a></li></ul>
<p class="caption">The evidence</p><ul><li><a class="reference" href="_executed/08.html">Ablation</a>
<ul><li><a class="reference" href="_executed/runs/a.html">a/run</a></li></ul></li></ul></nav>"""
CLEAR = {"paper_bgcolor": "rgba(0,0,0,0)", "scene": {"bgcolor": "rgba(0,0,0,0)"}}
TURNING = {"data": [{"type": "scatter3d", "x": [0, 1], "y": [0, 1], "z": [0, 1]}], "layout": CLEAR}
PAGES = {
    "intro.html": f"""<head><title>Home — A book</title><link rel="stylesheet" href="../_static/msff.css?v=1"></head>
        {BAR}<article class="bd-article"><h1 id="top">Home<a class="headerlink" href="#top">#</a></h1>
        <p id="end">See <a href="_executed/08.html#top">it</a>, <a href="#end">here</a>, <a href="a.csv">numbers</a>
        and <a href="https://example.org">elsewhere</a>.</p></article>""",
    "_executed/08.html": f"""<article class="bd-article"><h1 id="top">Ablation</h1><h2>Part</h2>
        <details class="admonition hide"><p>plumbing</p></details><details class="sd-dropdown"><p>opened</p></details>
        <div class="math">\\(x^2\\)</div><img src="../../_images/dot.png">
        <table class="table"><tr>{"<td>1234567890</td>" * 30}</tr></table>
        <figure class="msff-3d" hidden><figcaption>Hand</figcaption>
        <div class="msff-3d-view"></div><script type="application/json">{json.dumps(TURNING)}</script></figure>
        </article>""",
    "_executed/runs/a.html": """<article class="bd-article"><h1 id="top">a/run</h1>
        <details class="sd-dropdown"><p>configuration</p></details><a href="../08.html">back</a></article>""",
}


@pytest.fixture
def book(tmp_path):
    """A built book of three pages."""
    for name, text in PAGES.items():
        path = tmp_path / "book" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copytree(REPO / "book" / "_static", tmp_path / "_static")
    (tmp_path / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    (tmp_path / "_images").mkdir()
    shutil.copyfile(REPO / "results/cpu-long/figures/front.png", tmp_path / "_images" / "dot.png")
    return tmp_path


def test_pages_come_in_the_order_of_the_side_bar_with_their_part(book):
    assert [(e.path, e.part, e.depth) for e in entries(book)] == [
        ("book/intro.html", "", 1), ("book/_executed/08.html", "The evidence", 1),
        ("book/_executed/runs/a.html", "The evidence", 2),
    ]  # fmt: skip


def test_every_id_is_unique_and_every_internal_link_leads_to_one(book):
    document = BeautifulSoup(joined(book), "html.parser")
    ids = [tag["id"] for tag in document.select("[id]")]
    links = [a["href"] for a in document.select("a[href]")]
    assert len(ids) == len(set(ids)) and {"p0", "p1-top"} <= set(ids)
    assert {link.removeprefix("#") for link in links if link != "https://example.org"} <= set(ids)
    assert {"#p1-top", "#p0-end", "#p1"} <= set(links)
    assert document.select_one("img")["src"] == "_images/dot.png"


def test_what_only_a_screen_needs_is_left_out_and_folded_text_is_open(book):
    document = BeautifulSoup(joined(book), "html.parser")
    text = document.get_text()
    assert "plumbing" not in text and "#" not in text and "configuration" not in text
    assert all(details.has_attr("open") for details in document.select("details")) and "opened" in text
    assert [(h.name, h.get_text()) for h in document.select("h1, h2, h3")] == [
        ("h2", "Home"), ("h1", "The evidence"), ("h2", "Ablation"), ("h3", "Part"), ("h3", "a/run")
    ]  # fmt: skip


def test_without_chromium_the_message_names_the_remedy(book, monkeypatch):
    monkeypatch.setattr(pdf, "CHROMIUM", None)
    with pytest.raises(BookError, match="apt-get install chromium"):
        write_pdf(book, book / "book.pdf")


@pytest.mark.slow
@pytest.mark.skipif(pdf.CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_the_pdf_has_an_outline_page_numbers_links_and_pictures_of_hands_that_turn(book):
    reader = PdfReader(write_pdf(book, book / "book.pdf"))
    contents, ablation = reader.pages[0].extract_text(), reader.pages[2].extract_text()
    assert "Ablation 3" in contents and "a/run" not in contents
    assert "opened" in ablation
    assert ablation.count("1234567890") == 30  # the wide table is on the page
    assert [item.title.lower() for item in reader.outline if not isinstance(item, list)] == ["home", "the evidence"]
    corners = [picture.image.convert("L").getpixel((2, 2)) for picture in reader.pages[2].images]
    assert len(corners) == 2 and min(corners) > 250  # on the white of the page
    assert reader.metadata.title == "A book"
    assert len(reader.pages[0]["/Annots"]) == 2 and len(reader.pages[1]["/Annots"]) == 3
    assert reader.pages[0].mediabox.width == pytest.approx(595, abs=1)  # A4


@pytest.mark.slow
@pytest.mark.skipif(pdf.CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_missing_picture_fails_the_pdf_and_names_itself(book):
    (book / "_images" / "dot.png").unlink()
    with pytest.raises(BookError, match="_images/dot.png"):
        write_pdf(book, book / "book.pdf")
    assert not (book / "book.pdf").exists()
