"""Fields of configs: their bounds, and the open choices, values that the sources of a method leave open.

A config field carries its record as metadata: `open_choice` for a value that this study chose, `stated` for one that
the paper gives. `choices_of` returns the records of a config as rows, with the values that the config really has.
`require` checks a field's bounds.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

_BOUNDS = {
    "at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt,
    "one_of": lambda value, allowed: value in allowed,
}  # fmt: skip


def require(config: Any, *names: str, **bounds: Any) -> None:
    """Raise ValueError unless each named field of the config is within the bounds.

    ``bounds`` are any of ``at_least``, ``above``, ``at_most``, ``below`` (numbers) and ``one_of`` (texts).
    """
    for name, (bound, limit) in product(names, bounds.items()):
        if not _BOUNDS[bound](value := getattr(config, name), limit):
            shown = ", ".join(limit) if bound == "one_of" else f"{limit:g}"
            expected = f"{bound.replace('_', ' ')} {shown}"
            raise ValueError(f"{type(config).__name__}.{name} must be {expected}, got {value!r}")


@dataclass(frozen=True)
class OpenChoice:
    """One row of a table of open choices."""

    name: str  # ``Config.field``, or what else the row is about
    value: object
    source: str  # what the paper says; for a compared method the kind of evidence, such as "memory, medium"
    reason: str
    tag: str = ""  # "D1", ...: the number by which the book refers to a choice about MS-FF


def open_choice(default: Any, source: str, reason: str, tag: str = "", shown: object = None) -> Any:
    """Return a dataclass field whose value the sources leave open.

    ``default`` may be a function without arguments that makes the value. ``shown`` replaces the value in tables.
    """
    return _field(default, {"source": source, "reason": reason, "tag": tag, "shown": shown})


def stated(default: Any, where: str) -> Any:
    """Return a dataclass field whose value the paper states, and ``where``."""
    return _field(default, {"stated": where})


def _field(default: Any, metadata: dict) -> Any:
    return field(**{"default_factory" if callable(default) else "default": default}, metadata=metadata)


def choices_of(*configs: Any) -> tuple[OpenChoice, ...]:
    """Return the open choices among the fields of some configs, in the order of the fields."""
    return tuple(
        choice_at(config, f.name, **f.metadata) for config in configs for f in fields(config) if "source" in f.metadata
    )


def choice_at(config: Any, name: str, source: str, reason: str, tag: str = "", shown: object = None) -> OpenChoice:
    """Return the row of one field of a config, or of a config class, with the value that the field has there."""
    owner = config if isinstance(config, type) else type(config)
    value = getattr(config, name) if shown is None else shown
    return OpenChoice(f"{owner.__name__}.{name}", value, source, reason, tag)
