"""The open choices: none is silent, and the rows have the values that the code has."""

from dataclasses import dataclass, fields

import pytest

from msff.choices import choice_at, choices_of, open_choice, stated
from msff.report.open_choices import MSFF_CHOICES, MSFF_CONFIGS


@pytest.mark.parametrize("config", MSFF_CONFIGS, ids=lambda config: config.__name__)
def test_every_field_is_either_stated_by_the_paper_or_an_open_choice(config):
    assert [f.name for f in fields(config) if not f.metadata.keys() & {"source", "stated"}] == []


def test_tags_are_unique_and_complete():
    assert [choice.tag for choice in MSFF_CHOICES] == [f"D{n}" for n in range(1, len(MSFF_CHOICES) + 1)]
    assert all(choice.source and choice.reason for choice in MSFF_CHOICES)


def test_rows_have_the_values_of_the_config():
    @dataclass(frozen=True)
    class Config:
        size: int = stated(3, "Sec. A")
        rate: float = open_choice(0.5, "Nothing.", "Half.", "D1")
        names: tuple = open_choice(tuple, "Nothing.", "Empty.", shown="none yet")

    assert Config() == Config(3, 0.5, ())
    rows = choices_of(Config(rate=0.25))
    assert [(row.name, row.value, row.tag) for row in rows] == [
        ("Config.rate", 0.25, "D1"), ("Config.names", "none yet", ""),
    ]  # fmt: skip
    assert choice_at(Config, "rate", "", "").value == 0.5
