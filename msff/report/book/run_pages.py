"""The page of a single run, generated from the store without a kernel."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from msff.data.datasets import DATASETS
from msff.models.registry import network_name
from msff.report import notebook
from msff.report.book.staged_notebook import EXECUTED
from msff.report.drawing import save
from msff.report.examples import examples
from msff.report.fig6 import prediction_sheet
from msff.report.figures import learning_curves
from msff.report.formatting import markdown
from msff.report.published import DATASET_NAMES
from msff.report.results import Results, label_of
from msff.study.experiment import Experiment
from msff.study.store import Run, StoreError
from msff.study.workspace import Workspace

MAIN_METRICS = 11
"""Of the errors on a page, how many come first: the others are the same errors in other summaries."""


def run_title(experiment: Experiment) -> str:
    """Return a run in words: "MS-FF without global regression, RHD layout, seed 0"."""
    spec = DATASETS[experiment.dataset]
    where = f"{DATASET_NAMES[spec.layout]} layout" if spec.is_standin else spec.label
    return f"{network_name(experiment.method, experiment.variant)}, {where}, seed {experiment.seed}"


def write_run_pages(workspace: Workspace, staged: Path, below: str, banner: str) -> dict[str, str]:
    """Write a page with its pictures for every stored run into a folder of ``staged``; return run id -> link."""
    folder = staged / below
    folder.mkdir(parents=True, exist_ok=True)
    results, links = Results(workspace.store), {}
    for run in workspace.store.runs():
        page = folder / f"{run.experiment.run_id.replace('/', '--')}.md"
        page.write_text(_text(workspace, results, run, page, banner), encoding="utf-8")
        links[run.experiment.run_id] = f"{EXECUTED}/{below}/{page.name}"
    return links


def _text(workspace: Workspace, results: Results, run: Run, page: Path, banner: str) -> str:
    """Return the text of a run's page; its pictures are written beside ``page``."""
    e, record = run.experiment, run.record
    command = f"msff train --profile {e.profile} --dataset {e.dataset} --method {e.method} --variant {e.variant}"
    about = f"{network_name(e.method, e.variant)}, seed {e.seed}, {notebook.about(run)}"
    parts = [
        f"# {run_title(e)}",
        banner,
        f"Run `{e.run_id}` on the {label_of(e.dataset)}: {record.seconds / 60:.1f} minutes on {record.hardware}. "
        f"Retrain it: `{command} --seed {e.seed} --force`.",
    ]
    if len(run.history):
        words, name = "Training loss by epoch", network_name(e.method, e.variant)
        curve = learning_curves(run.history, name, notebook.about(run))
        parts.append(_figure(curve, page, "loss", words, f"{words}, a panel per phase: {about}."))
    for kind in (None, "interacting"):  # the first of them that is on this machine or in the store
        with suppress(StoreError):
            sheet = prediction_sheet(results, examples(workspace, e.dataset, 4, kind=kind), run)
            alt = "Test images with the true and the predicted skeletons"
            words = "Test images with the true joints, and, below, the predicted ones"
            parts.append(_figure(sheet, page, "images", alt, f"{words}: {notebook.about(run)}."))
            break
    errors = notebook.summary(workspace, run).map("{:.2f}".format).replace("nan", "").reset_index()
    parts += [
        "## Errors",
        "Lengths in mm, shares as fractions, by track. [](/book/metrics.md) defines each.",
        markdown(errors[:MAIN_METRICS]),
    ]
    if len(errors) > MAIN_METRICS:
        parts.append(f":::{{dropdown}} Other metrics\n{markdown(errors[MAIN_METRICS:])}\n:::")
    parts += ["## Facts", markdown(notebook.facts(run).to_frame().reset_index(names="quantity"))]
    config = json.dumps(record.config, indent=1, sort_keys=True)
    parts.append(f":::{{dropdown}} Configuration {record.config_hash}\n```json\n{config}\n```\n:::")
    return "\n\n".join(parts) + "\n"


def _figure(figure: Figure, page: Path, name: str, alt: str, caption: str) -> str:
    path = save(figure, page.with_name(f"{page.stem}-{name}.png"))
    return f":::{{figure}} {path.name}\n:alt: {alt}\n{caption}\n:::"
