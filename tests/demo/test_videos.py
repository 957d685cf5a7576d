"""A video in, the same video with the pose drawn and a JSON file out."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest

from msff.cli import main
from msff.data.sample import DataError
from msff.demo import render
from msff.demo import videos as module
from msff.demo.predictor import Pose
from msff.demo.videos import predict_video

FRAMES, SIZE = 11, (96, 64)  # more frames than one batch


def write_video(path, frames=FRAMES, size=SIZE, fps=12.5, codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    for k in range(frames):
        picture = np.full((size[1], size[0], 3), 40, np.uint8)
        cv2.circle(picture, (20 + 5 * k, 32), 12, (120, 150, 200), -1)
        writer.write(picture)
    writer.release()
    return path


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return capture.get(cv2.CAP_PROP_FPS), np.stack(frames)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "wave.mp4")


def test_every_frame_is_drawn_and_recorded(video, predictor):
    content = video.read_bytes()
    drawn, record = predict_video(video, predictor, box=(5, 5, 60, 50))
    assert (drawn.name, record.name) == ("wave-pose.mp4", "wave-pose.json") and video.read_bytes() == content
    fps, frames = read_video(drawn)
    assert fps == 12.5 and frames.shape[0] == FRAMES and frames.shape[2] == 720 + 480  # 480 px high, and the 3D panel
    value = json.loads(record.read_text())
    assert value["video"] == "wave.mp4" and value["fps"] == 12.5 and value["image_size"] == [96, 64]
    assert value["run"] == "demo" and value["box"] == [5, 5, 60, 50] and "real photographs" in value["expected_error"]
    assert [f["frame"] for f in value["frames"]] == list(range(FRAMES)) and value["frames"][5]["time_s"] == 0.4
    _, inputs = read_video(video)
    (alone,) = predictor([inputs[9][:, :, ::-1]], (5, 5, 60, 50))
    found, expected = value["frames"][9], alone.record()
    assert found["probability"] == pytest.approx(expected["probability"], abs=1e-3)
    assert found["hands"].keys() == expected["hands"].keys()
    for side, joints in expected["hands"].items():
        for name, joint in joints.items():
            assert found["hands"][side][name]["image_px"] == pytest.approx(joint["image_px"], abs=0.1)


def test_a_second_call_replaces_its_own_video_and_nobody_elses(video, predictor, tmp_path):
    drawn, record = predict_video(video, predictor)
    predict_video(video, predictor)
    record.unlink()
    with pytest.raises(DataError, match="wave-pose.mp4 exists and was not written by `msff predict`"):
        predict_video(video, predictor)


def test_files_that_are_no_video(tmp_path, predictor):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 50)
    with pytest.raises(DataError, match="broken.mp4 cannot be read as a video"):
        predict_video(broken, predictor)
    with pytest.raises(DataError, match="none.mp4 does not exist"):
        predict_video(tmp_path / "none.mp4", predictor)
    assert list(tmp_path.iterdir()) == [broken]


def test_a_box_outside_the_frames(video, predictor):
    with pytest.raises(DataError, match="the box 200,0,10,10 lies outside the image of 96 x 64 px"):
        predict_video(video, predictor, box=(200, 0, 10, 10))


def test_a_codec_that_is_not_there_leaves_no_file(video, predictor, monkeypatch):
    monkeypatch.setattr(module, "CODEC", "zzzz")
    with pytest.raises(DataError, match="OpenCV cannot write a zzzz video"):
        predict_video(video, predictor)
    assert not list(video.parent.glob("*.mp4"))[1:]


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
@pytest.mark.parametrize("damage", ["none", "cut", "hole"])
def test_frames_that_a_damaged_video_lacks_are_counted(tmp_path, predictor, name, damage):
    video = write_video(tmp_path / name, frames=40, codec="MJPG")
    content = video.read_bytes()
    half = len(content) // 2
    if damage == "none":
        assert len(predict_video(video, predictor)) == 2  # both files, no error
        return
    hole = bytes(len(content) // 3) + content[half + len(content) // 3 :]
    video.write_bytes(content[:half] + (hole if damage == "hole" else b""))
    with pytest.raises(
        DataError, match=r"only \d+ of about 40 frames could be read, .* cut short or damaged"
    ) as caught:
        predict_video(video, predictor)
    frames = json.loads((tmp_path / "a-pose.json").read_text())["frames"]
    assert 0 < len(frames) < 38 and f"only {len(frames)} of" in str(caught.value)
    assert len(read_video(tmp_path / "a-pose.mp4")[1]) == len(frames)


@pytest.mark.parametrize("cut", ["frames", "file"])
def test_a_video_that_is_not_written_whole_replaces_nothing(demo_study, video, monkeypatch, capsys, cut):
    """OpenCV reports no failed write: the disk is full after three frames, or before the table of frames."""
    monkeypatch.chdir(demo_study.root)
    assert main(["predict", str(video)]) == 0
    drawn = video.with_name("wave-pose.mp4")
    kept = drawn.read_bytes()

    class Full:
        def __init__(self, path, *settings):
            self._path, self._left, self._writer = path, 3, writer_of(path, *settings)
            self.isOpened = self._writer.isOpened

        def write(self, picture):
            self._left -= 1
            if cut == "file" or self._left >= 0:
                self._writer.write(picture)

        def release(self):
            self._writer.release()
            if cut == "file":
                os.truncate(self._path, os.path.getsize(self._path) // 2)

    writer_of = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", Full)
    assert main(["predict", str(video)]) == 1
    assert "the video was not written whole" in capsys.readouterr().err
    usage = shutil.disk_usage(video.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert main(["predict", str(video)]) == 1
    assert f"no space left on the disk while writing {drawn}" in capsys.readouterr().err
    assert drawn.read_bytes() == kept
    assert {path.name for path in video.parent.iterdir()} == {"wave.mp4", "wave-pose.mp4", "wave-pose.json"}


def test_the_command(demo_study, video, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(demo_study.root)
    assert main(["predict", str(video), "--box", "0,0,96,64", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [str(tmp_path / "out" / name) for name in ("wave-pose.mp4", "wave-pose.json")]


@pytest.mark.parametrize(
    ("size", "shown"), [((97, 65), (716, 480)), ((4000, 1000), (1280, 320)), ((300, 900), (240, 720))]
)
def test_frames_are_drawn_at_an_even_size_that_can_be_seen(size, shown):
    rng = np.random.default_rng(0)
    pose = Pose(rng.normal(size=(42, 3)) * 50, rng.uniform(-1e7, 1e7, (42, 2)), np.array([0.9, 0.9]))
    picture = render.render(np.zeros((size[1], size[0], 3), np.uint8), pose, (0, 0, *size), 100.0)
    assert picture.shape == (shown[1], shown[0] + shown[1], 3)


def test_dashes_cover_a_line_from_end_to_end():
    (first, *_, last) = dashes = render.dashes(np.array([[0.0, 0.0], [60.0, 0.0]]), 6.0)
    assert first[0].tolist() == [0, 0] and last[1] == pytest.approx([60, 0])
    assert sum(np.hypot(*(b - a)) for a, b in dashes) == pytest.approx(40, abs=3)  # two thirds
    (whole,) = render.dashes(np.array([[0.0, 0.0], [0.5, 0.0]]), 6.0)
    np.testing.assert_allclose(whole, [[0, 0], [0.5, 0]])


def test_depth_is_seen_from_the_front_right_and_above():
    """A point that lies farther away is drawn to the right and higher, as in the figures."""
    joints = np.zeros((42, 3))
    joints[0], joints[1], joints[2] = (100, 0, 0), (0, 100, 0), (0, 0, 100)
    x, y, away = (
        render.view_3d(Pose(joints, joints[:, :2], np.array([1.0, 0])), 100.0)[:3]
        - render.view_3d(Pose(joints, joints[:, :2], np.array([1.0, 0])), 100.0)[3]
    )
    assert x[0] > 0.8 and y[1] > 0.9 and abs(y[0]) < 1e-9 and away[0] == pytest.approx(0.5) and -0.3 < away[1] < -0.1
