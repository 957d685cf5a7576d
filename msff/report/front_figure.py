"""The front page's picture, errors of single runs beside the modules' effects, and the forest plot of contrasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.data.datasets import DATASETS
from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.report.contrasts import MODULES, RHD, TOGETHER, find_registered
from msff.report.drawing import BAND_COLOUR, METHOD_COLOURS, NOTE_COLOUR, PAPER_COLOUR, draw_interval, name_rows, style
from msff.report.findings import RELATIVE_MARGIN, Contrast, Finding, Part, find
from msff.report.formatting import with_minus
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, RANKING_METRIC, run_errors

NETWORKS: Mapping[str, tuple[str, str]] = {
    "MS-FF": ("msff", "full"),
    "with\nbatch norm": ("msff", "grm-norm"),
    "without\nglobal\nregression": ("msff", "no-grm"),
    "without\nits modules": ("msff", "bare"),
    "InterNet": ("internet", "full"),
    "MS-FF,\nGaussian\nvolumes": ("msff", "gaussian"),
    "InterNet,\nGaussian\nvolumes": ("internet", "gaussian"),
}
NO_RUN, WITHHELD = "no run yet", "withheld:\nimplausible\nhands"
MISSING = "runs missing"
GROUND = {"facecolor": "white", "edgecolor": "none"}
THIN = 0.36
"""The height of a margin's band as a share of its row, where the row's name is above it by `set_names_above`."""
VERDICT_COLOURS = {BETTER: "#0072B2", WORSE: "#D55E00"}


def front_figure(results: Results) -> Figure:
    """Draw one dot per run of seven networks (mm), and the effects of the modules with the paper's lead (mm)."""
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.1), width_ratios=(1.75, 1))
        for place, (method, variant) in enumerate(NETWORKS.values()):
            _draw_runs(left, place, results, method, variant)
        left.set_xticks(range(len(NETWORKS)), list(NETWORKS), fontsize=8.5)
        left.set(xlim=(-0.5, len(NETWORKS) - 0.5), ylabel="mean joint error, mm", title="one dot per run")
        left.grid(axis="x", visible=False)
        left.axvline(len(NETWORKS) - 2.5, color=PAPER_COLOUR, lw=0.8)  # the last two have another target
        findings = find_registered(results)
        modules = {"all three together": findings[TOGETHER]}
        modules |= {name: findings[f"{name}, main effect"] for name in MODULES.values()}
        lead = findings["MS-FF - InterNet"]  # whose margin is the paper's lead, in mm of InterNet's error
        draw_forest(right, modules, lead.margin)
        reach = reach_mm(modules.values(), lead.margin)
        right.set(title="what the modules add", xlim=(-reach, reach))
        figure.suptitle(f"{data_words(results)}, profile {results.profile}", fontsize=9)
    return figure


def forest_figure(findings: Mapping[str, Finding], title: str) -> Figure:
    """Draw contrasts with their 95 % intervals and the margin of each, mm; a line below the registered ones.

    Narrow enough for a phone.
    """
    registered = sum(finding.contrast.registered for finding in findings.values())
    with style():
        figure, ax = plt.subplots(figsize=(4.2, 1.0 + 0.38 * len(findings)))
        draw_forest(ax, findings, thickness=THIN)
        set_names_above(ax)
        if 0 < registered < len(findings):
            ax.axhline(registered - 0.66, color=PAPER_COLOUR, lw=0.8)
        ax.set_xlim(-reach_mm(findings.values()), reach_mm(findings.values()))
        ax.set_title(title, fontsize=9)
    return figure


def draw_forest(ax: Axes, findings: Mapping[str, Finding], margin: float = np.nan, thickness: float = 0.9) -> None:
    """Draw a row per name: value and interval in mm on a band of the finding's margin, or the reason why it has none.

    The colour is that of the verdict. ``margin`` in mm stands in where a finding has none of its own; ``thickness`` of
    the band as a share of the row.
    """
    for place, found in enumerate(findings.values()):
        half = margin if np.isnan(found.margin) else found.margin
        if not np.isnan(half):
            ax.barh(place, 2 * half, left=-half, height=thickness, color=BAND_COLOUR, zorder=1)
        if not found.known:
            mark_missing(ax, place, found)
        else:
            draw_interval(ax, place, found.bounds, zorder=4, color=VERDICT_COLOURS.get(found.verdict, PAPER_COLOUR))
            if found.interval is None:
                away = abs(found.estimate) < reach_mm(findings.values(), margin) / 2  # from 0, where there is room
                step, side = (6, "left") if (found.estimate > 0) == away else (-6, "right")
                where = {"xytext": (step, 0), "textcoords": "offset points", "ha": side, "va": "center"}
                ax.annotate("one seed", (found.estimate, place), **where, fontsize=7.5, color=PAPER_COLOUR, zorder=4)
    ax.axvline(0, color=PAPER_COLOUR, lw=0.8, zorder=2)
    name_rows(ax, [with_minus(name) for name in findings])
    for label, found in zip(ax.get_yticklabels(), findings.values(), strict=True):
        label.set_color(NOTE_COLOUR if not found.known else PAPER_COLOUR)
    ax.set_xlabel("change of the error, mm (negative: better)")


def set_names_above(ax: Axes, rise: float = 0.2) -> None:
    """Move the names of a chart's rows from its left side to above their intervals, by ``rise`` as a share of a row."""
    for label, place in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True):
        where = {"xycoords": ax.get_yaxis_transform(), "xytext": (2, 3.5), "textcoords": "offset points"}
        look = {"fontsize": 8.5, "color": label.get_color(), "va": "center", "bbox": GROUND | {"pad": 0.5}, "zorder": 5}
        ax.annotate(label.get_text(), (0, place - rise), **where, **look, annotation_clip=False)
    ax.set_yticks([])


def forest_alt(findings: Iterable[Finding]) -> str:
    """Return each contrast with its number in mm, or what it lacks: the text alternative of a forest plot."""
    return "; ".join(f"{f.contrast.name}: {f'{f} mm' if f.known else f.reason.partition(':')[0]}" for f in findings)


def mark_missing(ax: Axes, place: float, finding: Finding) -> None:
    """Write on a row of a forest plot why it has no number."""
    why = finding.reason.partition(":")[0]
    words = WITHHELD.replace("\n", " ") if why == "withheld" else why
    ax.text(0, place, words, ha="center", va="center", fontsize=8, zorder=4, bbox=GROUND | {"pad": 2})


def reach_mm(findings: Iterable[Finding], margin: float = np.nan) -> float:
    """Return half the width of an axis about 0 that holds all intervals and margins."""
    return 1.15 * np.nanmax([0.9, margin, *(abs(x) for f in findings for x in (*f.bounds, f.margin))])


def front_caption(results: Results) -> str:
    """Return what the front figure shows, in at most 60 words."""
    return (
        "Left: each run's mean joint error relative to the wrist, hollow for variants of MS-FF's network; bars: mean "
        "with 95 % interval over seeds and images. Right: effects of the modules, blue if better, orange if worse; "
        f"grey: the paper's lead over InterNet ({100 * RELATIVE_MARGIN:.1f} % of the error). Test images: "
        f"{data_words(results)}, profile `{results.profile}`."
    )


def _draw_runs(ax: Axes, place: int, results: Results, method: str, variant: str) -> None:
    """Draw a network's runs as dots, and their mean with a 95 % bar if there are two or more."""
    cell = Cell(results.dataset(RHD), method, variant)
    errors, implausible = run_errors(results, cell), withheld(results, cell)
    if not errors or implausible:
        middle = ax.get_xaxis_transform()  # x in data, y in the height of the axes
        ax.text(place, 0.5, WITHHELD if implausible else NO_RUN, transform=middle, ha="center", va="center", fontsize=8)
        return
    colour = METHOD_COLOURS[LABELS[method]]
    fill = colour if variant in ("full", "gaussian") else "white"
    shift = np.linspace(-0.06, 0.06, len(errors)) if len(errors) > 1 else [0.0]
    ax.plot(place + np.asarray(shift), errors, "o", color=colour, alpha=0.85, ms=6, mfc=fill)
    part = Part(method, variant, RANKING_METRIC)
    mean = find(results, Contrast(cell.method, RHD, (part,), (method, variant)))
    if mean.interval:
        draw_interval(ax, place + 0.22, mean.bounds, vertical=True, color=colour, marker="_", ms=12)


def data_words(results: Results) -> str:
    """Return what the test images are, in words."""
    standin = DATASETS[results.dataset(RHD)].is_standin
    return "rendered hands, not photos" if standin else DATASETS[results.dataset(RHD)].label
