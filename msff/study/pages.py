"""Executed notebooks: which pages a profile has, whether they are up to date, and their execution by papermill.

Every page reads stored runs; none trains, unless a reader executes it without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from msff.environment import own_settings
from msff.errors import MsffError
from msff.files import atomic_file
from msff.study.experiment import Experiment
from msff.study.grid import ablation_dataset, experiments
from msff.study.machine import code_hash
from msff.study.runner import finished
from msff.study.store import Run, Store
from msff.study.workspace import DATA_VARIABLES, Workspace

MODULES = {  # page of a module -> the variant of MS-FF that ends with it; the last shows the whole network
    "02-backbone": "bare",
    "03-channel-conversion": "ccm",
    "04-global-regression": "no-lom",
    "05-local-optimization": "full",
    "06-heads": "full",
}
WALKTHROUGH = ("msff", "internet")
"""Methods whose first run on the RHD layout is shown as an executed notebook, not as a generated page."""
BEST = ("gpu", "cpu-long", "cpu-scratch", "cpu")
"""Profiles on rendered data, the best evidence first."""
RESULTS = (
    "08-ablation", "09-table1", "10-fig5", "11-fig6", "12-verdict", "13-conventions", "14-contexts", "15-robustness",
)  # fmt: skip


class PageError(MsffError):
    """A page that cannot be executed. The message says which cell failed and where to look."""


@dataclass(frozen=True)
class Page:
    """One execution of a notebook."""

    notebook: str  # stem under notebooks/
    output: str  # stem under results/<profile>/notebooks/
    parameters: dict = field(default_factory=dict)
    experiments: tuple[Experiment, ...] = ()  # the runs that it shows

    def path(self, workspace: Workspace) -> Path:
        """Return where the executed notebook is kept."""
        return workspace.store.notebooks / f"{self.output}.ipynb"


def all_pages(workspace: Workspace) -> list[Page]:
    """Return every page of the profile, in the order of the book."""
    profile = workspace.profile
    common, dataset, seed = {"profile": profile.name}, ablation_dataset(profile), profile.seeds[0]
    modules = [
        Page(name, name, common, (Experiment(profile.name, dataset, "msff", variant, seed),))
        for name, variant in MODULES.items()
    ]
    return [Page("01-data", "01-data", common), *modules, *walkthrough_pages(workspace), *result_pages(workspace)]


def walkthrough_pages(workspace: Workspace) -> list[Page]:
    """Return the pages that walk through one run each."""
    profile = workspace.profile
    runs = [
        Experiment(profile.name, ablation_dataset(profile), method, seed=profile.seeds[0]) for method in WALKTHROUGH
    ]
    return [Page("07-train", run_page(run), {"profile": profile.name, "run_id": run.run_id}, (run,)) for run in runs]


def run_page(experiment: Experiment) -> str:
    """Return the name of a run's page."""
    return f"runs/07-train--{experiment.run_id.replace('/', '--')}"


def result_pages(workspace: Workspace) -> list[Page]:
    """Return the pages about all runs, of those that are stored."""
    stored = tuple(e for e in experiments(workspace.profile) if finished(workspace, e) is not None)
    return [Page(name, name, {"profile": workspace.profile.name}, stored) for name in RESULTS]


# up to date?


def is_current(workspace: Workspace, page: Page) -> bool:
    """Return whether the page has been executed and everything that it shows is unchanged."""
    path = page.path(workspace)
    if not path.exists() or any(finished(workspace, e) is None for e in page.experiments):
        return False
    try:
        notebook = json.loads(path.read_text())
        stored = notebook["metadata"].get("msff", {})
        return stored.get("inputs") == fingerprint(workspace, page) and not has_text_figure(notebook)
    except (json.JSONDecodeError, KeyError):
        return False


def has_text_figure(notebook: dict) -> bool:
    """Return True if an output is the words "<Figure ...>" in place of the picture."""
    shown = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return any(
        "".join(data.get("text/plain", "")).startswith("<Figure ")
        and not any(kind.startswith("image/") for kind in data)
        for data in shown
    )


def fingerprint(workspace: Workspace, page: Page) -> str:
    """Hash what the page shows: its source and parameters, the code that evaluates and draws, its runs."""
    source = json.loads(_source(workspace, page).read_text())
    runs = [workspace.store.get(e) for e in page.experiments]
    parts = [
        [cell["source"] for cell in source["cells"]],
        page.parameters,
        code_hash("evaluation", "report"),
        [(run.record.uid, run.record.finished) if run else None for run in runs],
        workspace.store.reference(),
        [run.record.uid for run in _evidence(workspace.store)] if page.notebook in MODULES else [],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def evidence_stores(store: Store) -> list[Store]:
    """Return the stores in which a module's page looks for its effect, the best first.

    The smoke test and real data show their own.
    """
    return [Store(store.root.with_name(name)) for name in BEST] if store.profile in BEST else [store]


def _evidence(store: Store) -> list[Run]:
    return [run for other in evidence_stores(store) for run in other.select(method="msff")]


def _source(workspace: Workspace, page: Page) -> Path:
    return workspace.root / "notebooks" / f"{page.notebook}.ipynb"


# execution


def execute_pages(
    workspace: Workspace, pages: Iterable[Page], jobs: int | None = None, log: Callable[[str], None] = tqdm.write
) -> list[Page]:
    """Execute the pages that are not up to date, ``jobs`` at a time, and return them.

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
            workspace.make_data(dataset, check=False)
    log(f"Profile {workspace.profile.name}: {len(stale)} pages to execute")
    # Kernels run in notebooks/, where a relative path leads elsewhere.
    folders = {name: os.path.abspath(os.environ[name]) for name in DATA_VARIABLES.values() if os.environ.get(name)}
    with (
        TemporaryDirectory() as profile,  # of IPython, empty
        own_settings(IPYTHONDIR=profile, **folders),
        ThreadPoolExecutor(jobs or max(1, os.cpu_count() or 1)) as pool,
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
    import papermill

    from msff.study.kernels import KernelManager  # as papermill: takes a second

    output = page.path(workspace)
    failed = output.with_name(output.stem + ".failed.ipynb")
    failed.unlink(missing_ok=True)
    started = time.time()
    with atomic_file(output) as partial:
        try:
            papermill.execute_notebook(
                _source(workspace, page), partial, parameters=page.parameters, kernel_name="python3",
                progress_bar=False, cwd=workspace.root / "notebooks", log_output=False,
                extra_arguments=["--log-level=ERROR"], kernel_manager_class=KernelManager,
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            partial.rename(failed)
            raise PageError(
                f"{page.output} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"Its output is in {failed}. Fix the cause and run the same command again: it resumes here."
            ) from error
        if has_text_figure(json.loads(partial.read_text())):
            partial.rename(failed)
            raise PageError(
                f"{page.output}: a figure came out as text, not as a picture. The page is in {failed}. The kernel's "
                "matplotlib draws nothing: restore the pinned environment and run the same command again."
            )
        _stamp(partial, workspace, page, time.time() - started)


def _stamp(path: Path, workspace: Workspace, page: Page, seconds: float) -> None:
    """Put the fingerprint into the executed notebook and remove what differs from machine to machine."""
    notebook = json.loads(path.read_text())
    papermill_meta = notebook["metadata"].pop("papermill", {})
    notebook["metadata"]["msff"] = {
        "inputs": fingerprint(workspace, page),
        "seconds": round(seconds, 1),
        "executed": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "parameters": papermill_meta.get("parameters", page.parameters),
    }
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
