"""Atomic writes and locks: whole or not at all, and free once the holder is gone."""

import errno
import os
import shutil
import subprocess
import sys
import time

import pytest

from msff.files import ABANDONED_S, atomic_file, atomic_folder, is_locked, locked, write_json


def test_a_folder_that_fails_vanishes_and_the_old_one_stays(tmp_path):
    target = tmp_path / "run"
    for content in ("old", "older"):
        with atomic_folder(target) as partial:
            (partial / content).touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as partial:
        (partial / "half").touch()
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert [p.name for p in target.iterdir()] == ["older"]  # replaced as a whole, not merged


def test_a_file_that_fails_vanishes_and_the_old_one_stays(tmp_path):
    target = tmp_path / "new" / "table.csv"
    with atomic_file(target) as partial:
        assert partial.suffix == ".csv"  # writers such as numpy and Pillow go by it
        partial.write_text("old")
    with pytest.raises(OSError), atomic_file(target) as partial:
        partial.write_text("new")
        raise OSError("no space")
    assert target.read_text() == "old"
    with pytest.raises(ValueError):  # NaN is not JSON
        write_json(target, {"error": float("nan")})
    assert target.read_text() == "old"
    assert [p.name for p in target.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("writer", [atomic_file, atomic_folder])
def test_an_error_on_a_full_disk_says_so_and_the_old_content_stays(tmp_path, monkeypatch, writer):
    """torch raises a RuntimeError where it cannot write, OpenCV nothing."""
    target = tmp_path / "net.pt"
    with writer(target) as partial:
        (partial / "a" if writer is atomic_folder else partial).write_text("old")
    kept = target.stat()

    def fail(error=None):
        with writer(target):
            raise error or RuntimeError("file write failed")

    with pytest.raises(RuntimeError):  # there is space
        fail()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5000))
    with pytest.raises(OSError) as caught:
        fail()
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(target)
    monkeypatch.undo()
    with pytest.raises(OSError) as caught:  # of write(), which knows no name
        fail(OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.filename == str(target)
    assert target.stat() == kept and [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_the_longest_name_can_be_written(tmp_path):
    target = tmp_path / ("ü" * 125 + ".json")  # 255 bytes
    write_json(target, {"a": 1})
    write_json(target, {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == [target.name] and '"a": 2' in target.read_text()


def test_what_killed_processes_left_is_removed_by_a_later_write(tmp_path):
    target = tmp_path / "net.pt"
    for name in (".net.pt.01.partial.pt", ".net.pt.02.partial.pt", ".other.pt.03.partial.pt"):
        (tmp_path / name).touch()
        if "02" not in name:
            os.utime(tmp_path / name, (time.time() - 2 * ABANDONED_S,) * 2)
    with atomic_file(target) as partial:
        partial.touch()
    assert {p.name for p in tmp_path.iterdir()} == {"net.pt", ".net.pt.02.partial.pt", ".other.pt.03.partial.pt"}


def test_a_lock_is_seen_by_others_and_goes_with_its_holder(tmp_path):
    path = tmp_path / "train.lock"
    assert not is_locked(path) and not path.exists()
    with locked(path):
        assert is_locked(path)
    assert not is_locked(path)
    code = f"from msff.files import locked; l = locked(__import__('pathlib').Path({str(path)!r})); l.acquire(); input()"
    with subprocess.Popen([sys.executable, "-c", f"{code}"], stdin=subprocess.PIPE) as holder:
        deadline = time.monotonic() + 60
        while not is_locked(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_locked(path)
        holder.kill()
        holder.wait()
    assert not is_locked(path)
