"""The RHD reader against folders written by make_official."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from make_official import write_rhd
from PIL import Image

from msff.data.rhd import dominant_side, hand_box, read_depth_mm, read_rhd
from msff.data.sample import DataError
from msff.skeleton import LEFT, RIGHT


def mask_with(left: int, right: int) -> np.ndarray:
    mask = np.ones((20, 20), np.uint8)  # label 1: the person counts for neither hand
    mask.flat[:left] = 2
    mask.flat[left : left + right] = 33
    return mask


@pytest.mark.parametrize(
    "left, right, side", [(5, 4, "left"), (4, 5, "right"), (4, 4, "right"), (0, 0, "right"), (1, 0, "left")]
)
def test_dominant_side_is_left_only_if_strictly_larger(left, right, side):
    assert dominant_side(mask_with(left, right)) == side


def test_the_last_left_and_the_first_right_label():
    """17 is the left palm, 18 the right thumb's tip."""
    assert dominant_side(np.full((2, 2), 17, np.uint8)) == "left"
    assert dominant_side(np.full((2, 2), 18, np.uint8)) == "right"


def test_joints_come_in_canonical_order_millimetres_and_one_hand_only(tmp_path):
    official = write_rhd(tmp_path, "training", 4)
    samples = read_rhd(tmp_path, "training")
    assert [s.hand_type for s in samples] == ["right", "left", "right", "left"]
    assert [s.sample_id for s in samples] == ["00000", "00001", "00002", "00003"]
    left = samples[1]
    stored = official.annotations[1]
    # the left hand is stored at 0-20 wrist first, and read to 21-41 wrist last
    np.testing.assert_allclose(left.joints_cam_mm[41], stored["xyz"][0] * 1000.0, rtol=1e-6)
    np.testing.assert_allclose(left.joints_cam_mm[21], stored["xyz"][1] * 1000.0, rtol=1e-6)
    np.testing.assert_allclose(left.joints_image_px[40], stored["uv_vis"][20, :2], rtol=1e-6)
    assert left.joint_valid[LEFT].all() and not left.joint_valid[RIGHT].any()
    assert not left.joints_cam_mm[RIGHT].any() and not left.joint_visible[RIGHT].any()
    np.testing.assert_array_equal(left.joint_visible[LEFT], stored["uv_vis"][[*range(1, 21), 0], 2] == 1)
    right = samples[2]
    np.testing.assert_allclose(right.joints_cam_mm[20], official.annotations[2]["xyz"][21] * 1000.0, rtol=1e-6)
    assert right.image_size == (320, 320) and right.side_present.tolist() == [True, False]


def test_samples_are_read_only(tmp_path):
    write_rhd(tmp_path, "training", 1)
    (sample,) = read_rhd(tmp_path, "training")
    with pytest.raises(ValueError, match="read-only"):
        sample.box[0] = 3
    with pytest.raises(FrozenInstanceError):
        sample.hand_type = "left"


def test_box_of_mask_pixels_and_visible_joints_worked_by_hand():
    """Own pixels in columns 3-6, rows 2-4: x -> [2.5, 6.5], y -> [1.5, 4.5]; the joint at (9, 3) widens x to 9."""
    mask = np.zeros((12, 14), np.uint8)
    mask[2:5, 3:7] = 20
    mask[8:, :] = 5  # the other hand
    hand_px = np.zeros((21, 2))
    hand_px[4], hand_px[5], hand_px[6] = (9, 3), (12, 11), (40, 3)
    visible = np.zeros(21, bool)
    visible[[4, 6]] = True  # 5 is hidden; 6 claims to be visible outside the image
    box, seen = hand_box(mask, "right", hand_px, visible)
    np.testing.assert_allclose(box, [2.5, 1.5, 6.5, 3.0])
    assert seen


def test_box_falls_back_to_a_square_about_the_middle_finger_base():
    """Nothing seen in a 320 px frame: 200 px about joint 11, here moved to the border."""
    hand_px = np.zeros((21, 2))
    hand_px[11] = (150, -40)
    box, seen = hand_box(np.zeros((320, 320), np.uint8), "left", hand_px, np.zeros(21, bool))
    np.testing.assert_allclose(box, [50, -100, 200, 200])
    assert not seen


def test_training_leaves_out_hands_without_visible_joint_and_evaluation_keeps_them(tmp_path):
    for split in ("training", "evaluation"):
        official = write_rhd(tmp_path, split, 3)
        official.annotations[0]["uv_vis"][21:, 2] = 0  # sample 0 is a right hand
        official.write_pickle()
    assert [s.sample_id for s in read_rhd(tmp_path, "training")] == ["00001", "00002"]
    kept = read_rhd(tmp_path, "evaluation")
    assert [s.meta["no_visible_joint"] for s in kept] == [True, False, False]


def change(key, where, value):
    return lambda annotations: annotations[0][key].__setitem__(where, value)


@pytest.mark.parametrize(
    "damage, message",
    [
        (change("uv_vis", (22, 2), 0.5), "sample 0: uv_vis marks visibility by 0 or 1, found 0.5"),
        (change("uv_vis", (3, 2), np.nan), "sample 0: uv_vis marks visibility by 0 or 1, found nan"),
        (change("xyz", (25, 2), -0.6), "sample 0 has joints behind the camera on its right hand"),
        (change("xyz", (25, 0), np.nan), "sample 0 has NaN or infinite joints on its right hand"),
        (change("uv_vis", (25, 0), np.nan), "sample 0 has NaN or infinite joints on its right hand"),
        (lambda a: a.clear(), "expected a dict of samples, found no sample"),
        (lambda a: a[0].pop("xyz"), "sample 0: expected xyz of shape .* found nothing"),
        (lambda a: a[0].update(xyz=np.zeros((21, 3))), r"sample 0: expected xyz of shape \(42, 3\), found \(21, 3\)"),
        (lambda a: a.update({-1: a.pop(0)}), "sample -1: expected an id from 0 on"),
        (lambda a: a.update({True: a.pop(0)}), "sample True: expected an id from 0 on"),
        (
            lambda a: a[0].update(xyz=a[0]["xyz"].astype(complex)),
            "sample 0: expected xyz to be real numbers, found complex",
        ),
        (lambda a: a[0].update(xyz=[[1, 2, 3]] * 41 + [[1]]), "sample 0: xyz is ragged"),
        (lambda a: a[0].update(K=[["a", "b", "c"]] * 3), "sample 0: expected K to be real numbers, found <U1"),
        (
            lambda a: a[0].update(K=np.full((3, 3), np.nan)),
            "sample 0: expected a finite .* K, found .*Fetch the official",
        ),
    ],
)
def test_annotations_that_make_no_sense(tmp_path, damage, message):
    official = write_rhd(tmp_path, "training", 1)
    damage(official.annotations)
    official.write_pickle()
    with pytest.raises(DataError, match=rf"anno_training\.pickle: {message}"):
        read_rhd(tmp_path, "training")


def test_of_a_hand_that_is_not_in_the_image_nothing_is_asked(tmp_path):
    official = write_rhd(tmp_path, "evaluation", 1)
    official.annotations[0]["uv_vis"][:, 2] = 0
    official.annotations[0]["xyz"][25, 2] = -0.6
    official.write_pickle()
    assert len(read_rhd(tmp_path, "evaluation")) == 1


def test_the_archives_own_folder_is_found(tmp_path):
    write_rhd(tmp_path / "RHD_published_v2", "evaluation", 1)
    assert len(read_rhd(tmp_path, "evaluation")) == 1


def test_nothing_is_written_into_the_folder(tmp_path):
    write_rhd(tmp_path, "training", 2)
    before = sorted(tmp_path.rglob("*"))
    read_rhd(tmp_path, "training")
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_folder_and_missing_split(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected the folder of RHD, found nothing"):
        read_rhd(tmp_path / "nowhere", "training")
    write_rhd(tmp_path, "training", 1)
    with pytest.raises(DataError, match="evaluation: expected the folder of RHD's evaluation split"):
        read_rhd(tmp_path, "evaluation")
    with pytest.raises(DataError, match="unknown RHD split 'test'"):
        read_rhd(tmp_path, "test")


def test_half_downloaded_images_are_counted(tmp_path):
    official = write_rhd(tmp_path, "training", 4)
    for name in ("00001.png", "00003.png"):
        (official.folder / "color" / name).unlink()
    with pytest.raises(
        DataError, match=r"color.00001\.png: 2 of 4 color images of training are missing.*archive again"
    ):
        read_rhd(tmp_path, "training")


def test_nan_joints_of_the_other_hand_do_no_harm(tmp_path):
    official = write_rhd(tmp_path, "training", 1)
    official.annotations[0]["xyz"][3, 0] = np.nan  # sample 0 is a right hand, 3 a left joint
    official.write_pickle()
    assert len(read_rhd(tmp_path, "training")) == 1


def test_all_training_hands_invisible(tmp_path):
    official = write_rhd(tmp_path, "training", 1)
    official.annotations[0]["uv_vis"][:, 2] = 0
    official.write_pickle()
    with pytest.raises(DataError, match="no sample left whose hand is visible"):
        read_rhd(tmp_path, "training")


def test_depth_worked_by_hand(tmp_path):
    """High and low byte over 65535 of 5 m: (51, 51) is 13107, a fifth, 1 m."""
    path = tmp_path / "d.png"
    Image.fromarray(np.array([[[0, 0, 9], [51, 51, 9], [255, 255, 9]]], np.uint8)).save(path)
    np.testing.assert_allclose(read_depth_mm(path), [[0, 1000, 5000]])
    Image.fromarray(np.array([[[51, 51, 9, 255]]], np.uint8)).save(path)
    np.testing.assert_allclose(read_depth_mm(path), [[1000]])
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    with pytest.raises(DataError, match="expected a depth image of 3 or 4 channels"):
        read_depth_mm(path)
