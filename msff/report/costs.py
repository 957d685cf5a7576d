"""Parameters, speed and memory of each network, as its runs recorded them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from msff.data.datasets import DATASETS
from msff.models.registry import METHODS, method_of
from msff.report.formatting import with_digits
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, MISSING, OK, PAPER_ORDER, finish, name_of
from msff.study.grid import BASELINES
from msff.study.store import Run, RunRecord, Store

WATTS_PER_CORE, WATTS_PER_GB, PUE = 12.0, 0.3725, 1.67
"""Defaults of the Green Algorithms calculator (Lannelongue et al. 2021): an unknown CPU's core in full use, memory,
and the power usage effectiveness of an average data centre."""

_ALWAYS_ON_INTERHAND = ("internet", "msff")
_MIB = 2**20


def run_costs(runs: Iterable[Run]) -> pd.DataFrame:
    """Return size, time, images per second, memory and energy of each run, NaN where its record states nothing."""
    table = pd.DataFrame([
        {
            "parameters_m": r.parameters / 1e6, "gmac": r.macs / 1e9, "size_mib": r.parameters * 4 / _MIB,
            "images_per_s_train": r.images_per_s, "images_per_s_predict": r.predict_images_per_s,
            "peak_mib": r.peak_mib, "seconds": r.seconds, "minutes": r.seconds / 60, "energy_kwh": energy_kwh(r),
            "machine": r.hardware,
        }
        for r in (run.record for run in runs)
    ])  # fmt: skip
    return table.astype({name: float for name in table if name.startswith("images_per_s")})


def efficiency(results: Results) -> pd.DataFrame:
    """Return parameters, multiply-adds, speed and memory of every method and variant; means over seeds."""
    rhd, interhand = (results.dataset(layout) for layout in ("rhd", "interhand"))
    expected = [Cell(rhd, m) for m in PAPER_ORDER] + [Cell(interhand, m) for m in _ALWAYS_ON_INTERHAND]
    cells = set(expected) | {cell for cell in results.cells() if cell.method not in BASELINES}  # no network
    rows = []
    for cell in sorted(cells, key=_place):
        row = {"network": name_of(cell), "method": LABELS[cell.method]}
        row |= {"variant": cell.variant, "dataset": cell.dataset}
        costs = run_costs(results.runs(cell))
        hardware, status = ", ".join(sorted(set(costs.get("machine", ())))), MISSING if costs.empty else OK
        row |= {"seeds": len(costs), "hardware": hardware, "status": status}
        rows.append(costs.mean(numeric_only=True).to_dict() | row)
    columns = [
        "network", "method", "variant", "dataset", "parameters_m", "gmac", "images_per_s_train",
        "images_per_s_predict", "peak_mib", "seconds", "size_mib", "seeds", "hardware", "status",
    ]  # fmt: skip
    single_hand = ", ".join(METHODS[m].label for m in PAPER_ORDER if METHODS[m].single_hand)
    auxiliary = {  # which all methods share
        f"{method_of(run.experiment.method).label} {run.record.parameters / 1e6:.2f} M parameters, "
        f"{run.record.macs / 1e9:.2f} GMAC"
        for run in results.store.auxiliary()
    }
    caption = f"Cost of each network. Crops show one hand in {single_hand}. "
    caption += f"Not counted: {'; '.join(sorted(auxiliary))}. " if auxiliary else ""
    machines = " and ".join(sorted({row["hardware"] for row in rows} - {""})) or "none yet"
    return finish(rows, columns, caption + f"Profile {results.profile}, measured on: {machines}.")


def _place(cell: Cell) -> tuple:
    """Return the sort key: the RHD layout first; methods as in the paper, each with its headline variant first."""
    method, variant = method_of(cell.method), cell.variant
    listed = (*method.variants, variant).index(variant)  # others come last
    apart = DATASETS[cell.dataset].layout != "rhd"
    return apart, PAPER_ORDER.index(cell.method), variant != method.headline, listed, variant


def energy_kwh(record: RunRecord) -> float:
    """Return an estimate of the energy of a run on a CPU by the Green Algorithms formula; NaN on other devices.

    Hours times (threads times watts per core + peak memory times watts per GB), times the power usage effectiveness.
    """
    if record.device != "cpu":
        return np.nan
    watts = record.threads * record.processes * WATTS_PER_CORE + record.peak_mib * _MIB / 1e9 * WATTS_PER_GB
    return record.seconds / 3600 * watts * PUE / 1000


def totals(stores: Iterable[Store]) -> pd.DataFrame:
    """Return runs, hours, memory and estimated energy of each profile's stored trainings and their sum, as text."""
    trained = {s.profile: [run for run in s.runs() + s.auxiliary() if run.record.images_per_s] for s in stores}
    costs = {f"`{profile}`": run_costs(runs) for profile, runs in trained.items() if runs}
    table = pd.DataFrame(
        {
            "profile": profile, "trainings": len(c), "hours": c.minutes.sum() / 60,
            "minutes, median": c.minutes.median(), "minutes, longest": c.minutes.max(),
            "peak memory, GB": c.peak_mib.max() * _MIB / 1e9, "energy, kWh": c.energy_kwh.sum(skipna=False),
        }
        for profile, c in costs.items()
    )  # fmt: skip
    if len(table) > 1:
        table.loc[len(table)] = table[["trainings", "hours", "energy, kWh"]].sum()
        table.loc[len(table) - 1, "profile"] = "all"
    digits = {
        "trainings": 0, "hours": 1, "minutes, median": 0, "minutes, longest": 0, "peak memory, GB": 1, "energy, kWh": 2,
    }  # fmt: skip
    return with_digits(table, digits)
