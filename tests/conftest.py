"""Order of the tests, the folder of what is made once (made_once.py), and a tiny study."""

import os

import pytest


def pytest_collection_modifyitems(items):
    """Put files with slow tests first, so that no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def made_once_folder(tmp_path_factory):
    """The same for all workers."""
    own = tmp_path_factory.getbasetemp()
    os.environ["MADE_ONCE"] = str((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny study with its images, in a project folder of its own."""
    from tiny_study import tiny_study, with_images  # brings torch, which many tests do without

    return with_images(tiny_study(tmp_path_factory.mktemp("project")))
