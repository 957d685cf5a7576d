"""The ablation as pictures: its eight networks as the corners of a cube, and the effects of the modules."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.models.registry import FACTORIAL
from msff.report.contrasts import (
    ALONE,
    MAIN,
    MODULES,
    TOGETHER,
    WHOLE,
    find_registered,
    interactions,
    module_effects,
)
from msff.report.drawing import METHOD_COLOURS, NOTE_COLOUR, PAPER_COLOUR, style
from msff.report.findings import Finding, find
from msff.report.front_figure import draw_forest, reach_mm
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results
from msff.report.rows import RANKING_METRIC, RANKING_TRACK, run_errors

_RIGHT, _BACK, _UP = np.array([4.6, 0.0]), np.array([2.0, 1.15]), np.array([0.0, 2.7])
"""Directions of the cube's edges on the page: channel conversion, global regression, local optimisation."""
_BOX = 1.7, 0.8  # width and height of a corner's panel in the units of the directions


def cube_figure(results: Results, data: str) -> Figure:
    """Draw the eight combinations of MS-FF's modules as the corners of a cube: mean in mm and a dot per run.

    A step to the right adds channel conversion, one into the page global regression, one upwards local optimisation.
    Corners without runs, or with implausible predictions, are empty and state why. All dots share one scale.
    """
    dataset = results.dataset("rhd")
    numbers = _numbers(results, dataset)
    values = [v for number in numbers.values() if not isinstance(number, str) for v in number]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.12 * (high - low) or 0.5
    with style():
        figure, ax = plt.subplots(figsize=(8.6, 5.2))
        ax.set_axis_off()
        places = {v: has[0] * _RIGHT + has[1] * _BACK + has[2] * _UP for v, has in FACTORIAL.items()}
        _edges(ax, places)
        for variant in sorted(FACTORIAL, key=lambda v: -FACTORIAL[v][1]):  # from the back to the front
            _corner(ax, places[variant], variant, numbers[variant], (low - margin, high + margin))
        _directions(ax)
        ax.set(xlim=(-1.25, 8.0), ylim=(-0.85, 4.75), aspect="equal")
        scale = f"dots: one run each, from {low - margin:.1f} mm (left) to {high + margin:.1f} mm (right)"
        figure.suptitle(f"MS-FF with and without its modules: {RANKING_METRIC}, {RANKING_TRACK} ({data})", fontsize=10)
        ax.text(3.3, -0.8, scale if values else "no finished run", ha="center", fontsize=8, color=NOTE_COLOUR)
    return figure


def _numbers(results: Results, dataset: str) -> dict[str, tuple[float, ...] | str]:
    """Return variant -> the error of each run in mm, or why there is none."""
    found: dict[str, tuple[float, ...] | str] = {}
    for variant in FACTORIAL:
        cell = Cell(dataset, "msff", variant)
        fault = withheld(results, cell)
        found[variant] = f"withheld: {fault}" if fault else run_errors(results, cell) or "no run yet"
    return found


def _edges(ax: Axes, places: Mapping[str, np.ndarray]) -> None:
    for a, b in combinations(FACTORIAL, 2):
        if np.abs(np.subtract(FACTORIAL[a], FACTORIAL[b])).sum() == 1:
            hidden = FACTORIAL[a][1] == FACTORIAL[b][1] == 1
            ends = zip(places[a], places[b], strict=True)
            ax.plot(*ends, color="#BBBBBB", lw=1.1, ls=":" if hidden else "-", zorder=1)


def _corner(ax: Axes, place: np.ndarray, variant: str, number: tuple[float, ...] | str, scale: tuple) -> None:
    (x, y), (width, height) = place, _BOX
    there = not isinstance(number, str)
    ax.add_patch(plt.Rectangle((x - width / 2, y - height / 2), width, height, facecolor="white", zorder=2,
                               edgecolor=METHOD_COLOURS["MS-FF"] if there else "#999999",
                               lw=1.3 if there else 1.0, ls="-" if there else (0, (3, 2))))  # fmt: skip
    ax.text(x - width / 2 + 0.07, y + 0.2, variant, fontsize=8, va="center", zorder=4, color=PAPER_COLOUR)
    if not there:
        reason = textwrap.fill(textwrap.shorten(number, 48, placeholder=" ..."), 24)
        ax.text(x, y - 0.12, reason, fontsize=7, ha="center", va="center", color=NOTE_COLOUR, zorder=4)
        return
    ax.text(x + width / 2 - 0.07, y + 0.2, f"{np.mean(number):.1f} mm", fontsize=9, weight="bold", ha="right",
            va="center", zorder=4)  # fmt: skip
    left, right = x - width / 2 + 0.12, x + width / 2 - 0.12
    ax.plot([left, right], [y - 0.17, y - 0.17], color="#CCCCCC", lw=1, zorder=3)
    at = left + (np.asarray(number) - scale[0]) / (scale[1] - scale[0]) * (right - left)
    ax.scatter(at, np.full(len(at), y - 0.17), s=26, color=METHOD_COLOURS["MS-FF"], edgecolors="white", zorder=4)
    if len(at) == 1:
        return
    mean = left + (np.mean(number) - scale[0]) / (scale[1] - scale[0]) * (right - left)
    ax.plot([mean, mean], [y - 0.31, y - 0.03], color=PAPER_COLOUR, lw=1.4, zorder=5)


def _directions(ax: Axes) -> None:
    """Name the three directions by arrows at the corner without modules."""
    start = np.array([-1.1, 3.42])
    beside = (0.1, 0.0), (0.05, 0.02), (0.0, 0.12)
    for direction, name, step in zip((_RIGHT, _BACK, _UP), MODULES.values(), beside, strict=True):
        end = start + 0.62 * direction / np.linalg.norm(direction)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#777777", "lw": 1.1})
        ax.text(*(end + step), f"+ {name}", fontsize=7.5, color="#555555", va="center")


# Effects


def effects(results: Results) -> dict[str, list[Finding]]:
    """Return the contrasts of the ablation by group: main effects, effects of one module, and interactions.

    The main effects are registered and judged as such.
    """
    modules, registered = [module_effects(module) for module in MODULES], find_registered(results)
    one_module = [module[kind] for module in modules for kind in (ALONE, WHOLE)]
    return {
        "main effects": [registered[name] for name in (*(module[MAIN].name for module in modules), TOGETHER)],
        "one module": [find(results, contrast) for contrast in one_module],
        "interactions": [find(results, contrast) for contrast in interactions()],
    }


def effects_figure(results: Results, data: str) -> Figure:
    """Draw the modules' main effects, their effects alone and added last, and the interactions, in mm with intervals.

    Left of 0 a module lowers the error. A grey band is a contrast's margin: the paper's own relative lead over
    InterNet(2020). A contrast without an interval or a number states what is missing.
    """
    groups = effects(results)
    reach = reach_mm(finding for found in groups.values() for finding in found)
    with style():
        heights = [len(found) for found in groups.values()]
        figure, axes = plt.subplots(len(groups), 1, figsize=(8, 5.6), sharex=True, height_ratios=heights)
        for ax, (group, found) in zip(axes, groups.items(), strict=True):
            names = [f.contrast.name.removeprefix("interaction of ").removesuffix(", main effect") for f in found]
            draw_forest(ax, {name.partition(" (")[0]: f for name, f in zip(names, found, strict=True)})
            ax.set_title(group, loc="left", fontsize=9, pad=3)
            ax.tick_params(axis="y", labelsize=8)
            ax.label_outer()
        ax.set_xlim(-reach, reach)
        figure.suptitle(f"Effect of the modules: {RANKING_METRIC}, {RANKING_TRACK} ({data})", fontsize=10)
    return figure
