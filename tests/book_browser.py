"""A built book in a headless Chromium: a server on this machine, tabs that note every trouble, links between pages."""

import functools
import http.server
import threading
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

from msff.report.book.pdf import CHROMIUM, OPTIONS


def pages(html):
    """The pages of the book, as paths below its folder; not the theme's files, nor the index that only redirects."""
    found = sorted(path.relative_to(html).as_posix() for path in Path(html).rglob("*.html"))
    return [name for name in found if not name.startswith("_static/") and name != "index.html"]


@contextmanager
def served(html):
    """The address of a server of the folder on 127.0.0.1."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *arguments: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium():
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


def watched_tab(browser, base):
    """A tab and the list of its troubles: errors on the console, requests that fail or leave this machine."""
    tab, troubles = browser.new_page(viewport={"width": 1280, "height": 900}), []
    tab.set_default_timeout(180_000)  # ms: a fault in a page is no matter of a busy machine

    def trouble(what):
        troubles.append(f"{tab.url.removeprefix(base)}: {what}")

    tab.on("console", lambda m: trouble(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: trouble(str(error)))
    tab.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else trouble(f"asks {r.url}"))
    # What the next page cuts short (the icon, as a rule) is not missing.
    tab.on("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else trouble(f"lacks {r.url}"))
    return tab, troubles


def violations(tab):
    """The serious and critical violations of axe's rules on the tab's page, light and dark: `theme rule: selectors`."""
    from axe_playwright_python.base import AXE_SCRIPT

    found = []
    tab.evaluate(AXE_SCRIPT)
    tab.add_style_tag(content="* { transition: none !important; }")  # no colour caught on its way
    for theme in ("light", "dark"):
        tab.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        options = {"resultTypes": ["violations"], "preload": False}
        if theme == "dark":  # only colours differ
            options["runOnly"] = ["color-contrast"]
        for rule in tab.evaluate("options => axe.run(options)", options)["violations"]:
            if rule["impact"] in ("serious", "critical"):
                found.append(f"{theme} {rule['id']}: {[node['target'][0] for node in rule['nodes']][:4]}")
    return found


def camera(tab, view):
    """The eye of a plotly scene that the browser shows, in the scene's units."""
    eye = tab.evaluate("view => document.querySelector(view)._fullLayout.scene._scene.getCamera().eye", view)
    return eye["x"], eye["y"], eye["z"]


def dragged(tab, view):
    """Drag a scene by 120 pixels with the mouse and return where its eye is then."""
    box = tab.locator(view).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 120, y + 20, steps=6)
    tab.mouse.up()
    tab.wait_for_timeout(500)
    return camera(tab, view)


class _Anchors(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.names |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


def broken_links(html):
    """Links, anchors, images and downloads of every page that lead nowhere within the folder, as `page -> link`."""
    html = Path(html)
    parsed = {name: _Anchors((html / name).read_text(encoding="utf-8")) for name in [*pages(html), "index.html"]}
    broken = []
    for name, page in parsed.items():
        for link in page.links:
            if ":" in link.split("/")[0].split("#")[0] or link.startswith("//"):
                continue
            address, anchor = urldefrag(urljoin(name, link))
            target, anchor = unquote(address.partition("?")[0]), unquote(anchor)
            missing = not (html / target).is_file()
            if missing or (anchor and target in parsed and anchor not in parsed[target].names):
                broken.append(f"{name} -> {link}")
    return sorted(set(broken))
