"""Photos in, pictures and JSON out: one photo, a folder, bad input, nothing of anybody's replaced."""

import errno
import json
import os
import unicodedata

import cv2
import numpy as np
import pytest
import torch
from make_results import store_made_up
from PIL import Image
from tiny_study import tiny_study

from msff.cli import main
from msff.data.batches import HandDataset
from msff.data.sample import DataError, HandSample
from msff.demo import network as module
from msff.demo.network import demo_folder, load_demo, load_run
from msff.demo.photos import predict_folder, predict_photo, read_photo
from msff.evaluation.hand_size import with_hand_size
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict as predict_all
from msff.files import write_json
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.store import PHOTO_RECORD
from msff.study.train import untrained_network
from msff.training.checkpoint import CheckpointError, save_checkpoint

RUN = "standin-rhd/msff/full/seed0"


def write_photo(path, size=(120, 90), seed=0, **options):
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path / "photo.png")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    study = tiny_study(tmp_path / "project")
    monkeypatch.setattr(module, "Workspace", lambda *arguments, **options: study)
    experiment = Experiment.parse("smoke", RUN)
    path = tmp_path / "run.pt"
    describe = {"profile": "smoke", "dataset": "standin-rhd", "method": "msff", "variant": "full", "seed": 0}
    network = untrained_network(study, experiment)
    save_checkpoint(
        path, config_hash=config_hash(study, experiment), epoch=2, model=network.state_dict(), describe=describe
    )
    return path


# one photo


def test_picture_and_json(photo, predictor, tmp_path):
    picture, record = predict_photo(photo, predictor, box=(10, 10, 60, 60), out=tmp_path / "out")
    assert (picture.name, record.name) == ("photo-pose.png", "photo-pose.json")
    assert Image.open(picture).size[0] > 1000
    value = json.loads(record.read_text())
    assert value["run"] == "demo" and value["box"] == [10, 10, 60, 60] and value["image_size"] == [120, 90]
    assert "stand-in in RHD format (12 images) and stand-in in InterHand2.6M format" in value["trained_on"]
    assert "measured on 3 real photographs" in value["expected_error"] and value["measured"]["images"] == 3
    assert value["hands"] and set(value["hands"]) <= {"right", "left"}
    for joints in value["hands"].values():
        assert len(joints) == 21 and joints["wrist"]["relative_mm"] == [0, 0, 0]
        assert all(2 <= x <= 78 and 2 <= y <= 78 for x, y in (j["image_px"] for j in joints.values()))  # in the crop


def test_it_predicts_what_the_protocol_predicts(demo_study, photo, predictor):
    """The same joints as the evaluation's own code, on a sample with this box and camera."""
    demo = load_demo(demo_folder(demo_study.root))
    box, none = np.array([12.0, 8, 70, 50]), np.zeros((42, 3))
    camera = np.array([[150.0, 0, 60], [0, 150, 45], [0, 0, 1]])
    sample = HandSample("a", photo, (120, 90), none, none[:, :2], none[:, 0] > 0, None, camera, box, "right", False)
    data = HandDataset([sample], demo.volume.crop_size, supersample=demo.supersample)
    expected = predict_all(demo.network, data, demo.volume, demo.decoder, BoxDepth(700.0))
    (pose,) = predictor([read_photo(photo)], tuple(box), 150.0)
    joints_mm = with_hand_size(expected, demo.hand_mm).joints["T2"][0]
    np.testing.assert_allclose(pose.joints_mm, joints_mm, rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(pose.sides, expected.side_probability[0], atol=1e-5)
    projected = pose.joints_mm @ camera.T
    np.testing.assert_allclose(pose.joints_px, projected[:, :2] / projected[:, 2:], atol=0.01)


def test_depth_goes_with_the_focal_length_so_that_the_hand_keeps_its_size(photo, predictor):
    near, far = (predictor([read_photo(photo)], None, focal)[0].joints_mm for focal in (100.0, 400.0))
    ratio = far[:21, 2].mean() / near[:21, 2].mean()  # of a hand without relief it is 4
    assert 3 < ratio < 5


def test_pictures_of_a_batch_do_not_depend_on_each_other(predictor):
    images = [np.random.default_rng(k).integers(0, 255, (40, 60, 3), np.uint8) for k in range(3)]
    for image, pose in zip(images, predictor(images), strict=True):
        np.testing.assert_allclose(pose.joints_mm, predictor([image])[0].joints_mm, rtol=1e-3, atol=0.1)


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    path = write_photo(tmp_path / "upright.png", exif=exif)
    assert read_photo(path).shape == (120, 90, 3)
    np.testing.assert_array_equal(read_photo(path), np.rot90(np.asarray(Image.open(path)), -1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_photos_of_any_mode(tmp_path, mode):
    Image.new(mode, (50, 40)).save(tmp_path / "photo.png")
    assert read_photo(tmp_path / "photo.png").shape == (40, 50, 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_deep_photo_is_scaled_by_its_own_range(tmp_path, dtype):
    """400 to 2000, as a depth camera's mm: clipping at 255 would make it white."""
    values = np.array([[400, 1200], [2000, 400]], dtype)
    Image.fromarray(values).save(tmp_path / "depth.tif")
    np.testing.assert_array_equal(read_photo(tmp_path / "depth.tif")[..., 0], [[0, 128], [255, 0]])
    assert read_photo(tmp_path / "depth.tif").shape == (2, 2, 3)


def test_a_colour_photo_of_16_bits_keeps_its_upper_byte(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 5, 3), (300, 25600, 65535), np.uint16))  # B, G, R
    assert read_photo(tmp_path / "deep.png")[0, 0].tolist() == [255, 100, 1]


def test_pixels_without_a_number_are_black(tmp_path):
    Image.fromarray(np.array([[np.nan, -1], [np.inf, 1]], np.float32)).save(tmp_path / "depth.tif")
    np.testing.assert_array_equal(read_photo(tmp_path / "depth.tif")[..., 2], [[0, 0], [255, 255]])
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "none.tif")
    with pytest.raises(DataError, match="none.tif cannot be read as an image .no pixel is a finite number"):
        read_photo(tmp_path / "none.tif")


def test_a_box_outside_the_photo(photo, predictor):
    with pytest.raises(DataError, match="photo.png: the box 200,0,10,10 lies outside the image of 120 x 90 px"):
        predict_photo(photo, predictor, box=(200, 0, 10, 10))


def test_no_image_and_a_truncated_one(tmp_path, photo, predictor):
    text = tmp_path / "photo.txt"
    text.write_text("no image")
    with pytest.raises(DataError, match="photo.txt cannot be read as an image"):
        predict_photo(text, predictor)
    photo.write_bytes(photo.read_bytes()[:2000])
    with pytest.raises(DataError, match="photo.png cannot be read as an image"):
        predict_photo(photo, predictor)


def test_a_file_of_the_same_name_is_not_replaced(photo, predictor):
    own = write_photo(photo.with_name("photo-pose.png"), seed=1)
    content = own.read_bytes()
    with pytest.raises(DataError, match="photo-pose.png exists and was not written by `msff predict`"):
        predict_photo(photo, predictor)
    assert own.read_bytes() == content and not photo.with_name("photo-pose.json").exists()
    own.unlink()
    photo.with_name("photo-pose.json").write_text("{}")
    with pytest.raises(DataError, match="photo-pose.json exists and was not written"):
        predict_photo(photo, predictor)


# a folder


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for name, size in (("a.png", (64, 48)), ("b.JPG", (48, 80)), ("c-pose.png", (40, 40))):
        write_photo(folder / name, size)
    (folder / "broken.jpg").write_bytes((folder / "b.JPG").read_bytes()[:300])
    (folder / "notes.txt").write_text("not a photo")
    return folder


def test_a_folder_with_one_broken_photo(album, predictor, tmp_path):
    inputs = {path.name: path.read_bytes() for path in album.iterdir()}
    for _ in range(2):  # the second time its own pictures lie there too
        written, failed = predict_folder(album, predictor, {})
        assert sorted(path.name for path in written) == [
            "a-pose.json", "a-pose.png", "b-pose.json", "b-pose.png", "c-pose-pose.json", "c-pose-pose.png",
        ]  # fmt: skip
        assert len(failed) == 1 and "broken.jpg cannot be read as an image" in failed[0]
    assert {path.name for path in album.iterdir()} == {*inputs, *(path.name for path in written)}
    assert all((album / name).read_bytes() == content for name, content in inputs.items())


def test_photos_of_one_stem_would_share_a_file(album, predictor, tmp_path):
    write_photo(album / "a.jpg")
    write_photo(album / "c.png")  # and c-pose.png is somebody's photo
    written, failed = predict_folder(album, predictor, {})
    assert any("would be drawn into the same file as a.jpg" in message for message in failed)
    assert any("c-pose.png exists and was not written by" in message for message in failed)
    written, failed = predict_folder(album, predictor, {}, out=tmp_path / "out")
    assert len(written) == 8 and len(failed) == 2 and {path.parent for path in written} == {tmp_path / "out"}


def test_boxes_by_file_name(album, predictor, tmp_path):
    written, _ = predict_folder(album, predictor, {"a.png": (5, 5, 20, 20)}, out=tmp_path / "out")
    boxes = {p.name: json.loads(p.read_text())["box"] for p in written if p.suffix == ".json"}
    assert boxes["a-pose.json"] == [5, 5, 20, 20] and boxes["b-pose.json"] == [0, 0, 48, 80]
    with pytest.raises(DataError, match="there are boxes for z.png, but no such photos"):
        predict_folder(album, predictor, {"z.png": (5, 5, 20, 20)})


def test_boxes_and_names_agree_in_any_spelling_of_an_accent(tmp_path, predictor):
    names = [unicodedata.normalize(form, "hände.png") for form in ("NFD", "NFC")]
    for name, other in (names, names[::-1]):
        folder = tmp_path / str(len(name))
        folder.mkdir()
        write_photo(folder / name)
        written, failed = predict_folder(folder, predictor, {other: (5, 5, 20, 20)})
        assert not failed and json.loads(written[1].read_text())["box"] == [5, 5, 20, 20]


def test_skipped_pictures_are_named_and_hidden_files_are_no_photos(album, predictor, tmp_path):
    for name in ("IMG_1.HEIC", "old.gif", "wave.mp4", "._a.png", "notes.txt"):
        (album / name).write_bytes(b"\0" * 9)
    written, failed = predict_folder(album, predictor, {}, out=tmp_path / "out")
    assert len(written) == 6 and len(failed) == 4  # the fourth is broken
    assert any("IMG_1.HEIC is skipped: HEIC files are not read; convert it to JPEG" in text for text in failed)
    assert any("old.gif is skipped" in text for text in failed) and any("wave.mp4 is skipped" in t for t in failed)
    only = tmp_path / "phone"
    only.mkdir()
    (only / "IMG_1.HEIC").touch()
    with pytest.raises(DataError, match="holds no photo(.|\n)*IMG_1.HEIC is skipped"):
        predict_folder(only, predictor, {})


def test_a_name_that_leaves_no_room_for_the_result_costs_one_photo(album, predictor):
    write_photo(album / f"{'b' * 245}.png")  # 249 bytes, and with -pose 254: its JSON file has 255
    write_photo(album / f"{'b' * 250}.png")
    write_photo(album / "z.png")
    written, failed = predict_folder(album, predictor, {})
    assert album / "z-pose.json" in written and album / f"{'b' * 245}-pose.json" in written
    assert [text for text in failed if "File name too long" in text and f"{'b' * 250}.png is not done" in text]


def test_no_byte_of_a_name_reaches_the_terminal_as_a_command(in_project, tmp_path, capsys):
    folder = tmp_path / "album"
    folder.mkdir()
    name = os.fsdecode(b"\xff\x1b[2J")  # no UTF-8, and "erase the screen"
    write_photo(folder / f"{name}.png")
    (folder / f"{name}b.png").touch()
    assert main(["predict", str(folder)]) == 1
    captured = capsys.readouterr()
    assert r"\udcff\x1b[2J-pose.png" in captured.out and r"\x1b[2Jb.png cannot be read" in captured.err
    assert "\x1b" not in captured.out + captured.err


def test_a_full_disk_ends_a_folder_at_once(in_project, album, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a-pose.json")

    monkeypatch.setattr("msff.demo.photos.write_json", full)
    assert main(["predict", str(album)]) == 1
    assert capsys.readouterr().err.count("no space left on the disk while writing a-pose.json") == 1


def test_a_read_only_file_system_is_one_line(in_project, photo, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "photo-pose.json")

    monkeypatch.setattr("msff.demo.photos.write_json", refuse)
    assert main(["predict", str(photo)]) == 1
    assert capsys.readouterr().err == "msff: photo-pose.json: Read-only file system\n"


def test_a_box_may_begin_left_of_the_photo(in_project, photo):
    assert main(["predict", str(photo), "--box", "-20,30,60,50"]) == 0
    assert json.loads(photo.with_name("photo-pose.json").read_text())["box"] == [-20, 30, 60, 50]


# the command


@pytest.fixture
def in_project(demo_study, monkeypatch):
    monkeypatch.chdir(demo_study.root)


def test_the_command_says_what_to_expect(in_project, photo, capsys):
    assert main(["predict", str(photo), "--box", "10,10,60,60"]) == 0
    statement, *paths = capsys.readouterr().out.splitlines()
    assert statement.startswith("MS-FF with batch norm, trained on: stand-in in RHD format")
    assert "Error measured on 3 real photographs of one hand" in statement
    assert [path.rsplit("/", 1)[-1] for path in paths] == ["photo-pose.png", "photo-pose.json"]


def test_the_command_fails_at_the_end_if_a_photo_did(in_project, album, tmp_path, capsys):
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"a.png": [1, 2, 30, 30]}')
    assert main(["predict", str(album), "--boxes", str(boxes), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("msff: ") == 1 and "broken.jpg cannot be read" in captured.err
    assert len(captured.out.splitlines()) == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "is no file of boxes"), ('{"a.png": 1}', "is no file of boxes"), ("{", "is no file of boxes"),
        ('{"ä.png": [1, 2, 3, 4]}', "boxes.json is no file of boxes"),  # in Latin-1
        ('{"a.png": [1, 2, 3]}', "array` of length 4"), ('{"a.png": [1, 2, NaN, 5]}', "is no file of boxes"),
        ('{"a.png": [1, 2, 3, 0]}', "the box of a.png must be x, y, w, h in px with positive w and h"),
    ],
)  # fmt: skip
def test_files_that_hold_no_boxes(album, tmp_path, content, message, capsys):
    (tmp_path / "boxes.json").write_bytes(content.encode("latin-1"))
    assert main(["predict", str(album), "--boxes", str(tmp_path / "boxes.json")]) == 1
    assert message in capsys.readouterr().err


def test_what_does_not_go_together(album, photo, tmp_path, capsys):
    assert main(["predict", str(album), "--box", "1,2,3,4"]) == 1
    assert "for a folder name a JSON file with --boxes" in capsys.readouterr().err
    assert main(["predict", str(photo), "--boxes", "boxes.json"]) == 1
    assert "--boxes is for a folder of photos" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "nothing.png")]) == 1
    assert "nothing.png does not exist" in capsys.readouterr().err
    assert main(["predict", str(photo), "--box", "1,2,3"]) == 1
    assert "--box takes x,y,w,h" in capsys.readouterr().err
    assert main(["predict", str(photo), "--out", str(photo)]) == 1
    assert "photo.png is not a folder" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe")
    assert main(["predict", str(tmp_path / "pipe")]) == 1
    assert "pipe is neither a file nor a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", str(photo), "--focal", "-5"])


def test_no_demonstration_network(tmp_path, photo, monkeypatch, capsys):
    monkeypatch.chdir(tiny_study(tmp_path / "project").root)
    assert main(["predict", str(photo)]) == 1
    assert "make one with `msff demo train`" in capsys.readouterr().err


# a run's checkpoint


def test_a_run_of_the_study(photo, checkpoint):
    _, record = predict_photo(photo, load_run(checkpoint))
    value = json.loads(record.read_text())
    assert value["run"] == RUN and value["trained_on"] == "MS-FF, trained on: stand-in in RHD format, profile smoke"
    assert "not measured for this run" in value["expected_error"]


def test_a_run_that_has_seen_the_photographs(photo, checkpoint):
    study = module.Workspace("smoke")
    run = store_made_up(study, RUN)
    error = {metric: {"value": 40.2, "low": 38.1, "high": 42.7} for metric in ("wrist20", "wrist20_pred_side", "pa21")}
    write_json(run.path / PHOTO_RECORD, {"photos": {"count": 98}, "metrics": {"T2": error}, "hardware": "made up"})
    predictor = load_run(checkpoint)
    assert predictor.expected.startswith("Error of the stored run measured on 98 real photographs of one hand")
    assert "40 (38 to 43) mm relative to the wrist" in predictor.expected
    assert predictor.measured == {"images": 98, "tracks": {"T2": {"network": error}}}


def test_a_single_hand_method_is_refused_at_any_configuration(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    state["describe"]["method"] = "posenet"
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match=r"run.pt is of PoseNet\(2017\).*both hands \(MS-FF, InterNet\)"):
        load_run(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"describe": "msff"}, "does not name its run"),
        ({"describe": {"profile": 5}}, "does not name its run"),
        ({"model": None}, "its weights do not fit standin-rhd/msff/full/seed0"),
        ({"model": {}}, "its weights do not fit standin-rhd/msff/full/seed0"),
    ],
)
def test_a_checkpoint_that_somebody_changed(checkpoint, change, message):
    torch.save(torch.load(checkpoint, weights_only=True) | change, checkpoint)
    with pytest.raises(CheckpointError, match=f"run.pt.* {message}"):
        load_run(checkpoint)


def test_weights_that_are_no_numbers(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    state["model"]["backbone.conv1.weight"][0] = torch.nan
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match="run.pt: its weights are no finite numbers"):
        load_run(checkpoint)


def test_a_run_that_no_profile_has(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    state["describe"]["dataset"] = "../elsewhere"
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match="elsewhere"):
        load_run(checkpoint)


def test_an_older_configuration(checkpoint):
    state = torch.load(checkpoint, weights_only=True) | {"config_hash": "old"}
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match="older configuration"):
        load_run(checkpoint)
