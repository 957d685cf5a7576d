"""InterNet's RHD files against the pickle they repeat."""

import json

import numpy as np
import pytest
from make_official import write_rhd, write_rhd_json

from msff.data.rhd import read_rhd
from msff.data.rhd_json import read_rhd_json
from msff.data.sample import DataError


@pytest.fixture
def folder(tmp_path):
    write_rhd_json(tmp_path, write_rhd(tmp_path, "training", 4))
    return tmp_path


def test_the_same_hands_as_in_the_pickle(folder):
    ours, theirs = read_rhd(folder, "training"), read_rhd_json(folder, "training")
    assert [s.sample_id for s in theirs] == ["00000-right", "00001-left", "00002-right", "00003-left"]
    for a, b in zip(ours, theirs, strict=True):
        assert a.hand_type == b.hand_type and a.image_path == b.image_path and a.image_size == b.image_size
        np.testing.assert_array_equal(a.joint_valid, b.joint_valid)
        np.testing.assert_allclose(a.joints_cam_mm, b.joints_cam_mm, rtol=1e-5)
        np.testing.assert_allclose(a.joints_image_px, b.joints_image_px, rtol=1e-6)
        np.testing.assert_allclose(a.intrinsics, b.intrinsics, rtol=1e-6)
    assert theirs[1].meta == {"split": "training", "annotation_id": 11, "image_id": 1}
    assert theirs[1].box.tolist() == [50, 60, 70, 80] and theirs[1].joint_visible is None


def test_both_hands_of_an_image_are_two_samples(folder):
    content = write_rhd_json(folder, write_rhd(folder, "training", 1))
    content["annotations"].append({**content["annotations"][0], "id": 99, "hand_type": "left"})
    (folder / "RHD_training.json").write_text(json.dumps(content))
    assert [s.sample_id for s in read_rhd_json(folder, "training")] == ["00000-right", "00000-left"]


def test_invalid_joints_are_zero(folder):
    content = json.loads((folder / "RHD_training.json").read_text())
    content["annotations"][0]["joint_valid"][0] = 0  # the right wrist
    (folder / "RHD_training.json").write_text(json.dumps(content))
    sample = read_rhd_json(folder, "training")[0]
    assert not sample.joint_valid[20] and sample.joint_valid.sum() == 20 and not sample.joints_cam_mm[20].any()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("joint_cam", [[0.1, 0.1, 0.6]] * 21, "metres where millimetres belong"),
        ("joint_cam", [[1, 2]] * 21, r"expected finite joint_cam of shape \(21, 3\), found \(21, 2\)"),
        ("joint_img", [[1, 2]] * 20 + [[1]], "joint_img is ragged"),
        ("hand_type", "interacting", "hand_type must be right or left"),
        ("bbox", [1, 2, 0, 4], "positive size"),
        ("image_id", 77, "belongs to image 77"),
        ("joint_valid", None, "not as InterNet's RHD files are"),
    ],
)
def test_entries_that_make_no_sense(folder, key, value, message):
    content = json.loads((folder / "RHD_training.json").read_text())
    content["annotations"][0][key] = value
    (folder / "RHD_training.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_rhd_json(folder, "training")


def test_missing_truncated_and_empty_files(folder):
    path = folder / "RHD_training.json"
    text = path.read_text()
    path.write_text(text[:500])
    with pytest.raises(DataError, match=r"RHD_training\.json: not a whole JSON file"):
        read_rhd_json(folder, "training")
    path.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="no sample"):
        read_rhd_json(folder, "training")
    path.write_text(text)
    (folder / "training" / "color" / "00002.png").unlink()
    with pytest.raises(DataError, match=r"00002\.png: 1 of 4 color images"):
        read_rhd_json(folder, "training")
    with pytest.raises(DataError, match=r"RHD_evaluation\.json: expected InterNet's annotations .* Unpack RHD\.annot"):
        read_rhd_json(folder, "evaluation")
    with pytest.raises(DataError, match="unknown RHD split 'test'"):
        read_rhd_json(folder, "test")
