import json

import numpy as np
import pytest
from PIL import Image
from tiny_study import tiny_study

from msff.data.sample import DataError
from msff.report import predict
from msff.training.checkpoint import CheckpointError, save_checkpoint

RUN = "standin-rhd/msff/full/seed0"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    study = tiny_study(tmp_path / "project")
    monkeypatch.setattr(predict, "Study", lambda *arguments, **options: study)
    experiment = study.experiment(RUN)
    path = tmp_path / "run.pt"
    describe = {"profile": "smoke", "dataset": "standin-rhd", "method": "msff", "variant": "full", "seed": 0}
    network = study.network(experiment)
    save_checkpoint(
        path, config_hash=study.config_hash(experiment), epoch=2, model=network.state_dict(), describe=describe
    )
    return path


def test_picture_and_json(photo, checkpoint, tmp_path):
    picture, record = predict.predict_photo(photo, checkpoint, box=(10, 10, 60, 60), out=tmp_path / "out")
    assert Image.open(picture).size[0] > 500
    value = json.loads(record.read_text())
    assert value["trained_on"] == "stand-in in RHD format" and value["run"] == RUN
    assert value["hands"] and set(value["hands"]) <= {"right", "left"}
    for joints in value["hands"].values():
        assert len(joints) == 21 and joints["wrist"]["relative_mm"] == [0, 0, 0]
        assert all(-60 < x < 180 and -60 < y < 150 for x, y in (j["image_px"] for j in joints.values()))


@pytest.mark.parametrize(("box", "message"), [((200, 0, 10, 10), "lies outside the image of 120 x 90 px")])
def test_bad_box(photo, checkpoint, box, message):
    with pytest.raises(DataError, match=message):
        predict.predict_photo(photo, checkpoint, box=box)


def test_no_image(tmp_path, checkpoint):
    text = tmp_path / "photo.txt"
    text.write_text("no image")
    with pytest.raises(DataError, match="photo.txt cannot be read as an image"):
        predict.predict_photo(text, checkpoint)


def test_a_method_of_one_hand_is_refused_whatever_its_configuration(photo, checkpoint):
    import torch

    state = torch.load(checkpoint, weights_only=True)
    state["describe"]["method"] = "posenet"
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match=r"run.pt is of PoseNet\(2017\).*both hands \(MS-FF, InterNet\) only"):
        predict.predict_photo(photo, checkpoint)


def test_an_older_configuration(photo, checkpoint):
    import torch

    state = torch.load(checkpoint, weights_only=True) | {"config_hash": "old"}
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match="older configuration"):
        predict.predict_photo(photo, checkpoint)
