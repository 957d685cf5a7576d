"""Which pages a profile has, and whether they are up to date."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from msff.study.experiment import Experiment
from msff.study.grid import ablation_dataset, experiments
from msff.study.machine import code_hash
from msff.study.progress import finished
from msff.study.project import Project
from msff.study.store import Store

MODULE_PAGES = {  # page of a module -> the variant of MS-FF that ends with it; the last shows the whole network
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
_NETWORKS = ("models", "training", "heatmaps.py", "volume_kernels.py")
CODE = dict.fromkeys((*MODULE_PAGES, "07-train"), _NETWORKS) | {"01-data": ("data",)}
"""Notebook -> the code that it runs or prints beside that which evaluates and draws."""
RESULTS = (
    "08-ablation", "09-table1", "10-fig5", "11-fig6", "12-verdict", "13-conventions", "14-contexts", "15-robustness",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """One execution of a notebook."""

    notebook: str  # stem under notebooks/
    output: str  # stem under results/<profile>/notebooks/
    parameters: dict = field(default_factory=dict)
    experiments: tuple[Experiment, ...] = ()  # the runs that it shows

    def path(self, project: Project) -> Path:
        """Return where the executed notebook is kept."""
        return project.store.notebooks / f"{self.output}.ipynb"


def all_pages(project: Project) -> list[Page]:
    """Return every page of the profile, in the order of the book."""
    profile = project.profile
    common, dataset, seed = {"profile": profile.name}, ablation_dataset(profile), profile.seeds[0]
    modules = [
        Page(name, name, common, (Experiment(profile.name, dataset, "msff", variant, seed),))
        for name, variant in MODULE_PAGES.items()
    ]
    return [Page("01-data", "01-data", common), *modules, *walkthrough_pages(project), *result_pages(project)]


def walkthrough_pages(project: Project) -> list[Page]:
    """Return the pages that walk through one run each."""
    name, place = project.profile.name, (project.profile.name, ablation_dataset(project.profile))
    runs = [Experiment(*place, method, seed=project.profile.seeds[0]) for method in WALKTHROUGH]
    return [Page("07-train", run_page(run), {"profile": name, "run_id": run.run_id}, (run,)) for run in runs]


def run_page(experiment: Experiment) -> str:
    """Return the name of a run's page."""
    return f"runs/07-train--{experiment.run_id.replace('/', '--')}"


def result_pages(project: Project) -> list[Page]:
    """Return the pages about all runs, of those that are stored."""
    stored = tuple(e for e in experiments(project.profile) if finished(project, e) is not None)
    return [Page(name, name, {"profile": project.profile.name}, stored) for name in RESULTS]


# up to date?


def is_current(project: Project, page: Page) -> bool:
    """Return whether the page has been executed and everything that it shows is unchanged."""
    path = page.path(project)
    if not path.exists() or any(finished(project, e) is None for e in page.experiments):
        return False
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        stored = notebook["metadata"].get("msff", {})
        return stored.get("inputs") == fingerprint(project, page) and not has_text_figure(notebook)
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


def fingerprint(project: Project, page: Page) -> str:
    """Hash what the page shows: its source and parameters, the code that it runs, its runs."""
    source = json.loads(source_of(project, page).read_text(encoding="utf-8"))
    runs = [project.store.get(e) for e in page.experiments]
    evidence = evidence_stores(project.store) if page.notebook in (*MODULE_PAGES, "11-fig6") else []
    parts = [
        [cell["source"] for cell in source["cells"]],
        page.parameters,
        code_hash("evaluation", "report", *CODE.get(page.notebook, ())),
        [(run.record.uid, run.record.finished) if run else None for run in runs],
        project.store.reference(),
        [run.record.uid for store in evidence for run in store.select(method="msff")],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def evidence_stores(store: Store) -> list[Store]:
    """Return the stores in which a module's page looks for its effect, and Fig. 6 for runs, the best first.

    The smoke test and real data show their own.
    """
    return [Store(store.root.with_name(name)) for name in BEST] if store.profile in BEST else [store]


def source_of(project: Project, page: Page) -> Path:
    """Return the notebook that the page executes."""
    return project.root / "notebooks" / f"{page.notebook}.ipynb"
