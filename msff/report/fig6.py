"""Predictions drawn on test images: the paper's Fig. 6, and the sheet of one run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from msff.evaluation.tracks import RANKING_TRACK
from msff.report import drawing
from msff.report.examples import Examples, chosen_examples, examples
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results, label_of
from msff.report.rows import LABELS
from msff.skeleton import ROOTS
from msff.study.pages import evidence_stores
from msff.study.store import Run
from msff.study.workspace import Workspace

FIG6_METHODS = ("posenet", "internet", "msff")
"""The methods of the paper's Fig. 6."""
DECILES = (0.1, 0.5, 0.9)


def prediction_sheet(results: Results, chosen: Examples, run: Run) -> Figure:
    """Draw the ground truth in the upper row and the run's prediction below (track T2, or the run's only one).

    Predictions that fail the plausibility check are withheld, and the title states why.
    """
    count, tracks, experiment = len(chosen.rows), run.predictions.joints, run.experiment
    track = RANKING_TRACK if RANKING_TRACK in tracks else next(iter(tracks))
    cell = Cell(experiment.dataset, experiment.method, experiment.variant)
    data = f"{label_of(experiment.dataset)}, profile {experiment.profile}"
    true, labels = chosen.to_crop(chosen.truth), ["ground truth"] * count
    if reason := withheld(results, cell):
        title = f"Ground truth of test images ({data}); predictions withheld: {reason}"
        return drawing.contact_sheet(chosen.images, true, chosen.valid, labels, count, title)
    predicted = chosen.to_crop(chosen.predicted(run, track))
    return drawing.contact_sheet(
        [*chosen.images] * 2, [*true, *predicted], [*chosen.valid] * 2, labels + [LABELS[experiment.method]] * count,
        count, f"Ground truth and prediction (track {track}) on test images ({data})",
    )  # fmt: skip


def fig6_panels(
    results: Results, chosen: Examples, methods: Sequence[str] = FIG6_METHODS
) -> dict[str, tuple[np.ndarray, np.ndarray] | str]:
    """Return method -> (crop px (n, 42, 2), camera mm (n, 42, 3)) of the first seed, for ``methods`` with a run.

    A method that fails the plausibility check has the reason instead.
    """
    panels = {}
    for method in methods:
        cell = Cell(chosen.dataset, method)
        runs, reason = results.runs(cell), withheld(results, cell)
        if runs:
            joints = chosen.predicted(runs[0])
            panels[LABELS[method]] = reason or (chosen.to_crop(joints), joints)
    return panels


def fig6(results: Results, chosen: Examples, methods: Sequence[str] = FIG6_METHODS, *, labels: Sequence[str]) -> Figure:
    """Draw Fig. 6 for these examples: input, ground truth and each of ``methods`` that has a run; ``labels`` by row.

    Each image has a row of pictures and one of 3D views, relative to the wrist, which share the truth's cube. Only
    annotated joints are drawn. A withheld method has the reason in place of its prediction.
    """
    panels = {"ground truth": (chosen.to_crop(chosen.truth), chosen.truth), **fig6_panels(results, chosen, methods)}
    images, valid, n, columns = chosen.images, chosen.valid, len(chosen.images), len(panels) + 1
    with drawing.style():
        cell = min(1.75, 12 / columns)  # inches; many methods get smaller ones
        height = 2 * cell * n + 0.9  # square cells, 0.5 on top and 0.4 for the legend
        figure = plt.figure(figsize=(cell * columns, height), layout="none")
        grid = figure.add_gridspec(
            2 * n, columns, left=0.01, right=0.99, top=1 - 0.5 / height, bottom=0.4 / height, wspace=0.03, hspace=0.1
        )
        for k, (name, panel) in enumerate({"input": None, **panels}.items()):
            top = figure.add_subplot(grid[:, k] if isinstance(panel, str) else grid[0, k])
            top.set_title(textwrap.fill(name, 14), fontsize=8)
            if isinstance(panel, str):
                top.set_axis_off()
                text = textwrap.fill(f"withheld: {panel}", 20)
                top.text(0.5, 0.97, text, ha="center", transform=top.transAxes, va="top", fontsize=8, color="#777777")
                continue
            for i in range(n):
                ax = figure.add_subplot(grid[2 * i, k]) if i else top
                drawing.show_image(ax, images[i])
                if panel is None:
                    below = textwrap.fill(labels[i], 16)
                    ax.text(0.5, -0.06, below, transform=ax.transAxes, ha="center", va="top", fontsize=7.5)
                    continue
                joints_px, joints_mm = panel
                drawing.draw_skeleton(ax, joints_px[i], valid[i], width=1.5)
                view = figure.add_subplot(grid[2 * i + 1, k], projection="3d")
                truth_mm, drawn_mm = (joints - origin(joints, valid[i]) for joints in (chosen.truth[i], joints_mm[i]))
                drawing.draw_skeleton_3d(view, drawn_mm, valid[i], truth_mm[valid[i]])
        drawing.finger_legend(figure)
        title = f"Predictions on the test set ({label_of(chosen.dataset)}, profile {results.profile})"
        figure.suptitle(title, y=1 - 0.06 / height, va="top")
    return figure


def difficulty(results: Results, dataset: str, kind: str | None = None) -> pd.Series:
    """Return the error in mm by the position of each test image, ascending, of one hand type if given.

    The mean over joints and over the first seeds of Fig. 6's methods; empty without a run.
    """
    cells = [cell for method in FIG6_METHODS if results.runs(cell := Cell(dataset, method))]
    if not cells:
        return pd.Series(dtype=float)
    truth = results.truth(dataset)
    metric = {"rhd": "wrist20", "interhand": "mpjpe_all_no_wrist"}[truth.layout]
    first = [found[0] for cell in cells if (found := results.errors(cell, RANKING_TRACK, metric))]
    total = [np.where(e.valid, e.value, np.nan).mean(1, where=e.valid.numpy()) for e in first]
    errors = pd.Series(np.mean(total, axis=0))
    chosen = errors[truth.side_present.all(1)] if kind == "interacting" else errors
    return chosen.dropna().sort_values(kind="stable")


def with_runs(workspace: Workspace, dataset: str) -> Workspace:
    """Return the workspace or, if it has no run of MS-FF on this dataset, the best one that has; a note names it."""
    own = workspace.profile.name
    stores = (s for s in (workspace.store, *evidence_stores(workspace.store)) if Results(s).runs(Cell(dataset, "msff")))
    if (found := next(stores, workspace.store).profile) == own:
        return workspace
    display(Markdown(f"Runs of profile `{found}`, since `{own}` has none on this layout."))
    return Workspace(found, workspace.root, workspace.device)


def decile_examples(workspace: Workspace, results: Results, dataset: str, kind: str | None = None) -> Examples:
    """Return the test images at the first, fifth and ninth decile of `difficulty`, of one hand type if given.

    Without the dataset those in the store; if there are none, or no run, images spread evenly over the test part. The
    easiest is first.
    """
    order = difficulty(results, dataset, kind).index
    if len(order):
        rows = [int(order[round(share * (len(order) - 1))]) for share in DECILES]
        if chosen := chosen_examples(workspace, dataset, rows, f"{kind or 'any'}-deciles"):
            return chosen
    spread = examples(workspace, dataset, 4, kind=kind)
    return spread.at(np.argsort(order.get_indexer(spread.rows), kind="stable"))


def ranks(results: Results, chosen: Examples, kind: str | None = None) -> list[str]:
    """Return a label per example: its percentile of difficulty among the test images of its ``kind``, and the error."""
    errors = difficulty(results, chosen.dataset, kind)
    if errors.empty:
        return ["no run yet"] * len(chosen.rows)
    percent = 100 * errors.rank(method="max", pct=True)
    return [f"percentile {percent[i]:.0f} ({errors[i]:.0f} mm)" for i in chosen.rows]


def origin(joints_mm: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the wrist (right if annotated, else left) at which a 3D view is centred. -> (3,)."""
    side = "right" if valid[ROOTS["right"]] else "left"
    return np.asarray(joints_mm)[ROOTS[side]]
