"""A project folder with this repository's book, made-up results and pages that no kernel has executed."""

import json
import shutil
from pathlib import Path

import numpy as np
from make_results import make_history, make_predictions, make_record, make_truth

from msff.report.book.build import PAGES
from msff.report.hands3d import turning_figure, turning_view
from msff.study.experiment import Experiment
from msff.study.store import Store

REPO = Path(__file__).parents[1]
TEXT = "Mass is $m_c$ {cite}`he2016resnet`."
RUN = "standin-rhd/msff/full/seed0"
WALKTHROUGH = [f"runs/07-train--standin-rhd--{method}--full--seed0" for method in ("msff", "internet")]


def code(source, tags=(), outputs=()):
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code", "source": source, "metadata": metadata, "outputs": list(outputs), "execution_count": 1,
        "id": "-".join(tags) or "code",
    }  # fmt: skip


def page(title="A page"):
    """An executed notebook as papermill leaves it."""
    wide = "<table class='dataframe'><tr>" + "".join(f"<td>column{i}</td>" for i in range(40)) + "</tr></table>"
    return {
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": f"# {title}\n\n{TEXT}"},
            code('profile = "smoke"', ["parameters"]),
            code('profile = "cpu"', ["injected-parameters"]),
            code("# NBVAL_CHECK_OUTPUT\ntable", outputs=[
                {"output_type": "execute_result", "data": {"text/html": wide}, "metadata": {}, "execution_count": 1}]),
        ],
    }  # fmt: skip


def turning():
    """The output of a cell that shows a hand in 3D."""
    joints = np.random.default_rng(0).normal(0, 40, (42, 3))
    figure = turning_figure({"ground truth": joints, "MS-FF": joints + 5}, np.ones(42, bool))
    data = {"text/html": turning_view(figure, "made-up-0", "A made-up hand")}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def put(results, pages, run_id=RUN):
    """A run and executed notebooks of these names."""
    for name in pages:
        path = results / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook = page(name)
        if name == "11-fig6":
            notebook["cells"].append(code("hands", ["turning"], [turning()]))
        path.write_text(json.dumps(notebook))
    put_run(Store(results), run_id)


def put_run(store, run_id):
    experiment = Experiment.parse(store.profile, run_id)
    store.save_truth(make_truth(experiment.dataset, 4), {"made": "up"})
    record = make_record(
        experiment, metrics={"T2": {"wrist20": 31.416}}, config_hash="abc123", hardware="Test CPU, 2 cores",
        versions={"torch": "2"}, images_per_s=250.4, parameters=1_234_000, macs=56_000_000,
    )  # fmt: skip
    store.save_run(record, make_history("msff"), make_predictions(make_truth(experiment.dataset, 4), 5.0))


def made_up_project(root: Path) -> Path:
    """Make the project with results of the smallest profile and a few of a larger, and return its folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "CITATION.cff"):
        shutil.copyfile(REPO / name, root / name)
    ignore = shutil.ignore_patterns("_build", "_executed*", "*.partial")
    shutil.copytree(REPO / "book", root / "book", ignore=ignore, dirs_exist_ok=True)
    results = root / "results" / "smoke"
    put(results, (*PAGES, *WALKTHROUGH))
    put(root / "results" / "cpu", ())
    (results / "tables").mkdir()
    table = (
        "| method | value |\n|---|---|\n| a | 1.5 |\n| <script>in a cell</script> | 2 |\n\n<script>in a line</script>\n"
    )
    (results / "tables" / "plausibility.md").write_text(f"Caption of plausibility.\n\n{table}")
    (results / "tables" / "plausibility.csv").write_text("method,value\na,1.5\n")
    return root


def one_page_book(root: Path, text: str) -> Path:
    """Make the project with a book of one page, which shows ``text`` as a stored table."""
    made_up_project(root)
    (root / "results" / "smoke" / "tables" / "plausibility.md").write_text(text)
    (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: book/bibliography\n")
    page = "# Title\n\n```{include} _executed/fragments/table-plausibility.md\n```\n"
    (root / "book" / "bibliography.md").write_text(page)
    return root
