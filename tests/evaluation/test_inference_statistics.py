"""The interval of a contrast: by hand, against statsmodels' formulas and the bootstrap, and by simulation."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
import torch
from statsmodels.stats.anova import anova_lm

from msff.evaluation.bootstrap import bootstrap_means
from msff.evaluation.inference_statistics import (
    ALPHA,
    BETTER,
    OPEN,
    SMALLER,
    WORSE,
    VarianceTerm,
    fit_spread,
    holm,
    image_term,
    interval,
    joint_mean_influence,
    pooled_influence,
    run_coefficients,
    satterthwaite,
    verdict,
)
from msff.evaluation.joint_errors import JointErrors
from msff.models.registry import FACTORIAL
from msff.report.contrasts import REGISTERED

RUNS = pd.DataFrame(
    [(v, *has, s) for v, has in FACTORIAL.items() for s in range(3)], columns=["cell", "ccm", "grm", "lom", "seed"]
)


def factorial_errors(seed=0, replications=None):
    shape = (len(RUNS),) if replications is None else (len(RUNS), replications)
    return np.random.default_rng(seed).normal(30, 0.5, shape)


def test_the_spread_is_that_of_the_factorial_model_with_seeds_as_blocks():
    table = RUNS.assign(y=factorial_errors())
    expected = anova_lm(smf.ols("y ~ ccm * grm * lom + C(seed)", table).fit())
    spread = fit_spread(table.cell, table.seed, table.y)
    assert (spread.residual_df, spread.between_df, spread.runs_per_seed) == (14, 2, 8)
    assert spread.residual == pytest.approx(expected.loc["Residual", "mean_sq"])
    assert spread.between == pytest.approx(expected.loc["C(seed)", "mean_sq"])


def test_a_main_effect_has_the_standard_error_of_the_factorial_model():
    """Coded -1 and 1, an effect is twice its coefficient."""
    table = RUNS.assign(y=factorial_errors(), a=2 * RUNS.ccm - 1, b=2 * RUNS.grm - 1, c=2 * RUNS.lom - 1)
    fit = smf.ols("y ~ a * b * c + C(seed)", table).fit()
    weights = [(2 * has[0] - 1) / 4 for has in FACTORIAL.values()]
    term = fit_spread(table.cell, table.seed, table.y).of_mean(weights, 3)
    assert term.variance**0.5 == pytest.approx(2 * fit.bse["a"]) and term.df == pytest.approx(14)
    found = interval(2 * fit.params["a"], [term])
    assert (found.low, found.high) == pytest.approx(tuple(2 * fit.conf_int().loc["a"]))
    assert found.p == pytest.approx(fit.pvalues["a"])


def test_a_single_cell_counts_the_effect_of_the_seeds_too():
    """Its variance is the pooled one within cells, including the part that is common to a seed."""
    table = RUNS.assign(y=factorial_errors() + 2 * RUNS.seed)
    within = table.groupby("cell").y.var().mean()
    spread = fit_spread(table.cell, table.seed, table.y)
    assert spread.of_mean([1], 3).variance == pytest.approx(within / 3)
    assert spread.of_mean([1], 3).df < 3  # the seeds' own part has two degrees of freedom and is most of it
    assert spread.of_mean([1, -1], 3).variance == pytest.approx(2 * spread.residual / 3)


def test_two_networks_alone_are_compared_by_welchs_test():
    ours, theirs = np.array([22.0, 23.1, 22.4]), np.array([24.0, 24.3, 26.0])
    terms = [fit_spread(["full"] * 3, range(3), y).of_mean([w], 3) for y, w in ((ours, 1), (theirs, -1))]
    found = interval(ours.mean() - theirs.mean(), terms)
    expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue) and found.df == pytest.approx(expected.df)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_missing_runs_change_the_expected_mean_square_of_the_seeds():
    """An unbalanced design, by the trace of its sum of squares: the sum over cells of runs - 1."""
    cells, seeds = list("aaabbc"), [0, 1, 2, 0, 1, 0]
    rng = np.random.default_rng(1)
    effect = rng.normal(0, 1, (3, 20_000))
    spread = fit_spread(cells, seeds, effect[seeds])
    assert (spread.residual_df, spread.between_df, spread.runs_per_seed) == (1, 2, 1.5)
    assert spread.between.mean() == pytest.approx(1.5, rel=0.03) and spread.residual.max() < 1e-20


SEEDS_OF = {"bare": 3, "full": 3, "no-grm": 2}
INCOMPLETE = RUNS[[row.seed < SEEDS_OF.get(row.cell, 1) for row in RUNS.itertuples()]].reset_index(drop=True)
CCM = {cell: (2 * has[0] - 1) / 4 for cell, has in FACTORIAL.items()}


def test_runs_that_other_seeds_lack_are_used_as_in_the_factorial_model():
    """Of thirteen runs, with five combinations at one seed; equal to the formula's effect and standard error."""
    y = np.random.default_rng(3).normal(30, 0.5, len(INCOMPLETE)) + INCOMPLETE.seed
    table = INCOMPLETE.assign(y=y, a=2 * INCOMPLETE.ccm - 1, b=2 * INCOMPLETE.grm - 1, c=2 * INCOMPLETE.lom - 1)
    fit = smf.ols("y ~ a * b * c + C(seed)", table).fit()
    coefficients = run_coefficients(table.cell, table.seed, CCM)
    assert coefficients @ y == pytest.approx(2 * fit.params["a"])
    term = fit_spread(table.cell, table.seed, y).of_runs(coefficients)
    assert term.variance**0.5 == pytest.approx(2 * fit.bse["a"]) and term.df == 3


def test_where_no_run_is_missing_every_run_counts_alike():
    coefficients = run_coefficients(RUNS.cell, RUNS.seed, CCM)
    assert coefficients == pytest.approx([CCM[cell] / 3 for cell in RUNS.cell])


def test_cells_are_compared_through_a_cell_that_shares_seeds_with_both():
    """a - c = (a - b of seed 0) + (b - c of seed 1); without b they have nothing in common."""
    cells, seeds = list("abbc"), [0, 0, 1, 1]
    assert run_coefficients(cells, seeds, {"a": 1, "c": -1}) == pytest.approx([1, -1, 1, -1])
    with pytest.raises(ValueError, match="no seed links"):
        run_coefficients(list("ac"), [0, 1], {"a": 1, "c": -1})
    with pytest.raises(ValueError, match="no seed links"):
        run_coefficients(list("ab"), [0, 0], {"a": 1, "c": -1})


def test_the_size_with_missing_runs():
    """A main effect from thirteen of 24 runs: its interval covers the truth as often as stated, seeds or no seeds."""
    rng = np.random.default_rng(5)
    y = rng.normal(30, 0.5, (len(INCOMPLETE), 4000)) + rng.normal(0, 2, (3, 4000))[INCOMPLETE.seed]
    coefficients = run_coefficients(INCOMPLETE.cell, INCOMPLETE.seed, CCM)
    term = fit_spread(INCOMPLETE.cell, INCOMPLETE.seed, y).of_runs(coefficients)
    found = interval(coefficients @ y + rng.normal(0, 0.12, 4000), [term, VarianceTerm(0.12**2, 2999)])
    assert 0.04 < (found.p < ALPHA).mean() < 0.065


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="train more seeds"):
        fit_spread(["full", "bare"], [0, 0], [1.0, 2.0]).of_mean([1, -1], 1)


def test_two_seeds_that_agree_by_luck_do_not_shorten_the_interval():
    """Satterthwaite's formula would trust the images' degrees of freedom instead of the one that is there."""
    lucky, images = VarianceTerm(1e-6, 1.0), VarianceTerm(0.0144, 2999)
    assert satterthwaite([lucky, images]) > 1000
    found = interval(-1.0, [lucky, images])
    assert found.df == 1 and found.high - found.low == pytest.approx(2 * 12.706 * 0.12, rel=1e-3)


def test_equal_runs_are_no_difference():
    found = interval(0.0, [VarianceTerm(0.0, 4.0)])
    assert (found.p, found.low, found.high, found.df) == (1, 0, 0, 4)
    assert interval(-1.0, [VarianceTerm(0.0, 4.0)]).p == 0


# The image part


def some_errors(seed=0, images=300, joints=5):
    rng = np.random.default_rng(seed)
    values = rng.gamma(4, 5, (images, joints)) + rng.normal(0, 6, (images, 1))
    return values, rng.random((images, joints)) < np.linspace(0.2, 1, joints)


@pytest.mark.parametrize("cluster", [None, np.arange(300) // 6])
@pytest.mark.parametrize(
    ("average", "influence"), [("joint means", joint_mean_influence), ("pooled", pooled_influence)]
)
def test_the_image_part_is_that_of_the_bootstrap(average, influence, cluster):
    values, valid = some_errors()
    if cluster is not None:
        values = values + np.random.default_rng(3).normal(0, 5, (50, 1))[cluster]
    errors = JointErrors(
        torch.as_tensor(values), torch.as_tensor(valid), None if cluster is None else torch.as_tensor(cluster)
    )
    draws = bootstrap_means(errors, average=average, replicates=4000)
    term = image_term(influence(values, valid), cluster)
    assert term.variance**0.5 == pytest.approx(draws.std().item(), rel=0.05)
    assert term.df == (299 if cluster is None else 49)


def test_the_image_part_of_one_joint_is_the_squared_standard_error():
    values = np.array([[1.0], [2.0], [4.0], [9.0]])
    term = image_term(joint_mean_influence(values, np.ones((4, 1), bool)))
    assert term.variance == pytest.approx(values.var(ddof=1) / 4) and term.df == 3


def test_a_joint_that_never_counts_is_left_out():
    values, valid = some_errors()
    alone = joint_mean_influence(values[:, 1:], valid[:, 1:])
    valid[:, 0] = False
    assert joint_mean_influence(values, valid) == pytest.approx(alone)


def test_one_sequence_has_no_image_part():
    assert np.isnan(image_term(np.ones(4), np.zeros(4, int)).variance)


# Verdicts


@pytest.mark.parametrize(
    ("estimate", "error", "margin", "expected"),
    [
        (-1.0, 0.3, 0.8, BETTER),
        (1.0, 0.3, 0.8, WORSE),
        (0.1, 0.3, 0.8, SMALLER),
        (0.5, 0.3, 0.8, OPEN),  # neither different from 0 nor shown to be within 0.8
        (-0.3, 0.1, 0.8, BETTER),  # both: significance comes first
    ],
)
def test_verdicts(estimate, error, margin, expected):
    assert verdict(interval(estimate, [VarianceTerm(error**2, 14)]), margin) == expected


def test_equivalence_is_two_one_sided_tests():
    found = interval(0.1, [VarianceTerm(0.09, 14)])
    lower, upper = (0.8 + 0.1) / 0.3, (0.8 - 0.1) / 0.3
    assert found.equivalence_p(0.8) == pytest.approx(max(scipy.stats.t.sf(lower, 14), scipy.stats.t.sf(upper, 14)))


def test_an_adjusted_p_value_takes_the_place_of_the_contrasts_own():
    found = interval(-1.0, [VarianceTerm(0.16, 14)])
    assert found.p < ALPHA and verdict(found, 0.8) == BETTER and verdict(found, 0.8, p=0.2) == OPEN


def test_holm_counts_contrasts_without_runs():
    assert holm([0.01, 0.04, np.nan]) == pytest.approx([0.03, 0.08, np.nan], nan_ok=True)


# By simulation

IMAGE_SD, SIGMA, EFFECT, REPLICATIONS = 0.12, 0.5, 0.8, 4000


def simulated(effects=None, sigma=SIGMA, block=0.0, other=SIGMA, replications=REPLICATIONS, seeds=3):
    """Estimates and terms of the seven registered contrasts; ``effects`` (7,) mm are added to the estimates.

    Runs vary by ``sigma``, those of the other network by ``other``; all runs of a seed share ``block``. The contrast of
    hidden and visible joints has a metric, and hence a noise, of its own.
    """
    rng = np.random.default_rng(7)
    found = []
    metrics = {}
    for k, contrast in enumerate(REGISTERED):
        key = tuple(contrast.parts[0].metrics)
        if key not in metrics:
            shared = rng.normal(0, block, (seeds, replications)) if block else np.zeros((seeds, replications))
            cells = {"msff": [*FACTORIAL, "scratch"], "internet": ["full", "scratch"]}
            spread = {"msff": sigma, "internet": other}
            metrics[key] = {
                m: {v: rng.normal(0, spread[m], (seeds, replications)) + shared for v in names}
                for m, names in cells.items()
            }
        value, terms = rng.normal(0, IMAGE_SD, replications), [VarianceTerm(IMAGE_SD**2, 2999)]
        for part in contrast.parts:
            runs = metrics[key][part.method]
            value = value + sum(w * runs[v].mean(0) for v, w in part.variants.items())
            labels, blocks = zip(*((v, s) for v in runs for s in range(seeds)), strict=True)
            spread = fit_spread(labels, blocks, np.concatenate(list(runs.values())))
            terms.append(spread.of_mean(list(part.variants.values()), seeds))
        found.append(interval(value + (0 if effects is None else effects[k]), terms))
    return found


@pytest.mark.parametrize("settings", [{}, {"block": 0.4}, {"other": 0.06}, {"other": 1.0}])
def test_the_size_of_each_contrast_and_the_coverage_of_its_interval_are_as_stated(settings):
    """About 5 %. Less where seeds move both networks alike, which their independence leaves unused; up to 8 % where the
    other network varies twice as much and has three seeds to show it (Satterthwaite's approximation).
    """
    for contrast, found in zip(REGISTERED, simulated(**settings), strict=True):
        size = (found.p < ALPHA).mean()
        lowest, highest = (0.01 if "block" in settings else 0.03), (0.085 if settings.get("other") == 1.0 else 0.065)
        assert lowest < size < highest, contrast.name
        assert ((found.low <= 0) & (found.high >= 0)).mean() == pytest.approx(1 - size)


def test_the_seven_contrasts_together_have_the_familywise_size():
    p = np.stack([found.p for found in simulated()])  # (7, R)
    smallest = p.min(0)
    for column in (smallest.argmin(), *range(8)):  # Holm rejects something where the smallest is below 1/7 of the level
        assert (holm(p[:, column]) < ALPHA).any() == (smallest[column] * len(p) < ALPHA)
    assert 0.03 < (smallest * len(p) < ALPHA).mean() < 0.06
    assert (smallest < ALPHA).mean() > 0.15  # without the adjustment


def test_the_power_at_a_true_difference_of_0_8_mm():
    """Three seeds, sigma 0.5 mm: a main effect is found, two networks alone often are not."""
    found = dict(zip([c.name for c in REGISTERED], simulated([EFFECT] * 7), strict=True))
    power = {name: (f.p < ALPHA).mean() for name, f in found.items()}
    for module in ("channel conversion", "global regression", "local optimisation"):
        assert 0.86 < power[f"{module}, main effect"] < 0.94
    assert 0.35 < power["MS-FF - InterNet"] < 0.50
    assert 0.38 < power["the three modules together"] < 0.50
    effect = found["channel conversion, main effect"]
    assert (effect.high - effect.low).mean() / 2 == pytest.approx(0.48, abs=0.03)


def test_the_size_of_the_test_of_equivalence():
    """At a true difference of exactly the margin it claims "smaller" in 5 % of the cases at most."""
    for found in simulated([EFFECT] * 7):
        assert (found.equivalence_p(EFFECT) < ALPHA).mean() < 0.065
    main = simulated()[2]
    assert (main.equivalence_p(EFFECT) < ALPHA).mean() > 0.85  # and without a difference it does so for a module
