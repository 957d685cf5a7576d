"""The process that a fault hits: ``python fault_child.py FOLDER STAGE ...`` makes the runs, a page or a book there."""

import argparse
import json
import signal
import sys
from pathlib import Path

from tiny_study import again, tiny_study

from msff.cli.entry import _guarded
from msff.study.execution import execute_pages
from msff.study.pages import RESULTS, Page
from msff.study.profiles import RHD, Block, RootDepthSpec
from msff.study.queue import run_all
from msff.study.workspace import Workspace

SHOWN = """import json
from pathlib import Path
import pandas as pd
from msff.report.drawing import style
folders = sorted(path.parent for path in (Path.cwd().parent / "results" / profile / "runs").rglob("run.json"))
print(*(json.loads((folder / "run.json").read_text())["metrics"] for folder in folders), sep="\\n")
with style():
    pd.read_csv(folders[0] / "history.csv").plot(x="epoch", y="loss", title=f"{len(folders)} runs × epochs");"""


def make_runs(study: Workspace) -> None:
    run_all(study, jobs=1)


def make_page(study: Workspace) -> None:
    """Execute one notebook with the metrics of every run and a figure."""
    blank = {"cell_type": "code", "outputs": [], "execution_count": None}
    cells = [
        blank | {"id": "a", "metadata": {"tags": ["parameters"]}, "source": 'profile = ""'},
        blank | {"id": "b", "metadata": {}, "source": SHOWN},
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    name = RESULTS[0]  # a page that needs no images
    (study.root / "notebooks" / f"{name}.ipynb").write_text(json.dumps(content))
    execute_pages(study, [Page(name, "shown", {"profile": study.profile.name})])


def make_book(study: Workspace) -> None:
    """Build a book of one page."""
    from made_up_book import one_page_book

    from msff.report.book.build import render_html

    if not (study.root / "book" / "_toc.yml").exists():
        one_page_book(study.root, "| a |\n|---|\n| 1 |\n")
    render_html("smoke", study.root)


STAGES = {"runs": make_runs, "page": make_page, "book": make_book}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a study started by nohup ignores
    grid = (Block(("msff", "internet"), layouts=RHD),)

    def run(_) -> None:
        study = again(tiny_study(Path(sys.argv[1])), grid=grid, root_depth=RootDepthSpec("box"))
        for stage in sys.argv[2:]:
            STAGES[stage](study)

    sys.exit(_guarded(argparse.Namespace(run=run, resumes=True)))
