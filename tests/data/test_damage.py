"""Whole rendered and copied sets, damaged in one way each: ``verify`` must not say OK, readers must raise an error."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.io
from make_official import write_interhand, write_realworld
from PIL import Image
from tiny_study import tiny_study, with_images

from msff.data.interhand import read_interhand
from msff.data.loading import load
from msff.data.sample import DataError, LazySamples
from msff.data.verify import verify


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Twelve training and six test images."""
    return with_images(tiny_study(tmp_path_factory.mktemp("project"))).data_root("standin-rhd")


@pytest.fixture
def standin(rendered, tmp_path):
    return Path(shutil.copytree(rendered, tmp_path / "set"))


def problems(report) -> str:
    return "\n".join([*report.problems, *(p for s in report.splits for p in s.problems)])


def flip_bytes(root):
    path = root / "training" / "anno_training.pickle"
    records = pickle.loads(path.read_bytes())
    records[0]["xyz"] += 1e-6  # as plausible as before
    path.write_bytes(pickle.dumps(records))


def manifest(**changed):
    def damage(root):
        path = root / "standin.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return damage


def other_pixels(root):
    path = root / "training" / "color" / "00001.png"
    Image.fromarray(np.asarray(Image.open(path)) ^ 1).save(path)


def shorten(name):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:300])


@pytest.mark.parametrize(
    "damage, full, message",
    [
        (flip_bytes, False, r"anno_training\.pickle: changed .*SHA-256 differs\); .*delete .* render it again"),
        (lambda r: shutil.rmtree(r / "evaluation"), False, "the split evaluation is missing; .*render it again"),
        (manifest(finished=False), False, "says that the rendering was not finished"),
        (lambda r: change_pickle(r, lambda x: x.update(xyz=x["xyz"] * 9)), False, "another unit.*render it again"),
        (manifest(train=7), False, "12 images annotated, but standin.json says 7 for training"),
        (lambda r: (r / "standin.json").write_text("[1]"), False, "expected a JSON object .*found a list; .*delete"),
        (lambda r: (r / "standin.json").write_text("{"), False, "not a whole JSON file .*render it again"),
        (other_pixels, True, "images of training changed since they were rendered"),
        (shorten("training/color/00001.png"), False, r"00001\.png: image is truncated .*render it again"),
    ],
)
def test_a_damaged_standin_is_found(standin, damage, full, message):
    assert verify(standin, full=full).ok
    damage(standin)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(standin.parent)  # a relative path finds standin.json too
        report = verify("set", full=full)
    assert not report.ok
    assert re.search(message, problems(report)), problems(report)
    assert "fetch" not in problems(report) and "unpack" not in problems(report)


@pytest.mark.parametrize("damage", [manifest(finished=False), lambda r: (r / "standin.json").write_text("[1]")])
def test_an_unfinished_standin_is_not_loaded(standin, damage):
    damage(standin)
    with pytest.raises(DataError, match=r"standin\.json.*(not finished|expected a JSON object)"):
        load("standin-rhd", standin, "train")


def test_one_bad_mask_costs_one_sample(standin):
    shorten("training/mask/00001.png")(standin)
    split = verify(standin).splits[0]
    assert (split.annotated, split.usable, split.decoded) == (12, 11, 11) and len(split.problems) == 1


def change_pickle(root, change):
    for split in ("training", "evaluation"):
        path = root / split / f"anno_{split}.pickle"
        records = pickle.loads(path.read_bytes())
        for record in records.values():
            change(record)
        path.write_bytes(pickle.dumps(records))


@pytest.mark.parametrize("factor, what", [(1000, "hand's reach is .*wrist's depth is"), (0.01, "hand's reach is")])
def test_lengths_in_another_unit(standin, factor, what):
    (standin / "standin.json").unlink()
    change_pickle(standin, lambda record: record.update(xyz=record["xyz"] * factor))
    found = problems(verify(standin)).replace("\n", " ")
    assert all(part in found for part in what.split(".*")) and "are the lengths in another unit?" in found


def test_one_hand_of_impossible_size_is_a_note(tmp_path):
    official = write_interhand(tmp_path, "train", frames=3)
    frame = official.joint_3d["0"]["100"]
    frame["world_coord"] = (np.array(frame["world_coord"]) * 8).tolist()
    official.write()
    assert "hands are of impossible size" in str(verify(tmp_path))


def change_realworld(root, **changed):
    params, pose_cm = write_realworld(root)
    scipy.io.savemat(root / "params.mat", params | {k: f(params[k]) for k, f in changed.items() if k in params})
    scipy.io.savemat(root / "pose_gt.mat", {"pose_gt": changed.get("pose_gt", lambda x: x)(pose_cm)})


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"pose_gt": lambda x: x * 10, "pose_root": lambda x: x * 10}, "are the lengths in another unit"),
        ({"image_path": lambda names: np.array([names[0]] * len(names))}, "2 samples of test share an id"),
    ],
)
def test_realworld_in_millimetres_or_of_one_name(tmp_path, changed, message):
    change_realworld(tmp_path, **changed)
    assert message in problems(verify(tmp_path))


def test_a_standin_in_the_folders_of_the_other_version(tmp_path):
    names = [f"annotations/train/InterHand2.6M_train_{kind}.json" for kind in ("data", "camera", "joint_3d")]
    write_interhand(tmp_path, "train", frames=1, version="v0.0", standin="standin-interhand")
    manifest(finished=True, sha256=dict.fromkeys(names, "0"))(tmp_path)
    assert problems(verify(tmp_path)).count("missing, though standin.json lists it") == 3


def camera(key, value):
    return lambda o: o.camera["0"][key].update({"400262": value})


def image(**changed):
    return lambda o: o.data["images"][0].update(changed)


def annotation(**changed):
    return lambda o: o.data["annotations"][0].update(changed)


def joint(world_mm):
    return lambda o: o.joint_3d["0"]["100"]["world_coord"].__setitem__(2, world_mm)


def behind(official):
    joint((2000 / 900 * np.array(official.camera["0"]["campos"]["400262"])).tolist())(official)


def mirror(official):
    rotation = np.array(official.camera["0"]["camrot"]["400262"])
    official.camera["0"]["camrot"]["400262"] = (np.diag([-1, 1, 1]) @ rotation).tolist()


def huge_id(official):
    official.data["images"][0]["id"] = official.data["annotations"][0]["image_id"] = 2**70


@pytest.mark.parametrize(
    "damage, message",
    [
        (mirror, r"camera\.json: camera 400262 of capture 0: camrot mirrors"),
        (huge_id, r"data\.json: .*Expected `int` <= .*images\[0\]\.id.*\. Unpack"),
        (annotation(id=2**70), r"annotations\[0\]\.id"),
        (image(width=99999999999), r"images\[0\]\.width"),
        (image(width=-5), r"images\[0\]\.width"),
        (camera("campos", "abc"), r"camera\.json: camera 400262 .*expected campos of shape \(3,\), found \(\)\. Fetch"),
        (camera("campos", ["a", "b", "c"]), r"camera\.json: .*expected campos to be real numbers, found <U1 values"),
        (camera("camrot", [[2, 0, 0], [0, 1, 0], [0, 0, 1]]), "camrot is not a 3x3 rotation"),
        (camera("focal", [-1260.0, 1255.0]), r"camera\.json: camera 400262 .*K is not a pinhole camera"),
        (camera("focal", [1260.0]), r"expected focal of shape \(2,\), found \(1,\)"),
        (lambda o: o.camera["0"]["focal"].pop("400263"), r"camera\.json: camera 400263 of capture 0"),
        (lambda o: o.joint_3d["0"].pop("100"), r"joint_3d\.json: frame 100 of capture 0: not in the file"),
        (lambda o: o.joint_3d["0"]["100"].pop("world_coord"), r"joint_3d\.json: frame 100 .*expected world_coord"),
        (joint([np.nan] * 3), "annotation 1000 .*NaN or infinite"),
        (behind, "valid joints lie behind camera"),
        (lambda o: o.data.update(annotations=[]), "no sample; expected at least one annotation"),
        (lambda o: o.data["annotations"][0].pop("bbox"), r"missing required field `bbox` - at `\$\.annotations\[0\]`"),
        (annotation(image_id=77), "belongs to image 77"),
        (annotation(bbox=[3, 4, 0, 5]), "positive size"),
        (annotation(bbox=[1, 2, 3]), "length"),
        (annotation(joint_valid=[1] * 21), "expected 42 joint_valid flags, found 21"),
        (annotation(joint_valid=["x"] * 42), "joint_valid is not a list of numbers"),
        (annotation(hand_type="both"), r"hand_type must be one of right, left, interacting, found \['both'\]"),
        (image(file_name="Capture0/../../../x.jpg"), r"data\.json: image 0: file name .* leads out of the dataset"),
        (image(id=1), "image id 1 stands for .* and for .*"),
    ],
)
def test_interhand_entries_that_make_no_sense(tmp_path, damage, message):
    official = write_interhand(tmp_path, "train", frames=1)
    damage(official)
    official.write()
    with pytest.raises(DataError, match=message):
        read_interhand(tmp_path, "train")
    assert not verify(tmp_path).ok


@pytest.mark.parametrize("table", ["frames", "cameras"])
def test_a_shortened_table_of_the_index_is_made_again(tmp_path, monkeypatch, table):
    monkeypatch.setattr("msff.data.interhand.KEPT_FROM", 1)
    write_interhand(tmp_path, "train", frames=3)
    read_interhand(tmp_path, "train")
    (path,) = tmp_path.glob(f".msff-cache/*/{table}.arrow")
    short = pa.ipc.open_file(str(path)).read_all().slice(0, 1)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, short.schema) as writer:
        writer.write_table(short)
    with pytest.warns(UserWarning, match=rf"damaged index \({table[:-1]}_row 0 to"):
        assert len([*read_interhand(tmp_path, "train")]) == 6


def test_an_error_from_within_does_not_end_an_iteration():
    class Broken(LazySamples):
        largest_size = None

        def __len__(self):
            return 3

        def make(self, position):
            return [0][position]

    with pytest.raises(IndexError):
        list(Broken())
