"""The InterHand2.6M reader against folders written by make_official."""

import numpy as np
import pytest
from make_official import write_interhand

from msff.data.interhand import own_wrist_valid, read_interhand
from msff.data.sample import DataError
from msff.skeleton import LEFT, RIGHT


def test_types_ids_sizes_and_meta(tmp_path):
    write_interhand(tmp_path, "train", frames=3)
    samples = read_interhand(tmp_path, "train")
    assert [s.hand_type for s in samples] == ["right", "right", "left", "left", "interacting", "interacting"]
    assert samples[1].sample_id == "Capture0/ROM01/cam400263/image100"
    assert [s.image_size for s in samples[:2]] == [(512, 334), (334, 512)]
    assert samples[0].box.tolist() == [60.5, 70.0, 150.0, 110.0]
    assert samples[0].joint_visible is None and samples[0].hand_type_valid
    assert samples[3].meta["version"] == "v1.0" and samples[3].meta["frame"] == "106"
    assert samples[0].joint_valid.sum() == 21 and samples[0].joint_valid[RIGHT].all()
    assert samples[2].joint_valid[LEFT].all() and not samples[2].joints_cam_mm[RIGHT].any()


def test_world_to_camera_to_pixel_worked_by_hand(tmp_path):
    """Camera at (0, 0, -1000), turned 90 degrees about z: world (100, 20, 0) -> camera (-20, 100, 1000)."""
    official = write_interhand(tmp_path, "test", frames=3)
    camera = official.camera["0"]
    camera["camrot"]["400262"] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    camera["campos"]["400262"] = [0, 0, -1000]
    camera["focal"]["400262"], camera["princpt"]["400262"] = [500, 400], [256, 167]
    official.joint_3d["0"]["112"]["world_coord"][5] = [100, 20, 0]
    official.write()
    sample = read_interhand(tmp_path, "test")[4]
    np.testing.assert_allclose(sample.joints_cam_mm[5], [-20, 100, 1000])
    np.testing.assert_allclose(sample.joints_image_px[5], [256 - 10, 167 + 40])
    np.testing.assert_array_equal(sample.intrinsics, [[500, 0, 256], [0, 400, 167], [0, 0, 1]])


def test_an_invalid_wrist_invalidates_its_hand_only():
    valid = np.ones(42)
    valid[[3, 41]] = 0
    found = own_wrist_valid(valid)
    assert found[RIGHT].sum() == 20 and not found[3] and not found[LEFT].any()
    assert valid.sum() == 40  # the input is left alone


def test_invalid_joints_are_zero_and_may_hold_anything(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    official.data["annotations"][4]["joint_valid"][7] = 0
    official.data["annotations"][5]["joint_valid"] = [[v] for v in official.data["annotations"][5]["joint_valid"]]
    official.joint_3d["0"]["112"]["world_coord"][7] = [0, 0, -1e6]
    official.data["annotations"][5]["joint_valid"][7] = [0]
    official.write()
    sample = read_interhand(tmp_path, "train")[4]
    assert not sample.joint_valid[7] and sample.joint_valid.sum() == 41
    assert not sample.joints_cam_mm[7].any() and not sample.joints_image_px[7].any()


def test_version_0_bare_joints(tmp_path):
    official = write_interhand(tmp_path, "val", frames=1, version="v0.0")
    old = read_interhand(tmp_path, "val")
    assert old[0].meta["version"] == "v0.0" and isinstance(official.joint_3d["0"]["100"], list)
    write_interhand(tmp_path / "new", "val", frames=1)
    new = read_interhand(tmp_path / "new", "val")
    np.testing.assert_array_equal(old[0].joints_cam_mm, new[0].joints_cam_mm)


def test_only_annotated_images_are_read(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    del official.data["annotations"][0]
    official.image_path(0).unlink()
    official.write()
    assert len(read_interhand(tmp_path, "train")) == 5


@pytest.mark.parametrize("kind", ["data", "camera", "joint_3d"])
def test_missing_and_truncated_annotation_files(tmp_path, kind):
    official = write_interhand(tmp_path, "train", frames=1)
    path = official.path(kind)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=rf"InterHand2\.6M_train_{kind}\.json: not a whole JSON file"):
        read_interhand(tmp_path, "train")
    path.unlink()
    with pytest.raises(DataError, match=rf"InterHand2\.6M_train_{kind}\.json: expected .* found nothing\. Unpack"):
        read_interhand(tmp_path, "train")


def test_missing_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of InterHand2.6M, found nothing"):
        read_interhand(tmp_path / "nowhere", "train")
    write_interhand(tmp_path, "train", frames=1)
    with pytest.raises(DataError, match="annotations.test: expected the folder of the annotations of test"):
        read_interhand(tmp_path, "test")
    with pytest.raises(DataError, match="unknown InterHand2.6M split 'evaluation'"):
        read_interhand(tmp_path, "evaluation")


def test_half_downloaded_images(tmp_path):
    official = write_interhand(tmp_path, "train", frames=2)
    official.image_path(2).unlink()
    with pytest.raises(DataError, match=r"image106\.jpg: 1 of 4 images of train are missing, this one first"):
        read_interhand(tmp_path, "train")


def test_files_of_different_versions(tmp_path):
    official = write_interhand(tmp_path, "train", frames=2)
    saved = official.joint_3d["0"].pop("106")
    official.write()
    with pytest.raises(DataError, match=r"joint_3d\.json: frame 106 of capture 0: not in the file"):
        read_interhand(tmp_path, "train")
    official.joint_3d["0"]["106"] = saved
    del official.camera["0"]["focal"]["400263"]
    official.write()
    with pytest.raises(DataError, match=r"camera\.json: camera 400263 of capture 0"):
        read_interhand(tmp_path, "train")


def test_joints_behind_the_camera_nan_joints_and_empty_boxes(tmp_path):
    official = write_interhand(tmp_path, "train", frames=1)
    world = official.joint_3d["0"]["100"]["world_coord"]
    keep = list(world[2])
    away = 2000 * np.array(official.camera["0"]["campos"]["400262"]) / 900
    world[2] = away.tolist()
    official.write()
    with pytest.raises(DataError, match="valid joints lie behind camera"):
        read_interhand(tmp_path, "train")
    world[2] = [float("nan")] * 3
    official.write()
    with pytest.raises(DataError, match=r"annotation 1000 .*NaN or infinite"):
        read_interhand(tmp_path, "train")
    world[2] = keep
    official.data["annotations"][0]["bbox"] = [3, 4, 0, 5]
    official.write()
    with pytest.raises(DataError, match="positive size"):
        read_interhand(tmp_path, "train")


def test_zero_samples_missing_keys_and_unknown_images(tmp_path):
    official = write_interhand(tmp_path, "train", frames=1)
    kept = official.data["annotations"]
    official.data["annotations"] = []
    official.write()
    with pytest.raises(DataError, match="no sample; expected at least one annotation"):
        read_interhand(tmp_path, "train")
    official.data["annotations"] = [{**kept[0], "image_id": 77}]
    official.write()
    with pytest.raises(DataError, match="belongs to image 77"):
        read_interhand(tmp_path, "train")
    official.data["annotations"] = [{k: v for k, v in kept[0].items() if k != "bbox"}]
    official.write()
    with pytest.raises(DataError, match=r"annotations entry 1000 lacks \['bbox'\]"):
        read_interhand(tmp_path, "train")


def test_a_camera_that_is_no_rotation(tmp_path):
    official = write_interhand(tmp_path, "train", frames=1)
    official.camera["0"]["camrot"]["400262"] = [[2, 0, 0], [0, 1, 0], [0, 0, 1]]
    official.write()
    with pytest.raises(DataError, match="camrot is not a 3x3 rotation"):
        read_interhand(tmp_path, "train")
