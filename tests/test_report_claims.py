"""Verdicts follow their rule, and nothing but it."""

import shutil

import numpy as np
import pytest
from make_results import add_run, make_store, name_the_wrong_hand

from msff.evaluation.bootstrap import Estimate
from msff.report.claims import CONTRADICTED, SUPPORTED, UNDECIDED, claims_table, decide, judge_difference
from msff.report.results import Results
from msff.study.runs import Experiment, Store


def verdicts(store):
    return claims_table(Results(store)).set_index("claim")


@pytest.mark.parametrize(
    ("value", "low", "high", "per_seed", "expected"),
    [
        (-1.0, -2.0, -0.1, (-1.0, -1.0), SUPPORTED),
        (1.0, 0.1, 2.0, (1.2, 0.8), CONTRADICTED),
        (-1.0, -2.0, -0.1, (-1.0,), UNDECIDED),  # one seed cannot show training chance
        (-1.0, -2.0, 0.1, (-1.0,), UNDECIDED),
        (-1.0, -2.0, -0.1, (-3.0, 1.0), UNDECIDED),  # seeds disagree
        (-1.0, -2.0, -0.1, (-1.5, -0.5), SUPPORTED),
        (-1.0, -2.0, 0.0, (-1.0,), UNDECIDED),  # touching 0 does not exclude it
    ],
)
def test_the_rule(value, low, high, per_seed, expected):
    verdict = judge_difference(Estimate(value, low, high, 10, per_seed), "evidence")
    assert verdict.verdict == expected and verdict.value == value


def test_the_rule_without_a_claim():
    assert (
        decide(Estimate(-1, -2, -0.5, 9, (-1.0, -1.1)))[0] == -1 and decide(Estimate(1, 0.5, 2, 9, (1.0, 1.1)))[0] == 1
    )
    assert (
        decide(Estimate(-1, -2, -0.5, 9, (-1.0,)))[0] == 0 and "claim" not in decide(Estimate(1, 0.5, 2, 9, (1.0,)))[1]
    )


def test_one_seed_is_called_one_seed():
    assert "one training seed" in judge_difference(Estimate(-1, -2, -0.5, 9, (-1.0,)), "").reason
    assert judge_difference(None, "e").verdict == UNDECIDED


def test_verdicts_of_a_store_that_favours_the_paper(tmp_path):
    table = verdicts(make_store(tmp_path / "cpu", seeds=(0, 1)))
    for claim in (
        "The channel conversion module helps",
        "The global regression module helps",
        "The local optimisation module helps",
        "The global regression module helps at the fingertips",
        "Joints near the fingertips are harder than those near the palm",
        "MS-FF is better under occlusion",
    ):
        assert table.loc[claim, "verdict"] == SUPPORTED, claim
        assert table.loc[claim, "high"] < 0
    assert table.loc["MS-FF handles interacting hands better than the others", "verdict"] == SUPPORTED
    # InterNet, Spurr and the surrogate are beaten, but the paper's Song(2022) has no run and can have none.
    row = table.loc["The same, measured here under one protocol"]
    assert row["verdict"] == UNDECIDED and "not compared for want of a run: Song(2022)" in row["reason"]
    assert "InterNet(2020): supported" in row["reason"] and "Spurr(2018): supported" in row["reason"]
    assert row["high"] < 0 and "PoseNet" not in row["reason"] and "MS-FF - InterNet" in row["evidence"]


def test_a_rival_of_one_hand_must_be_beaten_by_the_predicted_side_too(tmp_path):
    store = make_store(tmp_path / "cpu", seeds=(0, 1))
    for seed in (0, 1):
        name_the_wrong_hand(store, seed)
    reason = verdicts(store).loc["The same, measured here under one protocol", "reason"]
    assert "Spurr(2018): undecided, with the hand by its predicted side the sign is the other one" in reason
    assert "InterNet(2020): supported" in reason


def test_a_surrogate_decides_nothing(tmp_path):
    store = make_store(tmp_path / "cpu", seeds=(0, 1))
    for seed in (0, 1):
        add_run(store, "standin-rhd", "song", "full", seed, 2.0)  # far better than MS-FF
    row = verdicts(store).loc["The same, measured here under one protocol"]
    assert row["verdict"] == UNDECIDED and row["high"] < 0  # the numbers are those against InterNet
    assert "against a surrogate of Song(2022), which decides nothing about Song(2022)" in row["reason"]
    for seed in (0, 1):
        for method, variant in (("spurr", "plain"), ("internet", "full")):
            shutil.rmtree(store.path(Experiment("cpu", "standin-rhd", method, variant, seed)))
    row = verdicts(store).loc["The same, measured here under one protocol"]
    assert row["verdict"] == UNDECIDED and np.isnan(row["value"]) and "a run is missing" in row["reason"]


def test_a_rival_without_a_run_is_named(tmp_path):
    store = make_store(tmp_path / "cpu", seeds=(0, 1))
    for seed in (0, 1):
        shutil.rmtree(store.path(Experiment("cpu", "standin-rhd", "spurr", "plain", seed)))
    reason = verdicts(store).loc["The same, measured here under one protocol", "reason"]
    assert "not compared for want of a run: Spurr(2018), Song(2022)" in reason


def test_spurr_is_compared_by_the_variant_that_stands_for_it(tmp_path):
    store = make_store(tmp_path / "cpu", seeds=(0, 1))
    for seed in (0, 1):
        add_run(store, "standin-rhd", "spurr", "scale-side", seed, 2.0)
    assert verdicts(store).loc["The same, measured here under one protocol", "verdict"] == UNDECIDED


def test_one_training_seed_decides_nothing_that_was_trained(tmp_path):
    table = verdicts(make_store(tmp_path / "cpu"))
    row = table.loc["The channel conversion module helps"]
    assert row["verdict"] == UNDECIDED and row["high"] < 0 and "one training seed" in row["reason"]


def test_verdicts_of_a_store_that_does_not(tmp_path):
    store = make_store(tmp_path / "cpu", seeds=(0, 1))
    for seed in (0, 1):
        for dataset in ("standin-rhd", "standin-interhand"):
            add_run(store, dataset, "msff", "full", seed, 20.0)
        add_run(store, "standin-rhd", "msff", "ccm", seed, 20.0)
    table = verdicts(store)
    for claim in (
        "The same, measured here under one protocol",
        "MS-FF has a lower error at every joint",
        "The channel conversion module helps",
        "MS-FF is better under occlusion",
        "MS-FF handles interacting hands better than the others",
    ):
        assert table.loc[claim, "verdict"] == CONTRADICTED, claim
    assert "worse at 20" in table.loc["MS-FF has a lower error at every joint", "reason"]


def test_the_papers_own_contradictions_need_no_run(tmp_path):
    table = verdicts(Store(tmp_path / "cpu"))
    row = table.loc["MS-FF obtains the smallest average joint error on RHD"]
    assert row["verdict"] == CONTRADICTED and "Yang(2019) with 19.95" in row["evidence"]
    assert row["value"] == pytest.approx(0.26)
    assert table.loc["Spurr and Yang required additional input at test time", "verdict"] == CONTRADICTED
    assert set(table["verdict"].drop(table.index[[0, 3]])) == {UNDECIDED}


def test_every_row_says_for_what_it_holds(tmp_path):
    table = claims_table(Results(make_store(tmp_path / "cpu")))
    assert set(table["scope"]) == {
        "the paper's own numbers", "real RHD", "the stand-in in RHD format, not the real data",
        "the stand-in in InterHand2.6M format, not the real data",
    }  # fmt: skip
    assert set(table["verdict"]) <= {SUPPORTED, CONTRADICTED, UNDECIDED}
    assert (table["reason"].str.len() > 10).all()
