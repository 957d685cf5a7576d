import pytest
from make_official import write_rhd

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Eight training images in RHD's layout, as crops of 64 px."""
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "training", count=8)
    return HandDataset(read_rhd(root, "training"), 64)
