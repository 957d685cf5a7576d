"""The execution of pages by papermill, and how deliberate changes of checked outputs are taken over from them.

Every page reads stored runs; none trains, unless a reader executes it without them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill
from tqdm import tqdm

from msff.environment import own_settings
from msff.errors import MsffError
from msff.files import atomic_file
from msff.study.kernels import PROVISIONER, KernelManager
from msff.study.pages import RESULTS, Page, all_pages, fingerprint, has_text_figure, is_current, source_of
from msff.study.progress import finished
from msff.study.project import DATA_VARIABLES, Project
from msff.study.workspace import Workspace

CHECKED = "# NBVAL_CHECK_OUTPUT"
"""First line of a cell whose output is compared: all that ties the notebooks to the tool that compares, here nbval."""


class PageError(MsffError):
    """A page that cannot be executed. The message says which cell failed and where to look."""


def execute_pages(workspace: Workspace, pages: Iterable[Page]) -> list[Page]:
    """Execute the pages that are not up to date, one per core at a time, and return them.

    PageError if a run that a page shows is missing, or naming the first page that failed; those executed before stay.
    """
    pages = list(pages)
    missing = sorted({e.run_id for page in pages for e in page.experiments if finished(workspace, e) is None})
    if missing:
        profile = workspace.profile.name
        raise PageError(
            f"profile {profile} lacks {', '.join(missing[:4])}{' ...' if missing[4:] else ''}: "
            f"`make study PROFILE={profile}` makes the missing runs"
        )
    stale = [page for page in pages if not is_current(workspace, page)]
    if not stale:
        return []
    if any(page.notebook not in RESULTS for page in stale):  # the others need no images
        for dataset in workspace.profile.data.datasets:
            workspace.make_data(dataset)
    tqdm.write(f"Profile {workspace.profile.name}: {len(stale)} pages to execute")
    # Kernels run in notebooks/, where a relative path leads elsewhere.
    variables = {name: os.path.abspath(os.environ[name]) for name in DATA_VARIABLES.values() if os.environ.get(name)}
    # Side by side, kernels with a thread for every core would wait for each other.
    variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"
    with (
        TemporaryDirectory() as profile,  # of IPython, empty
        own_settings(IPYTHONDIR=profile, JUPYTER_DEFAULT_PROVISIONER_NAME=PROVISIONER, **variables),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        futures = [pool.submit(_execute, workspace, page) for page in stale]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit="page", dynamic_ncols=True):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return stale


def _execute(workspace: Workspace, page: Page) -> None:
    """Execute one notebook into a temporary sibling and rename it; a failed one stays as ``*.failed.ipynb``."""
    output = page.path(workspace)
    failed = output.with_name(output.stem + ".failed.ipynb")
    failed.unlink(missing_ok=True)
    started = time.time()
    with atomic_file(output) as partial:
        try:
            papermill.execute_notebook(
                source_of(workspace, page), partial, parameters=page.parameters, kernel_name="python3",
                progress_bar=False, cwd=workspace.root / "notebooks", log_output=False,
                extra_arguments=["--log-level=ERROR"], kernel_manager_class=KernelManager,
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            partial.rename(failed)
            raise PageError(
                f"{page.output} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"Its output is in {failed}. Fix the cause and run the same command again: it resumes here."
            ) from error
        notebook = json.loads(partial.read_text(encoding="utf-8"))
        if has_text_figure(notebook):
            partial.rename(failed)
            raise PageError(
                f"{page.output}: a figure came out as text, not as a picture. The page is in {failed}. The kernel's "
                "matplotlib draws nothing: restore the pinned environment and run the same command again."
            )
        papermill_meta = notebook["metadata"].pop("papermill", {})
        notebook["metadata"]["msff"] = {
            "inputs": fingerprint(workspace, page),
            "seconds": round(time.time() - started, 1),
            "executed": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "parameters": papermill_meta.get("parameters", page.parameters),
        }
        for cell in notebook["cells"]:  # what else differs from machine to machine
            cell["metadata"].pop("papermill", None)
            cell["metadata"].pop("execution", None)
        partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# checked outputs of notebooks/


def refresh(project: Project) -> list[str]:
    """Copy the outputs of checked cells from the executed pages into ``notebooks/`` and describe those that changed.

    A description is a diff that names notebook and cell. 07-train takes the execution whose parameters are its own
    defaults. PageError if a page has not been executed since it changed.
    """
    moved = []
    for source in sorted((project.root / "notebooks").glob("*.ipynb")):
        notebook = json.loads(source.read_text(encoding="utf-8"))
        executed = json.loads(_execution(project, source.stem, notebook).read_text(encoding="utf-8"))
        outputs = {cell["id"]: cell["outputs"] for cell in executed["cells"] if cell["cell_type"] == "code"}
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                checked = "".join(cell["source"]).startswith(CHECKED)
                old, new = cell["outputs"], outputs[cell["id"]] if checked else []
                # nbval compares a cell only if it carries a count; a fixed one keeps the file stable.
                cell |= {"outputs": new, "execution_count": 1 if checked else None}
                lines, where = (_text(old).splitlines(), _text(new).splitlines()), f"{source.stem}, cell {cell['id']}"
                moved.append("\n".join(unified_diff(*lines, f"{where}, old", f"{where}, new", lineterm="", n=0)))
        with atomic_file(source) as partial:
            partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(filter(None, moved))


def _text(outputs: list[dict]) -> str:
    """Return what a cell printed or displayed as plain text; other kinds of output by their name."""
    shown = (o.get("text", o.get("data", {}).get("text/plain", f"[{o['output_type']}]")) for o in outputs)
    return "".join("".join(text) for text in shown)


def _execution(project: Project, stem: str, notebook: dict) -> Path:
    defaults = next("".join(c["source"]) for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ()))
    for page in all_pages(project):
        values = [f'"{value}"' for value in page.parameters.values()]
        if page.notebook == stem and all(value in defaults for value in values) and is_current(project, page):
            return page.path(project)
    profile = project.profile.name
    raise PageError(f"{stem} has not been executed since it changed: finish `make study PROFILE={profile}` first")
