import dataclasses

import numpy as np
import pytest
from tiny_study import again

from msff.data.sample import DataError
from msff.study.project import find_root


def test_a_missing_real_dataset_says_where_it_belongs(study, monkeypatch):
    monkeypatch.setenv("MSFF_RHD", str(study.root / "nowhere"))
    with pytest.raises(DataError, match="nowhere does not exist: put RHD there, or set MSFF_RHD"):
        study.make_data("rhd")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_makes_no_sense_is_named(study, monkeypatch, text):
    monkeypatch.setenv("MSFF_THREADS", text)
    with pytest.raises(ValueError, match=f"MSFF_THREADS: expected a whole number from 1 up, got '{text}'"):
        again(study)


def test_find_root(study, tmp_path, monkeypatch):
    monkeypatch.chdir(study.root / "notebooks")
    assert find_root() == study.root.resolve()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="not inside the msff project"):
        find_root()


def test_ground_truth_of_other_images_is_taken_anew(study, tmp_path):
    """The ids of a stand-in are the same for every seed, so they cannot tell that the images are others."""
    truth = study.truth("standin-rhd")
    study.store.save_truth(dataclasses.replace(truth, joints_cam_mm=truth.joints_cam_mm + 1), {"seed": "another"})
    renewed = study.truth("standin-rhd")
    np.testing.assert_array_equal(renewed.joints_cam_mm, truth.joints_cam_mm)
    assert study.store.truth_source("standin-rhd") == study.data_config("standin-rhd", "test")
