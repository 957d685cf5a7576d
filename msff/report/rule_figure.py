"""Size and power of the rule that decides a claim, by simulation, as a figure and a table; no runs are read.

The simulated design is the registered one: MS-FF's 2^3 factorial and another network, at three seeds each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from msff.evaluation.inference_statistics import ALPHA, LEVEL, VarianceTerm, fit_spread, interval
from msff.models.registry import FACTORIAL
from msff.report.contrasts import REGISTERED, effect
from msff.report.drawing import PAPER_COLOUR, style
from msff.report.rows import finish

SIGMAS = (0.35, 0.5, 0.65)  # mm between seeds of one run; the design assumed 0.5
EFFECT = 0.8  # mm: about the margin at the errors that the design assumed
SEEDS = 3
IMAGES = 3_000
IMAGE_SD = 0.12  # mm, the image part of a paired contrast over so many images
REPLICATIONS = 10_000
COLOURS = dict(zip(SIGMAS, ("#0072B2", "#D55E00", "#009E73"), strict=True))
MODULE, TOGETHER, NETWORKS = "a module's main effect", "the three modules together", "MS-FF - InterNet"


@dataclass(frozen=True)
class Simulated:
    """Contrasts whose true value is 0: estimates and half-widths of their intervals, each (R,) mm."""

    estimate: np.ndarray
    half: np.ndarray
    half_holm: np.ndarray  # at Holm's first step over the registered contrasts

    def decided(self, effect: float, holm: bool = False) -> float:
        """Return the share of replications that call a true difference of ``effect`` mm better or worse."""
        return float((np.abs(self.estimate + effect) > (self.half_holm if holm else self.half)).mean())


WEIGHTS = {MODULE: effect("", ["ccm"]).parts[0].variants, TOGETHER: {"full": 1, "bare": -1}, NETWORKS: {"full": 1}}
"""Of MS-FF's cells in a contrast; from `NETWORKS` the other network is subtracted."""


@cache
def simulate(kind: str, sigma: float) -> Simulated:
    """Simulate the rule without any true difference, for one ``kind`` of contrast and a seed spread in mm."""
    weights = WEIGHTS[kind]
    rng = np.random.default_rng(20231016)
    cells, blocks = zip(*((v, s) for v in FACTORIAL for s in range(SEEDS)), strict=True)
    ours = rng.normal(0, sigma, (len(cells), REPLICATIONS))
    parts = [fit_spread(cells, blocks, ours).of_mean(list(weights.values()), SEEDS)]
    w = np.array([weights.get(v, 0) for v in cells]) / SEEDS
    value = w @ ours + rng.normal(0, IMAGE_SD, REPLICATIONS)
    if kind == NETWORKS:
        theirs = rng.normal(0, sigma, (SEEDS, REPLICATIONS))
        parts.append(fit_spread(["full"] * SEEDS, range(SEEDS), theirs).of_mean([-1], SEEDS))
        value -= theirs.mean(0)
    parts.append(VarianceTerm(np.full(REPLICATIONS, IMAGE_SD**2), IMAGES - 1))
    halves = [interval(value, parts, level) for level in (LEVEL, 1 - ALPHA / len(REGISTERED))]
    return Simulated(value, *(found.high - found.estimate for found in halves))


def rule_table() -> pd.DataFrame:
    """Return half-width, size and power of the rule by the spread between seeds."""
    rows = []
    for kind in (MODULE, TOGETHER, NETWORKS):
        for sigma in SIGMAS:
            found = simulate(kind, sigma)
            rows.append({
                "contrast": kind, "sigma_seed": sigma, "half_width_mm": float(found.half.mean()),
                "size": found.decided(0), "power": found.decided(EFFECT), "power (Holm)": found.decided(EFFECT, True),
            })  # fmt: skip
    caption = (
        f"Simulated size and power ({REPLICATIONS:,} replications, {SEEDS} seeds, image part {IMAGE_SD} mm). "
        "Half-width: mean of the 95 % interval; size: share of contrasts of 0 that are called better or worse; power: "
        f"the same at {EFFECT} mm, in the last column at Holm's strictest step."
    )
    return finish(rows, list(rows[0]), caption)


def rule_figure() -> Figure:
    """Return the power of the rule against the true difference; at 0 it is the size."""
    effects = np.linspace(0, 2, 41)
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
        titles = {NETWORKS: f"{NETWORKS}, {SEEDS} seeds", MODULE: f"{MODULE}, {len(FACTORIAL) * SEEDS} runs"}
        for ax, (kind, title) in zip(axes, titles.items(), strict=True):
            for sigma, colour in COLOURS.items():
                found = simulate(kind, sigma)
                alone, holm = ([found.decided(e, adjusted) for e in effects] for adjusted in (False, True))
                ax.fill_between(effects, holm, alone, color=colour, alpha=0.15, lw=0)
                ax.plot(effects, alone, color=colour, label=f"$\\sigma$ = {sigma} mm")
            ax.axhline(ALPHA, color=PAPER_COLOUR, lw=0.8, ls=":")
            ax.axvline(EFFECT, color=PAPER_COLOUR, lw=0.8, ls=":")
            ax.set(title=title, xlabel="true difference, mm", ylim=(0, 1.02), xlim=(0, effects[-1]))
        axes[0].set_ylabel("share called better or worse")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=3)
    return figure
