"""The notebooks' checked outputs, for nbval: taken from an executed smoke study, everything else stays empty."""

from __future__ import annotations

import json
from pathlib import Path

from msff.files import atomic_file
from msff.study.execute import StudyError, output_path, steps
from msff.study.experiment import Study

CHECKED = "# NBVAL_CHECK_OUTPUT"


def refresh(study: Study) -> list[Path]:
    """Put the outputs of the checked cells of ``results/<profile>/notebooks`` into ``notebooks/``; returns the files.

    07-train takes the execution whose parameters are its own defaults. StudyError if an execution is missing.
    """
    written = []
    for source in sorted((study.root / "notebooks").glob("*.ipynb")):
        notebook = json.loads(source.read_text())
        executed = json.loads(_execution(study, source.stem, notebook).read_text())
        outputs = {cell["id"]: cell["outputs"] for cell in executed["cells"] if cell["cell_type"] == "code"}
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                checked = "".join(cell["source"]).startswith(CHECKED)
                # nbval compares a cell only if it carries a count; a fixed one keeps the file stable.
                cell |= {"outputs": outputs[cell["id"]] if checked else [], "execution_count": 1 if checked else None}
        with atomic_file(source) as partial:
            partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        written.append(source)
    return written


def _execution(study: Study, stem: str, notebook: dict) -> Path:
    defaults = next("".join(c["source"]) for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ()))
    for step in steps(study):
        values = [f'"{value}"' for value in step.parameters.values()]
        if step.notebook == stem and all(value in defaults for value in values):
            path = output_path(study, step)
            if path.exists():
                return path
    raise StudyError(f"{stem} has not been executed: finish `make study PROFILE={study.profile.name}` first")
