"""verify: whole folders pass, each kind of damage is found and named."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from make_official import write_interhand, write_rhd
from PIL import Image

from msff.data import interhand as interhand_module
from msff.data import rhd as rhd_module
from msff.data.sample import DataError
from msff.data.verify import verify
from msff.data.verify_split import reprojection_error_px, spread

MANIFEST = {"dataset": "standin-rhd", "generator_version": 1, "train": 4, "test": 3, "finished": True}


@pytest.fixture
def standin(tmp_path):
    write_rhd(tmp_path, "training", 4, standin="standin-rhd")
    write_rhd(tmp_path, "evaluation", 3, seed=1)
    (tmp_path / "standin.json").write_text(json.dumps(MANIFEST))
    return tmp_path


def problems(report) -> str:
    return "\n".join([*report.problems, *(p for s in report.splits for p in s.problems)])


def test_a_whole_standin_in_rhd_format(standin):
    report = verify(standin)
    assert report.ok and report.layout == "rhd" and report.kind == "stand-in"
    assert [(s.split, s.annotated, s.usable, s.decoded) for s in report.splits] == [
        ("training", 4, 4, 4),
        ("evaluation", 3, 3, 3),
    ]
    assert report.splits[0].hand_types == {"right": 2, "left": 2}
    assert report.splits[0].reprojection_px < 0.01
    text = str(report)
    assert "RHD v1.1 layout, stand-in, generator version 1" in text and text.endswith("OK")
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_a_whole_interhand_folder_of_unpublished_size_is_real_with_a_note(tmp_path):
    write_interhand(tmp_path, "train", frames=3)
    write_interhand(tmp_path, "test", frames=3)
    report = verify(tmp_path)
    assert report.ok and (report.layout, report.kind, report.version) == ("interhand", "real", "folders as in v1.0")
    assert [s.split for s in report.splits] == ["train", "test"]
    assert report.splits[0].hand_types == {"right": 2, "left": 2, "interacting": 2}
    assert "6 images annotated, the published train split has 1,361,062" in report.splits[0].notes


def test_real_rhd_has_the_published_size_or_is_a_problem(tmp_path, monkeypatch):
    write_rhd(tmp_path, "training", 2)
    report = verify(tmp_path)
    assert report.kind == "real" and not report.ok
    assert "2 images annotated, the published training split has 41,258" in problems(report)
    assert "the split evaluation is missing; unpack the archive again" in problems(report)
    write_rhd(tmp_path, "evaluation", 3)
    monkeypatch.setitem(rhd_module.PUBLISHED_COUNTS, "training", 2)
    monkeypatch.setitem(rhd_module.PUBLISHED_COUNTS, "evaluation", 3)
    assert verify(tmp_path).ok


def test_missing_images_are_listed(standin):
    (standin / "training" / "color" / "00002.png").unlink()
    (standin / "training" / "mask" / "00003.png").unlink()
    report = verify(standin)
    assert not report.ok
    assert "1 of 4 images missing: 00002.png" in problems(report) and "images missing: 00003.png" in problems(report)
    assert len(report.splits[0].problems) == 2 and not report.splits[1].problems
    assert "PROBLEM" in str(report) and "NOT OK: 2 problem(s)" in str(report)


def test_surplus_images_are_a_note(standin):
    Image.new("RGB", (4, 4)).save(standin / "training" / "color" / "99999.png")
    report = verify(standin)
    assert report.ok and "1 surplus images without annotation: 99999.png" in report.splits[0].notes[0]


def test_truncated_images_are_named_and_full_finds_them_all(standin, monkeypatch):
    path = standin / "training" / "color" / "00001.png"
    path.write_bytes(path.read_bytes()[:1500])
    monkeypatch.setattr("msff.data.verify_split.SAMPLE_SIZE", 2)  # the first and the last
    sampled, whole = verify(standin), verify(standin, full=True)
    assert [s.decoded for s in sampled.splits] == [2, 2] and [s.decoded for s in whole.splits] == [4, 3]
    assert "00001.png: image is truncated or damaged" in problems(whole) and not problems(sampled)
    assert "only 2 of 4 images were decoded; --full decodes them all" in str(sampled) and "--full" not in str(whole)


def test_many_problems_are_cut_short_in_the_text_only(standin, monkeypatch):
    for path in (standin / "training" / "color").iterdir():
        path.write_bytes(b"x")
    monkeypatch.setattr("msff.data.verify.LISTED", 3)
    report = verify(standin)
    assert "PROBLEM: ... and 1 more; --json lists them all" in str(report) and "4 problem(s)" in str(report)
    assert len(report.to_dict()["splits"][0]["problems"]) == 4


def test_joints_that_do_not_project_on_their_pixels(standin):
    official = write_rhd(standin, "evaluation", 3, seed=1)
    official.annotations[1]["xyz"][:, 0] += 0.01  # 10 mm at 0.6-0.7 m with f = 283 px: 4-5 px
    official.write_pickle()
    report = verify(standin)
    assert not report.ok and "px away from the annotated 2D joints" in problems(report)
    assert 4 < report.splits[1].reprojection_px < 6


def test_reprojection_error_worked_by_hand(standin):
    """A joint moved by 3 px and 4 px is 5 px away."""
    sample = rhd_module.read_rhd(standin, "training")[0]
    moved = sample.joints_image_px.copy()
    moved[3] += (3, 4)
    assert reprojection_error_px(replace(sample, joints_image_px=moved)) == pytest.approx(5, abs=1e-3)


def test_cameras_of_another_capture(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    for camera in ("400262", "400263"):
        official.camera["0"]["princpt"][camera] = [2000, 2000]
    official.write()
    assert "project into their image; wrong cameras" in problems(verify(tmp_path))


def test_samples_without_visible_joint_are_reported(standin):
    for split in ("training", "evaluation"):
        official = write_rhd(standin, split, 4)
        official.annotations[1]["uv_vis"][:21, 2] = 0
        official.write_pickle()
    training, evaluation = verify(standin).splits
    assert training.usable == 3 and "1 samples left out" in "".join(training.notes)
    assert evaluation.usable == 4 and "are kept: 00001" in evaluation.notes[0]


def test_a_hand_that_is_not_seen_at_all_is_reported(standin):
    official = write_rhd(standin, "evaluation", 3)
    official.annotations[2]["uv_vis"][:, 2] = 0
    official.write_pickle()
    Image.fromarray(np.ones((320, 320), np.uint8)).save(official.folder / "mask" / "00002.png")
    notes = "\n".join(verify(standin).splits[1].notes)
    assert "1 samples show nothing of the chosen hand, their box is a guess: 00002" in notes


def test_joints_behind_the_camera_are_a_problem_and_valid_json(standin):
    official = write_rhd(standin, "evaluation", 1)
    official.annotations[0]["xyz"][:, 2] *= -1
    official.write_pickle()
    assert "sample 0 has joints behind the camera" in problems(verify(standin))
    official.annotations[0]["uv_vis"][:, 2] = 0  # not seen: read, but not sound
    official.write_pickle()
    report = verify(standin)
    assert "up to inf px away" in problems(report)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["splits"][1]["reprojection_px"] is None


def test_broken_annotations_are_a_problem_not_a_crash(standin):
    path = standin / "evaluation" / "anno_evaluation.pickle"
    path.write_bytes(path.read_bytes()[:100])
    report = verify(standin)
    assert "anno_evaluation.pickle: not a whole pickle" in problems(report) and report.splits[0].usable == 4
    assert report.splits[1].annotated is None and "0 annotated" not in str(report)
    assert "evaluation: its annotations cannot be read" in str(report)


def test_rhd_with_another_programs_annotations_is_rhd(standin):
    (standin / "annotations").mkdir()
    report = verify(standin)
    assert report.layout == "rhd" and report.ok


def test_interhand_images_may_lie_as_their_archive_leaves_them(tmp_path):
    write_interhand(tmp_path, "train", frames=2)
    for archive in ("InterHand2.6M_5fps_batch1", "InterHand2.6M_30fps_batch1"):
        (tmp_path / archive).mkdir()
    (tmp_path / "images").rename(tmp_path / "InterHand2.6M_5fps_batch1" / "images")
    assert verify(tmp_path).ok
    assert all(sample.image_path.is_file() for sample in interhand_module.read_interhand(tmp_path, "train"))
    (tmp_path / "InterHand2.6M_30fps_batch1" / "images").mkdir()
    with pytest.raises(DataError, match=r"images/train: expected the folder .* each once, by itself or in its archive"):
        interhand_module.read_interhand(tmp_path, "train")


def test_a_manifest_of_the_other_layout(standin):
    (standin / "standin.json").write_text('{"dataset": "standin-interhand"}')
    assert "standin.json says 'standin-interhand', expected 'standin-rhd'" in problems(verify(standin))


def test_rendered_annotations_without_their_manifest(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    official.data["info"] = {"description": "msff stand-in, rendered"}
    official.write()
    report = verify(tmp_path)
    assert report.kind == "stand-in" and "standin.json is gone" in problems(report)


def test_images_of_the_other_split(standin):
    """The names are the same in both; the masks give it away."""
    write_rhd(standin, "evaluation", 4, seed=5)
    for kind in ("color", "mask"):
        for i in range(4):
            image = Image.open(standin / "evaluation" / kind / f"{i:05d}.png")
            image.transpose(Image.Transpose.ROTATE_180).save(standin / "training" / kind / f"{i:05d}.png")
    assert "of the visible joints lie on their hand in the mask" in problems(verify(standin))


def test_depth_images_are_decoded_and_belong_to_a_standin(standin):
    (standin / "training" / "depth" / "00001.png").unlink()
    path = standin / "training" / "depth" / "00002.png"
    path.write_bytes(path.read_bytes()[:60])
    report = verify(standin)
    assert "00002.png: image is truncated" in problems(report)
    assert "depth: 1 of 4 images missing: 00001.png; it belongs to a stand-in" in problems(report)
    (standin / "standin.json").unlink()
    assert "depth: 1 of 4 images missing: 00001.png; unpack" in verify(standin).splits[0].notes[0]


def test_sizes_of_every_published_subset(tmp_path, monkeypatch):
    write_interhand(tmp_path, "val", frames=1, version="v0.0", subset="machine_annot")
    monkeypatch.setitem(interhand_module.PUBLISHED_COUNTS, ("v0.0", "val"), {"M": 2, "H+M": 2})
    report = verify(tmp_path)
    assert report.ok and "as many images as v0.0 has at 5 frames per second in val H+M" in report.splits[0].notes


def test_missing_interhand_images_leave_the_rest_to_be_checked(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    official.image_path(1).unlink()
    path = official.image_path(2)
    path.write_bytes(path.read_bytes()[:900])
    report = verify(tmp_path)
    assert report.splits[0].usable == 6 and len(report.splits[0].problems) == 2
    assert "1 of 6 images missing" in problems(report) and "image106.jpg: image is truncated" in problems(report)


def test_a_large_split_is_sampled(tmp_path, monkeypatch):
    write_interhand(tmp_path, "train", frames=3)
    monkeypatch.setattr("msff.data.verify_split.SAMPLE_SIZE", 2)
    monkeypatch.setattr("msff.data.verify_split.GEOMETRY_SIZE", 3)
    assert verify(tmp_path).splits[0].decoded == 2 and verify(tmp_path, full=True).splits[0].decoded == 6


def test_links_are_followed(tmp_path):
    write_interhand(tmp_path / "set", "train", frames=1)
    capture = tmp_path / "set" / "images" / "train" / "Capture0"
    capture.rename(tmp_path / "elsewhere")
    capture.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set" / "images")
    report = verify(tmp_path / "set")
    assert report.ok and report.splits[0].usable == 2


def test_unreadable_images(standin, monkeypatch):
    real = Image.open

    def refuse(path, *args):
        if str(path).endswith("color/00001.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args)

    monkeypatch.setattr("msff.data.images.Image.open", refuse)  # the superuser may read anything
    assert "00001.png: image cannot be read (Permission denied); check its permissions" in problems(verify(standin))


def test_colour_of_16_bits_is_a_problem(standin):
    cv2.imwrite(str(standin / "training" / "color" / "00001.png"), np.full((320, 320, 3), 255, np.uint16))
    assert "color/00001.png: expected 8 bits a channel" in problems(verify(standin))


def test_what_is_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match="gone: expected a dataset folder, found nothing"):
        verify(tmp_path / "gone")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"not a dataset that msff can read; expected training/ .* found photos"):
        verify(tmp_path)
    (tmp_path / "annotations").mkdir()
    assert "no split has annotations" in problems(verify(tmp_path))


def test_the_sample_of_images_spans_the_split():
    assert spread([], 64) == [] and spread(range(3), 64) == range(3)
    chosen = spread(range(1000), 64)
    assert len(chosen) == 64 and chosen[0] == 0 and chosen[-1] == 999 and np.ptp(np.diff(chosen)) <= 1
