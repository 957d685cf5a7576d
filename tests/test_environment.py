"""The caller's settings of plotting, Jupyter and IPython reach neither commands nor kernels."""

import os
import re
import subprocess
import sys

import pytest
from tiny_study import ROOT

from msff.cli import main
from msff.environment import FOREIGN, own_settings


def test_foreign_settings_are_hidden_and_come_back(monkeypatch):
    for name in FOREIGN:
        monkeypatch.setenv(name, "foreign")
    monkeypatch.delenv("JUPYTER_PREFER_ENV_PATH", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), own_settings(IPYTHONDIR="ours"):
        inside = dict(os.environ)
        raise KeyError
    assert dict(os.environ) == before
    assert "foreign" not in inside.values() and inside["IPYTHONDIR"] == "ours"
    assert inside["JUPYTER_PREFER_ENV_PATH"] == "1" and os.path.isfile(inside["MATPLOTLIBRC"])


def test_matplotlib_has_a_folder_where_the_home_folder_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    for home, needed in ((tmp_path, False), ("/proc/nobody", True)):
        monkeypatch.setenv("HOME", str(home))
        with own_settings():
            folder = os.environ.get("MPLCONFIGDIR")
            assert (folder is not None) == needed and (not needed or os.access(folder, os.W_OK))
            with own_settings():  # as a page's within a command's
                assert os.environ.get("MPLCONFIGDIR") == folder
        assert "MPLCONFIGDIR" not in os.environ and not (folder and os.path.exists(folder))


READ_DAMAGED = """
import sys
import cv2
import numpy as np
from msff.environment import own_settings

with own_settings():
    writer = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 96))
    for picture in np.random.default_rng(0).integers(0, 255, (24, 96, 96, 3), np.uint8):
        writer.write(picture)
    writer.release()
    content = bytearray(open(sys.argv[1], "rb").read())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    open(sys.argv[1], "wb").write(content)
    video = cv2.VideoCapture(sys.argv[1])
    while video.read()[0]:
        pass
"""


def test_a_damaged_video_does_not_fill_the_terminal(tmp_path):
    """FFmpeg would print thousands of lines, in which a command's own message is lost."""
    command = [sys.executable, "-c", READ_DAMAGED, tmp_path / "hole.mp4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) < 5


def test_a_command_has_its_own_settings(monkeypatch):
    seen = {}

    def verify(*_, **__):
        seen.update(os.environ)
        raise ValueError("seen")

    monkeypatch.setenv("MPLBACKEND", "foreign")
    monkeypatch.setenv("MATPLOTLIBRC", "foreign")
    monkeypatch.setattr("msff.data.verify.verify", verify)
    assert main(["data", "verify", "."]) == 1
    assert seen["MPLBACKEND"] == "agg" and os.path.isfile(seen["MATPLOTLIBRC"])


def test_the_makefile_hides_the_same_variables():
    (names,) = re.findall(r"^unexport (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*names.split()} == {*FOREIGN}
