"""The front figure: a dot per run, a bar from two runs on, and words where runs are missing."""

import numpy as np
import pytest

from msff.report import front_figure as front
from msff.report.contrasts import REGISTERED, find_registered
from msff.report.formatting import with_minus
from msff.report.front_figure import NETWORKS, NO_RUN, forest_figure, front_figure
from msff.report.results import Cell, Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu-long", (0, 1))


def dots(ax):
    return [y for line in ax.lines if line.get_marker() == "o" for y in line.get_ydata()]


def test_each_run_has_a_dot_at_its_error_and_each_network_a_bar(results):
    left = front_figure(results).axes[0]
    numbers = [results.estimate(Cell("standin-rhd", *cell), "T2", "wrist20") for cell in NETWORKS.values()]
    expected = [error for number in numbers if number for error in number.per_seed]
    assert dots(left) == pytest.approx(expected) and len(expected) == 8
    assert len(left.containers) == len(NETWORKS) - 3 and [text.get_text() for text in left.texts] == [NO_RUN] * 3


def test_one_run_has_no_bar(made_results):
    figure = front_figure(made_results("cpu-long"))
    assert len(dots(figure.axes[0])) == 4 and not figure.axes[0].containers
    hollow = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert len(hollow) == 4 and all(line.get_markerfacecolor() == "white" for line in hollow)


def test_without_runs_the_figure_says_so(tmp_path):
    left, right = front_figure(Results(Store(tmp_path / "cpu-long"))).axes
    assert [text.get_text() for text in left.texts] == [NO_RUN] * len(NETWORKS)
    assert [text.get_text() for text in right.texts] == ["runs missing"] * 4 and not right.patches


def test_a_forest_row_has_its_estimate_and_its_margin(results):
    registered = find_registered(results)
    ax = forest_figure(registered, "").axes[0]
    findings = [f for f in registered.values() if not np.isnan(f.estimate)]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"] == [f.estimate for f in findings]
    assert [bar.get_width() / 2 for bar in ax.patches] == pytest.approx([f.margin for f in findings])
    names, others = [t for t in ax.texts if t.get_bbox_patch() and t.get_ha() == "left"], ax.texts
    assert [t.get_text() for t in names] == [with_minus(name) for name in registered]
    assert len(findings) + len(others) - len(names) == len(REGISTERED)


def test_an_implausible_network_has_no_dot(made_results, monkeypatch):
    monkeypatch.setattr(front, "withheld", lambda results, cell: "palm width 0.3" if cell.method == "internet" else "")
    left = front.front_figure(made_results("cpu-long")).axes[0]
    assert len(dots(left)) == 3
    assert [text.get_text() for text in left.texts] == [NO_RUN, front.WITHHELD, NO_RUN, front.WITHHELD]
