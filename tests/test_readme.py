"""The README's results are those of the stored tables."""

from pathlib import Path

import pandas as pd
import pytest

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.contrasts import TOGETHER
from msff.report.published import published_row
from msff.report.robustness import rate_table
from msff.study.store import Store

REPO = Path(__file__).parents[1]
STORE = Store(REPO / "results" / "cpu-long")
ROWS = {
    cells[1].strip(): cells[2:4]
    for line in (REPO / "README.md").read_text(encoding="utf-8").splitlines()
    if (cells := line.split("|"))[1:] and line.count("|") == 4
}


def row(start):
    return next(" ".join(cells) for question, cells in ROWS.items() if question.startswith(start))


@pytest.mark.parametrize(
    ("question", "contrast"),
    [
        ("Do MS-FF's three modules", TOGETHER),
        ("Does MS-FF beat InterNet", "MS-FF - InterNet"),
        ("Does MS-FF without its modules beat", "bare - InterNet"),
    ],
)
def test_a_contrast_in_the_readme_has_the_stored_numbers_seeds_and_verdict(question, contrast):
    stored = pd.read_csv(STORE.tables / "contrasts.csv").set_index("contrast").loc[contrast]
    words = row(question)
    assert f": {stored.estimate_mm:+.2f} [{stored.low:+.2f}, {stored.high:+.2f}]" in words
    number = {2: "two", 3: "three"}[len(str(stored.seeds).split(","))]
    other = "the other way" if stored.estimate_mm > 0 else "its way"
    assert f"{number} seeds" in words
    said = {OPEN: f"seeds point {other}", WORSE: "it is worse", BETTER: "yes", SMALLER: "neither is better by as much"}
    assert [verdict for verdict, phrase in said.items() if phrase in words] == [stored.verdict]


def test_the_learning_rates_in_the_readme_are_the_stored_ones():
    table = rate_table(STORE).iloc[:-1].set_index("learning_rate")["MS-FF - InterNet"].dropna()
    words = row("How far does the learning rate")
    assert f"by {table.max() - table.min():.2f} mm" in words
    for rate in (table.idxmin(), table.idxmax()):
        assert f"{table[rate]:+.2f} at {rate}" in words


def test_the_published_lead_in_the_readme_is_the_printed_one():
    lead = published_row("internet").epe_mm - published_row("msff").epe_mm
    assert f"{lead:.2f} below InterNet" in row("Does MS-FF have the lowest")
