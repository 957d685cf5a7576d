"""A row of the tables that say what this study had to decide about another paper's method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choice:
    """One value that no public text or code of a method settles, or that is known from memory only: a table row.

    ``field`` is ``Config.field`` and ``value`` that field's default; other rows name what they describe.
    """

    field: str
    value: object
    reason: str
    confidence: Literal["released code", "memory, medium", "memory, low", "own choice"]
