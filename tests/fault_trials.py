"""What `tests/faults.py` does to a project with a tiny study, and how each fault ends."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from make_official import write_rhd
from two_processes import torchrun

TESTS = Path(__file__).parent
ROOT = TESTS.parent
KILLS, SEED = int(os.environ.get("KILLS", "20")), 0  # KILLS=8 make faults: fewer, where time is short
LIMIT_S = 900
NETWORK_OFF = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
PRIVATE = ("sh", "-c", 'umask 077; exec "$@"', "sh")
MAKE_MSFF = """#!/bin/sh
case "$2" in run) stage=runs;; book) stage=page;; *) exit 0;; esac
exec {python} {child} {root} $stage
"""


class Skip(Exception):
    """A fault that this machine cannot have, with the reason."""


@dataclass
class Outcome:
    """How the call with the fault ended, and how the same command without it."""

    exit: str = "0"
    message: str = ""  # last line of the output of a call that failed
    lost: str = "nothing"
    again: str = ""  # exit code of the same command afterwards, empty if the first call succeeded
    equal: str | None = None  # where the trial itself compares, else the results of the project are compared


class Project:
    """A tiny study in ``root``, made by `start`."""

    def __init__(self, root: Path):
        root.mkdir(parents=True)
        self.root = root
        self._output = root.with_name(f"{root.name}.txt")

    def start(self, *stages: str, prefix: tuple[str, ...] = (), **variables: str | None) -> subprocess.Popen:
        """Start a process that makes the stages; a variable that is None is removed from its environment."""
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"} | variables
        environment = {key: str(value) for key, value in environment.items() if value is not None}
        with self._output.open("a") as output:
            return subprocess.Popen(
                [*prefix, sys.executable, TESTS / "fault_child.py", self.root, *stages], env=environment,
                stdout=output, stderr=output, start_new_session=True, cwd=self.root,
            )  # fmt: skip

    def run(self, *stages: str, **options) -> tuple[str, str]:
        """Make the stages and return the exit code and, of a failure, the message."""
        code = self.start(*stages, **options).wait(LIMIT_S)
        return str(code), self.message() if code else ""

    def message(self) -> str:
        """Return what the CLI printed last, without the path of the project."""
        lines = [line.strip() for line in self._output.read_text().splitlines() if line.strip()]
        last = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].startswith("msff: ")), len(lines) - 1)
        return " ".join(lines[last:])[:400].replace(f"{self.root}/", "").replace(str(self.root), "the project")

    def stored(self) -> dict[str, bytes]:
        """Return the record of every stored run by its path."""
        found = (self.root / "results").rglob("run.json")
        return {p.parent.relative_to(self.root).as_posix(): p.read_bytes() for p in found if ".partial" not in str(p)}

    def begun(self) -> set[str]:
        """Return the path of every run whose training began."""
        checkpoints = self.root / "data" / "checkpoints"
        logs = (path.relative_to(checkpoints / "smoke").with_suffix("") for path in checkpoints.rglob("seed*.log"))
        return {f"results/smoke/runs/{log.as_posix()}" for log in logs}

    def results(self) -> dict[str, np.ndarray]:
        """Return the arrays of every stored prediction, the outputs of the page and the pages of the book."""
        found = {}
        for path in sorted((self.root / "results").rglob("predictions.npz")):
            with np.load(path) as arrays:
                found |= {f"{path.relative_to(self.root).as_posix()}:{key}": arrays[key] for key in arrays.files}
        page = self.root / "results" / "smoke" / "notebooks" / "shown.ipynb"
        if page.exists():
            found["page"] = np.array([str(cell["outputs"]) for cell in json.loads(page.read_text())["cells"]])
        html = self.root / "book" / "_build" / "html"
        return found | {f"book:{p.relative_to(html)}": np.array(p.read_text()) for p in html.rglob("*.html")}


Trial = Callable[[Project, tuple[str, ...]], Outcome]


def given(prefix: tuple[str, ...] = (), files: Mapping[str, str] | None = None, **variables: str | None) -> Trial:
    """One call in another environment, in which ``{root}`` is the project's folder, with these files beside."""

    def trial(project: Project, stages: tuple[str, ...]) -> Outcome:
        if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode:
            raise Skip(f"`{prefix[0]}` is not allowed here")
        for name, text in (files or {}).items():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            (project.root / name).write_text(text)
        here = {key: value.format(root=project.root) if value else value for key, value in variables.items()}
        return Outcome(*project.run(*stages, prefix=prefix, **here))

    return trial


def two_at_once(project: Project, stages: tuple[str, ...]) -> Outcome:
    both = [project.start(*stages), project.start(*stages)]
    codes = {process.wait(LIMIT_S) for process in both}
    return Outcome(" and ".join(map(str, codes)), project.message() if codes != {0} else "")


def interrupted(where: str, files: str, before: tuple[str, ...] = ()) -> Trial:
    """Ctrl-C as soon as the stages have begun to write such files below the folder ``where``."""

    def trial(project: Project, stages: tuple[str, ...]) -> Outcome:
        if before:
            project.run(*before)
        process = project.start(*stages)
        while process.poll() is None and not any((project.root / where).rglob(files)):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        code, message = process.wait(LIMIT_S), project.message()
        underway = len(project.begun() - project.stored().keys())
        lost = f"{underway} run under way, from its last epoch on" if underway else "what was being written"
        return Outcome(str(code), message, lost, project.run(*stages)[0])

    return trial


def killed(project: Project, stages: tuple[str, ...]) -> Outcome:
    """kill -9 of all processes at seeded moments; a study that ends before its moment makes room for another one."""
    chance, studies, losses = random.Random(SEED), [project], []
    timed = Project(project.root.with_name("timed"))
    seconds = -time.monotonic()
    timed.run(*stages)
    seconds += time.monotonic()
    while len(losses) < KILLS:
        study, before = studies[-1], studies[-1].stored()
        process = study.start(*stages)
        try:
            process.wait(chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            after = study.stored()
            gone = [run for run, record in before.items() if after.get(run) != record]
            losses.append(len(gone) + len(study.begun() - after.keys()))
        else:
            studies.append(Project(project.root.with_name(f"study{len(studies)}")))
    codes = {study.run(*stages)[0] for study in studies}
    differ = any(not _same(study.results(), timed.results()) for study in studies)
    lost = (
        f"{sum(map(bool, losses))} of {KILLS} kills hit a training, at most {max(losses)} each: from its last epoch on"
    )
    return Outcome("-9", "", lost, " and ".join(sorted(codes)), "no" if differ else None)


def full_disk(where: str, before: tuple[str, ...] = (), room: int = 0) -> Trial:
    """A file system of its own at ``where`` with ``room`` kB free, then the same command with enough."""

    def trial(project: Project, stages: tuple[str, ...]) -> Outcome:
        if before:
            project.run(*before)
        with _mounted(project.root / where, "-t", "tmpfs", "-o", "size=400m", "tmpfs") as folder:
            used = shutil.disk_usage(folder).used // 1024
            _mount("-o", f"remount,size={used + room + 4}k", folder)
            code, message = project.run(*stages)
            stored = project.stored()
            _mount("-o", "remount,size=400m", folder)
            again, _ = project.run(*stages)
            gone = [run for run, record in stored.items() if project.stored().get(run) != record]
        return Outcome(code, message, f"{len(gone)} stored runs" if gone else "what was being written", again)

    return trial


def read_only(where: str, **variables: str | None) -> Trial:
    """The folder ``where`` as on a read-only file system, then the same command as usual if it failed."""

    def trial(project: Project, stages: tuple[str, ...]) -> Outcome:
        with _mounted(project.root / where, "--bind", project.root / where) as folder:
            _mount("-o", "remount,bind,ro", folder)
            outcome = given(**variables)(project, stages)
        outcome.again = "" if outcome.exit == "0" else project.run(*stages)[0]
        return outcome

    return trial


def _mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"this needs the right to mount ({done.stderr.strip()[:80]})")


@contextmanager
def _mounted(folder: Path, *options: str | Path) -> Iterator[Path]:
    """Mount a file system with what ``folder`` holds; afterwards the folder holds what was left there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as keep:
        shutil.copytree(folder, keep, dirs_exist_ok=True)
        _mount(*options, folder)
        try:
            shutil.copytree(keep, folder, dirs_exist_ok=True)
            yield folder
            shutil.copytree(folder, Path(keep) / "left")
        finally:
            subprocess.run(["umount", folder], check=True)
        shutil.copytree(Path(keep) / "left", folder, dirs_exist_ok=True)


def with_many_jobs(project: Project, stages: tuple[str, ...]) -> Outcome:
    """The Makefile's own `make -j8 reproduce`, whose commands make the stages."""
    tools = project.root / ".venv" / "bin"
    tools.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", project.root)
    for name in ("requirements.txt", "pyproject.toml", ".venv/.installed"):
        (project.root / name).touch()
    (tools / "msff").write_text(
        MAKE_MSFF.format(python=sys.executable, child=TESTS / "fault_child.py", root=project.root)
    )
    (tools / "msff").chmod(0o755)
    done = subprocess.run(
        ["make", "-j8", "reproduce", "PROFILE=smoke"], cwd=project.root, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return Outcome(str(done.returncode), done.stderr[-200:] if done.returncode else "")


def killed_worker(project: Project, stages: tuple[str, ...]) -> Outcome:
    """kill -9 of one of torchrun's two processes in its second epoch; its weights with those of an undisturbed one."""
    write_rhd(project.root / "rhd", "training", count=10)
    codes = {case: torchrun(case, project.root).returncode for case in ("undisturbed", "killed9", "resumed9")}
    if codes["undisturbed"] or codes["resumed9"]:
        return Outcome(str(codes), equal="no")
    ends = [torch.load(project.root / f"{case}-0.pt")["weights"] for case in ("undisturbed", "resumed9")]
    equal = all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    message = "torchrun ends the other process, too" if codes["killed9"] else ""
    return Outcome(str(codes["killed9"]), message, "the epoch under way", str(codes["resumed9"]), in_words(equal))


def _same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key], equal_nan=found[key].dtype.kind == "f") for key in expected
    )


def in_words(equal: bool) -> str:
    return "yes, bit for bit" if equal else "no"


def compare(project: Project, undisturbed: Project) -> str:
    """Return whether the project holds what the undisturbed one does."""
    return in_words(_same(project.results(), undisturbed.results()))
