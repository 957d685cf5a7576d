"""The book: executes the pages that are out of date, stages them into ``book/_executed`` and builds the HTML.

No network is trained here: pages read stored runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml
from plotly.offline import get_plotlyjs

from msff.data.datasets import DATASETS
from msff.files import atomic_folder
from msff.models.registry import METHODS
from msff.report.book import BookError, fragments
from msff.report.book.edition import edition, executions_fragment
from msff.report.book.numbers import numbers
from msff.report.book.run_pages import run_title, write_run_pages
from msff.report.book.staged_notebook import stage_notebook
from msff.report.book.summary import summary_figure
from msff.report.drawing import SHARPNESS, save
from msff.report.front_figure import front_figure
from msff.report.photos import photo_errors, photo_figure
from msff.report.results import Results, larger_stores, stores_with_runs
from msff.report.rule_figure import rule_figure
from msff.report.tables import write_tables
from msff.study.execution import execute_pages
from msff.study.pages import (
    MODULE_PAGES,
    RESULTS,
    all_pages,
    evidence_stores,
    is_current,
    result_pages,
    walkthrough_pages,
)
from msff.study.store import Store
from msff.study.workspace import Workspace

REPLACED = {
    # The arrows that unfold a chapter in the side bar have no text.
    '<summary><span class="toctree-toggle"': '<summary aria-label="Pages below"><span class="toctree-toggle"',
    # A list may hold list items only; the entries of the bibliography have a role of their own.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
"""Markup of sphinx-book-theme 1.2 and docutils 0.21 -> the same with what the WAI-ARIA rules require."""
PAGES = ("01-data", *MODULE_PAGES, *RESULTS)
"""Executed notebooks with a page of their own in ``book/_toc.yml``; the pages of runs are added by globs."""

SEVERAL_SEEDS = "15-robustness"
"""The page about all runs that shows nothing of a profile with one seed."""
OWN = "--own"
"""Ends the names of the reader's own pages about all runs, where the book shows those of a better profile."""
LARGER = "larger"
"""The folder with the runs of larger profiles, a folder for each."""
_PAIR = ("msff", "internet")
NEEDED: Mapping[str, tuple[str, tuple[str, ...]]] = dict.fromkeys(RESULTS, ("rhd", _PAIR)) | {
    "08-ablation": ("rhd", ("bare", "full")), "10-fig5": ("interhand", _PAIR),
}  # fmt: skip
"""Page about all runs -> layout, and the variants of MS-FF or the methods without which it shows nothing."""


def stage(profile: str, root: Path | str) -> Path:
    """Copy the executed pages, tables and figures of ``profile`` into ``book/_executed``, whole or not at all.

    A page for each stored run of this and of larger profiles is generated, and the contents are written. ``root`` is
    the project's folder. BookError lists the pages or tables that are missing.
    """
    root = Path(root)
    workspace = Workspace(profile, root, "cpu")
    store = workspace.store
    _require(store)
    shown = {name: best_store(store, name) for name in RESULTS}
    best = Results(shown["12-verdict"])
    with atomic_folder(root / "book" / "_executed") as folder:
        runs = _stage_runs(workspace, folder)
        banner = fragments.banner(store)
        for name in PAGES:
            source = shown.get(name, store)
            words = fragments.banner(source, best.store) if name in shown else banner
            stage_notebook(source.notebooks / f"{name}.ipynb", folder, name, words, runs)
            if source is not store and (name != SEVERAL_SEEDS or len(workspace.profile.seeds) > 1):
                title = f"{{}} (profile `{profile}`)"
                stage_notebook(store.notebooks / f"{name}.ipynb", folder, f"{name}{OWN}", banner, runs, title)
        for page in walkthrough_pages(workspace):
            title = f"Step by step: {run_title(page.experiments[0])}"
            stage_notebook(page.path(workspace), folder, page.output, banner, runs, title)
        _stage_figures(store, best, folder / "figures")
        for other in (store, *larger_stores(store)):
            for path in other.tables.glob("*.csv"):
                _write(folder / "csv" / other.profile / "tables" / path.name, path.read_text(encoding="utf-8"))
        _write(folder / "_static" / "plotly.min.js", get_plotlyjs())
        own = any(source is not store for source in shown.values())
        _write(folder / "_toc.yml", _contents(root, [name for name in runs if name != profile], own))
        _write(folder / "_config.yml", _config(root, profile))
        texts = fragments.all_fragments(store, runs, best) | {"executions": executions_fragment(folder)}
        for name, text in texts.items():
            _write(folder / "fragments" / f"{name}.md", text.rstrip() + "\n")
    return root / "book" / "_executed"


def _stage_runs(workspace: Workspace, folder: Path) -> dict[str, dict[str, str]]:
    """Write the pages of the runs of this profile and of larger ones; return profile -> run id -> link."""
    store = workspace.store
    links = {store.profile: write_run_pages(workspace, folder, "runs", fragments.banner(store))}
    for other in larger_stores(store):
        name, banner = other.profile, fragments.banner(other)
        links[name] = write_run_pages(Workspace(name, workspace.root, "cpu"), folder, f"{LARGER}/{name}/runs", banner)
        _write(folder / LARGER / f"{name}.md", fragments.profile_page(other, links[name]))
    return links


def _stage_figures(store: Store, best: Results, folder: Path) -> None:
    """Draw the figures that chapters include; front page and summary show the runs of ``best``."""
    folder.mkdir()
    save(front_figure(best), best.store.figures / "front.png")  # which README shows
    figures = {"rule": rule_figure(), "front": front_figure(best), "summary": summary_figure(best)}
    errors = photo_errors(stores_with_runs(store), store.root.with_name("mediapipe"))
    if len(errors):
        figures["photos"] = photo_figure(errors, best.profile)
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png", SHARPNESS)
    demo = store.root.with_name("demo") / "examples.png"  # of `msff demo train`
    if demo.exists():
        shutil.copyfile(demo, folder / "demo.png")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def execute(profile: str, root: Path) -> None:
    """Execute the pages that the book shows and that are out of date, from stored runs; none is trained.

    Missing images of the profile are rendered. PageError if a run is missing.
    """
    workspace = Workspace(profile, root)
    pages = all_pages(workspace)
    if not all(is_current(workspace, page) for page in pages):
        execute_pages(workspace, pages)
        write_tables(workspace.store)
    shown = {name: best_store(workspace.store, name).profile for name in RESULTS}
    for other in set(shown.values()) - {profile}:  # of which the book shows some pages, and the store may lack others
        theirs = Workspace(other, root)
        execute_pages(theirs, [page for page in result_pages(theirs) if shown[page.notebook] == other])


def best_store(store: Store, page: str) -> Store:
    """Return the store that the book's page about all runs is made from: the best profile with the runs for it.

    The smoke test and real data show their own.
    """
    layout, needed = NEEDED[page]
    for other in evidence_stores(store):
        experiments = [run.experiment for run in other.runs() if DATASETS[run.experiment.dataset].layout == layout]
        variants = {e.variant for e in experiments if e.method == "msff"}
        methods = {e.method for e in experiments if e.variant == METHODS[e.method].headline}
        if variants | methods >= set(needed):
            return store if other.profile == store.profile else other
    return store


def _contents(root: Path, larger: Iterable[str], own: bool) -> str:
    """Return ``book/_toc.yml`` with the pages of larger profiles and of the reader's own run."""
    folder = f"book/_executed/{LARGER}"
    below = {
        "book/larger": [{"file": f"{folder}/{n}", "sections": [{"glob": f"{folder}/{n}/**"}]} for n in larger],
        "book/results": [{"glob": f"book/_executed/*{OWN}"}] if own else [],
    }
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text(encoding="utf-8"))
    for chapter in (chapter for part in toc.get("parts", ()) for chapter in part["chapters"]):
        if sections := below.get(chapter.get("file")):
            chapter["sections"] = sections
    return yaml.safe_dump(toc, sort_keys=False)


def _config(root: Path, profile: str) -> str:
    """Return ``_config.yml`` with the numbers of the prose, ``{{ name }}``, the edition and a repository's buttons."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    sphinx = config["sphinx"]["config"]
    sphinx["myst_substitutions"] = numbers()
    theme = sphinx["html_theme_options"]
    theme["extra_footer"] += edition(root, profile, theme["repository_url"])
    if theme["repository_url"]:
        theme |= {f"use_{name}_button": True for name in ("repository", "issues", "edit_page", "source")}
        theme["launch_buttons"] = {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}
        if "//github.com/" in theme["repository_url"]:
            theme["launch_buttons"]["colab_url"] = "https://colab.research.google.com"
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _require(store: Store) -> None:
    expected = [*(f"notebooks/{name}.ipynb" for name in PAGES), "tables/plausibility.md"]
    if missing := [name for name in expected if not (store.root / name).exists()]:
        names, more = ", ".join(missing[:4]), f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise BookError(
            f"{store.root} lacks {names}{more}, which the book shows. Run `make study PROFILE={store.profile}` first."
        )


def build(profile: str, root: Path | str) -> Path:
    """Execute what is out of date, stage and build the book of ``profile``; return ``book/_build/html/index.html``.

    BookError if something is missing or a page has a warning; the pages of the last good build are then left as they
    were.
    """
    if find_spec("jupyter_book") is None:
        raise BookError("jupyter-book is not installed: run `make install`, or `pip install -r requirements.txt`")
    execute(profile, Path(root).resolve())
    return render_html(profile, root)


def render_html(profile: str, root: Path | str) -> Path:
    """Stage and build the book from pages that are executed already; see ``build``. Warnings are errors."""
    root = Path(root).resolve()
    stage(profile, root)
    target = root / "book" / "_build" / "html"
    with atomic_folder(target) as folder:
        output = folder / "out"
        command = _command(root, output)
        done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            lines = (done.stdout + done.stderr).splitlines()
            complaints = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines[-20:]
            raise BookError(f"the book of profile {profile} has not been built:\n" + "\n".join(complaints))
        for item in (output / "_build" / "html").iterdir():
            item.rename(folder / item.name)
        shutil.rmtree(output)
        name_for_screen_readers(folder)
    return target / "index.html"


def name_for_screen_readers(html: Path) -> None:
    """Change ``REPLACED`` in every page below the folder ``html``."""
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for markup, better in REPLACED.items():
            text = text.replace(markup, better)
        page.write_text(text, encoding="utf-8")


def _command(root: Path, output: Path) -> list[str]:
    """Return the jupyter-book command, which puts the pages into ``<output>/_build/html``."""
    staged = root / "book" / "_executed"
    return [
        sys.executable, "-c", "from jupyter_book.cli.main import main; main()",  # it has no __main__
        "build", str(root), "--path-output", str(output),
        "--config", str(staged / "_config.yml"), "--toc", str(staged / "_toc.yml"),
        "--warningiserror", "--nitpick", "--keep-going", "--quiet",
    ]  # fmt: skip
