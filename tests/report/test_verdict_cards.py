"""Claims in four lines: what an interval excludes, and what would change the verdict."""

import numpy as np

from msff.report.claims import CLAIMS, claims_table
from msff.report.findings import ONE_SEED
from msff.report.verdict_cards import change, excluded, verdict_cards


def test_every_claim_has_four_lines(made_results):
    cards = verdict_cards(claims_table(made_results())).split("\n\n")
    assert [card.count("\n") for card in cards] == [3] * len(CLAIMS)
    assert all(words in card for (words, *_), card in zip(CLAIMS, cards, strict=True))


def test_an_interval_states_what_it_excludes():
    assert excluded(-1.0, -1.5, -0.5, "") == "-1.00 mm [-1.50, -0.50]; 0 is excluded, by 0.50 mm."
    assert "both signs remain possible" in excluded(0.2, -0.5, 0.9, "")
    assert "excludes nothing" in excluded(1.45, np.nan, np.nan, ONE_SEED)
    assert excluded(np.nan, np.nan, np.nan, "runs missing: a/b seed 0") == "No estimate: its runs are missing."


def test_missing_runs_change_an_open_verdict():
    assert "missing runs" in change("open", "runs missing: a/b seed 0")
    assert "more seeds" in change("open", "seeds 0, 1")


def test_what_is_withheld_or_no_part_of_the_profile_asks_for_more_than_seeds():
    assert "plausibility check" in change("open", "withheld: MS-FF full: palm width 0.3 of the true one")
    assert "larger profile" in change("open", "not part of profile smoke: msff/grm")


def test_a_claim_that_only_the_adjustment_leaves_open_says_so():
    reason = "seeds 0, 1, 2; the interval excludes 0, but p is 0.273 after Holm's adjustment"
    assert excluded(1.45, 0.17, 2.73, reason) == (
        "+1.45 mm [+0.17, +2.73]; 0 is excluded, but p is 0.273 after Holm's adjustment."
    )
    assert change("open", reason) == "more seeds, until p is below 0.05 after the adjustment"
