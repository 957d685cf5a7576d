"""The registry and the guard between stand-in and real data."""

import json

import pytest
from make_official import write_interhand, write_rhd

from msff.data.datasets import DATASETS
from msff.data.loading import load
from msff.data.sample import DataError


def test_registry_names_labels_and_kinds():
    assert set(DATASETS) == {"standin-rhd", "rhd", "standin-interhand", "interhand26m", "realworld"}
    for name, spec in DATASETS.items():
        assert spec.name == name and spec.is_standin == name.startswith("standin-")
        assert ("stand-in" in spec.label) == spec.is_standin
        assert "test" in spec.splits and ("train" in spec.splits) == (name != "realworld")


def test_each_dataset_loads_its_parts(tmp_path):
    write_rhd(tmp_path / "a", "training", 3, standin="standin-rhd")
    write_rhd(tmp_path / "a", "evaluation", 2, seed=1)
    write_rhd(tmp_path / "b", "evaluation", 2)
    write_interhand(tmp_path / "c", "train", frames=1, standin="standin-interhand")
    write_interhand(tmp_path / "d", "val", frames=2)
    assert len(load("standin-rhd", tmp_path / "a", "train")) == 3
    assert len(load("standin-rhd", str(tmp_path / "a"), "test")) == 2
    assert len(load("rhd", tmp_path / "b", "test")) == 2
    assert len(load("standin-interhand", tmp_path / "c", "train")) == 2
    assert len(load("interhand26m", tmp_path / "d", "val")) == 4


@pytest.mark.parametrize(
    "real, write, layout", [("rhd", write_rhd, "rhd"), ("interhand26m", write_interhand, "interhand")]
)
def test_a_standin_never_passes_for_real_nor_the_reverse(tmp_path, real, write, layout):
    split = "training" if layout == "rhd" else "train"
    write(tmp_path / "rendered", split, 1, standin=f"standin-{layout}")
    write(tmp_path / "real", split, 1)
    with pytest.raises(DataError, match=rf"rendered: holds standin\.json, .*standin-{layout}"):
        load(real, tmp_path / "rendered", "train")
    with pytest.raises(DataError, match=r"real: expected standin\.json, .*found none"):
        load(f"standin-{layout}", tmp_path / "real", "train")


def test_a_manifest_beside_or_inside_the_archive_folder_counts(tmp_path):
    write_rhd(tmp_path / "RHD_published_v2", "training", 1, standin="standin-rhd")
    with pytest.raises(DataError, match="rendered stand-in"):
        load("rhd", tmp_path, "train")


def test_the_manifest_must_name_the_dataset(tmp_path):
    write_rhd(tmp_path, "training", 1, standin="standin-interhand")
    with pytest.raises(DataError, match=r"says 'standin-interhand', expected 'standin-rhd'"):
        load("standin-rhd", tmp_path, "train")


def test_unknown_names_and_missing_folders(tmp_path):
    with pytest.raises(DataError, match="unknown dataset 'stb'; expected one of standin-rhd, rhd"):
        load("stb", tmp_path, "train")
    with pytest.raises(DataError, match="rhd has no part 'val'; expected one of train, test"):
        load("rhd", tmp_path, "val")
    with pytest.raises(DataError, match="gone: expected the folder of stand-in in RHD format, .*Render it"):
        load("standin-rhd", tmp_path / "gone", "train")


def test_an_image_annotated_twice(tmp_path):
    official = write_interhand(tmp_path, "train", frames=1)
    official.data["annotations"].append({**official.data["annotations"][0], "id": 5})
    official.write()
    with pytest.raises(DataError, match="1 samples of train share an id"):
        load("interhand26m", tmp_path, "train")
    assert json.loads(official.path("data").read_text())["annotations"][2]["id"] == 5


def test_annotations_that_say_they_were_rendered_never_pass_for_real(tmp_path):
    """Even if standin.json was deleted: COCO's free field "info" says so too."""
    official = write_interhand(tmp_path, "train", frames=1, standin="standin-interhand")
    official.data["info"] = {"description": "msff stand-in, rendered, not photographs"}
    official.write()
    assert len(load("standin-interhand", tmp_path, "train")) == 2
    (tmp_path / "standin.json").unlink()
    with pytest.raises(DataError, match=r"its annotations say 'msff stand-in, .* not InterHand2\.6M; use"):
        load("interhand26m", tmp_path, "train")
    with pytest.raises(DataError, match="found none"):
        load("standin-interhand", tmp_path, "train")


def test_the_guard_holds_for_a_kept_index_too(tmp_path, monkeypatch):
    monkeypatch.setattr("msff.data.interhand.KEPT_FROM", 1)
    official = write_interhand(tmp_path, "train", frames=1)
    official.data["info"] = {"description": "msff stand-in"}
    official.write()
    for _ in range(2):  # built, then reopened
        with pytest.raises(DataError, match="its annotations say"):
            load("interhand26m", tmp_path, "train")
    official.data["info"] = {"description": "InterHand2.6M"}
    official.write()
    assert len(load("interhand26m", tmp_path, "train")) == 2
