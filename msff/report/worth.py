"""What one module of MS-FF changes, from stored runs, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msff.report.contrasts import MODULES, OCCLUDED, between, main_effect
from msff.report.drawing import METHOD_COLOURS, PAPER_COLOUR, style
from msff.report.findings import Contrast, Finding, find
from msff.report.results import Cell, Results
from msff.report.rows import RANKING_METRIC
from msff.study.pages import evidence_stores
from msff.study.workspace import Workspace

JOINTS: Mapping[str, str] = {
    "all joints": RANKING_METRIC,
    "fingertips": f"{RANKING_METRIC}_fingertip",
    "hidden joints": OCCLUDED,
}
_SHORT = ("ccm", "grm", "lom")
ALL = "all"
"""In place of a module: all three of them."""
MAIN, ALONE, WHOLE, TOGETHER = "main effect", "alone (against bare)", "in the whole network", "together (against bare)"


def worth(workspace: Workspace, module: str) -> pd.DataFrame:
    """Return the change of the error in mm with a module ("ccm", "grm" or "lom"), by joints; negative is better.

    Three rows: averaged over the other modules, in the whole network, and added to the bare network; one for ``ALL``.
    A cell without its runs says so. ValueError for another module.
    """
    results, profile = _results(workspace, module)
    names = list(_contrasts(module, RANKING_METRIC))
    columns = {
        joints: [_cell(find(results, c)) for c in _contrasts(module, metric).values()]
        for joints, metric in JOINTS.items()
    }
    table = pd.DataFrame({"with the module": names, **columns})
    table.attrs["caption"] = (
        f"Change of the wrist-aligned error by {_name(module)}, mm; negative is better. Brackets: 95 %, seeds and "
        f"images. Track T2, {results.describe_data(results.dataset('rhd'))} (runs of profile `{profile}`)."
    )
    return table


def worth_sentence(workspace: Workspace, module: str) -> str:
    """Return the main effect at all joints as one sentence with its interval, or why it is open."""
    results, profile = _results(workspace, module)
    (kind, contrast), *_ = _contrasts(module, RANKING_METRIC).items()
    found, name = find(results, contrast), _name(module).capitalize()
    if np.isnan(found.estimate):
        open_ = f"Whether {_name(module)} helps is open in profile {profile}: {found.reason}."
        where, pair = _shown(results, module)
        if np.isnan(pair.estimate):
            return open_
        seeds = ", ".join(map(str, pair.seeds))
        return f"{open_} {where.capitalize()} it changes the error by {pair} mm (seeds {seeds}); {pair.reason}."
    value, low, high = found.bounds
    change = f"{name} changes the error by {value:+.2f} mm" + " on average over the other modules' settings" * (
        kind == MAIN
    )
    if np.isnan(low):
        return f"{change}; {found.reason} (profile {profile}, rendered hands)."
    excludes = "excludes no effect" if low > 0 or high < 0 else "does not exclude zero"
    return f"{change}; the interval [{low:+.2f}, {high:+.2f}] {excludes} (profile {profile}, {found.dataset})."


def worth_figure(workspace: Workspace, module: str) -> Figure:
    """Draw a dot per stored run with and without a module, and its effect with the 95 % interval, by joints.

    The effect is the first that the runs give: the main effect, in the whole network, alone. An open diamond has no
    interval. Without any, both panels say that the effect is open. ValueError for another module.
    """
    results, profile = _results(workspace, module)
    where, finding = _shown(results, module)
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.7), sharey=True, width_ratios=[1.3, 1])
        for y, metric in enumerate(JOINTS.values() if np.isfinite(finding.estimate) else ()):
            _draw_effect(left, right, y, results, find(results, _contrasts(module, metric)[where]), metric)
        if np.isnan(finding.estimate):
            for ax in (left, right):
                ax.text(0.5, 0.5, "open", transform=ax.transAxes, ha="center", color=PAPER_COLOUR)
        for label, marker, colour in _SIDES.values():
            left.plot([], [], marker, color=colour, label=label)
        left.set(xlabel="error of each run, mm", ylim=(len(JOINTS) - 0.5, -0.5))
        left.set_yticks(range(len(JOINTS)), list(JOINTS))
        right.axvline(0, color=PAPER_COLOUR, lw=0.8)
        right.set(xlabel="difference, mm (negative: better)")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
        figure.suptitle(f"{_name(module).capitalize()}, {where} (rendered hands, profile {profile}, T2)", fontsize=9)
    return figure


_SIDES = {1: ("with", "o", METHOD_COLOURS["MS-FF"]), -1: ("without", "s", METHOD_COLOURS["InterNet(2020)"])}
"""Sign of a variant's weight -> label, marker and colour of its runs."""


def _draw_effect(left: Axes, right: Axes, y: float, results: Results, finding: Finding, metric: str) -> None:
    for sign, (_, marker, colour) in _SIDES.items():
        runs = _errors_of_runs(results, finding, metric, sign)
        left.plot(runs, [y - 0.14 * sign] * len(runs), marker, color=colour, alpha=0.7, ms=5)
        if len(runs) > 1:
            left.plot([np.mean(runs)], [y - 0.14 * sign], "|", color=colour, ms=14)
    value, low, high = finding.bounds
    spread = None if np.isnan(low) else [[value - low], [high - value]]
    face = {"mfc": "none"} if spread is None else {}
    right.errorbar([value], [y], xerr=spread, fmt="D", color=PAPER_COLOUR, capsize=3, ms=5, **face)


def _errors_of_runs(results: Results, finding: Finding, metric: str, sign: int) -> list[float]:
    """Return the error of each run whose variant enters the contrast with that sign, mm."""
    (part,) = finding.contrast.parts
    cells = [Cell(finding.dataset, part.method, v) for v, weight in part.variants.items() if np.sign(weight) == sign]
    numbers = [results.estimate(cell, finding.contrast.track, metric) for cell in cells]
    return [error for number in numbers if number for error in number.per_seed]


def level_costs(
    parts: Sequence[nn.Module], levels: Sequence[Callable[[Tensor], Tensor]], maps: Sequence[Tensor], names: list[str]
) -> pd.DataFrame:
    """Return the trainable parameters of each part and the multiply-adds of its level for one image, with totals.

    ``maps``: one (B, C, H, W) per level. Convolutions and matrix products count, as everywhere in the book.
    """
    rows = []
    for part, level, x in zip(parts, levels, maps, strict=True):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            level(x[:1])
        rows.append((sum(p.numel() for p in part.parameters() if p.requires_grad), counter.get_total_flops() // 2))
    rows.append(tuple(map(sum, zip(*rows, strict=True))))
    table = pd.DataFrame(rows, columns=["parameters", "multiply-adds"])
    table.insert(0, "level", [*names[: len(parts)], "total"])
    for column in ("parameters", "multiply-adds"):
        table[column] = [f"{n:,}" for n in table[column]]
    return table


def _results(workspace: Workspace, module: str) -> tuple[Results, str]:
    """Return the best profile with the module's main effect, else with any of its effects, else the workspace's own."""
    _name(module)
    found = [Results(store) for store in evidence_stores(workspace.store) if store.runs()]
    first, *others = _contrasts(module, RANKING_METRIC).values()
    for contrasts in ([first], others):
        for results in found:
            if any(np.isfinite(find(results, contrast).estimate) for contrast in contrasts):
                return results, results.profile
    return Results(workspace.store), workspace.store.profile


def _shown(results: Results, module: str) -> tuple[str, Finding]:
    """Return the first effect that the runs give, and its finding at all joints; the first, open, if none."""
    found = [(name, find(results, contrast)) for name, contrast in _contrasts(module, RANKING_METRIC).items()]
    return next((pair for pair in found if np.isfinite(pair[1].estimate)), found[0])


def _name(module: str) -> str:
    if module == ALL:
        return "fusion by all three modules"
    if module not in _SHORT:
        raise ValueError(f"module must be one of {', '.join(_SHORT)}, got {module!r}")
    return MODULES[_SHORT.index(module)]


def _contrasts(module: str, metric: str) -> dict[str, Contrast]:
    """Return a module's main effect and its two single contrasts, by what each is averaged over or added to."""
    name = _name(module)
    if module == ALL:
        return {TOGETHER: between(f"{name}, {metric}", "full", "bare", metric)}
    return {
        MAIN: main_effect(_SHORT.index(module), f"{name}, main effect, {metric}", metric),
        WHOLE: between(f"{name} in the whole network, {metric}", "full", f"no-{module}", metric),
        ALONE: between(f"{name} alone, {metric}", module, "bare", metric),
    }


def _cell(found: Finding) -> str:
    if np.isnan(found.estimate):
        return f"open: {found.reason.partition(':')[0]}"
    return f"{found}" if found.interval else f"{found} (open: {found.reason})"
