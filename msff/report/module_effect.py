"""What one module of MS-FF changes, from stored runs, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msff.report.contrasts import MAIN, MODULES, OCCLUDED, between, module_effects
from msff.report.drawing import METHOD_COLOURS, PAPER_COLOUR, draw_interval, say, style
from msff.report.findings import ONE_SEED, Contrast, Finding, find
from msff.report.results import Cell, Results
from msff.report.rows import RANKING_METRIC, run_errors
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


class ModuleEffect:
    """The change of the error by a module ("ccm", "grm", "lom") or by ``ALL`` three, negative is better.

    Its runs are those of the best profile with the main effect, else with any effect, else the workspace's own.
    ValueError for another module.
    """

    def __init__(self, workspace: Workspace, module: str):
        if module not in (*MODULES, ALL):
            raise ValueError(f"module must be one of {', '.join(MODULES)}, got {module!r}")
        self.module, self.name = module, MODULES.get(module, "fusion by all three modules")
        stored = [Results(store) for store in evidence_stores(workspace.store) if store.runs()]
        main, *others = self._contrasts(RANKING_METRIC).values()
        self.results = _first_with([main], stored) or _first_with(others, stored) or Results(workspace.store)

    def _contrasts(self, metric: str) -> dict[str, Contrast]:
        """Return the contrasts by what they are averaged over or added to, the main effect first."""
        if self.module == ALL:
            return {TOGETHER: between(self.name, "full", "bare", metric)}
        return module_effects(self.module, metric)

    def findings(self, metric: str = RANKING_METRIC) -> dict[str, Finding]:
        """Return each effect on a metric, by its kind; open where runs are missing."""
        return {kind: find(self.results, contrast) for kind, contrast in self._contrasts(metric).items()}

    @property
    def kind(self) -> str:
        """The first effect that the runs give; the first, open, if none."""
        findings = self.findings()
        return next((kind for kind, found in findings.items() if np.isfinite(found.estimate)), next(iter(findings)))

    @property
    def variants(self) -> set[str]:
        """The variants of MS-FF that enter any of the effects."""
        contrasts = self._contrasts(RANKING_METRIC).values()
        return {v for contrast in contrasts for part in contrast.parts for v in part.variants}

    def table(self) -> pd.DataFrame:
        """Return a row per effect with its change in mm by joints; a cell without its runs states why."""
        cells = {
            joints: {kind: _shown(found) for kind, found in self.findings(metric).items()}
            for joints, metric in JOINTS.items()
        }
        table = pd.DataFrame(cells).rename_axis("with the module").reset_index()
        table.attrs["caption"] = (
            f"Change of the wrist-aligned error with {self.name}, mm, on track T2; negative is better. Brackets: 95 %, "
            f"seeds and images. {self.results.describe_data(self.results.dataset('rhd'))}"
        )
        return table

    def sentence(self) -> str:
        """Return the effect at all joints as a sentence with its interval, or why it is open."""
        findings, where = self.findings(), f"(profile {self.results.profile}, rendered hands)"
        found, (first, preferred) = findings[self.kind], next(iter(findings.items()))
        if np.isnan(found.estimate):
            return f"Whether {self.name} helps is open {where}: {_why(found)}."
        low, high = found.bounds[1:]
        excludes = "excludes zero before adjustment" if low > 0 or high < 0 else "does not exclude zero"
        judged = f"the interval {excludes}" if found.interval else f"{_why(found)}, so no verdict yet"
        how = "on average over the settings of the others" if self.kind == MAIN else self.kind
        text = f"{self.name.capitalize()}, {how}, changes the error by {found} mm {where}; {judged}."
        return text if self.kind == first else f"{text} Its {first} is open: {_why(preferred)}."

    @property
    def alt(self) -> str:
        """The text alternative of the figure."""
        return f"Error of each run with and without {self.name}, and the difference, by joints. {self.sentence()}"

    def figure(self) -> Figure:
        """Draw a dot per stored run with and without the module, and its effect with the 95 % interval, by joints.

        The effect is that of ``kind``. An open point has no interval; without any, both panels say that it is open.
        """
        findings = [self.findings(metric)[self.kind] for metric in JOINTS.values()]
        with style():
            figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.7), sharey=True, width_ratios=[1.3, 1])
            for label, sign, fill in (("with", 1, METHOD_COLOURS["MS-FF"]), ("without", -1, "white")):
                left.plot([], [], "o", color=METHOD_COLOURS["MS-FF"], mfc=fill, label=label)
                for y, found in enumerate(findings):
                    _draw_runs(left, y - 0.14 * sign, _errors_of_runs(self.results, found, sign), fill)
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
            title = f"{self.name.capitalize()}, {self.kind}: rendered hands, profile {self.results.profile}, T2"
            figure.suptitle(title, fontsize=9)
        return figure


def _first_with(contrasts: Iterable[Contrast], stored: Iterable[Results]) -> Results | None:
    """Return the first results that give a number for any of the contrasts."""
    contrasts = list(contrasts)
    return next((r for r in stored if any(np.isfinite(find(r, c).estimate) for c in contrasts)), None)


def _shown(found: Finding) -> str:
    if np.isnan(found.estimate):
        return f"open: {_why(found)}"
    return f"{found}" if found.interval else f"{found} ({_why(found)})"


def _why(found: Finding) -> str:
    """Return in a few words why an effect is open."""
    return "one seed" if ONE_SEED in found.reason else found.reason.partition(":")[0]


def _draw_runs(ax: Axes, y: float, errors: Sequence[float], fill: str) -> None:
    """Draw a dot per run, and a tick at the mean of several."""
    colour = METHOD_COLOURS["MS-FF"]
    ax.plot(errors, [y] * len(errors), "o", color=colour, mfc=fill, alpha=0.8, ms=5)
    if len(errors) > 1:
        ax.plot([np.mean(errors)], [y], "|", color=colour, ms=14)


def _errors_of_runs(results: Results, finding: Finding, sign: int) -> list[float]:
    """Return the error in mm of each run whose variant enters the contrast with that sign; none if it is open."""
    if np.isnan(finding.estimate):
        return []
    (part,) = finding.contrast.parts
    (metric,) = part.metrics
    cells = [Cell(finding.dataset, part.method, v) for v, weight in part.variants.items() if np.sign(weight) == sign]
    return [error for cell in cells for error in run_errors(results, cell, metric)]


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
