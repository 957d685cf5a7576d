"""The real-world test set: the reader against a folder written by make_official, and its assumptions on real photos."""

import numpy as np
import pytest
import scipy.io
import torch
from make_official import real_photos, write_realworld

from msff.camera import crop_affine, square_box
from msff.data.batches import HandDataset
from msff.data.images import decode_sample
from msff.data.loading import load
from msff.data.realworld import bends_like_left, crop_intrinsics, read_realworld
from msff.data.sample import DataError
from msff.data.verify import verify
from msff.skeleton import LEFT, RIGHT


def test_joints_in_canonical_order_millimetres_and_crop_pixels_worked_by_hand(tmp_path):
    params, pose_cm = write_realworld(tmp_path)
    samples = read_realworld(tmp_path)
    sample = samples[1]
    assert [s.sample_id for s in samples] == ["00000", "00001", "00002"]
    assert sample.hand_type == "left" and sample.joint_visible is None
    assert sample.joint_valid[LEFT].all() and not sample.joint_valid[RIGHT].any()
    # thumb tip, thumb base, index tip, little base, wrist are stored at 4, 1, 8, 17, 0
    for own, stored in ((21, 4), (24, 1), (25, 8), (40, 17), (41, 0)):
        np.testing.assert_allclose(sample.joints_cam_mm[own], pose_cm[1, stored] * 10.0, rtol=1e-6)
    x, y, z = pose_cm[1, 8].astype(float)
    u, v = x / z * 923.6 + 640.0, y / z * 923.7 + 362.3  # px of the uncropped photo
    np.testing.assert_allclose(sample.joints_image_px[25], [(u - 440) / 400 * 256, (v - 160) / 400 * 256], rtol=1e-6)
    assert params["bbox"][1].tolist() == [440, 160, 400, 400] and sample.image_size == (256, 256)


def test_intrinsics_of_a_crop_worked_by_hand():
    """A 512 px crop at (100, 50) halves every length: f 900 -> 450, centre (640 - 100) / 2, (360 - 50) / 2."""
    k = crop_intrinsics(np.array([900, 800, 640, 360.0]), np.array([100, 50, 512, 512.0]))
    np.testing.assert_allclose(k, [[450, 0, 270], [0, 400, 155], [0, 0, 1]])


def test_the_crop_of_the_box_is_the_photo(tmp_path):
    write_realworld(tmp_path, 1)
    (sample,) = read_realworld(tmp_path)
    affine = crop_affine(square_box(torch.from_numpy(sample.box.copy())), 256)
    np.testing.assert_allclose(affine, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_left_and_right_bend_differently(tmp_path):
    write_realworld(tmp_path, 1)
    hand_mm = read_realworld(tmp_path)[0].joints_cam_mm[LEFT]
    assert bends_like_left(hand_mm) and not bends_like_left(hand_mm * [-1, 1, 1])


def test_it_loads_by_name_and_gives_batches(tmp_path):
    write_realworld(tmp_path)
    (batch,) = HandDataset(load("realworld", tmp_path, "test"), 32).in_order(3)
    assert batch.image.shape == (3, 3, 32, 32) and batch.joint_valid.sum() == 63
    with pytest.raises(DataError, match="realworld has no part 'train'; expected one of test"):
        load("realworld", tmp_path, "train")
    with pytest.raises(DataError, match="it is test only"):
        read_realworld(tmp_path, "train")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(
        DataError, match="expected the folder of the real-world test set, found nothing. Put .*git clone"
    ):
        read_realworld(tmp_path / "gone")
    write_realworld(tmp_path)
    whole = (tmp_path / "pose_gt.mat").read_bytes()
    for content, message in ((whole[:200], "not a whole MATLAB file"), (b"", "found an empty file")):
        (tmp_path / "pose_gt.mat").write_bytes(content)
        with pytest.raises(DataError, match=rf"pose_gt\.mat: .*{message}"):
            read_realworld(tmp_path)
    (tmp_path / "pose_gt.mat").unlink()
    with pytest.raises(DataError, match=r"pose_gt\.mat: expected a MATLAB file, found nothing"):
        read_realworld(tmp_path)
    (tmp_path / "pose_gt.mat").write_bytes(whole)
    (tmp_path / "images" / "00001.jpg").unlink()
    with pytest.raises(DataError, match=r"00001\.jpg: 1 of 3 photos are missing"):
        read_realworld(tmp_path)


def test_values_that_make_no_sense(tmp_path):
    params, pose_cm = write_realworld(tmp_path)

    def rewrite(**changed):
        scipy.io.savemat(tmp_path / "params.mat", {k: v for k, v in (params | changed).items() if v is not None})

    for changed, message in (
        ({"bbox": None}, r"params\.mat: expected a variable bbox, found none"),
        ({"bbox": params["bbox"][:2]}, r"params\.mat: expected bbox of shape \(3, 4\), found \(2, 4\)"),
        ({"bbox": params["bbox"] * 0}, "a crop x, y, w, h of positive size"),
        ({"cam_param": params["cam_param"] * np.nan}, "found NaN or infinite values"),
        ({"cam_param": -params["cam_param"]}, "K is not a pinhole"),
        ({"pose_root": params["pose_root"] + 1}, "joint 0 is not pose_root"),
        ({"image_path": np.zeros((0, 1))}, "no sample"),
    ):
        rewrite(**changed)
        with pytest.raises(DataError, match=message):
            read_realworld(tmp_path)
    rewrite(pose_root=-params["pose_root"])
    scipy.io.savemat(tmp_path / "pose_gt.mat", {"pose_gt": -pose_cm})
    with pytest.raises(DataError, match="behind the camera"):
        read_realworld(tmp_path)
    scipy.io.savemat(tmp_path / "pose_gt.mat", {"foo": 1})
    with pytest.raises(DataError, match=r"pose_gt\.mat: expected a variable pose_gt, found none"):
        read_realworld(tmp_path)


def test_verify_recognises_it(tmp_path):
    write_realworld(tmp_path)
    report = verify(tmp_path, full=True)
    assert report.ok and (report.layout, report.kind) == ("realworld", "real")
    assert report.splits[0].decoded == 3 and report.splits[0].hand_types == {"left": 3}
    assert "3 images annotated, the published test split has 583" in report.splits[0].notes
    path = tmp_path / "images" / "00002.jpg"
    path.write_bytes(path.read_bytes()[:700])
    (tmp_path / "images" / "00009.jpg").write_bytes(b"")
    report = verify(tmp_path)
    assert not report.ok and "00002.jpg: image is truncated" in str(report) and "1 surplus images" in str(report)


def test_real_photos_show_what_the_reader_assumes():
    """All left; the projection falls inside; the joints fill the box; bones measure as a hand's do."""
    samples = read_realworld(real_photos())
    assert len(samples) in (98, 583)
    assert all(bends_like_left(s.joints_cam_mm[LEFT]) for s in samples)
    pixels = np.stack([s.joints_image_px[LEFT] for s in samples])  # (N, 21, 2)
    assert (pixels > 0).all() and (pixels < 256).all()
    extent = np.ptp(pixels, axis=1).max(1) / 256  # (N,)
    assert extent.min() > 0.6 and extent.max() <= 0.8
    bone_mm = np.mean([np.linalg.norm(s.joints_cam_mm[32] - s.joints_cam_mm[31]) for s in samples])
    assert 40 < bone_mm < 55  # middle finger, base to the next joint: centimetres were right
    assert decode_sample(samples[0]).shape == (256, 256, 3)


def test_real_photos_pass_verification():
    report = verify(real_photos(), full=True)
    assert report.ok, str(report)
    assert not [note for note in report.splits[0].notes if "bend like right" in note]


def test_real_joints_lie_on_skin():
    """At the bases of the fingers the photo is reddish, as skin is; the set's background is not."""
    samples = read_realworld(real_photos())[::7]
    redness = []
    for sample in samples:
        image = decode_sample(sample).astype(float)
        columns, rows = sample.joints_image_px[[28, 32, 36, 41]].round().astype(int).T
        redness.append(np.median(image[rows, columns, 0] - image[rows, columns, 2]))
    assert np.mean(np.array(redness) > 10) > 0.8
