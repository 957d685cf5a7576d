"""An executed notebook as a page of the book: its banner, folded parameters, and the sources of figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

from msff.report.book import BookError
from msff.report.display import SOURCE_MIME, described
from msff.report.formatting import contained
from msff.study.execution import CHECKED

EXECUTED = "/book/_executed"
"""Where pages are staged, as links see it."""
RunLinks = Mapping[str, Mapping[str, str]]
"""Profile -> run id -> link to the run's generated page."""


def stage_notebook(source: Path, folder: Path, name: str, banner: str, runs: RunLinks, title: str = "{}") -> None:
    """Write the executed notebook ``source`` as the page ``name`` of the staged ``folder``, and its tables as CSV.

    In ``title``, {} stands for the notebook's own title. BookError if it is damaged or has not been executed whole.
    """
    try:
        notebook = nbformat.read(source, as_version=4)
        page_of(notebook, banner, title)
        notebook.cells = [part for cell in notebook.cells for part in _with_sources(cell, folder, runs)]
    except (NotJSONError, AttributeError, KeyError) as error:
        raise BookError(f"{source} is no whole notebook ({error!r}). Delete it and run `make study` again.") from error
    except ValueError as error:
        raise BookError(f"{source}: {error}. Fix the cause, delete the file and run `make study` again.") from error
    target = folder / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def page_of(notebook: NotebookNode, banner: str, title: str = "{}") -> None:
    """Make a notebook a page in place, with the banner under ``title``.

    The default parameters go when papermill has injected others, which stay behind a fold.
    """
    cells = notebook.cells
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        raise ValueError("its first cell must be Markdown that begins with the page's title, `# ...`")
    code = {n: cell for n, cell in enumerate(cells) if cell.cell_type == "code"}
    injected = any("injected-parameters" in cell.metadata.get("tags", ()) for cell in code.values())
    for n, cell in code.items():
        if any(output.output_type == "error" for output in cell.outputs):
            raise ValueError(f"cell {n} ended with an error, which must not become a page")
        if cell.source.strip() and cell.execution_count is None:
            raise ValueError(f"cell {n} was never executed")
        cell.source = cell.source.removeprefix(f"{CHECKED}\n")  # for nbval, not for the reader
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags and injected:
            cell.metadata.tags = [*tags, "remove-cell"]
        elif {"parameters", "injected-parameters"} & set(tags):
            cell.metadata.tags = [*tags, "hide-input"]
    notebook.cells = _folded_together(cells)
    heading, _, rest = cells[0].source.removeprefix("# ").partition("\n")
    cells[0].source = f"# {title.format(heading)}\n\n{banner}\n\n{rest.strip()}\n"


def _folded_together(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return the cells with folded ones that show nothing joined to the next folded cell that does.

    Text may stand between them, but no open code.
    """
    joined, waiting = [], []
    for cell in cells:
        tags = set(cell.metadata.get("tags", ())) if cell.cell_type == "code" else set()
        if cell.cell_type == "markdown" or "remove-cell" in tags:
            joined.append(cell)
            continue
        if "hide-input" not in tags:
            joined, waiting = [*joined, *waiting, cell], []
            continue
        if waiting:
            cell.source = f"{waiting.pop().source}\n\n\n{cell.source}"
        if not cell.outputs or "remove-output" in tags:
            waiting.append(cell)
        else:
            joined.append(cell)
    return [*joined, *waiting]


def _with_sources(cell: NotebookNode, folder: Path, runs: RunLinks) -> list[NotebookNode]:
    """Return the cell, and the source lines among its outputs as cells after it."""
    if cell.cell_type != "code":
        return [cell]
    lines = []
    for output in [output for output in cell.outputs if SOURCE_MIME in output.get("data", {})]:
        cell.outputs.remove(output)
        content, link = output.data[SOURCE_MIME], ""
        if content["csv"]:
            link = f"csv/{content['profile']}/{content['name']}.csv"
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).write_text(content["csv"], encoding="utf-8")
            link = f"{EXECUTED}/{link}"
        text = source_markdown(content, link, runs.get(content["profile"], {}))
        lines.append(nbformat.v4.new_markdown_cell(text, id=f"{cell.id}-source{len(lines)}"))
    return [cell, *lines]


def source_markdown(content: dict, csv: str, pages: Mapping[str, str]) -> str:
    """Return the source line in MyST: the runs in words, the CSV link, and folded the runs with hash and commit.

    ``content`` is that of `Source`, ``csv`` the link to the numbers or "", ``pages`` maps a run id to its page's link.
    """
    parts = [f"**Source:** {described(content['profile'], content['runs'])}", f"made by `{content['drawn_by']}`"]
    parts += [f"{{download}}`{content['name']}.csv <{csv}>`"] if csv else []
    line = " · ".join(parts)
    if content["runs"]:
        table = ["| run | configuration | commit |", "|---|---|---|"]
        for run in content["runs"]:
            named = f"[{run['id']}]({pages[run['id']]})" if run["id"] in pages else f"`{run['id']}`"
            table.append(f"| {named} | `{run['config_hash']}` | `{run['commit'][:7]}` |")
        line += "\n\n:::{dropdown} Runs and configuration hashes\n" + "\n".join(table) + "\n:::"
    return contained(line, "msff-source") + "\n"
