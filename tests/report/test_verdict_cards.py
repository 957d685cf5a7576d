"""Claims in four lines: what an interval excludes, and what would change the verdict."""

import shutil

import numpy as np
import pandas as pd
import pytest

from msff.report.claims import CLAIMS, claims_table
from msff.report.findings import ONE_SEED
from msff.report.results import Results
from msff.report.verdict_cards import change, excluded, verdict_cards, waiting_claims
from msff.study.experiment import Experiment


def without_spurr(store):
    shutil.rmtree(store.path(Experiment(store.profile, "standin-rhd", "spurr", "plain", 0)))
    return Results(store)


@pytest.mark.parametrize(
    ("profile", "words"), [("cpu-long", "Spurr(2018) seeds 0, 1"), ("cpu", "not part of profile cpu")]
)
def test_every_claim_has_a_card_or_is_listed_with_its_missing_runs(copied, profile, words):
    claims = claims_table(without_spurr(copied(profile)))
    cards = verdict_cards(claims).split("\n\n")
    ((claim, _, _, runs),) = waiting_claims(claims).to_numpy()
    assert claim == "MS-FF has a lower error than Spurr, measured here" and words in runs
    assert all(card.count("\n") == 3 + card.count("Beside it: ") for card in cards)
    assert any("\nBeside it: MS-FF without its modules - InterNet is " in card for card in cards)
    shown = [words for words, *_ in CLAIMS if words != claim]
    assert all(words in card for words, card in zip(shown, cards, strict=True))


def test_missing_runs_are_listed_by_comparison():
    reason = "against InterNet(2020), runs missing: MS-FF seed 0; against PoseNet(2017), not part of profile cpu: MS-FF"
    row = {"claim": "", "where": "", "scope": "", "verdict": "open", "value": np.nan, "reason": reason}
    assert waiting_claims(pd.DataFrame([row]))["runs missing"].tolist() == [
        "against InterNet(2020): MS-FF seed 0; against PoseNet(2017), not part of profile cpu: MS-FF"
    ]


def test_an_interval_states_what_it_excludes():
    assert excluded(-1.0, -1.5, -0.5, "") == "-1.00 mm [-1.50, -0.50]; the gain is at least 0.50 mm."
    assert "the loss is at least 0.94 mm" in excluded(1.49, 0.94, 2.05, "")
    assert "either sign remains possible, but no effect beyond 0.90 mm" in excluded(0.2, -0.5, 0.9, "")


def test_one_seed_has_a_value_and_no_verdict():
    assert (
        excluded(1.45, np.nan, np.nan, f"{ONE_SEED}; runs missing: a/b seed 1") == "+1.45 mm; one seed, no verdict yet."
    )
    assert "second seed" in change("open", f"{ONE_SEED}; runs missing: a/b seed 1")


def test_a_claim_that_only_the_adjustment_leaves_open_says_so():
    reason = "seeds 0, 1, 2; the interval excludes 0, but p is 0.273 after Holm's adjustment"
    assert excluded(1.45, 0.17, 2.73, reason) == (
        "+1.45 mm [+0.17, +2.73]; 0 is excluded, but p is 0.273 after Holm's adjustment."
    )
    assert change("open", reason).startswith("p below 0.05 after the adjustment")
