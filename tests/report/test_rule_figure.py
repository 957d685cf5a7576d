"""The figure and table of the rule: half-widths of the design, sizes, and curves that rise with the difference."""

import pytest

from msff.report import drawing, rule_figure


@pytest.fixture(scope="module")
def table():
    return rule_figure.rule_table().set_index(["rule", "contrast", "seeds", "sigma_seed"]).sort_index()


def test_sizes_are_about_five_percent(table):
    this = table.loc["this rule"]
    assert this["size"].between(0.04, 0.06).all() and table["size"].max() < 0.08


def test_half_widths_are_those_of_the_design(table):
    """The design stated 0.51 mm for a main effect and 0.91 for two networks of one spread, at sigma 0.5."""
    half = table["half_width_mm"]
    assert half["this rule", rule_figure.MODULE, 3, 0.5] == pytest.approx(0.51, abs=0.05)
    assert 0.85 < half["this rule", rule_figure.NETWORKS, 3, 0.5] < 1.05
    assert half["former rule", rule_figure.NETWORKS, 2, 0.5] > 4


def test_the_rule_finds_what_the_former_one_did_not(table):
    power = table["power"]
    assert power["this rule", rule_figure.MODULE, 3, 0.5] > 0.85
    assert power["this rule", rule_figure.NETWORKS, 3, 0.5] > 3 * power["former rule", rule_figure.NETWORKS, 2, 0.5]
    holm = table.loc["this rule", "power_holm"]
    assert (holm < table.loc["this rule", "power"]).all() and table.loc["former rule", "power_holm"].isna().all()


def test_the_curves_rise_and_the_figure_is_small(tmp_path):
    figure = rule_figure.rule_figure()
    for ax in figure.axes:
        curves = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 2]
        assert len(curves) == 6 and all(curve[0] < 0.07 and curve[-1] == max(curve) for curve in curves)
    path = drawing.save(figure, tmp_path / "rule.png")
    assert path.stat().st_size < 200_000
    again = drawing.save(rule_figure.rule_figure(), tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()
