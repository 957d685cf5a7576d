"""What a run records about its code: the project's own commit, or none, and hashes."""

import os
import subprocess
import sys

from tiny_study import ROOT

from msff.study import machine
from msff.study.machine import commit


def git(folder, *arguments):
    named = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_the_project_s_own(tmp_path, monkeypatch):
    outer, other = tmp_path / "outer", tmp_path / "other"
    for folder in (outer, other):
        (folder / "msff").mkdir(parents=True)
        (folder / "msff" / "a.py").write_text(folder.name)
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", "a")
    own = git(outer, "rev-parse", "--short=12", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook
    assert commit(outer) == own
    (tmp_path / "link").symlink_to(outer)
    assert commit(tmp_path / "link") == own
    (outer / "msff" / "a.py").write_text("changed")
    commit.cache_clear()
    assert commit(outer) == f"{own}+changes"


def test_a_project_unpacked_in_another_checkout_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of another project")
    (tmp_path / "project").mkdir()
    assert commit(tmp_path / "project") == "unknown"
    (tmp_path / "project" / "nested").mkdir()
    assert commit(tmp_path / "project" / "nested") == "unknown"


def test_a_path_with_umlauts_has_a_commit_where_the_locale_is_ascii(tmp_path):
    folder = tmp_path / "Ümläute"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    code = "from pathlib import Path; from msff.study.machine import commit; print(commit(Path.cwd()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | ascii_only, capture_output=True, text=True
    )
    assert done.stdout.strip() == git(folder, "rev-parse", "--short=12", "HEAD"), done.stderr


def test_docstrings_comments_and_layout_are_no_part_of_the_code():
    code = 'def f(a):\n    """Say."""\n    return a + 1\n'
    same = '"""Module."""\n\n\ndef f(a):  # a\n    "Another."\n    return (\n        a + 1\n    )\n'
    assert machine._code(code) == machine._code(same)
    assert machine._code(code) != machine._code(code.replace("+ 1", "+ 2"))
    assert machine._code("x = 'a'\n") != machine._code("x = 'b'\n")
