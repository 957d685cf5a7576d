"""The mutation check: its faults fit today's source, its table is today's, and it reports what it should."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import mutants
import pandas as pd
import pytest
from mutants import MutantError, check, check_baseline, first_failure, main, read_mutants

ROOT = Path(__file__).parents[1]
FAULTS = read_mutants(ROOT / "tests" / "mutants.toml")

FILES = {
    "msff/__init__.py": "",
    "msff/sums.py": "def add(a, b):\n    return a + b\n\n\ndef half(a):\n    return a / 2\n",
    "tests/test_sums.py": """
        from msff.sums import add, half

        def test_adding():
            assert add(1, 2) == 3

        def test_halving():
            assert half(0) == 0
    """,
    "tests/mutants.toml": """
        [Sums.minus]
        fault = "a difference"
        file = "sums.py"
        old = "a + b"
        new = "a - b"
        tests = ["test_sums.py"]

        [Sums.third]
        fault = "a third"
        file = "sums.py"
        old = "a / 2"
        new = "a / 3"
        tests = ["test_sums.py"]
    """,
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def test_every_fault_fits_todays_source_and_names_tests_that_exist():
    assert len({m.name for m in FAULTS}) == len(FAULTS) >= 60
    for mutant in FAULTS:
        assert mutant.mutated(ROOT) != (ROOT / "msff" / mutant.file).read_text(), mutant.name
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert name == "" or f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{mutant.name}: {test}"
        assert mutant.page is None or (ROOT / "notebooks" / f"{mutant.page}.ipynb").exists(), mutant.name


def test_the_table_in_the_book_is_of_todays_faults_and_names_what_caught_each():
    table = pd.read_csv(ROOT / "results" / "mutants" / "mutants.csv")
    expected = [(m.part, m.fault, m.file) for m in FAULTS]
    assert list(table[["part", "fault", "file"]].itertuples(index=False, name=None)) == expected, "run `make mutants`"
    for mutant, caught in zip(FAULTS, table["caught by"], strict=True):
        found = caught.split("; ")
        sources = "".join((ROOT / "tests" / test.partition("::")[0]).read_text() for test in mutant.tests)
        assert re.search(rf"def {found[0]}\(", sources), f"{mutant.name}: {found[0]} is not in its test files"
        assert len(found) == len(mutant.checks) and "survived" not in found


def test_a_text_that_is_not_there_exactly_once_is_refused_by_name(project):
    minus = read_mutants(project / "tests" / "mutants.toml")[0]
    for old, count in (("a * b", 0), ("return a", 2)):
        with pytest.raises(MutantError, match=rf"minus: expected '{re.escape(old)}' once .* found it {count} times"):
            replace(minus, old=old).mutated(project)
    with pytest.raises(MutantError, match="minus: msff/sums.py with the fault is no Python"):
        replace(minus, new="a -").mutated(project)


@pytest.mark.slow
def test_a_fault_is_caught_by_name_and_a_survivor_fails_the_check(project, capsys):
    assert main(["--jobs", "1"], project) == 1
    printed = capsys.readouterr().out
    assert "minus: test_adding\n" in printed and "third survives tests/test_sums.py" in printed
    assert "return a + b" in (project / "msff" / "sums.py").read_text()  # the project itself is unchanged
    assert not (project / "results").exists()  # no table with a survivor
    test = project / "tests" / "test_sums.py"
    test.write_text(test.read_text().replace("half(0) == 0", "half(2) == 1"))
    assert main(["--only", "third", "--jobs", "1"], project) == 0 and not (project / "results").exists()
    assert main(["--jobs", "2"], project) == 0
    table = (project / "results" / "mutants" / "mutants.csv").read_text()
    assert table == (
        "part,fault,file,caught by\nSums,a difference,sums.py,test_adding\nSums,a third,sums.py,test_halving\n"
    )


@pytest.mark.slow
def test_tests_that_fail_anyway_or_do_not_run_catch_nothing(project, monkeypatch):
    faults = read_mutants(project / "tests" / "mutants.toml")
    test = project / "tests" / "test_sums.py"
    test.write_text(test.read_text().replace("== 3", "== 4"))
    with pytest.raises(MutantError, match="test_adding fails without any fault"):
        check_baseline(project, faults)
    with pytest.raises(MutantError, match="minus: pytest tests/test_products.py did not run"):
        check(project, replace(faults[0], tests=("test_products.py",)))
    test.write_text("import time\n\ndef test_late():\n    time.sleep(60)\n")
    monkeypatch.setattr(mutants, "PATIENCE_S", 1)
    with pytest.raises(MutantError, match="without a fault: .* did not run"):
        first_failure(project, ["tests/test_sums.py"])
