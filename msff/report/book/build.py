"""The book: executes the pages that are out of date, stages them into ``book/_executed`` and builds the HTML.

No network is trained here: pages read stored runs.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml
from plotly.offline import get_plotlyjs

from msff.errors import MsffError
from msff.files import atomic_folder
from msff.report.best_profile import best_with
from msff.report.book import answers, fragments
from msff.report.book.accessible import name_for_screen_readers
from msff.report.book.edition import edition, executions_fragment
from msff.report.book.exhibits import stage_exhibits
from msff.report.book.numbers import numbers
from msff.report.book.run_pages import write_run_pages
from msff.report.drawing import save
from msff.report.front_figure import front_figure
from msff.report.photo_comparison import photo_errors, photo_figure
from msff.report.results import Results
from msff.report.tables import write_tables
from msff.study.checked_cells import CHECKED
from msff.study.execution import execute_pages
from msff.study.pages import MODULES, RESULTS, all_pages, is_current, result_pages, walkthrough_pages
from msff.study.store import Store
from msff.study.workspace import Workspace

PAGES = ("01-data", *MODULES, *RESULTS)
"""Executed notebooks with a page of their own in ``book/_toc.yml``; the pages of runs are added by globs."""

OWN = "own"
"""The folder of the reader's own pages about all runs, where the book shows those of a better profile."""
NEEDED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "08-ablation": ("rhd", ("bare", "full")),
    "09-table1": ("rhd", ("msff", "internet")),
    "10-fig5": ("interhand", ("msff", "internet")),
    "11-fig6": ("interhand", ("msff", "internet")),
    "12-verdict": ("rhd", ("msff", "internet")),
    "13-conventions": ("rhd", ("msff", "internet")),
    "14-contexts": ("rhd", ("msff", "internet")),
    "15-robustness": ("rhd", ("msff", "internet")),
}
"""Page about all runs -> layout, and the variants of MS-FF or the methods without which it shows nothing."""

NBVAL_MARK = f"{CHECKED}\n"  # for nbval, not for the reader


class BookError(MsffError):
    """A book that cannot be built. The message says what is missing or wrong, and the remedy."""


def stage(profile: str, root: Path | str, log: Callable[[str], None] = print) -> Path:
    """Copy the executed pages, tables and figures of ``profile`` into ``book/_executed``, whole or not at all.

    A page for each stored run of this and of larger profiles is generated, and the contents are written. ``root`` is
    the project's folder. BookError lists the pages or tables that are missing.
    """
    root = Path(root)
    workspace = Workspace(profile, root, "cpu")
    store = workspace.store
    _require(store)
    banner = fragments.banner(store)
    shown = {name: best_store(store, name) for name in RESULTS}
    with atomic_folder(root / "book" / "_executed") as folder:
        for name in PAGES:
            source = shown.get(name, store)
            _stage_notebook(source.notebooks / f"{name}.ipynb", folder / f"{name}.ipynb", fragments.banner(source))
            if source is not store:
                title = f"{{}}, profile `{profile}`"
                _stage_notebook(store.notebooks / f"{name}.ipynb", folder / OWN / f"{name}.ipynb", banner, title)
                _link_from_the_top(folder / OWN / f"{name}.ipynb")
        for page in walkthrough_pages(workspace):
            title = f"One training run: {page.parameters['run_id']}"
            _stage_notebook(page.path(workspace), folder / f"{page.output}.ipynb", banner, title)
        write_run_pages(workspace, folder / "runs", banner)
        (folder / "figures").mkdir()
        if (rule := store.figures / "rule.png").exists():
            shutil.copyfile(rule, folder / "figures" / rule.name)
        front = save(front_figure(Results(shown["12-verdict"])), shown["12-verdict"].figures / "front.png")
        shutil.copyfile(front, folder / "figures" / front.name)
        errors = photo_errors(answers.stored(store), store.root.with_name("mediapipe"))
        if len(errors):
            save(photo_figure(errors), folder / "figures" / "photos.png")
        pages = {}
        for other in fragments.larger_stores(store):
            target = folder / "larger" / other.profile
            banner = fragments.banner(other)
            pages[other.profile] = write_run_pages(Workspace(other.profile, root, "cpu"), target / "runs", banner)
            head = f"# Runs of profile `{other.profile}`\n\n{banner}\n\nThe tables are in [](/book/larger.md)."
            links = fragments.page_links(other.profile, pages[other.profile])
            target.with_suffix(".md").write_text(f"{head}\n\n{links}\n", encoding="utf-8")
        stage_exhibits(folder)
        for shown_store in (store, *fragments.larger_stores(store)):
            tables = folder / "csv" / shown_store.profile / "tables"
            tables.mkdir(parents=True)
            for path in shown_store.tables.glob("*.csv"):
                shutil.copyfile(path, tables / path.name)
        (folder / "_static").mkdir()
        (folder / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (folder / "_toc.yml").write_text(_contents(root, pages, (folder / OWN).is_dir()), encoding="utf-8")
        (folder / "_config.yml").write_text(_config(root, profile), encoding="utf-8")
        (folder / "fragments").mkdir()
        texts = fragments.all_fragments(store, pages, shown["12-verdict"]) | {"executions": executions_fragment(folder)}
        for name, text in texts.items():
            (folder / "fragments" / f"{name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    return root / "book" / "_executed"


def execute(profile: str, root: Path, log: Callable[[str], None] = print) -> None:
    """Execute the pages that the book shows and that are out of date, from stored runs; none is trained.

    Missing images of the profile are rendered. PageError if a run is missing.
    """
    workspace = Workspace(profile, root)
    pages = all_pages(workspace)
    if not all(is_current(workspace, page) for page in pages):
        execute_pages(workspace, pages, log=log)
        write_tables(workspace.store)
    shown = {name: best_store(workspace.store, name).profile for name in RESULTS}
    for other in set(shown.values()) - {profile}:  # of which the book shows some pages, and the store may lack others
        theirs = Workspace(other, root)
        execute_pages(theirs, [page for page in result_pages(theirs) if shown[page.notebook] == other], log=log)


def best_store(store: Store, page: str) -> Store:
    """Return the store that the book's page about all runs is made from: the best profile with the runs for it.

    The smoke test and real data show their own.
    """
    return best_with(store, *NEEDED[page])


def _contents(root: Path, profiles: Iterable[str], own: bool) -> str:
    """Return ``book/_toc.yml`` with the pages of larger profiles and of the reader's own run."""
    folder = fragments.LARGER_PAGES
    below = {
        "book/larger": [{"file": f"{folder}/{n}", "sections": [{"glob": f"{folder}/{n}/**"}]} for n in profiles],
        "book/results": [{"glob": f"book/_executed/{OWN}/*"}] if own else [],
    }
    text = (root / "book" / "_toc.yml").read_text(encoding="utf-8")
    if not any(below.values()):
        return text
    toc = yaml.safe_load(text)
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
        theme |= dict.fromkeys(("use_repository_button", "use_issues_button"), True)
        theme |= dict.fromkeys(("use_edit_page_button", "use_source_button"), True)
        theme["launch_buttons"] = {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}
        if "//github.com/" in theme["repository_url"]:
            theme["launch_buttons"]["colab_url"] = "https://colab.research.google.com"
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _require(store: Store) -> None:
    expected = [store.notebooks / f"{name}.ipynb" for name in PAGES]
    expected += [store.tables / f"{name}.md" for name in fragments.TABLES]
    missing = [path for path in expected if not path.exists()]
    if missing:
        names = ", ".join(path.relative_to(store.root).as_posix() for path in missing[:4])
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise BookError(
            f"{store.root} lacks {names}{more}, which the book shows. Run `make study PROFILE={store.profile}` first."
        )


def _stage_notebook(source: Path, target: Path, banner: str, title: str = "{}") -> None:
    try:
        notebook = json.loads(source.read_text(encoding="utf-8"))
        staged = staged_notebook(notebook, banner, title)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BookError(f"{source} is no whole notebook ({error!r}). Delete it and run `make study` again.") from error
    except ValueError as error:
        raise BookError(f"{source}: {error}. Fix the cause, delete the file and run `make study` again.") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(staged, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _link_from_the_top(path: Path) -> None:
    """Make the links of a page that was moved one folder down those of a page in ``book/_executed``."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(
                r"\]\((?![/#]|\w+:)([^)\s]+)\)",
                lambda match: f"]({posixpath.normpath(posixpath.join('/book/_executed', match[1]))})",
                _text(cell),
            )
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def staged_notebook(notebook: dict, banner: str, title: str = "{}") -> dict:
    """Return the notebook as a page, with the banner under ``title``, in which {} stands for its own title.

    The default parameters go when papermill has injected others, which stay behind a fold.
    """
    cells = [dict(cell, metadata=dict(cell["metadata"])) for cell in notebook["cells"]]
    if not cells or cells[0]["cell_type"] != "markdown" or not _text(cells[0]).startswith("# "):
        raise ValueError("its first cell must be Markdown that begins with the page's title, `# ...`")
    failed = [n for n, cell in enumerate(cells) for out in cell.get("outputs", []) if out["output_type"] == "error"]
    if failed:
        raise ValueError(f"cell {failed[0]} ended with an error, which must not become a page")
    idle = [
        n for n, cell in enumerate(cells)
        if cell["cell_type"] == "code" and _text(cell).strip() and cell["execution_count"] is None
    ]  # fmt: skip
    if idle:
        raise ValueError(f"cell {idle[0]} was never executed")
    injected = any("injected-parameters" in _tags(cell) for cell in cells)
    for cell in cells:
        if "injected-parameters" in _tags(cell):
            _tag(cell, "hide-input")
        elif "parameters" in _tags(cell):
            _tag(cell, "remove-cell" if injected else "hide-input")
        if cell["cell_type"] == "code":
            cell["source"] = _text(cell).removeprefix(NBVAL_MARK)
            cell["outputs"] = _as_on_a_terminal(cell["outputs"])
    heading, _, rest = _text(cells[0]).partition("\n")
    heading = title.format(heading.removeprefix("# "))
    cells[0]["source"] = f"# {heading}\n\n{banner}\n\n{rest.strip()}\n"
    return dict(notebook, cells=cells)


def _as_on_a_terminal(outputs: list[dict]) -> list[dict]:
    """Return outputs with streams joined and each line as its last carriage return left it, as on a terminal."""
    joined: list[dict] = []
    for output in outputs:
        if output["output_type"] != "stream":
            joined.append(output)
        elif joined and joined[-1].get("name") == output["name"]:
            joined[-1]["text"] += _text(output, "text")
        else:
            joined.append(dict(output, text=_text(output, "text")))
    for output in joined:
        if output["output_type"] == "stream":
            lines = (line.rstrip("\r").split("\r")[-1] for line in output["text"].split("\n"))
            output["text"] = "\n".join(lines)
    return joined


def _text(cell: dict, key: str = "source") -> str:
    return cell[key] if isinstance(cell[key], str) else "".join(cell[key])


def _tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def _tag(cell: dict, tag: str) -> None:
    cell["metadata"]["tags"] = sorted({*_tags(cell), tag})


def build(profile: str, root: Path | str, html: Path | str | None = None) -> Path:
    """Execute what is out of date, stage and build the book of ``profile``; return its index.html.

    The pages land in ``book/_build/html``, or in ``html``. BookError if something is missing or a page has a warning;
    the pages of the last good build are then left as they were.
    """
    if find_spec("jupyter_book") is None:
        raise BookError("jupyter-book is not installed: run `make install`, or `pip install -r requirements.txt`")
    execute(profile, Path(root).resolve())
    return render_html(profile, root, html)


def render_html(profile: str, root: Path | str, html: Path | str | None = None) -> Path:
    """Stage and build the book from pages that are executed already; see ``build``. Warnings are errors."""
    root = Path(root).resolve()
    stage(profile, root)
    target = Path(html).resolve() if html else root / "book" / "_build" / "html"
    with atomic_folder(target) as folder:
        output = folder / "out"
        done = subprocess.run(_command(root, output), cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise BookError(f"the book of profile {profile} has not been built:\n{_complaints(done)}")
        for item in (output / "_build" / "html").iterdir():
            item.rename(folder / item.name)
        shutil.rmtree(output)
        name_for_screen_readers(folder)
    return target / "index.html"


def _command(root: Path, output: Path) -> list[str]:
    """Return the jupyter-book command, which puts the pages into ``<output>/_build/html``."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]  # it has no __main__
    folders = [str(root), "--path-output", str(output)]
    contents = root / "book" / "_executed" / "_toc.yml"
    files = ["--config", str(contents.with_name("_config.yml")), "--toc", str(contents)]
    strict = ["--warningiserror", "--nitpick", "--keep-going", "--quiet"]
    return [*jupyter_book, "build", *folders, *files, *strict]


def _complaints(done: subprocess.CompletedProcess) -> str:
    """Return Sphinx's warnings and errors, or the end of its output."""
    lines = (done.stdout + done.stderr).splitlines()
    marked = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return "\n".join(marked or lines[-20:])
