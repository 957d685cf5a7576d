"""The images that figures show: chosen from the data, kept in the store, and shown without the data."""

import numpy as np
import pytest

from msff.report.examples import examples
from msff.study.store import StoreError


def test_kept_examples_are_those_of_the_data_but_for_the_pictures_compression(study, monkeypatch):
    fresh = examples(study, "standin-rhd", 2)
    kept = study.store.root / "examples" / "standin-rhd-any-2.npz"
    assert kept.exists() and kept.stat().st_size < 100_000
    monkeypatch.setattr(study, "has_data", lambda _: False)
    again = examples(study, "standin-rhd", 2)
    assert again.rows == fresh.rows == [0, 5] and again.dataset == fresh.dataset
    for name in ("valid", "truth", "affine", "intrinsics"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fresh, name))
    assert again.images.shape == fresh.images.shape == (2, 192, 192, 3)
    assert 0 < np.abs(again.images - fresh.images).mean() < 0.02
    np.testing.assert_allclose(again.to_crop(again.truth), fresh.to_crop(fresh.truth))


def test_without_data_examples_that_were_not_kept_or_are_of_other_images_are_an_error(study, monkeypatch):
    examples(study, "standin-rhd", 3)
    monkeypatch.setattr(study, "has_data", lambda _: False)
    with pytest.raises(StoreError, match="standin-rhd-any-4.npz is missing or of other images.*render the images"):
        examples(study, "standin-rhd", 4)
    monkeypatch.setattr(study, "data_config", lambda *_: {"test": 7})
    with pytest.raises(StoreError, match="standin-rhd-any-3.npz"):
        examples(study, "standin-rhd", 3)


def test_more_images_than_the_part_has(study):
    with pytest.raises(ValueError, match="standin-rhd has 6  images in its test part, 9 were requested"):
        examples(study, "standin-rhd", 9)
