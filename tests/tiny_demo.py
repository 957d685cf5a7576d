"""A demonstration network small enough for a unit test, trained once per test session."""

from pathlib import Path

import pytest
from made_once import copy_made_once
from make_official import write_realworld
from tiny_study import tiny_study, with_images

from msff.demo.training import train_demo
from msff.study.workspace import Workspace


@pytest.fixture(scope="module")
def demo_study(tmp_path_factory) -> Workspace:
    """A tiny study whose demonstration network is trained and was measured on three made-up photographs."""
    return demo_in(tmp_path_factory.mktemp("demo"))


def demo_in(folder: Path) -> Workspace:
    """A copy of that study in a folder of its own."""
    copy_made_once("demo", _train, folder)
    return tiny_study(folder / "project")


def _train(folder: Path) -> None:
    write_realworld(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSFF_REALWORLD", str(folder / "photos"))
        train_demo(with_images(tiny_study(folder / "project")))


def change_index(folder: Path, **fields) -> None:
    """Overwrite some fields of a demonstration network's index."""
    import json

    from msff.demo.network import INDEX

    path = folder / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
