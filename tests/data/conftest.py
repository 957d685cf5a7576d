"""The two official layouts, read once per run of pytest: no test may change them."""

import pytest
from make_official import write_interhand, write_rhd

from msff.data.interhand import read_interhand
from msff.data.rhd import read_rhd


@pytest.fixture(scope="session")
def rhd(tmp_path_factory):
    """Seven images of one hand, right and left in turn."""
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "training", 7)
    return read_rhd(root, "training")


@pytest.fixture(scope="session")
def interhand(tmp_path_factory):
    """Two right, two left, two interacting; one camera is landscape, the other portrait."""
    root = tmp_path_factory.mktemp("interhand")
    write_interhand(root, "train", frames=3)
    return read_interhand(root, "train")
