"""Contrasts of stored runs: which cells, which seeds, what is refused, and the table."""

import shutil

import numpy as np
import pytest
from make_results import add_run

from msff.evaluation.inference_statistics import VarianceTerm, fit_spread, holm, interval, run_coefficients
from msff.models.building import build
from msff.models.registry import FACTORIAL
from msff.report import contrasts, findings
from msff.report.contrasts import REGISTERED, find_registered, fingertips, lead, secondary
from msff.report.findings import find
from msff.report.formatting import formatted
from msff.report.published import published_row
from msff.report.results import Cell, Results
from msff.study.experiment import Experiment
from msff.study.profiles import PROFILES
from msff.study.store import Store

SEEDS = (0, 1, 2)
DATASET = "standin-rhd"
BY_NAME = {contrast.name: contrast for contrast in REGISTERED}
CCM = BY_NAME["channel conversion, main effect"]


@pytest.fixture(scope="module")
def store(copied):
    """Every run of the registered contrasts: the factorial, and both networks from scratch."""
    store = copied("cpu-long", SEEDS)
    for seed in SEEDS:
        add_run(store, DATASET, "msff", "scratch", seed, 10.0)
        add_run(store, DATASET, "internet", "scratch", seed, 11.0)
    return store


@pytest.fixture
def own(store, tmp_path):
    """A copy that a test may change."""
    return Store(shutil.copytree(store.root, tmp_path / store.profile))


@pytest.fixture(scope="module")
def results(store):
    return Results(store)


def mean(results, method, variant="full", metric="wrist20", track="T2", dataset=DATASET):
    return results.estimate(Cell(dataset, method, variant), track, metric).value


def remove(store, method, variant, seed):
    shutil.rmtree(store.path(Experiment(store.profile, DATASET, method, variant, seed)))


def test_networks_that_have_hardly_left_the_mean_pose_are_not_compared(own):
    """InterNet with hands of a third of their size: no contrast with it is decided, and the reason names it."""
    for seed in SEEDS:
        path = own.path(Experiment(own.profile, DATASET, "internet", "full", seed)) / "predictions.npz"
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name in [name for name in arrays if arrays[name].ndim == 3 and arrays[name].shape[1:] == (42, 3)]:
            wrists = np.repeat(arrays[name][:, [20, 41]], 21, axis=1)
            arrays[name] = (wrists + (arrays[name] - wrists) / 3).astype(arrays[name].dtype)
        np.savez(path, **arrays)
    found = find(Results(own), BY_NAME["MS-FF - InterNet"])
    assert found.verdict == "open" and np.isnan(found.estimate)
    assert found.reason.startswith("withheld: InterNet(2020), palm width 0.3")
    assert find(Results(own), CCM).verdict != "open"


# Which contrasts


def test_seven_contrasts_are_registered():
    assert [contrast.name for contrast in REGISTERED] == [
        "MS-FF - InterNet", "MS-FF - InterNet, change by pre-training", "channel conversion, main effect",
        "global regression, main effect", "local optimisation, main effect",
        "the three modules together", "MS-FF - InterNet, hidden - visible joints",
    ]  # fmt: skip
    assert all(c.registered and c.layout == "rhd" and c.track == "T2" for c in REGISTERED)
    assert not any(c.registered for c in secondary())


def test_names_are_unique(results):
    others = [fingertips(results, layout) for layout in ("rhd", "interhand")]
    names = [contrast.name for contrast in (*REGISTERED, *secondary(), *others)]
    assert len(set(names)) == len(names)


def test_the_factorial_is_that_of_the_networks():
    for variant, switches in FACTORIAL.items():
        config = build("msff", variant, PROFILES["smoke"].network).config
        assert switches == (config.ccm, config.grm, config.lom), variant


def test_every_contrast_but_those_of_networks_trained_elsewhere_is_in_the_long_profile(results):
    """Nothing is compared that the grid of the evidence would never train."""
    for finding in contrasts.find_all(results).values():
        assert not finding.reason.startswith("not part of profile"), finding.contrast.name


def test_the_margin_is_the_papers_own_lead(results):
    assert pytest.approx((20.89 - 20.21) / 20.89) == findings.RELATIVE_MARGIN
    found = find(results, BY_NAME["MS-FF - InterNet"])
    assert found.margin == pytest.approx(findings.RELATIVE_MARGIN * mean(results, "internet"))
    assert find(results, CCM).margin == pytest.approx(findings.RELATIVE_MARGIN * mean(results, "msff", "bare"))
    assert published_row("internet").epe_mm == 20.89


# Values


def test_a_main_effect_is_the_mean_of_four_differences(results):
    pairs = [("ccm", "bare"), ("no-lom", "grm"), ("no-grm", "lom"), ("full", "no-ccm")]
    expected = np.mean([mean(results, "msff", a) - mean(results, "msff", b) for a, b in pairs])
    found = find(results, CCM)
    assert found.estimate == pytest.approx(expected) and found.seeds == SEEDS
    assert found.interval.low < expected < found.interval.high < 0 and found.verdict == "better"


def test_an_interaction_is_the_change_of_an_effect(results):
    interaction = next(c for c in secondary() if c.name == "interaction of channel conversion and local optimisation")
    with_lom = [("no-grm", "lom"), ("full", "no-ccm")]
    without = [("ccm", "bare"), ("no-lom", "grm")]
    effects = [
        np.mean([mean(results, "msff", a) - mean(results, "msff", b) for a, b in p]) for p in (with_lom, without)
    ]
    assert find(results, interaction).estimate == pytest.approx(effects[0] - effects[1])


def test_the_change_by_pre_training_is_a_difference_of_differences(results):
    found = find(results, BY_NAME["MS-FF - InterNet, change by pre-training"])
    lead_now = mean(results, "msff") - mean(results, "internet")
    lead_scratch = mean(results, "msff", "scratch") - mean(results, "internet", "scratch")
    assert found.estimate == pytest.approx(lead_now - lead_scratch)


def test_occlusion_is_judged_by_hidden_minus_visible_joints(results):
    found = find(results, BY_NAME["MS-FF - InterNet, hidden - visible joints"])
    parts = [mean(results, m, metric=f"wrist20_{part}") for m in ("msff", "internet") for part in ("occluded", "vis")]
    assert found.estimate == pytest.approx((parts[0] - parts[1]) - (parts[2] - parts[3]))


def test_the_seed_spread_is_pooled_over_all_variants_of_a_method(results):
    cells = [Cell(DATASET, "msff", v) for v in (*FACTORIAL, "scratch")]
    errors = {cell: results.estimate(cell, "T2", "wrist20").per_seed for cell in cells}
    rows = [(cell.variant, s, errors[cell][s]) for cell in cells for s in SEEDS]
    spread = fit_spread(*zip(*rows, strict=True))
    assert spread.residual_df == 16
    assert find(results, CCM).sigma_seed == pytest.approx(spread.residual**0.5)


def test_one_interval_holds_seeds_and_images(results):
    """It is wider than the paired interval over images, and not narrower than Student's over pooled seeds."""
    found = find(results, BY_NAME["the three modules together"])
    images = results.difference(Cell(DATASET, "msff"), Cell(DATASET, "msff", "bare"), "T2", "wrist20")
    assert found.estimate == pytest.approx(images.value)
    assert found.interval.low < images.low and found.interval.high > images.high
    seeds = found.sigma_seed * (2 / 3) ** 0.5
    assert found.interval.standard_error**2 == pytest.approx(
        seeds**2 + ((images.high - images.low) / 3.92) ** 2, rel=0.1
    )


def test_medians_have_a_resampled_image_part(results):
    median = find(results, lead("", average="joint medians"))
    assert median.interval.low < median.estimate < median.interval.high and median.verdict == "better"


def test_the_hand_by_predicted_handedness_changes_the_metric_of_methods_of_both_hands():
    contrast = contrasts.by_predicted_handedness(lead("MS-FF - Spurr", "spurr"))
    assert [dict(part.metrics) for part in contrast.parts] == [{"wrist20_pred_side": 1}, {"wrist20": 1}]
    assert contrast.parts[1].variants == {"plain": -1}


def test_fingertips_are_compared_with_the_ratio_of_the_mean_pose(results):
    tip, base = (mean(results, "mean-pose", metric=f"wrist20_{part}") for part in ("fingertip", "base"))
    ours = [mean(results, "msff", metric=f"wrist20_{part}") for part in ("fingertip", "base")]
    found = find(results, fingertips(results, "rhd"))
    assert found.estimate == pytest.approx(tip / base * ours[1] - ours[0])
    assert found.interval.low < found.estimate < found.interval.high
    assert abs(found.estimate) < 0.2 * ours[0]  # noise of the same shape: the tips are as hard as for the mean pose


# What is refused or left open


def test_missing_runs_are_named(own):
    for seed in SEEDS:
        remove(own, "msff", "ccm", seed)
    found = find(Results(own), CCM)
    assert found.verdict == "open" and np.isnan(found.estimate) and found.interval is None
    assert found.reason == "runs missing: MS-FF with channel conversion alone seeds 0, 1, 2"


def test_an_effect_uses_seeds_that_some_of_its_variants_lack(own, results):
    """Least squares over the runs that are there, here by hand: the missing run would have added what is left over."""
    complete = find(results, CCM)
    remove(own, "msff", "grm", 1)
    found = find(Results(own), CCM)
    assert found.seeds == SEEDS and found.interval.df > 10
    assert found.reason == "seeds 0, 1, 2; runs missing: MS-FF with global regression alone seed 1"
    assert found.estimate == pytest.approx(complete.estimate, abs=0.1) and found.estimate != complete.estimate
    runs = [(variant, seed) for variant in FACTORIAL for seed in SEEDS if (variant, seed) != ("grm", 1)]
    errors = [results.estimate(Cell(DATASET, "msff", v), "T2", "wrist20").per_seed[s] for v, s in runs]
    weights = run_coefficients(*zip(*runs, strict=True), CCM.parts[0].variants)
    assert found.estimate == pytest.approx(weights @ errors)


def test_an_effect_of_one_seed_has_the_spread_of_the_other_variants(own, results):
    alone = next(c for c in secondary() if c.name == "channel conversion alone")
    complete = find(results, alone)
    for seed in (1, 2):
        remove(own, "msff", "ccm", seed)
    found = find(Results(own), alone)
    assert (
        found.seeds == (0,) and found.reason == "seed 0; runs missing: MS-FF with channel conversion alone seeds 1, 2"
    )
    whole = find(Results(own), BY_NAME["the three modules together"])
    assert found.sigma_seed == pytest.approx(whole.sigma_seed)
    assert found.interval.standard_error > complete.interval.standard_error  # one run each instead of three


def test_variants_without_a_common_seed_are_not_compared(own):
    remove(own, "msff", "full", 0)
    for seed in (1, 2):
        remove(own, "msff", "bare", seed)
    found = find(Results(own), BY_NAME["the three modules together"])
    assert found.verdict == "open" and np.isnan(found.estimate)
    assert found.reason == "runs missing: MS-FF seed 0; MS-FF without its modules seeds 1, 2"


def test_methods_are_compared_by_the_seeds_of_both(own):
    remove(own, "internet", "full", 1)
    found = find(Results(own), BY_NAME["MS-FF - InterNet"])
    assert found.seeds == (0, 2) and found.reason == "seeds 0, 2; runs missing: InterNet(2020) seed 1"


def test_one_seed_is_open_with_its_value(made_results):
    found = find(made_results(), BY_NAME["MS-FF - InterNet"])
    assert found.verdict == "open" and "one seed cannot show training chance" in found.reason
    assert found.estimate < 0 and found.interval is None and str(found) == f"{found.estimate:+.2f}"


def test_cells_that_a_profile_does_not_train_are_named(tmp_path):
    found = find(Results(Store(tmp_path / "cpu-scratch")), CCM)
    assert found.verdict == "open" and found.reason.startswith(
        "not part of profile cpu-scratch: MS-FF without its modules, MS-FF with"
    )


def test_runs_of_different_precision_are_not_compared(own):
    for seed in SEEDS:
        add_run(own, DATASET, "msff", "full", seed, 6.0, precision="bf16")
        add_run(own, DATASET, "internet", "full", seed, 9.0, precision="float32")
    found = find(Results(own), BY_NAME["MS-FF - InterNet"])
    assert found.verdict == "open" and np.isnan(found.estimate)
    assert found.reason == ("precisions differ: bf16 for MS-FF seeds 0, 1, 2; float32 for InterNet(2020) seeds 0, 1, 2")
    assert "precisions differ" in find(Results(own), CCM).reason  # full against the seven cells without a record


def test_the_spread_is_that_of_runs_of_the_same_precision(own):
    for seed in SEEDS:
        for method in ("msff", "internet"):
            add_run(own, DATASET, method, "full", seed, 6.0 + seed, precision="bf16")
    found = find(Results(own), BY_NAME["MS-FF - InterNet"])
    assert found.verdict == "open" and found.sigma_seed > 0.5 and found.interval.df <= 4  # three runs each


def test_registered_contrasts_are_decided_by_adjusted_p_values(results):
    found = find_registered(results)
    alone = [find(results, contrast).interval.p for contrast in REGISTERED]
    assert [f.p_holm for f in found.values()] == pytest.approx(holm(alone))


@pytest.mark.parametrize(
    ("estimate", "error", "p_holm", "verdict", "words"),
    [
        (-1.0, 0.4, 0.2, "open", "the interval excludes 0, but p is 0.200 after Holm's adjustment"),
        (-1.0, 0.4, 0.03, "better", ""),
        (-0.3, 0.1, 0.03, "better", "by less than the margin"),
    ],
)
def test_a_reason_says_what_the_verdict_leaves_unsaid(estimate, error, p_holm, verdict, words):
    found = interval(estimate, [VarianceTerm(error**2, 14)])
    known = {"estimate": estimate, "interval": found, "margin": 0.8, "p_holm": p_holm}
    decided = findings.decided(findings.Finding(CCM, DATASET, "", "seeds 0, 1, 2", **known))
    assert (decided.verdict, decided.reason) == (verdict, "; ".join(filter(None, ["seeds 0, 1, 2", words])))


def test_the_table_has_its_columns_and_a_row_per_contrast(results):
    table = contrasts.contrasts_table(results)
    assert table.columns.tolist() == [
        "contrast", "registered", "dataset", "estimate_mm", "low", "high", "p_holm", "df", "sigma_seed", "seeds",
        "margin_mm", "verdict", "reason",
    ]  # fmt: skip
    assert table["registered"].tolist()[:8] == [*["yes"] * 7, "no"]
    assert table["p_holm"].notna().tolist() == [*[True] * 7, *[False] * (len(table) - 7)]
    assert set(table["verdict"]) <= {"better", "worse", "smaller than the margin", "open"}
    assert table["seeds"][0] == "0, 1, 2" and set(table["dataset"]) == {DATASET, "standin-interhand"}


def test_the_table_for_reading_keeps_small_p_values_apart(results):
    shown = formatted(contrasts.contrasts_table(results))
    assert shown["p (Holm)"].iloc[0] == "<0.001" and shown["p (Holm)"].iloc[-1] == ""
    assert "[" in shown["estimate, mm"].iloc[0] and "low" not in shown


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_without_runs_has_open_contrasts(tmp_path, profile):
    table = contrasts.contrasts_table(Results(Store(tmp_path / profile)))
    assert set(table["verdict"]) == {"open"} and table["estimate_mm"].isna().all() and (table["reason"] != "").all()
