"""Drawn from the stored runs, whose names are the longest, no word of a figure is cut off at the figure's edge."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from msff.report import ablation_figures, contexts, conventions, figures, front_figure, photos, robustness, tables
from msff.report.book import summary
from msff.report.results import Results
from msff.study.store import Store
from msff.study.tuning import described, tuned
from msff.study.workspace import Workspace

RESULTS = Path(__file__).parents[2] / "results"
ON_RHD = "stand-in in RHD format (rendered), profile cpu-long"
ON_BOTH = "stand-in in RHD format and stand-in in InterHand2.6M format (rendered), profile cpu-long"
BUILDERS = {
    "table1": lambda results: figures.table1_figure(tables.table1(results), ON_RHD),
    "fig5": lambda results: figures.fig5_figure(tables.fig5(results), ON_BOTH),
    "contexts": lambda results: contexts.context_figure(contexts.contexts(results), ON_BOTH),
    "rates": lambda results: robustness.rate_figure(
        tuned(results.store.tuning), described(Workspace("cpu-long").profile)
    ),
    "measures": robustness.measures_figure,
    "residuals": robustness.residuals_figure,
    "conventions": lambda _: conventions.conventions_figure(Results(Store(RESULTS / "cpu"))),  # fewer, the same names
    "pck": lambda results: conventions.pck_figure(results, ON_RHD),
    "cube": lambda results: ablation_figures.cube_figure(results, ON_RHD),
    "effects": lambda results: ablation_figures.effects_figure(results, ON_RHD),
    "front": front_figure.front_figure,
    "summary": summary.summary_figure,
    "photos": lambda results: photos.photo_figure(
        photos.photo_errors([results.store], RESULTS / "mediapipe"), results.profile
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stored():
    return Results(Store(RESULTS / "cpu-long"))


def cut_off(figure: Figure) -> list[str]:
    """Return the texts that reach beyond the figure by more than a pixel, but not ticks outside the axes' range."""
    figure.canvas.draw()
    hidden = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        outside = [t for t in ticks if not low <= t.get_loc() <= high or not axis.axes.axison]
        hidden |= {label for tick in outside for label in (tick.label1, tick.label2)}
    drawn = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]
    boxes = {text.get_text(): text.get_window_extent().extents for text in drawn}
    low, high = np.array([figure.bbox.extents[:2] - 1, figure.bbox.extents[2:] + 1])
    return [text for text, box in boxes.items() if (box[:2] < low).any() or (box[2:] > high).any()]


@pytest.mark.parametrize("name", BUILDERS)
def test_no_text_is_cut_off(stored, name):
    assert not cut_off(BUILDERS[name](stored))


def test_a_title_wider_than_its_figure_is_found():
    figure = Figure(figsize=(2, 2))
    figure.suptitle("a title that is much wider than its figure")
    assert len(cut_off(figure)) == 1
