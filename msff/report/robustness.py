"""How firm the verdicts are: other metrics, one variance for both networks, other margins, the spread of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.stats
import seaborn
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from msff.evaluation.evaluate import evaluate
from msff.evaluation.hand_size import AVERAGE_HAND_MM, with_hand_size
from msff.evaluation.inference_statistics import ALPHA, fit_spread
from msff.evaluation.joint_errors import pooled_mean
from msff.evaluation.tracks import RANKING_TRACK
from msff.models.registry import FACTORIAL, network_name
from msff.report.contrasts import LEAD, MODULES, REGISTERED, RHD, TOGETHER, find_all, find_registered
from msff.report.display import Source, source_line
from msff.report.drawing import BAND_COLOUR, PAPER_COLOUR, draw_interval, method_points, name_rows, say, style
from msff.report.findings import RELATIVE_MARGIN, Finding, find
from msff.report.formatting import with_minus
from msff.report.front_figure import mark_missing, set_names_above
from msff.report.results import Cell, Results
from msff.report.rows import LABELS, RANKING_METRIC, finish, run_errors
from msff.study.grid import BASELINES
from msff.study.profiles import get_profile
from msff.study.store import Store
from msff.study.tuning import described, tuned

MEASURES = {"wrist20, T2": "", "wrist20, T1": ", T1", "pa21, T2": ", pa21", "palm21, T2": ", palm21"}
"""Measure -> how the name of the contrast by it ends; the first one is registered."""
COLOURS = (PAPER_COLOUR, "#1B7A8C", "#8C5A2B", "#7F7F7F")
"""Of measures and seeds: those of no method."""
MARKERS = ("o", "s", "^", "D")

TUNED = {
    "msff": ("MS-FF", "-"), "msff/bare": (network_name("msff", "bare"), ":"),
    "msff/no-grm": (network_name("msff", "no-grm"), "--"), "internet": ("InterNet", "-"),
}  # fmt: skip
"""Row of the table of learning rates -> its heading here, and its line."""
TUNED_GAUSSIAN = {
    "msff/gaussian": TUNED["msff"], "msff/gaussian-bare": TUNED["msff/bare"], "internet/gaussian": TUNED["internet"],
}  # fmt: skip
"""The same of the networks that learn the volumes of Eq. (15)."""
TUNED_LATER = ("msff/no-grm", "msff/gaussian-bare")
"""Rows that are shown only if they have been tuned."""


def rate_table(store: Store, rows: Mapping[str, tuple[str, str]] = TUNED) -> pd.DataFrame:
    """Return held-out errors in mm by learning rate, with their differences; the last line has each at its best rate.

    ``rows`` are ``TUNED`` or ``TUNED_GAUSSIAN``.
    """
    tried = tuned(store.tuning)
    tried = tried[tried["row"].isin(rows)]
    shown = {row: name for row, (name, _) in rows.items() if row not in TUNED_LATER or row in set(tried["row"])}
    differences = {LEAD: "InterNet", TOGETHER: TUNED["msff/bare"][0]}
    differences = {name: other for name, other in differences.items() if other in shown.values()}
    errors = tried.pivot(index="rate", columns="row", values="error_mm").reindex(columns=list(shown))
    errors = pd.concat([errors.rename(index="{:g}".format), errors.min().to_frame("each at its best").T])
    table = errors.rename(columns=shown).rename_axis("learning_rate").reset_index()
    for difference, other in differences.items():
        table[difference] = table["MS-FF"] - table[other]
    target = ", Gaussian volumes" if rows is TUNED_GAUSSIAN else ""
    caption = (
        f"Held-out error by learning rate{target}: wrist20 on T1, mm. One training each, on the same images in the "
        f"same order; no test image is used. P{described(get_profile(store.profile)).removeprefix('p')}."
    )
    columns = ["learning_rate", *shown.values(), *differences]
    table = finish(table.to_dict("records") if len(tried) else [], columns, caption)
    table.attrs["signed"] = tuple(differences)
    return table


def rate_figure(table: pd.DataFrame, data: str) -> Figure:
    """Draw the table of `msff.study.tuning.tune`: held-out error in mm over the rate, the lowest one filled."""
    with style():
        figure, ax = plt.subplots(figsize=(5.4, 3.4))
        ax.set_title(data)
        if table.empty:
            say(ax, "no learning rate was tuned")
            ax.set(xticks=[], yticks=[])
            return figure
        for row, (name, line) in TUNED.items():
            points = table[table.row == row].sort_values("rate")
            if points.empty:
                continue
            method, best = LABELS[row.partition("/")[0]], points.error_mm.idxmin()
            look = method_points(method)
            ax.plot(points.rate, points.error_mm, ls=line, markerfacecolor="white", label=name, **look)
            ax.plot(points.rate[best], points.error_mm[best], **look)
        rates = sorted(table[table.row.isin(TUNED)].rate.unique())
        ax.set_xscale("log")
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
        ax.set(xlabel="learning rate", ylabel="held-out error (wrist20, T1), mm")
        ax.grid(axis="y", alpha=0.4)
        ax.legend()
    return figure


def rate_source(store: Store, table: pd.DataFrame, rows: Mapping[str, tuple[str, str]] = TUNED) -> Source:
    """Return the source line of `rate_table`: the trainings on held-out images, which are no runs of the store."""
    runs = [
        {"id": f"tuning/{run.row}/{run.setting}", "config_hash": run.config_hash, "commit": "unknown"}
        for run in tuned(store.tuning).itertuples()
        if run.row in rows
    ]
    return source_line(store.profile, runs, rate_table, table, "rates" if rows is TUNED else "gaussian-rates")


def by_measure(results: Results) -> Mapping[str, Mapping[str, Finding]]:
    """Return the registered contrasts that exist by every measure: contrast -> measure -> finding."""
    found = find_all(results)
    names = [c.name for c in REGISTERED if all(c.name + suffix in found for suffix in MEASURES.values())]
    return {name: {measure: found[name + suffix] for measure, suffix in MEASURES.items()} for name in names}


def measures_figure(results: Results) -> Figure:
    """Draw the registered contrasts by four measures, in percent of the reference, on the band of the margin.

    Narrow enough for a phone.
    """
    contrasts = by_measure(results)
    with style():
        figure, ax = plt.subplots(figsize=(4.2, 1.4 + 0.68 * len(contrasts)))
        ax.axvspan(-100 * RELATIVE_MARGIN, 100 * RELATIVE_MARGIN, color=BAND_COLOUR, zorder=0)
        ax.axvline(0, color=PAPER_COLOUR, lw=0.8)
        for place, findings in enumerate(contrasts.values()):
            for k, finding in enumerate(findings.values()):
                bounds = 100 * RELATIVE_MARGIN / finding.margin * np.array(finding.bounds)
                if finding.known:
                    look = {"color": COLOURS[k], "marker": MARKERS[k], "ms": 5}
                    draw_interval(ax, place + 0.14 * (k - 0.8), bounds, **look)
            if all(not finding.known for finding in findings.values()):
                mark_missing(ax, place, finding)
        for measure, colour, marker in zip(MEASURES, COLOURS, MARKERS, strict=True):
            ax.plot([], [], marker, color=colour, label=measure)
        figure.legend(loc="outside lower center", ncols=len(MEASURES), fontsize=8, handletextpad=0, columnspacing=1)
        name_rows(ax, [with_minus(name) for name in contrasts])
        set_names_above(ax, 0.32)
        ax.set_xlabel("change of the error, % of the reference (negative: better)")
    return figure


def depth_table(results: Results) -> pd.DataFrame:
    """Return the error with the true wrist depth, the estimated one, and hands of average size, each mean over seeds.

    The last is computed from the stored predictions: pixels and relative depths stay, the distance changes.
    """
    dataset, rows = results.dataset(RHD), []
    truth = results.truth(dataset) if results.runs(Cell(dataset, "msff")) else None
    for row, (name, _) in TUNED.items():
        method, _, variant = row.partition("/")
        cell = Cell(dataset, method, variant or None)
        if runs := results.runs(cell) if truth else []:
            resized = [with_hand_size(run.predictions, AVERAGE_HAND_MM) for run in runs]
            rows.append({"network": name, "seeds": ", ".join(map(str, results.seeds(cell)))} | {
                column: np.mean([pooled_mean(e) for e in errors])
                for column, errors in {
                    "true_depth": results.errors(cell, "T1", RANKING_METRIC),
                    "estimated_depth": results.errors(cell, RANKING_TRACK, RANKING_METRIC),
                    "average_hand": [evaluate(truth, p, RANKING_TRACK).errors[RANKING_METRIC] for p in resized],
                }.items()
            })  # fmt: skip
    both = {row["network"]: row for row in rows}
    if {"MS-FF", "InterNet"} <= both.keys():
        columns = ("true_depth", "estimated_depth", "average_hand")
        difference = {column: both["MS-FF"][column] - both["InterNet"][column] for column in columns}
        rows.append({"network": "MS-FF - InterNet", "seeds": ""} | difference)
    caption = (
        "Error by the source of the wrists' depth, wrist20, mm: annotated (T1), estimated (T2), and the depth at which "
        f"each predicted hand has the average size of rendered hands. {results.describe_data(dataset)}"
    )
    return finish(rows, ["network", "true_depth", "estimated_depth", "average_hand", "seeds"], caption)


def robustness_table(results: Results) -> pd.DataFrame:
    """Return the registered contrasts with their interval, that by one variance, and the margin they would meet."""
    rows = []
    for finding in find_registered(results).values():
        pooled = find(results, replace(finding.contrast, pooled=True)) if len(finding.contrast.parts) > 1 else finding
        within, found = np.nan, finding.interval  # in which two one-sided tests at 5 % show the contrast to lie
        if found:
            within = abs(found.estimate) + scipy.stats.t.ppf(1 - ALPHA, found.df) * found.standard_error
        rows.append({
            "contrast": finding.contrast.name, "verdict": finding.verdict, "own_variances": str(finding),
            "one_variance": str(pooled) if pooled is not finding else "", "margin_mm": finding.margin,
            "equivalent_within_mm": within,
        })  # fmt: skip
    caption = (
        "Registered contrasts in mm with 95 % intervals: with a seed variance for each network, as registered, and "
        "with a common one. Equivalent within: the smallest margin below which the difference is shown to lie. "
        f"{results.describe_data(results.dataset(RHD))}"
    )
    columns = ["contrast", "verdict", "own_variances", "one_variance", "margin_mm", "equivalent_within_mm"]
    return finish(rows, columns, caption)


def run_table(results: Results) -> pd.DataFrame:
    """Return the trained runs of the RHD layout whose cell has several seeds, with their ``wrist20`` on T2, mm."""
    dataset = results.dataset(RHD)
    cells = [c for c in results.cells() if c.dataset == dataset and c.method not in BASELINES]
    rows = [
        (cell.method, cell.variant, seed, error)
        for cell in cells if len(results.seeds(cell)) > 1
        for seed, error in zip(results.seeds(cell), run_errors(results, cell), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "variant", "seed", "error_mm"])


def spread_table(results: Results) -> pd.DataFrame:
    """Return how far the runs of each method spread: between seeds of one cell, and apart from what a seed shares.

    The rule takes one variance for all variants of MS-FF; rows of those with and without each module check it.
    """
    table, rows = run_table(results), []
    groups = {LABELS[method]: runs for method, runs in table.groupby("method", sort=False)}
    ours = table[(table["method"] == "msff") & table["variant"].isin(FACTORIAL)]
    for place, name in enumerate(MODULES.values()):
        has = ours["variant"].map({variant: switches[place] for variant, switches in FACTORIAL.items()}).eq(True)
        groups |= {f"{LABELS['msff']} with {name}": ours[has], f"{LABELS['msff']} without {name}": ours[~has]}
    for name, runs in groups.items():
        if runs.empty:
            continue
        spread = fit_spread(runs["variant"], runs["seed"], runs["error_mm"])
        rows.append({
            "method": name, "networks": runs["variant"].nunique(), "runs": len(runs),
            "residual_sd_mm": spread.residual**0.5, "residual_df": int(spread.residual_df),
            "seed_sd_mm": spread.between**0.5, "seed_df": int(spread.between_df),
        })  # fmt: skip
    caption = (
        "Spread of the runs of networks with two or more seeds, wrist20 on T2, mm. Residual: what is left after the "
        "mean of the network and of the seed. Seed: root mean square between seeds, residual included. "
        f"{results.describe_data(results.dataset(RHD))}"
    )
    columns = ["method", "networks", "runs", "residual_sd_mm", "residual_df", "seed_sd_mm", "seed_df"]
    return finish(rows, columns, caption)


def residuals_figure(results: Results) -> Figure:
    """Draw each run's distance from the mean of its network, mm, and these distances against normal quantiles."""
    runs = run_table(results)
    networks = max(8, len(runs[["method", "variant"]].drop_duplicates()) if len(runs) else 0)
    with style():
        heights = 0.9 + 0.34 * networks, 2.6
        figure, (top, bottom) = plt.subplots(2, 1, figsize=(4.2, sum(heights)), height_ratios=heights)
        if runs.empty:
            for ax in (top, bottom):
                say(ax, "no network has two seeds yet")
                ax.set(xticks=[], yticks=[])
            return figure
        seeds = runs["seed"].nunique()
        runs["network"] = [network_name(*network) for network in zip(runs["method"], runs["variant"], strict=True)]
        runs["distance"] = runs["error_mm"] - runs.groupby("network")["error_mm"].transform("mean")
        seaborn.scatterplot(
            runs, x="distance", y="network", hue="seed", style="seed", palette=list(COLOURS[:seeds]),
            markers=list(MARKERS[:seeds]), s=35, ax=top,
        )  # fmt: skip
        top.axvline(0, color=PAPER_COLOUR, lw=0.8)
        top.legend(title="seed", ncols=seeds, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        top.set(ylabel="", xlabel="run − mean, mm")
        name_rows(top, list(dict.fromkeys(runs["network"])))
        set_names_above(top, 0.36)
        (quantiles, ordered), (slope, middle, _) = scipy.stats.probplot(runs["distance"])
        bottom.plot(quantiles, ordered, "o", color=PAPER_COLOUR, ms=4)
        bottom.plot(quantiles, slope * quantiles + middle, color=PAPER_COLOUR, lw=0.8)
        bottom.set(xlabel="normal quantile", ylabel="ordered, mm")
    return figure
