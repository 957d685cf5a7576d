"""What one module of MS-FF changes, from stored runs, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msff.report.best_profile import best_with
from msff.report.contrasts import MODULES, OCCLUDED, between, main_effect
from msff.report.findings import Contrast, Finding, find
from msff.report.results import Results
from msff.report.rows import RANKING_METRIC
from msff.study.workspace import Workspace

JOINTS: Mapping[str, str] = {
    "all joints": RANKING_METRIC,
    "fingertips": f"{RANKING_METRIC}_fingertip",
    "hidden joints": OCCLUDED,
}
_SHORT = ("ccm", "grm", "lom")
MAIN, ALONE, WHOLE = "main effect", "alone (against bare)", "in the whole network"


def worth(workspace: Workspace, module: str) -> pd.DataFrame:
    """Return the change of the error in mm with a module ("ccm", "grm" or "lom"), by joints; negative is better.

    Three rows: averaged over the other modules, added to the bare network, and in the whole network. A cell without
    its runs says so. ValueError for another module.
    """
    results, profile = _results(workspace)
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
    results, profile = _results(workspace)
    found = find(results, _contrasts(module, RANKING_METRIC)[MAIN])
    name = _name(module).capitalize()
    if np.isnan(found.estimate):
        return f"Whether {_name(module)} helps is open in profile {profile}: {found.reason}."
    value, low, high = found.bounds
    change = f"{name} changes the error by {value:+.2f} mm on average over the other modules' settings"
    if np.isnan(low):
        return f"{change}; {found.reason} (profile {profile}, rendered hands)."
    excludes = "excludes no effect" if low > 0 or high < 0 else "does not exclude zero"
    return f"{change}; the interval [{low:+.2f}, {high:+.2f}] {excludes} (profile {profile}, {found.dataset})."


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


def _results(workspace: Workspace) -> tuple[Results, str]:
    store = best_with(workspace.store, "rhd", ("bare", "full"))
    return Results(store), store.profile


def _name(module: str) -> str:
    if module not in _SHORT:
        raise ValueError(f"module must be one of {', '.join(_SHORT)}, got {module!r}")
    return MODULES[_SHORT.index(module)]


def _contrasts(module: str, metric: str) -> dict[str, Contrast]:
    """Return a module's main effect and its two single contrasts, by what each is averaged over or added to."""
    name = _name(module)
    return {
        MAIN: main_effect(_SHORT.index(module), f"{name}, main effect, {metric}", metric),
        ALONE: between(f"{name} alone, {metric}", module, "bare", metric),
        WHOLE: between(f"{name} in the whole network, {metric}", "full", f"no-{module}", metric),
    }


def _cell(found: Finding) -> str:
    if np.isnan(found.estimate):
        return "open: withheld as implausible" if found.reason.startswith("withheld") else "open: runs missing"
    return f"{found}" if found.interval else f"{found} (open: {found.reason})"
