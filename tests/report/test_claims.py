"""Claims take the verdicts of their contrasts, and claims about the paper's own numbers those of its table."""

import shutil

import numpy as np
import pytest
from make_results import add_run, name_the_wrong_hand

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.claims import FALSE_AS_PRINTED, NOT_TESTABLE, TRUE_AS_PRINTED, claims_table
from msff.report.contrasts import contrasts_table
from msff.report.results import Results
from msff.study.store import Store

SEEDS = (0, 1, 2)
MODULES = ("channel conversion", "global regression", "local optimisation")
PRINTED = {
    "Among the methods for interacting hands, MS-FF obtains the smallest average joint error on RHD": TRUE_AS_PRINTED,
    "Compared with the other methods, the MS-FF obtains the smallest average error of hand joints": FALSE_AS_PRINTED,
    "MS-FF has the lowest EPE on RHD without ground-truth scale and handedness": TRUE_AS_PRINTED,
    "Spurr and Yang required additional input at test time": FALSE_AS_PRINTED,
}


def verdicts(store):
    return claims_table(Results(store)).set_index("claim")


@pytest.fixture
def own(copied):
    return copied("cpu-long", SEEDS)


@pytest.fixture(scope="module")
def table(made_results):
    return claims_table(made_results("cpu-long", SEEDS)).set_index("claim")


def test_verdicts_of_a_store_that_favours_the_paper(table):
    for claim in (
        *(f"The {module} module helps" for module in MODULES),
        "The three modules together help",
        "The global regression module helps at the fingertips",
        "MS-FF has a lower error than InterNet, measured here",
        "MS-FF has a lower error than Spurr, measured here",
        "MS-FF has a lower error at every joint",
        "MS-FF handles interacting hands better than the others",
    ):
        assert table.loc[claim, "verdict"] == BETTER, claim
        assert table.loc[claim, "high"] < 0, claim


def test_the_numbers_of_a_claim_are_those_of_its_contrast(made_results, table):
    contrasts = contrasts_table(made_results("cpu-long", SEEDS)).set_index("contrast")
    for module in MODULES:
        row, contrast = table.loc[f"The {module} module helps"], contrasts.loc[f"{module}, main effect"]
        assert row[["value", "low", "high"]].tolist() == contrast[["estimate_mm", "low", "high"]].tolist()
        assert row["verdict"] == contrast["verdict"] and f"{module} in the whole network is " in row["reason"]
    for claim, name in (
        ("MS-FF is better than InterNet under occlusion", "MS-FF - InterNet, hidden - visible joints"),
        ("Joints near the fingertips are harder than those near the palm",
         "bases - fingertips, by the mean pose's ratio, interacting"),
        ("MS-FF has a lower error than Spurr, measured here", "MS-FF - Spurr(2018)"),
    ):  # fmt: skip
        assert table.loc[claim, "value"] == contrasts.loc[name, "estimate_mm"], claim
    assert (
        "MS-FF without its modules - InterNet is +"
        in table.loc["MS-FF has a lower error than InterNet, measured here", "reason"]
    )


def test_the_measured_claim_is_not_testable_as_printed(table):
    row = table.loc["The same, measured here under one protocol"]
    assert row["verdict"] == NOT_TESTABLE and np.isnan(row["value"])
    assert "Song(2022) has no public text" in row["reason"]
    assert "against a surrogate, which decides nothing about Song(2022)" in row["reason"]


def test_the_printed_claims_need_no_run(tmp_path):
    table = verdicts(Store(tmp_path / "cpu"))
    for claim, verdict in PRINTED.items():
        assert table.loc[claim, "verdict"] == verdict and table.loc[claim, "scope"] == "the paper's own numbers", claim
    assert table.loc[list(PRINTED)[0], "value"] == pytest.approx(20.21 - 20.89)
    published = table.loc[list(PRINTED)[1]]
    assert "ell2.13044" in published["where"] and "Yang(2019) 19.95" in published["evidence"]
    assert published["value"] == pytest.approx(20.21 - 19.95) and "unchecked" in published["reason"]
    others = table.drop(index=[*PRINTED, "The same, measured here under one protocol"])
    assert set(others["verdict"]) == {OPEN} and others["value"].isna().all()


def test_verdicts_of_a_store_that_does_not(own):
    for seed in SEEDS:
        for dataset in ("standin-rhd", "standin-interhand"):
            add_run(own, dataset, "msff", "full", seed, 20.0)
    table = verdicts(own)
    for claim in (
        "MS-FF has a lower error than InterNet, measured here",
        "MS-FF has a lower error than Spurr, measured here",
        "The three modules together help",
        "MS-FF has a lower error at every joint",
        "MS-FF handles interacting hands better than the others",
    ):
        assert table.loc[claim, "verdict"] == WORSE, claim
    assert "InterNet(2020), better at 0, worse at 20" in table.loc["MS-FF has a lower error at every joint", "reason"]


def test_a_rival_of_one_hand_must_be_beaten_by_the_predicted_handedness_too(own):
    for seed in SEEDS:
        name_the_wrong_hand(own, seed)
    row = verdicts(own).loc["MS-FF has a lower error than Spurr, measured here"]
    assert row["verdict"] == OPEN and row["high"] < 0
    assert "chosen by predicted handedness, so that the verdict is open instead of better" in row["reason"]


def test_one_seed_decides_nothing_that_was_trained(made):
    table = verdicts(made()).drop(index=list(PRINTED))
    assert set(table["verdict"]) == {OPEN, NOT_TESTABLE}
    row = table.loc["The channel conversion module helps"]
    assert row["value"] < 0 and np.isnan(row["low"]) and "one seed cannot show training chance" in row["reason"]


def test_the_paper_is_held_to_every_method_of_its_figures(own):
    """Lower than InterNet at every joint is not enough where PoseNet is lower."""
    for seed in SEEDS:
        add_run(own, "standin-interhand", "internet", "full", seed, 30.0)
        add_run(own, "standin-interhand", "posenet", "full", seed, 2.0)
    table = verdicts(own)
    row = table.loc["MS-FF has a lower error at every joint"]
    assert "InterNet(2020), better at 20, worse at 0" in row["reason"]
    assert row["verdict"] == WORSE and row["low"] > 0 and "against PoseNet(2017)" in row["reason"]
    assert table.loc["MS-FF handles interacting hands better than the others", "verdict"] == WORSE
    shutil.rmtree(own.root / "runs" / "standin-interhand" / "posenet")
    row = verdicts(own).loc["MS-FF has a lower error at every joint"]
    assert row["verdict"] == OPEN and "PoseNet(2017), runs missing" in row["reason"] and row["high"] < 0


def test_every_row_says_for_what_it_holds(table):
    assert table.index.is_unique and table.columns.tolist() == [
        "where", "scope", "evidence", "value", "low", "high", "verdict", "reason",
    ]  # fmt: skip
    assert set(table["scope"]) == {
        "the paper's own numbers", "the stand-in in RHD format, not the real data",
        "the stand-in in InterHand2.6M format, not the real data",
    }  # fmt: skip
    assert set(table["verdict"]) <= {BETTER, WORSE, SMALLER, OPEN, NOT_TESTABLE, TRUE_AS_PRINTED, FALSE_AS_PRINTED}
    assert (table["reason"].str.len() > 5).all()
