"""Order of the tests, and the images that tests of tiny studies share."""

import os

import pytest


def pytest_collection_modifyitems(items):
    """Put files with slow tests first, so that no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def one_rendering(tmp_path_factory):
    """Let every worker copy the images of tiny studies from one folder, where the first that needs them renders."""
    own = tmp_path_factory.getbasetemp()
    os.environ["TINY_IMAGES"] = str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
