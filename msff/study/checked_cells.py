"""The checked outputs of ``notebooks/``: how a deliberate change of them is taken over from the executed pages.

The mark on a cell's first line is all that ties the notebooks to a tool that compares outputs; here nbval.
"""

from __future__ import annotations

import json
from difflib import unified_diff
from pathlib import Path

from msff.files import atomic_file
from msff.study.execution import PageError
from msff.study.pages import all_pages
from msff.study.workspace import Workspace

CHECKED = "# NBVAL_CHECK_OUTPUT"
"""First line of a cell whose output is compared."""


def refresh(workspace: Workspace) -> list[str]:
    """Copy the outputs of checked cells from the executed pages into ``notebooks/`` and describe those that changed.

    A description is a diff that names notebook and cell. 07-train takes the execution whose parameters are its own
    defaults. PageError if a page has not been executed.
    """
    moved = []
    for source in sorted((workspace.root / "notebooks").glob("*.ipynb")):
        notebook = json.loads(source.read_text())
        executed = json.loads(_execution(workspace, source.stem, notebook).read_text())
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
            partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return list(filter(None, moved))


def _text(outputs: list[dict]) -> str:
    """Return what a cell printed or displayed as plain text; other kinds of output by their name."""
    shown = (o.get("text", o.get("data", {}).get("text/plain", f"[{o['output_type']}]")) for o in outputs)
    return "".join("".join(text) for text in shown)


def _execution(workspace: Workspace, stem: str, notebook: dict) -> Path:
    defaults = next("".join(c["source"]) for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ()))
    for page in all_pages(workspace):
        values = [f'"{value}"' for value in page.parameters.values()]
        if page.notebook == stem and all(value in defaults for value in values) and page.path(workspace).exists():
            return page.path(workspace)
    raise PageError(f"{stem} has not been executed: finish `make study PROFILE={workspace.profile.name}` first")
