"""The figure and table of the rule: half-widths of the design, sizes, and curves that rise with the difference."""

import pytest

from msff.report import drawing, rule_figure


@pytest.fixture(scope="module")
def table():
    return rule_figure.rule_table().set_index(["contrast", "sigma_seed"])


def test_sizes_are_about_five_percent(table):
    assert table["size"].between(0.04, 0.06).all()


def test_half_widths_are_those_of_the_design(table):
    """The design stated 0.51 mm for a main effect and 0.91 for two networks of one spread, at sigma 0.5."""
    half = table["half_width_mm"]
    assert half[rule_figure.MODULE, 0.5] == pytest.approx(0.51, abs=0.05)
    assert 0.85 < half[rule_figure.NETWORKS, 0.5] < 1.05


def test_the_rule_finds_a_difference_as_large_as_the_margin(table):
    assert table["power"][rule_figure.MODULE, 0.5] > 0.85
    assert (table["power (Holm)"] < table["power"]).all()


def test_the_curves_rise_and_the_figure_is_small(tmp_path):
    figure = rule_figure.rule_figure()
    for ax in figure.axes:
        curves = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 2]
        assert len(curves) == 3 and all(curve[0] < 0.07 and curve[-1] == max(curve) for curve in curves)
    path = drawing.save(figure, tmp_path / "rule.png")
    assert path.stat().st_size < 200_000
    again = drawing.save(rule_figure.rule_figure(), tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()
