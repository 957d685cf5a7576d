"""A demonstration network small enough for a unit test, trained once per test session."""

import json
from pathlib import Path

import pytest
from made_once import copy_made_once
from make_official import write_realworld
from tiny_study import tiny_study, with_images

from msff.demo.network import INDEX
from msff.demo.training import train_demo
from msff.study.workspace import Workspace


def demo_in(folder: Path) -> Workspace:
    """A copy in ``folder`` of a tiny study whose demonstration network was trained, with three made-up photographs."""
    copy_made_once("demo", _train, folder)
    return tiny_study(folder / "project")


def _train(folder: Path) -> None:
    write_realworld(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSFF_REALWORLD", str(folder / "photos"))
        train_demo(with_images(tiny_study(folder / "project")))


def change_index(folder: Path, **fields) -> None:
    """Overwrite some fields of a demonstration network's index."""
    path = folder / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
