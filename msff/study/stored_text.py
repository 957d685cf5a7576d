"""Texts of stored records: they reach terminals, Markdown and the book as they are, so they may hold no markup.

A run may come from a stranger's archive. In the book, HTML in a name would become part of the page, and what stands in
double braces would be executed by the template engine that fills in the numbers of the prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

_MARKUP = re.compile(r"[<>{}\[\]`|\\$]")
_T = TypeVar("_T")


def without_markup(text: str) -> str:
    """Return ``text`` without the characters that ``check_texts`` refuses."""
    return "".join(c for c in _MARKUP.sub("", text) if c.isprintable())


def check_texts(value: _T, where: str = "the record") -> _T:
    """Return ``value``; ValueError if a text or key anywhere in it holds markup or a control character."""
    if isinstance(value, str):
        if value != without_markup(value):
            raise ValueError(f"{where} holds markup or a control character, expected plain words")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_texts(str(key), f"a name in {where}")
            check_texts(item, str(key))
    elif isinstance(value, Sequence):
        for item in value:
            check_texts(item, where)
    return value
