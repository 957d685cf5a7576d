"""Mutation check of the science: plants one fault at a time in a copy of the package and names the test that fails.

``python tests/mutants.py`` (``make mutants``) reads the faults from ``mutants.toml``, exact replacements in the source.
Each is planted in a temporary copy; the checkout is never changed. The tests that the fault names, and the checked
outputs of its page if it names one, must each fail. They must pass without any fault, so that a failure is evidence.

Exit status 1 if a fault survives, if its text is not in the source exactly once, or if its tests do not run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("msff", "tests", "notebooks", "pyproject.toml", "_config.yml")
FOR_PAGES = ("results/smoke", "data/smoke")  # what an executed page reads
PATIENCE_S = 600
SURVIVED = "survived"
COLUMNS = ("part", "fault", "file", "caught by")

# Each check is forked from one process with the slow imports done; it has nothing of msff.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["torch", "timm", "torchvision", "pandas", "statsmodels.api", "matplotlib.pyplot", "hypothesis", "pytest"]
)


class MutantError(Exception):
    """A fault that cannot be planted, or tests that do not run."""


@dataclass(frozen=True)
class Mutant:
    """One fault and the checks that must find it."""

    name: str
    part: str  # of the study
    fault: str  # in words
    file: str  # under msff/
    old: str  # exactly once in the file
    new: str
    tests: tuple[str, ...]  # under tests/, as pytest takes them
    page: str | None = None  # stem under notebooks/ whose checked outputs must differ

    @property
    def checks(self) -> list[tuple[str, ...]]:
        """The arguments of pytest for each check that must fail."""
        return [tuple(f"tests/{t}" for t in self.tests), *([_page(self.page)] if self.page else [])]

    def mutated(self, root: Path) -> str:
        """Return the source of the file with the fault; MutantError unless the replaced text is there exactly once."""
        source = (root / "msff" / self.file).read_text(encoding="utf-8")
        if (count := source.count(self.old)) != 1 or self.new == self.old:
            raise MutantError(
                f"{self.name}: expected {self.old!r} once in msff/{self.file}, found it {count} times: "
                "the code has changed, so rewrite the fault in tests/mutants.toml"
            )
        changed = source.replace(self.old, self.new)
        try:
            compile(changed, self.file, "exec")
        except SyntaxError as error:
            raise MutantError(f"{self.name}: msff/{self.file} with the fault is no Python: {error}") from error
        return changed


def _page(stem: str) -> tuple[str, ...]:
    return "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", f"notebooks/{stem}.ipynb"


def read_mutants(path: Path) -> list[Mutant]:
    """Return the faults of a table [part.name] of ``mutants.toml``, in its order."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Mutant(name, part, **{**fields, "tests": tuple(fields["tests"])})
        for part, faults in table.items() for name, fields in faults.items()
    ]  # fmt: skip


def first_failure(root: Path, arguments: Sequence[str], mutant: Mutant | None = None) -> str | None:
    """Run pytest in a copy of the project, with the fault if there is one, and return the first test that fails.

    None if all pass; MutantError if they do not run, or not with the copy.
    """
    named = mutant.name if mutant else "without a fault"
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder).resolve() / root.name
        _copy_project(root, copy, with_results="--nbval-lax" in arguments)
        if mutant:
            _plant(mutant, copy)
        ours, theirs = _FORKS.Pipe(duplex=False)
        process = _FORKS.Process(target=_pytest, args=(str(copy), arguments, theirs), daemon=False)
        process.start()
        theirs.close()
        try:
            code, failed, foreign = ours.recv() if ours.poll(PATIENCE_S) else (None, "", "")
            process.join(10 if code is not None else 0)
        except EOFError:
            code, failed, foreign = None, "", ""
        finally:
            process.kill()
            process.join()
        log = (copy / "pytest.log").read_text(errors="replace") if (copy / "pytest.log").exists() else ""
    if foreign:
        raise MutantError(f"{named}: the tests imported {foreign}, not the copy")
    if code not in (0, 1) or (code == 1) != bool(failed):  # 1: tests failed; others: they did not run
        raise MutantError(f"{named}: pytest {' '.join(arguments)} did not run (status {code}):\n{log[-2000:]}")
    return failed or None


def _copy_project(root: Path, copy: Path, with_results: bool) -> None:
    """Copy what tests read; files keep their times, so that compiled ones stay valid."""
    for name in COPIED + (FOR_PAGES if with_results else ()):
        source, target = root / name, copy / name
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
        elif name in FOR_PAGES:
            raise MutantError(f"{name} is missing, which the faults of pages need: `make smoke` makes it")


def _plant(mutant: Mutant, copy: Path) -> None:
    path = copy / "msff" / mutant.file
    path.write_text(mutant.mutated(copy), encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def _pytest(copy: str, arguments: Sequence[str], reply: Connection) -> None:
    """Run pytest until the first failure, in a process of its own; send its status, that test and a wrong package."""
    import pytest

    os.chdir(copy)
    sys.path.insert(0, copy)
    os.environ |= {"PYTHONPATH": copy, "JUPYTER_PREFER_ENV_PATH": "1"}  # kernels and processes that tests start
    log = os.open("pytest.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    failures = _FirstFailure()
    options = ("-x", "-p", "no:cacheprovider", "--tb=short", "--hypothesis-seed=0", "--rootdir", copy)
    code = pytest.main([*options, *arguments], plugins=[failures])
    package = getattr(sys.modules.get("msff"), "__file__", None)
    foreign = "" if package is None or Path(package).is_relative_to(copy) else package
    reply.send((int(code), failures.test, foreign))


class _FirstFailure:
    """A plugin of pytest that remembers the first test that fails."""

    test = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid


def check_baseline(root: Path, mutants: Iterable[Mutant]) -> None:
    """MutantError if a check fails without any fault, as then its failure would mean nothing."""
    mutants = list(mutants)
    tests = dict.fromkeys(f"tests/{t}" for m in mutants for t in m.tests)
    pages = dict.fromkeys(m.page for m in mutants if m.page)
    for arguments in (tuple(tests), *map(_page, pages)):
        if failed := first_failure(root, arguments):
            raise MutantError(f"{failed} fails without any fault")


def check(root: Path, mutant: Mutant) -> list[str]:
    """Return the test, and the page, that found the fault; "survived" in place of one that did not."""
    found = [first_failure(root, arguments, mutant) for arguments in mutant.checks]
    return [_short(f) if f else SURVIVED for f in found]


def _short(test: str) -> str:
    """tests/a/test_b.py::test_c[d] -> test_c; notebooks/03-x.ipynb::Cell 4 -> page 03-x"""
    path, _, name = test.partition("::")
    return f"page {Path(path).stem}" if path.endswith(".ipynb") else name.partition("[")[0]


def write_table(rows: Sequence[Sequence[str]], folder: Path) -> None:
    """Write rows of ``COLUMNS`` as CSV."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "mutants.csv", index=False)


def check_all(root: Path, mutants: Sequence[Mutant], jobs: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """Check the faults, ``jobs`` at a time; return the rows of the table and what went wrong."""
    rows, wrong = [], []
    with ThreadPoolExecutor(jobs) as pool:
        baseline = pool.submit(check_baseline, root, mutants)
        checks = [pool.submit(check, root, mutant) for mutant in mutants]
        for mutant, pending in zip(mutants, checks, strict=True):
            try:
                caught = pending.result()
            except MutantError as error:
                wrong.append(str(error))
                continue
            rows.append((mutant.part, mutant.fault, mutant.file, "; ".join(caught)))
            pairs = zip(mutant.checks, caught, strict=True)
            wrong += [f"{mutant.name} survives {' '.join(tests)}" for tests, found in pairs if found == SURVIVED]
            print(f"{mutant.name}: {'; '.join(caught)}", flush=True)
        try:
            baseline.result()
        except MutantError as error:
            wrong.append(str(error))
    return rows, wrong


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Plant one fault at a time in a copy of msff and see which test fails")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these faults alone; the table is not written")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults at a time (default: cores)")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["MSFF_THREADS"] = "1"
    mutants = read_mutants(root / "tests" / "mutants.toml")
    if unknown := set(options.only or ()) - {m.name for m in mutants}:
        parser.error(f"no fault is named {', '.join(sorted(unknown))}")
    chosen = [m for m in mutants if not options.only or m.name in options.only]
    rows, wrong = check_all(root, chosen, options.jobs)
    print(f"{len(rows)} of {len(chosen)} faults were checked", *wrong, sep="\n")
    if not wrong and not options.only:
        write_table(rows, root / "results" / "mutants")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
