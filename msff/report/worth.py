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

from msff.report.contrasts import MAIN, MODULE_VARIANTS, MODULES, OCCLUDED, between, module_effects
from msff.report.drawing import METHOD_COLOURS, PAPER_COLOUR, draw_interval, say, style
from msff.report.findings import Finding, find, seeds_in_words
from msff.report.results import Cell, Results
from msff.report.rows import RANKING_METRIC
from msff.study.pages import evidence_stores
from msff.study.workspace import Workspace

JOINTS: Mapping[str, str] = {
    "all joints": RANKING_METRIC,
    "fingertips": f"{RANKING_METRIC}_fingertip",
    "hidden joints": OCCLUDED,
}
ALL = "all"
"""In place of a module: all three of them."""
TOGETHER = "together (against bare)"


def worth(workspace: Workspace, module: str) -> pd.DataFrame:
    """Return the change of the error in mm with a module ("ccm", "grm" or "lom"), by joints; negative is better.

    Three rows: averaged over the other modules, in the whole network, and added to the bare network; one for ``ALL``.
    A cell without its runs says so. ValueError for another module.
    """
    results = _results(workspace, module)
    cells = {
        joints: {kind: _cell(found) for kind, found in _findings(results, module, metric).items()}
        for joints, metric in JOINTS.items()
    }
    table = pd.DataFrame(cells).rename_axis("with the module").reset_index()
    table.attrs["caption"] = (
        f"Change of the wrist-aligned error with {_name(module)}, mm; negative is better. Brackets: 95 %, seeds and "
        f"images. Track T2. {results.describe_data(results.dataset('rhd'))}"
    )
    return table


def worth_sentence(workspace: Workspace, module: str) -> str:
    """Return the main effect at all joints as one sentence with its interval, or why it is open."""
    results = _results(workspace, module)
    findings, name, profile = _findings(results, module), _name(module), results.profile
    first, kind = next(iter(findings)), _shown(findings)
    main = findings[first]
    value, low, high = main.bounds
    if np.isnan(value):
        reason = main.reason.replace(f"not part of profile {profile}: ", "it does not train ")
        open_ = f"Whether {name} helps is open in profile {profile}: {reason}."
        pair = findings[kind]
        if np.isnan(pair.estimate):
            return open_
        return (
            f"{open_} {kind.capitalize()} it changes the error by {pair} mm ({seeds_in_words(pair.seeds)}); "
            f"{pair.reason}."
        )
    averaged = " on average over the other modules' settings" if first == MAIN else ""
    change = f"{name.capitalize()} changes the error by {value:+.2f} mm{averaged}"
    if np.isnan(low):
        return f"{change}; {main.reason} (profile {profile}, rendered hands)."
    excludes = "excludes zero, before adjustment," if low > 0 or high < 0 else "does not exclude zero"
    return f"{change}; the interval [{low:+.2f}, {high:+.2f}] {excludes} (profile {profile}, {main.dataset})."


def worth_figure(workspace: Workspace, module: str) -> Figure:
    """Draw a dot per stored run with and without a module, and its effect with the 95 % interval, by joints.

    The effect is the first that the runs give: the main effect, in the whole network, alone. An open point has no
    interval. Without any, both panels say that the effect is open. ValueError for another module.
    """
    results = _results(workspace, module)
    kind = _shown(_findings(results, module))
    findings = [_findings(results, module, metric)[kind] for metric in JOINTS.values()]
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.7), sharey=True, width_ratios=[1.3, 1])
        for label, sign, marker, method in (("with", 1, "o", "MS-FF"), ("without", -1, "s", "InterNet(2020)")):
            left.plot([], [], marker, color=METHOD_COLOURS[method], label=label)
            for y, found in enumerate(findings):
                _draw_runs(left, y - 0.14 * sign, _errors_of_runs(results, found, sign), marker, METHOD_COLOURS[method])
        for y, found in enumerate(findings):
            if np.isfinite(found.estimate):
                draw_interval(right, y, found.bounds, marker="D", ms=5)
        if np.isnan(findings[0].estimate):
            say(left, "open")
            say(right, "open")
        left.set(xlabel="error of each run, mm", ylim=(len(JOINTS) - 0.5, -0.5))
        left.set_yticks(range(len(JOINTS)), list(JOINTS))
        right.axvline(0, color=PAPER_COLOUR, lw=0.8)
        right.set(xlabel="difference, mm (negative: better)")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
        title = f"{_name(module).capitalize()}, {kind} (rendered hands, profile {results.profile}, T2)"
        figure.suptitle(title, fontsize=9)
    return figure


def _draw_runs(ax: Axes, y: float, errors: Sequence[float], marker: str, colour: str) -> None:
    """Draw a dot per run, and a tick at the mean of several."""
    ax.plot(errors, [y] * len(errors), marker, color=colour, alpha=0.7, ms=5)
    if len(errors) > 1:
        ax.plot([np.mean(errors)], [y], "|", color=colour, ms=14)


def _errors_of_runs(results: Results, finding: Finding, sign: int) -> list[float]:
    """Return the error in mm of each run whose variant enters the contrast with that sign; none if it is open."""
    if np.isnan(finding.estimate):
        return []
    (part,) = finding.contrast.parts
    (metric,) = part.metrics
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
    table = table.map("{:,}".format)
    table.insert(0, "level", [*names[: len(parts)], "total"])
    return table


def _results(workspace: Workspace, module: str) -> Results:
    """Return the best profile with the module's main effect, else with any of its effects, else the workspace's own."""
    _name(module)
    stored = [Results(store) for store in evidence_stores(workspace.store) if store.runs()]
    for count in (1, None):  # the first effect, then any
        for results in stored:
            findings = list(_findings(results, module).values())
            if any(np.isfinite(finding.estimate) for finding in findings[:count]):
                return results
    return Results(workspace.store)


def _shown(findings: Mapping[str, Finding]) -> str:
    """Return the first effect that the runs give; the first, open, if none."""
    return next((kind for kind, finding in findings.items() if np.isfinite(finding.estimate)), next(iter(findings)))


def _findings(results: Results, module: str, metric: str = RANKING_METRIC) -> dict[str, Finding]:
    """Return what a module changes, by what it is averaged over or added to, the main effect first."""
    name = _name(module)
    if module == ALL:
        contrasts = {TOGETHER: between(name, "full", "bare", metric)}
    else:
        contrasts = module_effects(MODULES.index(name), metric)
    return {kind: find(results, contrast) for kind, contrast in contrasts.items()}


def _name(module: str) -> str:
    names = {alone: name for name, (alone, _) in zip(MODULES, MODULE_VARIANTS, strict=True)}
    if module not in (*names, ALL):
        raise ValueError(f"module must be one of {', '.join(names)}, got {module!r}")
    return "fusion by all three modules" if module == ALL else names[module]


def _cell(found: Finding) -> str:
    if np.isnan(found.estimate):
        return f"open: {found.reason.partition(':')[0]}"
    return f"{found}" if found.interval else f"{found} (open: {found.reason})"
