"""Size and power of the rule that decides a claim, by simulation, as a figure and a table; no runs are read.

The simulated design is the registered one: MS-FF's 2^3 factorial and another network, at three seeds each. It is
compared with the rule that it replaced: two intervals, each of which leaves out one source of chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import scipy.stats
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
    """Contrasts whose true value is 0: estimates and half-widths of their intervals, both (R,) mm."""

    estimate: np.ndarray
    half: np.ndarray
    half_holm: np.ndarray | None = None  # at Holm's first step over the registered contrasts

    def decided(self, effect: float, holm: bool = False) -> float:
        """Return the share of replications that call a true difference of ``effect`` mm better or worse."""
        return float((np.abs(self.estimate + effect) > (self.half_holm if holm else self.half)).mean())


def _weights(kind: str) -> tuple[dict[str, float], bool]:
    """Return the weights of MS-FF's cells, and whether the other network is subtracted."""
    if kind == MODULE:
        return dict(effect("", ["ccm"]).parts[0].variants), False
    return ({"full": 1, "bare": -1}, False) if kind == TOGETHER else ({"full": 1}, True)


@cache
def simulate(kind: str, sigma: float) -> Simulated:
    """Simulate this rule without any true difference, for one ``kind`` of contrast and a seed spread in mm."""
    weights, against = _weights(kind)
    rng = np.random.default_rng(20231016)
    cells, blocks = zip(*((v, s) for v in FACTORIAL for s in range(SEEDS)), strict=True)
    ours = rng.normal(0, sigma, (len(cells), REPLICATIONS))
    parts = [fit_spread(cells, blocks, ours).of_mean(list(weights.values()), SEEDS)]
    w = np.array([weights.get(v, 0) for v in cells]) / SEEDS
    value = w @ ours + rng.normal(0, IMAGE_SD, REPLICATIONS)
    if against:
        theirs = rng.normal(0, sigma, (SEEDS, REPLICATIONS))
        parts.append(fit_spread(["full"] * SEEDS, range(SEEDS), theirs).of_mean([-1], SEEDS))
        value -= theirs.mean(0)
    parts.append(VarianceTerm(np.full(REPLICATIONS, IMAGE_SD**2), IMAGES - 1))
    halves = [interval(value, parts, level) for level in (LEVEL, 1 - ALPHA / len(REGISTERED))]
    return Simulated(value, *(found.high - found.estimate for found in halves))


@cache
def simulate_former(sigma: float, seeds: int = 2) -> Simulated:
    """Simulate the former rule for two networks: Student's interval over seeds and the bootstrap's over images."""
    rng = np.random.default_rng(20231016)
    differences = rng.normal(0, sigma * np.sqrt(2), (seeds, REPLICATIONS))
    student = scipy.stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * differences.std(0, ddof=1) / np.sqrt(seeds)
    images = scipy.stats.norm.ppf((1 + LEVEL) / 2) * IMAGE_SD
    return Simulated(differences.mean(0) + rng.normal(0, IMAGE_SD, REPLICATIONS), np.maximum(student, images))


def rule_table() -> pd.DataFrame:
    """Return half-width, size and power of this rule and of the former one by the spread between seeds."""
    kinds = (MODULE, TOGETHER, NETWORKS)
    rows = [_row("this rule", kind, SEEDS, simulate(kind, s), s) for kind in kinds for s in SIGMAS]
    rows += [_row("former rule", NETWORKS, n, simulate_former(s, n), s) for n in (2, 3, 5) for s in SIGMAS]
    caption = (
        f"Simulated size and power ({REPLICATIONS:,} replications, image part {IMAGE_SD} mm). half_width_mm: mean "
        f"of the 95 % interval; size: share of contrasts of 0 that are called better or worse; power: the same at "
        f"{EFFECT} mm; power_holm: at Holm's strictest step. The same for every profile."
    )
    return finish(rows, list(rows[0]), caption)


def _row(rule: str, kind: str, seeds: int, found: Simulated, sigma: float) -> dict:
    return {
        "rule": rule, "contrast": kind, "seeds": seeds, "sigma_seed": sigma, "half_width_mm": float(found.half.mean()),
        "size": found.decided(0), "power": found.decided(EFFECT),
        "power_holm": np.nan if found.half_holm is None else found.decided(EFFECT, holm=True),
    }  # fmt: skip


def rule_figure() -> Figure:
    """Return the power of this rule and of the former one against the true difference; at 0 it is the size."""
    effects = np.linspace(0, 2, 41)
    former: Mapping[float, Callable] = {sigma: simulate_former(sigma).decided for sigma in SIGMAS}
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
        titles = {NETWORKS: f"{NETWORKS}, {SEEDS} seeds", MODULE: f"{MODULE}, {len(FACTORIAL) * SEEDS} runs"}
        for ax, (kind, title) in zip(axes, titles.items(), strict=True):
            for sigma, colour in COLOURS.items():
                found = simulate(kind, sigma)
                alone, holm = ([found.decided(e, adjusted) for e in effects] for adjusted in (False, True))
                ax.fill_between(effects, holm, alone, color=colour, alpha=0.15, lw=0)
                ax.plot(effects, alone, color=colour, label=f"this rule, $\\sigma$ = {sigma} mm")
                old = [former[sigma](e) for e in effects]
                ax.plot(effects, old, color=colour, ls="--", label=f"former rule, 2 seeds, $\\sigma$ = {sigma} mm")
            ax.axhline(ALPHA, color=PAPER_COLOUR, lw=0.8, ls=":")
            ax.axvline(EFFECT, color=PAPER_COLOUR, lw=0.8, ls=":")
            ax.set(title=title, xlabel="true difference, mm", ylim=(0, 1.02), xlim=(0, effects[-1]))
        axes[0].set_ylabel("share called better or worse")
        handles, labels = axes[0].get_legend_handles_labels()
        order = [*range(0, len(labels), 2), *range(1, len(labels), 2)]
        figure.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", fontsize=8, ncols=2
        )
    return figure
