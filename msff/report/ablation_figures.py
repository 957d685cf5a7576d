"""What the modules of MS-FF change: the eight networks of the ablation as a cube, and the effects of the modules."""

from __future__ import annotations

import textwrap
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msff.evaluation.tracks import RANKING_TRACK
from msff.models.registry import FACTORIAL, VARIANT_WORDS
from msff.report import contrasts
from msff.report.contrasts import MAIN, MODULES, OCCLUDED, between, module_effects
from msff.report.drawing import METHOD_COLOURS, NOTE_COLOUR, PAPER_COLOUR, draw_interval, say, style
from msff.report.findings import ONE_SEED, UNPLANNED, Finding, find
from msff.report.front_figure import THIN, draw_forest, reach_mm, set_names_above
from msff.report.plausibility import withheld
from msff.report.results import Cell, Results
from msff.report.rows import RANKING_METRIC, run_errors
from msff.study.pages import evidence_stores
from msff.study.workspace import Workspace

COLOUR = METHOD_COLOURS["MS-FF"]
_RIGHT, _BACK, _UP = np.array([4.6, 0.0]), np.array([2.0, 1.15]), np.array([0.0, 2.7])
"""Directions of the cube's edges on the page: channel conversion, global regression, local optimisation."""
_CORNERS = {variant: VARIANT_WORDS["msff"].get(variant, "MS-FF") for variant in FACTORIAL}
_BOX = 1.7, 0.8  # width and height of a corner's panel in the units of the directions
JOINTS = {"all joints": RANKING_METRIC, "fingertips": f"{RANKING_METRIC}_fingertip", "hidden joints": OCCLUDED}
ALL = "all"
"""In place of a module: all three of them."""
TOGETHER = "together"


def cube_figure(results: Results, data: str) -> Figure:
    """Draw the eight combinations of MS-FF's modules as the corners of a cube: mean in mm and a dot per run.

    A step to the right adds channel conversion, one into the page global regression, one upwards local optimisation.
    Corners without runs, or with implausible predictions, are empty and state why. All dots share one scale.
    """
    cells = {variant: Cell(results.dataset("rhd"), "msff", variant) for variant in FACTORIAL}
    faults = {variant: withheld(results, cell) for variant, cell in cells.items()}
    errors = {variant: () if faults[variant] else run_errors(results, cell) for variant, cell in cells.items()}
    values = sum(errors.values(), ())
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.12 * (high - low) or 0.5
    low, high = low - margin, high + margin
    places = {v: has[0] * _RIGHT + has[1] * _BACK + has[2] * _UP for v, has in FACTORIAL.items()}
    with style():
        figure, ax = plt.subplots(figsize=(8.6, 5.2))
        ax.set_axis_off()
        for a, b in combinations(FACTORIAL, 2):
            if np.abs(np.subtract(FACTORIAL[a], FACTORIAL[b])).sum() == 1:
                hidden = FACTORIAL[a][1] == FACTORIAL[b][1] == 1
                ends = np.transpose([places[a], places[b]])
                ax.plot(*ends, color="#BBBBBB", lw=1.1, ls=":" if hidden else "-", zorder=1)
        for variant in sorted(FACTORIAL, key=lambda v: -FACTORIAL[v][1]):  # from the back to the front
            why = f"withheld: {faults[variant]}" if faults[variant] else "no run yet"
            _draw_corner(ax, places[variant], variant, np.array(errors[variant]), why, (low, high))
        _draw_directions(ax)
        ax.set(xlim=(-1.25, 8.0), ylim=(-0.85, 4.75), aspect="equal")
        scale = f"dots: one run each, from {low:.1f} mm (left) to {high:.1f} mm (right)"
        ax.text(3.3, -0.8, scale if values else "no finished run", ha="center", fontsize=8, color=NOTE_COLOUR)
        figure.suptitle(f"MS-FF with and without its modules: {RANKING_METRIC}, {RANKING_TRACK} ({data})")
    return figure


def _draw_corner(ax: Axes, place: np.ndarray, variant: str, errors: np.ndarray, why: str, scale: tuple) -> None:
    """Draw a corner's panel around ``place``: name, mean and a dot per run on ``scale``, or ``why`` there is none."""
    (x, y), (width, height) = place, _BOX
    left, right = x - width / 2, x + width / 2
    line = {"edgecolor": COLOUR, "lw": 1.3} if len(errors) else {"edgecolor": "#999999", "ls": (0, (3, 2))}
    ax.add_patch(plt.Rectangle((left, y - height / 2), width, height, facecolor="white", zorder=2, **line))
    words, plate = _CORNERS[variant], {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.text(x, y + height / 2 + 0.12, words, fontsize=7.5, ha="center", va="center", zorder=4, bbox=plate)
    if not len(errors):
        reason = textwrap.fill(textwrap.shorten(why, 48, placeholder=" ..."), 24)
        ax.text(x, y - 0.12, reason, fontsize=7, ha="center", va="center", color=NOTE_COLOUR, zorder=4)
        return
    mean = f"{errors.mean():.1f} mm"
    ax.text(x, y + 0.2, mean, fontsize=9, weight="bold", ha="center", va="center", zorder=4)
    ends = left + 0.12, right - 0.12
    ax.plot(ends, [y - 0.17] * 2, color="#CCCCCC", lw=1, zorder=3)
    dots = np.interp(errors, scale, ends)
    ax.scatter(dots, np.full(len(dots), y - 0.17), s=26, color=COLOUR, edgecolors="white", zorder=4)
    if len(errors) > 1:
        ax.plot([dots.mean()] * 2, [y - 0.31, y - 0.03], color=PAPER_COLOUR, lw=1.4, zorder=5)


def _draw_directions(ax: Axes) -> None:
    """Name the three directions by arrows at the corner without modules."""
    start = np.array([-1.1, 3.6])
    beside = (0.1, 0.0), (0.05, 0.02), (0.0, 0.12)
    for direction, name, step in zip((_RIGHT, _BACK, _UP), MODULES.values(), beside, strict=True):
        end = start + 0.62 * direction / np.linalg.norm(direction)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#777777", "lw": 1.1})
        ax.text(*(end + step), f"+ {name}", fontsize=7.5, color="#555555", va="center")


# Effects of all modules


def effects(results: Results) -> dict[str, list[Finding]]:
    """Return the contrasts by group: main effects, registered and judged as such, of one module, and interactions."""
    modules, registered = [module_effects(module) for module in MODULES], contrasts.find_registered(results)
    one_module = [module[kind] for module in modules for kind in (contrasts.ALONE, contrasts.WHOLE)]
    return {
        "main effects": [registered[name] for name in (*(m[MAIN].name for m in modules), contrasts.TOGETHER)],
        "one module": [find(results, contrast) for contrast in one_module],
        "interactions": [find(results, contrast) for contrast in contrasts.interactions()],
    }


def effects_figure(results: Results, data: str) -> Figure:
    """Draw the modules' main effects, their effects alone and added last, and the interactions, in mm with intervals.

    Left of 0 a module lowers the error. A grey band is a contrast's margin: the paper's own relative lead over
    InterNet(2020). A contrast without an interval or a number states what is missing; one that the profile does not
    plan is left out.
    """
    groups = {
        group: kept for group, found in effects(results).items()
        if (kept := [f for f in found if f.known or not f.reason.startswith(UNPLANNED)])
    } or effects(results)  # fmt: skip
    reach = reach_mm(finding for found in groups.values() for finding in found)
    with style():
        heights = [len(found) for found in groups.values()]
        size = 4.2, 1.6 + 0.38 * sum(heights)
        figure, axes = plt.subplots(len(groups), 1, figsize=size, sharex=True, height_ratios=heights)
        for ax, (group, found) in zip(axes, groups.items(), strict=True):
            names = [f.contrast.name.removeprefix("interaction of ").removesuffix(", main effect") for f in found]
            draw_forest(ax, {name.partition(" (")[0]: f for name, f in zip(names, found, strict=True)}, thickness=THIN)
            set_names_above(ax)
            ax.set_title(group, loc="left", fontsize=9, fontweight="bold", pad=7)
            ax.label_outer()
        ax.set_xlim(-reach, reach)
        figure.suptitle(f"Effect of the modules: {RANKING_METRIC}, {RANKING_TRACK}\n({data})", fontsize=9)
    return figure


# The effect of one module


class ModuleEffect:
    """The change of the error by a module ("ccm", "grm", "lom") or by ``ALL`` three, negative is better.

    Its runs are those of the best profile with the main effect, else with any effect, else the workspace's own.
    ValueError for another module.
    """

    def __init__(self, workspace: Workspace, module: str):
        if module not in (*MODULES, ALL):
            raise ValueError(f"module must be one of {', '.join(MODULES)}, got {module!r}")
        self.name = MODULES.get(module, "fusion by all three modules")
        if module == ALL:
            wanted = {joints: {TOGETHER: between(self.name, "full", "bare", m)} for joints, m in JOINTS.items()}
        else:
            wanted = {joints: module_effects(module, metric) for joints, metric in JOINTS.items()}
        stored = [Results(store) for store in evidence_stores(workspace.store) if store.runs()]
        main, *others = wanted["all joints"].values()
        known = (r for any_of in ([main], others) for r in stored if any(find(r, c).known for c in any_of))
        self.results = next(known, None) or Results(workspace.store)
        self.findings = {
            joints: {kind: find(self.results, contrast) for kind, contrast in kinds.items()}
            for joints, kinds in wanted.items()
        }
        """Joints -> kind of effect, the main effect first -> finding; open where runs are missing."""
        self.all_joints = self.findings["all joints"]
        self.kind = next((kind for kind, f in self.all_joints.items() if f.known), next(iter(self.all_joints)))
        """The first effect that the runs give; the first, open, if none."""

    @property
    def variants(self) -> set[str]:
        """The variants of MS-FF that enter any of the effects."""
        return {v for f in self.all_joints.values() for part in f.contrast.parts for v in part.variants}

    def table(self) -> pd.DataFrame:
        """Return a row per effect with its change in mm by joints; a cell without its runs states why."""
        cells = {joints: {kind: _shown(f) for kind, f in kinds.items()} for joints, kinds in self.findings.items()}
        table = pd.DataFrame(cells).rename_axis("effect").reset_index()
        table.attrs["caption"] = (
            f"Change of the wrist-aligned error with {self.name}, mm, on track T2; negative is better. Brackets: 95 %, "
            f"seeds and images. {self.results.describe_data(self.results.dataset('rhd'))}"
        )
        return table

    def sentence(self) -> str:
        """Return the effect at all joints as a sentence with its interval, or why it is open."""
        where = f"(profile {self.results.profile}, rendered hands)"
        found, (first, preferred) = self.all_joints[self.kind], next(iter(self.all_joints.items()))
        if not found.known:
            return f"Whether {self.name} helps is open {where}: {_why(found)}."
        low, high = found.bounds[1:]
        excludes = "excludes zero, before Holm's adjustment" if low > 0 or high < 0 else "includes zero"
        judged = f"the interval {excludes}" if found.interval else f"{_why(found)}, so no verdict yet"
        how = f"{self.name.capitalize()} {self.kind}"
        if self.kind == MAIN:
            how = f"Averaged over the settings of the other two modules, {self.name}"
        text = f"{how} changes the error by {found} mm {where}; {judged}."
        return text if self.kind == first else f"{text} Its {first} is open: {_why(preferred)}."

    @property
    def alt(self) -> str:
        """The text alternative of the figure."""
        return f"Error of each run with and without {self.name}, and the difference, by joints. {self.sentence()}"

    def figure(self) -> Figure:
        """Draw a dot per stored run with and without the module, and its effect with the 95 % interval, by joints.

        The effect is that of ``kind``. An open point has no interval; without any, both panels say that it is open.
        """
        findings = [kinds[self.kind] for kinds in self.findings.values()]
        with style():
            figure, (top, bottom) = plt.subplots(2, 1, figsize=(4.2, 4.4), sharey=True, height_ratios=[1.3, 1])
            for label, sign, fill in (("with", 1, COLOUR), ("without", -1, "white")):
                top.plot([], [], "o", color=COLOUR, mfc=fill, label=label)
                for y, found in enumerate(findings):
                    errors, place = _errors_of_runs(self.results, found, sign), y - 0.14 * sign
                    top.plot(errors, [place] * len(errors), "o", color=COLOUR, mfc=fill, alpha=0.8, ms=5)
                    if len(errors) > 1:
                        top.plot([np.mean(errors)], [place], "|", color=COLOUR, ms=14)
            for y, found in enumerate(findings):
                if found.known:
                    draw_interval(bottom, y, found.bounds, marker="D", ms=5)
            if not findings[0].known:
                say(top, "open")
                say(bottom, "open")
            top.set_yticks(range(len(JOINTS)), list(JOINTS))
            top.set(xlabel="error of each run, mm", ylim=(len(JOINTS) - 0.5, -0.5))
            bottom.axvline(0, color=PAPER_COLOUR, lw=0.8)
            bottom.set(xlabel="difference, mm (negative: better)")
            figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
            title = f"{self.name.capitalize()}, {self.kind}\n(rendered hands, profile {self.results.profile}, T2)"
            figure.suptitle(title, fontsize=9)
        return figure


def _shown(found: Finding) -> str:
    if not found.known:
        return f"open: {_why(found)}"
    return f"{found}" if found.interval else f"{found} ({_why(found)})"


def _why(found: Finding) -> str:
    """Return in a few words why an effect is open."""
    return "one seed" if ONE_SEED in found.reason else found.reason.partition(":")[0]


def _errors_of_runs(results: Results, finding: Finding, sign: int) -> list[float]:
    """Return the error in mm of each run whose variant enters the contrast with that sign; none if it is open."""
    if not finding.known:
        return []
    (part,) = finding.contrast.parts
    (metric,) = part.metrics
    cells = [Cell(finding.dataset, part.method, v) for v, weight in part.variants.items() if np.sign(weight) == sign]
    return [error for cell in cells for error in run_errors(results, cell, metric)]
