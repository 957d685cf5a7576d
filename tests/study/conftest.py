import pytest
from tiny_study import tiny_study, with_images

from msff.study.workspace import Workspace


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Workspace:
    """A tiny study with its images, in a project folder of its own."""
    return with_images(tiny_study(tmp_path_factory.mktemp("project")))
