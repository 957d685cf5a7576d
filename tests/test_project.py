"""The project as a whole: imports point one way, the README tells the truth, nothing is left unfinished."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from msff.study.profiles import PROFILES

ROOT = Path(__file__).parents[1]


def test_imports_point_one_way():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_text_files_are_read_and_written_as_utf_8_in_every_locale():
    unsaid = []
    for path in (ROOT / "msff").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="Image" | "os" | "tarfile"))):
                    continue
                case ast.Call(func=ast.Attribute(attr="open" | "read_text" | "write_text") | ast.Name(id="open")):
                    binary = any(isinstance(a, ast.Constant) and a.value in ("rb", "wb") for a in node.args)
                    if not binary and "encoding" not in {keyword.arg for keyword in node.keywords}:
                        unsaid.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not unsaid


def test_make_alone_lists_every_public_target():
    result = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("help", "reproduce", "study", "book", "test", "nbval", "clean"):
        assert f"make {target} " in result.stdout


def test_the_readme_names_commands_profiles_and_targets_that_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    for line in re.findall(r"^make ([a-z ]+?)(?: PROFILE=\S+)?(?:\s+#.*)?$", readme, re.M):
        assert set(line.split()) <= targets, line
    assert {"reproduce", "test"} <= set(re.findall(r"^make (\w+)", readme, re.M))
    assert all(f"| `{name}` |" in readme for name in PROFILES)
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        assert path.startswith("results/") and (ROOT / path).is_file(), f"README shows {path}, which is not there"


def test_make_takes_one_step_after_the_other_and_the_book_beside_the_notebooks_alone(tmp_path):
    """With many jobs, too: the smoke study deletes images that the notebooks read."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("requirements.txt", "pyproject.toml", ".venv/.installed"):
        (tmp_path / name).touch()
    for name in ("python", "msff"):
        (tools / name).write_text('#!/bin/sh\necho "begin $*" >> log; sleep 0.1; echo "end $*" >> log\n')
        (tools / name).chmod(0o755)
    subprocess.run(["make", "-j8", "test"], cwd=tmp_path, check=True, capture_output=True)
    log = (tmp_path / "log").read_text().splitlines()
    begin, end = (
        [next(n for n, line in enumerate(log) if re.match(f"{edge}.* {step}", line))
         for step in ("tests$", "study run", "study book", "study check", "notebooks$")]
        for edge in ("begin", "end")
    )  # fmt: skip
    tests, run, book, check, notebooks = range(5)
    assert len(log) == 10 and end[tests] < begin[run] and end[run] < min(begin[book], begin[notebooks])
    assert end[book] < begin[check]
    (tools / "msff").write_text('#!/bin/sh\ntest "$2" != check\n')
    assert subprocess.run(["make", "test"], cwd=tmp_path, capture_output=True).returncode != 0


@pytest.mark.parametrize(("value", "forced"), [("1", True), ("yes", True), ("", False), ("0", False), ("no", False)])
def test_only_a_yes_retrains_every_run(value, forced):
    command = ["make", "--dry-run", "study", "PROFILE=cpu", f"FORCE={value}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ("msff study run --profile cpu --force" in shown) == forced


@pytest.mark.parametrize("name", ["README.md", "book/reexecute.md"])
def test_the_python_versions_of_stored_runs_are_called_tried(name):
    records = (json.loads(path.read_text()) for path in (ROOT / "results").glob("*/runs/**/run.json"))
    stored = {".".join(record["versions"]["python"].split(".")[:2]) for record in records}
    (tried,) = re.findall(r"Tried: (.*?)\. Untried: ", (ROOT / name).read_text())
    assert stored and stored <= set(re.findall(r"Python (3\.\d+)", tried))


def test_ci_runs_the_readmes_test_command():
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.M)


def test_requirements_are_exact_and_name_no_host():
    lines = [x for x in (ROOT / "requirements.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert lines and all(re.match(r"^[A-Za-z0-9._-]+(\[[^\]]+\])?==[^\s;]+( ; .+)?$", line) for line in lines)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_are_thin(path):
    """A parameters cell, one checked cell, outputs only where they are checked, and no code that belongs to msff.

    Pages that build a module may define functions where they write out an equation; those cells have "-eq" in their id.
    """
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
    checked = [c for c in cells if c.source.startswith("# NBVAL_CHECK_OUTPUT")]
    assert checked and all(c.outputs and c.execution_count for c in checked)
    assert not any(c.outputs for c in cells if c not in checked)
    for cell in cells:
        forbidden = "class" if re.fullmatch(r"0[2-6]-eq.*", cell.id) else "class|def"
        assert not re.search(rf"^\s*({forbidden}) ", cell.source, re.M)
        assert len(cell.source.splitlines()) <= 20
