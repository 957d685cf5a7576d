"""What a screen reader misses in the pages that the theme makes."""

from __future__ import annotations

from pathlib import Path

REPLACED = {
    # The arrows that unfold a chapter in the side bar have no text.
    '<summary><span class="toctree-toggle"': '<summary aria-label="Pages below"><span class="toctree-toggle"',
    # A list may hold list items only; the entries of the bibliography have a role of their own.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
"""Markup of sphinx-book-theme 1.2 and docutils 0.21 -> the same with what the WAI-ARIA rules require."""


def name_for_screen_readers(html: Path) -> None:
    """Change ``REPLACED`` in every page below the folder ``html``."""
    for page in html.rglob("*.html"):
        text = old = page.read_text(encoding="utf-8")
        for markup, better in REPLACED.items():
            text = text.replace(markup, better)
        if text != old:
            page.write_text(text, encoding="utf-8")
