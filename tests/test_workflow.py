"""The workflow of GitHub Actions: valid by its schema, safe, and it runs the README's commands. Offline."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "book.yml"
SCHEMA = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
AUDIT = ("zizmor", "--offline", "--no-progress", "--config", str(ROOT / ".github" / "zizmor.yml"))


def lint(tool, *arguments):
    command = [str(Path(sys.executable).with_name(tool)), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("command", [SCHEMA, AUDIT], ids=lambda command: command[0])
def test_the_workflow_passes_its_linters(command):
    done = lint(*command, WORKFLOW)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "good", "bad"),
    [
        (SCHEMA, "runs-on: ubuntu-24.04", "run-on: ubuntu-24.04"),
        (AUDIT, "actions/setup-python@v5", "someone/setup-python@v5"),
    ],
)
def test_the_linters_find_a_planted_fault(command, good, bad, tmp_path):
    text = WORKFLOW.read_text(encoding="utf-8")
    broken = tmp_path / ".github" / "workflows" / "book.yml"
    broken.parent.mkdir(parents=True)
    broken.write_text(text.replace(good, bad), encoding="utf-8")
    assert good in text and lint(*command, broken).returncode != 0


def test_actions_are_pinned_by_major_version_or_hash():
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text(encoding="utf-8"))
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", action) for action in used)


def test_each_push_is_tested_and_only_a_tested_book_is_published():
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    jobs, events = workflow["jobs"], workflow[True]  # YAML 1.1 reads the key `on` as true
    assert "push" in events and "pull_request" in events
    commands = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert ".ci/run" in commands["test"] and "make study pdf PROFILE=cpu" in commands["book"]
    assert set(jobs["publish"]["needs"]) == {"test", "book"} and "default_branch" in jobs["publish"]["if"]
    assert [name for name, job in jobs.items() if "write" in str(job.get("permissions"))] == ["publish"]
