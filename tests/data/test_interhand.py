"""The InterHand2.6M reader against folders written by make_official."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from make_official import write_interhand

from msff.data.interhand import read_interhand
from msff.data.sample import DataError, count_hand_types, own_wrist_valid
from msff.data.verify import verify
from msff.skeleton import LEFT, RIGHT


def test_types_ids_sizes_and_meta(tmp_path):
    write_interhand(tmp_path, "train", frames=3)
    samples = read_interhand(tmp_path, "train")
    assert [s.hand_type for s in samples] == ["right", "right", "left", "left", "interacting", "interacting"]
    assert samples[1].sample_id == "Capture0/ROM01/cam400263/image100"
    assert [s.image_size for s in samples[:2]] == [(512, 334), (334, 512)]
    assert samples[0].box.tolist() == [60.5, 70.0, 150.0, 110.0]
    assert samples[0].joint_visible is None and samples[0].hand_type_valid
    assert samples.version == "v1.0" and samples[3].sample_id.endswith("image106")
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


@pytest.mark.parametrize("version", ["v0.0", "v1.0"])
def test_either_layout_may_hold_bare_joints_or_dicts(tmp_path, version):
    """The joint file of v0.0 was published with bare joints, and since August 2020 with dicts."""
    official = write_interhand(tmp_path, "val", frames=1, version=version)
    entry = official.joint_3d["0"]["100"]
    world = entry["world_coord"] if version == "v1.0" else entry
    dicts = {"world_coord": world, "joint_valid": [[1]] * 42, "hand_type": "right", "hand_type_valid": True}
    read = []
    for form in (world, dicts):
        official.joint_3d["0"]["100"] = form
        official.write()
        read.append(read_interhand(tmp_path, "val"))
        assert verify(tmp_path).ok and verify(tmp_path).version == f"folders as in {version}"
    np.testing.assert_array_equal(read[0][0].joints_cam_mm, read[1][0].joints_cam_mm)
    assert read[0][0].joints_cam_mm[0].any() and read[1].version == version


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


@pytest.mark.parametrize("key", ["info", "joint_valid"])
def test_annotations_nested_too_deep_are_named(tmp_path, key):
    path = write_interhand(tmp_path, "train", frames=1).path("data")
    content = json.loads(path.read_text())
    (content if key == "info" else content["annotations"][0])[key] = "here"
    path.write_text(json.dumps(content).replace('"here"', "[" * 100_000 + "]" * 100_000))
    with pytest.raises(DataError, match=r"InterHand2\.6M_train_data\.json.*recursion"):
        read_interhand(tmp_path, "train")


def test_missing_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of InterHand2.6M, found nothing"):
        read_interhand(tmp_path / "nowhere", "train")
    write_interhand(tmp_path, "train", frames=1)
    with pytest.raises(DataError, match="annotations.test: expected the folder of the annotations of test"):
        read_interhand(tmp_path, "test")
    with pytest.raises(DataError, match="unknown InterHand2.6M split 'evaluation'"):
        read_interhand(tmp_path, "evaluation")


def test_samples_are_made_when_asked_for_and_behave_as_a_list(tmp_path):
    write_interhand(tmp_path, "train", frames=3)
    samples = read_interhand(tmp_path, "train")
    assert len(samples) == 6 and samples[-1].sample_id == samples[5].sample_id
    assert [s.sample_id for s in samples[1:3]] == [s.sample_id for s in samples][1:3]
    with pytest.raises(IndexError, match="sample 6 of 6"):
        samples[6]
    assert samples.largest_size() == (512, 512) and samples.count_distinct_ids() == 6
    assert count_hand_types(samples) == {"right": 2, "left": 2, "interacting": 2}
    with pytest.raises(ValueError, match="read-only"):
        samples[0].box[0] = 1
    assert samples.annotation_ids()[0] == 1000 and samples[0].meta["subject"] == "7"


def test_entries_without_optional_fields_and_in_another_order(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    for image in official.data["images"]:
        del image["seq_name"], image["subject"]
    for annotation in official.data["annotations"]:
        del annotation["hand_type_valid"]
    expected = [s.sample_id for s in read_interhand(tmp_path, "train")]
    official.data["images"] = official.data["images"][::-1]
    official.data["info"] = ["of any kind"]
    official.write()
    samples = read_interhand(tmp_path, "train")
    assert [s.sample_id for s in samples] == expected and samples.description == ""
    assert samples[0].meta["subject"] is None and samples[0].hand_type_valid


def test_an_id_list_selects_a_subset(tmp_path):
    official = write_interhand(tmp_path, "test", frames=3)
    with pytest.raises(DataError, match=r"aid_human_annot_test\.txt: expected the ids .* H, found nothing\. Put"):
        read_interhand(tmp_path, "test", "H")
    path = official.path("data").parent / "aid_human_annot_test.txt"
    path.write_text("1001\n1004\n")
    human = read_interhand(tmp_path, "test", "H")
    assert human.annotation_ids().tolist() == [1001, 1004]
    machine = read_interhand(tmp_path, "test", "M")  # of test, M is the rest
    assert machine.annotation_ids().tolist() == [1000, 1002, 1003, 1005]
    named = path.with_name("aid_machine_annot_test.txt")
    named.write_text("1002")
    assert len(read_interhand(tmp_path, "test", "M")) == 1
    for text, message in (("7", "none of its ids"), ("", "holds no id"), ("1.5", "one annotation id per line")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_interhand(tmp_path, "test", "H")


def test_subsets_that_cannot_be_told_apart(tmp_path):
    official = write_interhand(tmp_path, "train", frames=1)
    (official.path("data").parent / "aid_human_annot_train.txt").write_text("1000")
    with pytest.raises(DataError, match="aid_machine_annot_train"):  # of train, H and M overlap
        read_interhand(tmp_path, "train", "M")
    write_interhand(tmp_path, "val", frames=1)
    assert len(read_interhand(tmp_path, "val", "M")) == 2
    with pytest.raises(DataError, match="all of val is annotated by machine"):
        read_interhand(tmp_path, "val", "H")
    with pytest.raises(DataError, match="unknown InterHand2.6M subset 'all'; expected one of"):
        read_interhand(tmp_path, "val", "all")


def test_version_0_keeps_a_folder_per_subset(tmp_path):
    write_interhand(tmp_path, "train", frames=1, version="v0.0", subset="human_annot")
    human = read_interhand(tmp_path, "train", "H")
    assert human.version == "v0.0" and len(human) == 2
    with pytest.raises(DataError, match=r"subset H\+M of v0\.0's train expected, found only H; ask for that subset"):
        read_interhand(tmp_path, "train")
    write_interhand(tmp_path, "val", frames=1, version="v0.0", subset="machine_annot")
    assert len(read_interhand(tmp_path, "val")) == 2  # val is machine-annotated throughout


def test_old_annotations_with_new_images(tmp_path):
    """v0.0's annotations name frames that v1.0's folders do not hold, and the other way round."""
    official = write_interhand(tmp_path, "train", frames=2, version="v0.0")
    for position in range(4):
        path = official.image_path(position)
        path.rename(path.with_name(f"image9{position}.jpg"))
    with pytest.raises(DataError, match="4 of 4 images .* from one release, frame rate and split"):
        read_interhand(tmp_path, "train")


@pytest.fixture
def kept(monkeypatch):
    """As of a large split."""
    monkeypatch.setattr("msff.data.interhand.KEPT_FROM", 1)


def entries(root: Path) -> list[Path]:
    return sorted(root.glob(".msff-cache/*"))


def test_the_index_is_kept_reopened_and_renewed(kept, tmp_path, monkeypatch):
    official = write_interhand(tmp_path, "train", frames=3)
    built = read_interhand(tmp_path, "train")
    (entry,) = entries(tmp_path)
    assert sorted(p.name for p in entry.iterdir()) == ["annotations.arrow", "cameras.arrow", "frames.arrow"]
    with monkeypatch.context() as patch:
        patch.setattr("msff.data.interhand.build_index", None)  # must not be called
        again = read_interhand(tmp_path, "train")
    for a, b in zip(built, again, strict=True):
        assert (a.sample_id, a.image_path, a.hand_type, a.meta) == (b.sample_id, b.image_path, b.hand_type, b.meta)
        for name in ("joints_cam_mm", "joints_image_px", "joint_valid", "intrinsics", "box"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    official.data["annotations"][0]["bbox"] = [1, 2, 3, 4]
    official.write()
    assert read_interhand(tmp_path, "train")[0].box.tolist() == [1, 2, 3, 4]
    (renewed,) = entries(tmp_path)
    assert renewed != entry
    stamp = official.path("camera").stat()
    os.utime(official.path("camera"), ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    read_interhand(tmp_path, "train")
    assert entries(tmp_path) != [renewed] and len(entries(tmp_path)) == 1


def test_small_splits_and_failed_readings_leave_nothing(tmp_path, monkeypatch):
    official = write_interhand(tmp_path, "train", frames=1)
    read_interhand(tmp_path, "train")
    assert not (tmp_path / ".msff-cache").exists()
    monkeypatch.setattr("msff.data.interhand.KEPT_FROM", 1)
    official.image_path(0).unlink()
    assert len(read_interhand(tmp_path, "train", check_files=False)) == 2
    with pytest.raises(DataError, match="1 of 2 images"):
        read_interhand(tmp_path, "train")
    assert entries(tmp_path) == []


def test_a_damaged_index_is_made_again(kept, tmp_path):
    write_interhand(tmp_path, "train", frames=1)
    read_interhand(tmp_path, "train")
    (entry,) = entries(tmp_path)
    path = entry / "annotations.arrow"
    for damage in (lambda: path.write_bytes(path.read_bytes()[:200]), (entry / "frames.arrow").unlink):
        damage()
        with pytest.warns(UserWarning, match="damaged index"):
            assert len(read_interhand(tmp_path, "train")) == 2
        assert len(entries(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_and_the_variable_that_names_another(kept, tmp_path, monkeypatch):
    write_interhand(tmp_path / "set", "train", frames=1)
    (tmp_path / "set" / ".msff-cache").write_text("")  # a file in the way stands for a folder that is read-only
    with pytest.warns(UserWarning, match=r"cache: cannot be written .* is not kept .* set MSFF_CACHE to a folder"):
        assert len(read_interhand(tmp_path / "set", "train")) == 2
    monkeypatch.setenv("MSFF_CACHE", str(tmp_path / "variable"))
    read_interhand(tmp_path / "set", "train")
    assert len(list((tmp_path / "variable").glob("*/interhand-train-train-*"))) == 1


def test_a_writing_that_fails_midway_leaves_nothing(kept, tmp_path, monkeypatch):
    write_interhand(tmp_path, "train", frames=1)
    written = []

    def full(*args, **kwargs):
        written.append(args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("msff.data.interhand_cache.pa.ipc.new_file", full)
    monkeypatch.setenv("MSFF_CACHE", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="No space left on device"):
        assert len(read_interhand(tmp_path, "train")) == 2
    assert written and not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
