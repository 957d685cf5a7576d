"""The front page's picture, errors of single runs beside the modules' effects, and the forest plot of contrasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.data.datasets import DATASETS
from msff.report.contrasts import MODULES, REGISTERED, RHD, find_registered
from msff.report.drawing import METHOD_COLOURS, PAPER_COLOUR, style
from msff.report.findings import RELATIVE_MARGIN, Contrast, Finding, Part, find
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, RANKING_METRIC, RANKING_TRACK

NETWORKS: Mapping[str, tuple[str, str]] = {
    "MS-FF": ("msff", "full"),
    "MS-FF without\nits modules": ("msff", "bare"),
    "InterNet": ("internet", "full"),
}
MARGIN_COLOUR = "#dddddd"
NO_RUN, WITHHELD = "no run yet", "withheld:\nimplausible hands"
MISSING = "runs missing"


def front_figure(results: Results) -> Figure:
    """Draw one dot per run of three networks (mm), and the three modules' main effects with the paper's lead (mm)."""
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.9), width_ratios=(1.15, 1))
        for place, (method, variant) in enumerate(NETWORKS.values()):
            _draw_runs(left, place, results, method, variant)
        left.set_xticks(range(len(NETWORKS)), list(NETWORKS))
        left.set(xlim=(-0.5, len(NETWORKS) - 0.5), ylabel="mean joint error, mm", title="one dot per run")
        left.grid(axis="x", visible=False)
        findings = find_registered(results)
        draw_forest(right, {name: findings[f"{name}, main effect"] for name in MODULES}, _lead(findings))
        right.set_title("what each module adds")
        figure.suptitle(f"{data_words(results)}, profile {results.profile}", fontsize=9)
    return figure


def forest_figure(results: Results) -> Figure:
    """Draw the registered contrasts with their 95 % intervals and the margin of each, mm."""
    findings = find_registered(results)
    with style():
        figure, ax = plt.subplots(figsize=(8.2, 1.2 + 0.36 * len(findings)))
        draw_forest(ax, {c.name: findings[c.name] for c in REGISTERED})
        ax.set_title(f"registered contrasts, {data_words(results)}, profile {results.profile}", fontsize=9)
    return figure


def draw_forest(ax: Axes, findings: Mapping[str, Finding], margin: float = np.nan) -> None:
    """Draw a row per finding on a band of its margin, or of ``margin`` if it has none; mm, hollow without interval."""
    for place, found in enumerate(findings.values()):
        half = margin if np.isnan(found.margin) else found.margin
        if not np.isnan(half):
            ax.barh(place, 2 * half, left=-half, height=0.9, color=MARGIN_COLOUR, zorder=1)
        value, low, high = found.bounds
        if np.isnan(value):
            mark_missing(ax, place, found)
            continue
        known = found.interval is not None
        if known:
            ax.plot([low, high], [place, place], color=PAPER_COLOUR, lw=1.4, zorder=3)
        ax.plot(value, place, "o", color=PAPER_COLOUR, mfc=PAPER_COLOUR if known else "white", ms=5.5, zorder=4)
    reach = max([1.0, *(1.15 * abs(x) for f in findings.values() for x in (*f.bounds, f.margin) if not np.isnan(x))])
    ax.axvline(0, color=PAPER_COLOUR, lw=0.8, zorder=2)
    ax.set_yticks(range(len(findings)), [name.replace(", change", ",\nchange") for name in findings])
    ax.set(xlim=(-reach, reach), ylim=(len(findings) - 0.5, -0.5), xlabel="change of the error, mm (negative: better)")
    ax.grid(axis="y", visible=False)


def mark_missing(ax: Axes, place: float, finding: Finding) -> None:
    """Write on a row of a forest plot why it has no number."""
    words = WITHHELD.replace("\n", " ") if finding.reason.startswith("withheld") else MISSING
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    ax.text(0, place, words, ha="center", va="center", fontsize=8, zorder=4, bbox=ground)


def front_caption(results: Results) -> str:
    """Return what the front figure shows, in at most 60 words."""
    return (
        f"Left: error at the joints relative to the wrist; bar: mean and "
        f"95 % over seeds and images. Right: main effects with 95 %; grey: the paper's own lead over InterNet "
        f"({100 * RELATIVE_MARGIN:.1f} % of the error). Test images: {data_words(results)}, "
        f"profile `{results.profile}`."
    )


def _draw_runs(ax: Axes, place: int, results: Results, method: str, variant: str) -> None:
    """Draw a network's runs as dots, and their mean with a 95 % bar if there are two or more."""
    cell = Cell(results.dataset(RHD), method, variant)
    errors = run_errors(results, cell)
    implausible = withheld(results, cell)
    if not errors or implausible:
        middle = ax.get_xaxis_transform()  # x in data, y in the height of the axes
        ax.text(place, 0.5, WITHHELD if implausible else NO_RUN, transform=middle, ha="center", va="center", fontsize=8)
        return
    colour = METHOD_COLOURS[LABELS[method]]
    fill = "white" if variant == "bare" else colour
    shift = np.linspace(-0.06, 0.06, len(errors)) if len(errors) > 1 else [0.0]
    ax.plot(place + np.asarray(shift), errors, "o", color=colour, alpha=0.85, ms=6, mfc=fill)
    part = Part(method, {variant: 1}, {RANKING_METRIC: 1})
    mean = find(results, Contrast(cell.method, RHD, (part,), (method, variant)))
    if mean.interval:
        value, low, high = mean.bounds
        spread = [[value - low], [high - value]]
        ax.errorbar(place + 0.22, value, yerr=spread, color=colour, marker="_", ms=12, capsize=3)


def run_errors(results: Results, cell: Cell) -> Sequence[float]:
    """Return the mean error of each stored run of a cell, mm, by seed."""
    number = results.estimate(cell, RANKING_TRACK, RANKING_METRIC)
    return [] if number is None else list(number.per_seed)


def _lead(findings: Mapping[str, Finding]) -> float:
    """Return the paper's lead in mm of InterNet's measured error; NaN without a run."""
    return findings["MS-FF - InterNet"].margin


def data_words(results: Results) -> str:
    """Return what the test images are, in words."""
    standin = DATASETS[results.dataset(RHD)].is_standin
    return "rendered hands, not photos" if standin else DATASETS[results.dataset(RHD)].label
