"""The caller's settings of plotting, Jupyter and IPython reach neither commands nor kernels."""

import os
import re

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
