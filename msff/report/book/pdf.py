"""The whole book as one PDF: the built pages joined into one document, which a headless Chromium prints.

No TeX: equations are MathJax's, figures those of the pages, hands that turn are pictures of their first view.
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
import shutil
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urldefrag

from bs4 import BeautifulSoup, Tag
from PIL import Image

from msff.files import atomic_file
from msff.report.book import BookError

HOME = "book/intro.html"
BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
"""The browser of this machine, None without one."""
OPTIONS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU, for the hands that turn
]  # fmt: skip
_BASE = "http://book.invalid/"  # requests for it are answered from the folder, all others refused
_SCREEN_ONLY = (
    "script:not([type='application/json']), a.headerlink, button, details.hide, .msff-source details, .toctree-wrapper,"
    " .msff-dark:not(.msff-dark *)"
)
_LARGE_PNG = 150_000  # bytes from which a picture is tried as JPEG, which PDF keeps as it is
_TURNING = """async () => {
  for (const view of document.querySelectorAll("figure.msff-3d")) {
    const figure = JSON.parse(view.querySelector("script").textContent);
    Object.assign(figure.layout, {paper_bgcolor: "white", scene: {...figure.layout.scene, bgcolor: "white"}});
    const picture = new Image();
    picture.src = await Plotly.toImage(figure, {format: "jpeg", width: 560, height: 380, scale: 2});
    view.querySelector(".msff-3d-view").replaceWith(picture);
    view.hidden = false;
  }
}"""
_FIT = """() => {
  const room = document.body.clientWidth;
  for (const wide of document.querySelectorAll("table, mjx-container[display], svg[role=img]")) {
    const width = Math.max(wide.scrollWidth || 0, wide.getBoundingClientRect().width);
    if (width > room + 1) wide.style.zoom = room / width;
  }
}"""
_NUMBER = "pages => document.querySelectorAll('[data-page]').forEach(e => e.textContent = pages[e.dataset.page] ?? '')"


@dataclass(frozen=True)
class Entry:
    """A page in the book's contents."""

    path: str  # below the folder of the built book
    title: str
    part: str  # caption of its part of the book; "" for the front page
    depth: int  # 1 for a chapter, 2 for a page below one


def write_pdf(html: Path, target: Path) -> Path:
    """Print the built book in the folder ``html`` to the PDF ``target`` and return it.

    BookError without Chromium, without Playwright or if a file that a page shows is missing.
    """
    if CHROMIUM is None:
        raise BookError(
            "the PDF is printed by Chromium, and none of chromium, chromium-browser and google-chrome is in the path: "
            "`apt-get install chromium`, or open the built book in a browser and print single pages"
        )
    from playwright.sync_api import sync_playwright
    from pypdf import PdfReader

    missing: list[str] = []
    document = joined(html)

    def answer(route):
        path = html / unquote(route.request.url.removeprefix(_BASE).partition("?")[0])
        if route.request.url == f"{_BASE}joined.html":
            route.fulfill(body=document, content_type="text/html; charset=utf-8")
        elif route.request.url.startswith(_BASE) and path.is_file():
            body, kind = _smaller(path)
            route.fulfill(body=body, content_type=kind)
        else:
            missing.append(route.request.url.removeprefix(_BASE))
            route.abort()

    with sync_playwright() as player, atomic_file(target) as partial:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        tab = browser.new_page(viewport={"width": 660, "height": 940})  # A4 without its margins, at 96 pixels per inch
        tab.set_default_timeout(300_000)
        tab.emulate_media(media="print", color_scheme="light")
        tab.route("**/*", answer)
        tab.goto(f"{_BASE}joined.html")
        tab.evaluate("() => MathJax.startup.promise")
        tab.add_script_tag(url="_static/plotly.min.js")
        tab.evaluate(_TURNING)
        tab.evaluate(_FIT)
        footer = '<div style="font-size:7pt;width:100%;text-align:center;color:#555"><i class="pageNumber"></i></div>'
        for _ in range(2):  # the second time with page numbers in the contents
            tab.pdf(
                path=partial, format="A4", outline=True, tagged=True, display_header_footer=True, print_background=True,
                header_template="<span></span>", footer_template=footer,
                margin={"top": "16mm", "bottom": "16mm", "left": "18mm", "right": "18mm"},
            )  # fmt: skip
            reader = PdfReader(partial)
            places = {name.lstrip("/"): reader.get_destination_page_number(place) + 1
                      for name, place in reader.named_destinations.items()}  # fmt: skip
            tab.evaluate(_NUMBER, places)
        browser.close()
        if missing:
            raise BookError(f"pages of {html} show what is not there: {', '.join(sorted(set(missing))[:5])}")
    return target


def _smaller(path: Path) -> tuple[bytes, str]:
    """Return a file with its media type, a large PNG as JPEG if that has less than half of its bytes."""
    body, kind = path.read_bytes(), mimetypes.guess_type(path)[0] or "application/octet-stream"
    if path.suffix == ".png" and len(body) > _LARGE_PNG:
        stream = BytesIO()
        Image.open(path).convert("RGB").save(stream, "jpeg", quality=88)
        if 2 * stream.tell() < len(body):
            return stream.getvalue(), "image/jpeg"
    return body, kind


def entries(html: Path) -> list[Entry]:
    """Return the pages of the built book in reading order."""
    found, part = [], ""
    for tag in _soup(html / HOME).select("nav.bd-links :is(p.caption, a.reference)"):
        words = " ".join(tag.get_text().split())
        if tag.name == "p":
            part = words
        else:
            found.append(Entry(_resolved(HOME, tag["href"])[0], words, part, min(len(tag.find_parents("ul")), 3)))
    return found


def joined(html: Path) -> str:
    """Return one HTML document of all pages: contents, then each page with ids of its own and links between them."""
    listed = entries(html)
    number = {entry.path: f"p{n}" for n, entry in enumerate(listed)}
    home = _soup(html / HOME)
    sheets = [_resolved(HOME, link["href"])[0] for link in home.select("link[rel=stylesheet]")]
    head = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in [*sheets, "_static/pdf.css"])
    title = escape(home.title.get_text().rpartition("—")[2].strip())
    footer = home.select_one(".msff-edition")
    edition = f'<div class="msff-edition">{footer.decode_contents()}</div>' if footer else ""
    parts, last = [f'<p class="title">{title}</p>', edition, _contents(listed, number)], ""
    for entry in listed:
        opening = f"<h1>{escape(entry.part)}</h1>" if entry.part != last else ""
        kind = f"depth{entry.depth}{' run' * ('/runs/' in entry.path)}"
        parts.append(f'<article class="bd-article {kind}">{opening}{_page(html, entry, number)}</article>')
        last = entry.part
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{title}</title>{head}"
        '<script>window.MathJax = {options: {processHtmlClass: "math", ignoreHtmlClass: "bd-content"}}</script>'
        '<script defer src="_static/mathjax/tex-mml-chtml.js"></script></head>'
        f'<body class="msff-pdf"><div class="bd-content">{"".join(parts)}</div></body></html>'
    )


def _contents(listed: list[Entry], number: dict[str, str]) -> str:
    """Return the title and the list of parts and chapters, with room for page numbers; pages of runs are left out."""
    lines, last = [], ""
    for entry in listed:
        if entry.part != last:
            lines.append(f'<p class="part">{escape(entry.part)}</p>')
            last = entry.part
        if "/runs/" not in entry.path:
            name = number[entry.path]
            row = f'<a href="#{name}">{escape(entry.title)}</a><span data-page="{name}"></span>'
            lines.append(f'<p class="depth{entry.depth}">{row}</p>')
    return f'<nav class="msff-contents">{"".join(lines)}</nav>'


def _page(html: Path, entry: Entry, number: dict[str, str]) -> str:
    """Return the article of a page without what only a screen needs, its ids and links those of the document."""
    article = _soup(html / entry.path).select_one("article.bd-article")
    run = "/runs/" in entry.path  # whose configuration and further metrics are in run.json
    for tag in article.select(f"{_SCREEN_ONLY}, details" if run else _SCREEN_ONLY):
        tag.decompose()
    for details in article.select("details"):
        details["open"] = ""
    name = number[entry.path]
    for tag in article.find_all(True):
        _moved(tag, entry.path, number)
        if level := re.fullmatch(r"h([1-6])", tag.name):
            tag["class"] = [*tag.get("class", ()), f"level{level[1]}"]
            tag.name = f"h{min(6, int(level[1]) + entry.depth)}"
    return f'<a id="{name}"></a>{article.decode_contents()}'


def _moved(tag: Tag, page: str, number: dict[str, str]) -> None:
    """Make a tag's ids and references those of the joined document; a link to a file becomes plain text."""
    if "id" in tag.attrs and not tag.find_parent("svg"):
        tag["id"] = f"{number[page]}-{tag['id']}"
    if "src" in tag.attrs and not _elsewhere(tag["src"]):
        tag["src"] = _resolved(page, tag["src"])[0]
    if tag.name != "a" or "href" not in tag.attrs or _elsewhere(tag["href"]):
        return
    path, anchor = _resolved(page, tag["href"])
    if path in number:
        tag["href"] = f"#{number[path]}{'-' * bool(anchor)}{anchor}"
    else:
        del tag["href"]


def _elsewhere(link: str) -> bool:
    return bool(re.match(r"\w+:|//", link))


def _resolved(page: str, link: str) -> tuple[str, str]:
    """Return the path below the book's folder and the anchor that a page's link leads to."""
    path, anchor = urldefrag(link)
    here = posixpath.normpath(posixpath.join(posixpath.dirname(page), path.partition("?")[0])) if path else page
    return unquote(here), anchor


def _soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
