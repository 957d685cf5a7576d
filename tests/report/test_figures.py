"""Figures: what they draw, and files that stay small and equal."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from make_results import make_history
from matplotlib import pyplot as plt
from PIL import Image
from report.reading import texts

from msff.report import drawing, figures, tables
from msff.report.drawing import draw_skeleton, joint_colour, save, show_maps
from msff.report.published import TABLE1
from msff.report.rows import LABELS

DATA = "stand-in in RHD format, profile cpu"


@pytest.fixture
def results(made_results):
    return made_results()


def test_fig5_names_its_data_and_methods(results):
    figure = figures.fig5_figure(tables.fig5(results), DATA)
    assert DATA in texts(figure) and "MS-FF" in texts(figure) and "mean pose" not in texts(figure)
    assert "wrist" not in texts(figure)
    assert len(figure.axes[0].get_xticks()) == 20
    assert "Yang(2019)" in texts(figure) and "oracle" not in texts(figure)  # every stored method


def test_table1_has_printed_and_measured_errors_on_different_axes(results):
    left, right = figures.table1_figure(tables.table1(results), DATA).axes
    printed = sorted(float(line.get_xdata()[0]) for line in left.lines if len(line.get_xdata()) == 1)
    assert printed == [19.95, 20.21, 20.58, 20.89, 22.53, 24.20, 30.42]
    assert not left.get_shared_x_axes().joined(left, right) and "real RHD" in left.get_title()
    assert DATA in right.get_title() and not left.containers
    rows = [label.get_text() for label in left.get_yticklabels()]
    assert rows == [row.label for row in TABLE1] + ["Song-S (surrogate)"]
    assert len(right.containers) == 14  # seven of ours, the surrogate below the line, on two tracks
    assert [t.get_text() for t in right.texts].count("untraced: no run can stand for it") == 1


def test_table1_draws_mean_pose_and_oracle_across_all_rows_or_writes_them_at_the_edge(results):
    table = tables.table1(results)
    shown = (table["track"] == "T2") & (table["metric"] == "wrist20")
    rows = {name: shown & (table["method"] == name) for name in figures.BASELINE_LABELS}
    ax = figures.table1_figure(table, DATA).axes[1]
    low, high = ax.get_xlim()
    assert low < table.loc[shown & ~table["method"].isin(rows), "low"].min() and low > 0
    for place, line_of in (
        (0.2 * low + 0.8 * high, "line"),
        (low - 1, "\u2190 {} {:.1f}"),
        (high + 1, "{} {:.1f} \u2192"),
    ):
        for name, row in rows.items():
            table.loc[row, ["value", "low", "high"]] = place, place - 0.5, place + 0.5
            ax = figures.table1_figure(table, DATA).axes[1]
            words, lines = [t.get_text() for t in ax.texts], [line.get_xdata() for line in ax.lines]
            across = any(np.allclose(x, place) for x in lines if len(x) == 2)
            assert across == (line_of == "line") and np.allclose(ax.get_xlim(), (low, high))
            assert (name.replace(" (", "\n(") if across else line_of.format(name, place)) in words


def test_every_method_has_a_colour_and_a_marker_of_its_own():
    assert set(drawing.METHOD_COLOURS) == set(drawing.METHOD_MARKERS) == set(LABELS.values())
    assert len(set(drawing.METHOD_COLOURS.values())) == len(set(drawing.METHOD_MARKERS.values())) == len(LABELS)


def test_figures_of_an_empty_store_say_so(empty):
    assert "no finished run" in texts(figures.fig5_figure(tables.fig5(empty), DATA))
    assert "run missing" in texts(figures.table1_figure(tables.table1(empty), DATA))
    assert "nothing was trained" in texts(figures.learning_curves(pd.DataFrame(), "mean pose", DATA))


def test_learning_curves_have_a_panel_per_phase_and_mark_where_the_rate_drops_within_one():
    figure = figures.learning_curves(make_history("posenet"), "a", DATA)
    assert [ax.get_title() for ax in figure.axes] == ["phase pose2d", "phase lifting"] and DATA in texts(figure)
    for ax, epochs, losses, drop in zip(figure.axes, ([1, 2], [3, 4]), ([2, 1], [20, 10]), (1.5, 3.5), strict=True):
        curve, mark = ax.lines  # and none where the next phase begins
        assert curve.get_xdata().tolist() == epochs and curve.get_ydata().tolist() == losses
        assert mark.get_xdata()[0] == drop
    (ax,) = figures.learning_curves(make_history("msff"), "a", DATA).axes
    assert ax.get_title() == ""


def test_skeleton_draws_only_valid_bones():
    joints = np.random.default_rng(0).random((42, 2)) * 50
    valid = np.ones(42, bool)
    valid[21:] = False
    valid[0] = False  # the right thumb's tip: one bone less of the right hand's 20
    _, ax = plt.subplots()
    draw_skeleton(ax, joints, valid, width=1)
    under, over, dots = ax.collections
    assert len(under.get_segments()) == len(over.get_segments()) == 19 and len(dots.get_offsets()) == 20
    assert [joint_colour(j) for j in range(21)] == [joint_colour(j) for j in range(21, 42)]  # of either hand


def test_save_is_deterministic_small_and_closes(tmp_path):
    def figure():  # of noise, which hardly compresses
        rng = np.random.default_rng(0)
        return show_maps(rng.random((3, 96, 96)), ["a", "b", "c"], DATA)

    first, second = (save(figure(), tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 100_000 and Image.open(first).mode == "P"
    assert not {"Software", "Creation Time"} & set(Image.open(first).info)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert not plt.get_fignums()


def test_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="maps must be"):
        show_maps(np.zeros((4, 5)), [], "")


def test_style_leaves_global_settings_alone(results):
    before = dict(matplotlib.rcParams)
    figures.fig5_figure(tables.fig5(results), DATA)
    assert dict(matplotlib.rcParams) == before


def test_a_figure_has_the_same_pixels_under_somebody_else_s_matplotlibrc(tmp_path):
    """One in the working folder comes before every other."""
    foreign = {"figure.figsize": (1, 1), "font.family": "serif", "lines.linewidth": 9, "savefig.bbox": "tight"}
    pictures = []
    for name, settings in (("own", {}), ("foreign", foreign)):
        with matplotlib.rc_context(settings):
            with drawing.style():
                figure = plt.figure()
                figure.add_subplot().plot([1, 2], label="a line")
            pictures.append(save(figure, tmp_path / f"{name}.png").read_bytes())
    assert pictures[0] == pictures[1]
