"""The page of a single run, generated from the store without a kernel."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from msff.data.datasets import DATASETS
from msff.models.registry import METHODS
from msff.report import notebook
from msff.report.book.staged_notebook import EXECUTED
from msff.report.contrasts import MODULES
from msff.report.drawing import save
from msff.report.figures import learning_curves
from msff.report.published import DATASET_NAMES
from msff.report.results import Results, label_of
from msff.study.experiment import Experiment
from msff.study.store import Run, StoreError
from msff.study.workspace import Workspace

VARIANT_WORDS = {"bare": "without its modules"}
VARIANT_WORDS |= {module: f"with {words} alone" for module, words in MODULES.items()}
VARIANT_WORDS |= {f"no-{module}": f"without {words}" for module, words in MODULES.items()}
MAIN_METRICS = 11
"""Of the errors on a page, how many come first: the others are the same errors in other summaries."""
EXAMPLES = ((4, None), (4, "interacting"))
"""Test images on a page, count and hands: the first choice that is on this machine or in the store."""


def page_name(experiment: Experiment) -> str:
    """Return the stem of a run's page."""
    return experiment.run_id.replace("/", "--")


def run_title(experiment: Experiment) -> str:
    """Return a run in words: "MS-FF without global regression, RHD layout, seed 0"."""
    method, variant = METHODS[experiment.method], experiment.variant
    words = "" if variant == method.headline else f" {VARIANT_WORDS.get(variant, f', variant {variant}')}"
    spec = DATASETS[experiment.dataset]
    where = f"{DATASET_NAMES[spec.layout]} layout" if spec.is_standin else spec.label
    return f"{method.label}{words}, {where}, seed {experiment.seed}".replace(" ,", ",")


def write_run_pages(workspace: Workspace, staged: Path, below: str, banner: str) -> dict[str, str]:
    """Write a page with its pictures for every stored run into a folder of ``staged``; return run id -> link."""
    folder = staged / below
    folder.mkdir(parents=True, exist_ok=True)
    results, links = Results(workspace.store), {}
    for run in workspace.store.runs():
        name = f"{page_name(run.experiment)}.md"
        (folder / name).write_text(_page(workspace, results, run, folder, banner), encoding="utf-8")
        links[run.experiment.run_id] = f"{EXECUTED}/{below}/{name}"
    return links


def _page(workspace: Workspace, results: Results, run: Run, folder: Path, banner: str) -> str:
    e, record, name = run.experiment, run.record, page_name(run.experiment)
    command = f"msff train --profile {e.profile} --dataset {e.dataset} --method {e.method} --variant {e.variant}"
    about = f"{notebook.LABELS[e.method]}, variant `{e.variant}`, seed {e.seed}, {notebook.about(run)}"
    parts = [
        f"# {run_title(e)}",
        banner,
        f"Run `{e.run_id}` on the {label_of(e.dataset)}: {record.seconds / 60:.1f} minutes on {record.hardware}. "
        f"Retrain it: `{command} --seed {e.seed} --force`.",
    ]
    if len(run.history):
        curve, words = learning_curves(run.history, e.run_id, notebook.about(run)), "Training loss by epoch"
        parts.append(_figure(curve, folder, f"{name}-loss", words, f"{words}, a panel per phase: {about}."))
    if picture := _predictions(workspace, results, run, folder, name):
        parts.append(picture)
    errors = notebook.summary(workspace, run).map("{:.2f}".format).replace("nan", "").reset_index()
    parts += [
        "## Errors",
        "Lengths in mm, shares as fractions, by track. [](/book/metrics.md) defines each.",
        _table(errors[:MAIN_METRICS]),
    ]
    if len(errors) > MAIN_METRICS:
        parts.append(f":::{{dropdown}} Other metrics\n{_table(errors[MAIN_METRICS:])}\n:::")
    parts += ["## Facts", _table(notebook.facts(run).to_frame().reset_index(names="quantity"))]
    config = json.dumps(record.config, indent=1, sort_keys=True)
    parts.append(f":::{{dropdown}} Configuration {record.config_hash}\n```json\n{config}\n```\n:::")
    return "\n\n".join(parts) + "\n"


def _predictions(workspace: Workspace, results: Results, run: Run, folder: Path, name: str) -> str | None:
    """Return the figure of predictions on a few test images; None if these are neither here nor in the store."""
    for count, kind in EXAMPLES:
        with suppress(StoreError):
            chosen = notebook.examples(workspace, run.experiment.dataset, count, kind=kind)
            break
    else:
        return None
    sheet = notebook.prediction_sheet(results, chosen, run)
    alt = "Test images with the true and the predicted skeletons"
    caption = f"Test images with the true joints, and below with those that the run predicts: {notebook.about(run)}."
    return _figure(sheet, folder, f"{name}-images", alt, caption)


def _figure(figure: plt.Figure, folder: Path, name: str, alt: str, caption: str) -> str:
    save(figure, folder / f"{name}.png")
    plt.close(figure)
    return f":::{{figure}} {name}.png\n:alt: {alt}\n{caption}\n:::"


def _table(table: pd.DataFrame) -> str:
    return table.astype(object).fillna("").to_markdown(index=False, disable_numparse=True)
