"""The stand-in on disk: official values, atomic, resumable, refusing to overwrite."""

import hashlib
import json
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from golden.make import FOLDER, SETS, rendered
from PIL import Image

from msff.cli import main
from msff.data.sample import DataError
from msff.skeleton import CANONICAL_FROM_RHD
from msff.standin import GENERATOR_VERSION, formats, layouts, renderer, writers
from msff.standin.formats import Request, encode_depth
from msff.standin.writers import make

SIZE, GOLDEN = SETS["rhd"][-1], FOLDER / "standin.npz"


@pytest.fixture(scope="module")
def rhd(tmp_path_factory):
    return make("standin-rhd", tmp_path_factory.mktemp("sets") / "rhd", *SETS["rhd"], progress=False)


@pytest.fixture(scope="module")
def interhand(tmp_path_factory):
    return make("standin-interhand", tmp_path_factory.mktemp("sets") / "ih", *SETS["interhand"], progress=False)


def test_images_are_those_of_the_generators_version(rhd, interhand):
    """Other pixels need another version, see `msff.standin.version`; then run tests/golden/make.py."""
    with np.load(GOLDEN) as golden:
        for name, root in (("rhd", rhd), ("interhand", interhand)):
            off = np.abs(rendered(root).astype(int) - golden[name])
            assert off.mean() < 0.2 and (off > 2).mean() < 1e-3, f"{name}: {off.mean():.2f} grey levels on average"


def test_depth_code_by_hand():
    code = encode_depth(np.array([[0.0, 1000.0, 2500.0, 9000.0]]))
    assert code.tolist() == [[[255, 255, 0], [0x33, 0x33, 0], [0x80, 0x00, 0], [255, 255, 0]]]  # 1 m is 13107 = 0x3333


def test_rhd_layout_holds_the_rendered_values(rhd):
    table = pickle.loads((rhd / "training" / "anno_training.pickle").read_bytes())
    assert sorted(table) == [0, 1, 2, 3, 4]
    batch = layouts.rhd_scenes(0, "training", [0, 1, 2, 3, 4], SIZE)
    for i, record in table.items():
        for key, decimals in (("xyz", 7), ("uv_vis", 4), ("K", 6)):  # no last bits, which differ between processors
            assert record[key].tobytes() == (np.round(record[key], decimals) + 0.0).tobytes(), key
        assert {k: v.shape for k, v in record.items()} == {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}
        joints = batch.joints_cam_mm[i].numpy()
        assert record["xyz"][CANONICAL_FROM_RHD] * 1000 == pytest.approx(joints, abs=1e-4)
        assert record["xyz"][0] * 1000 == pytest.approx(joints[41], abs=1e-4)  # RHD begins with the left wrist
        assert set(np.unique(record["uv_vis"][:, 2])) <= {0.0, 1.0}
        present = record["xyz"][:, 2] > 0
        projected = record["xyz"][present] @ record["K"].T
        assert np.abs(projected[:, :2] / projected[:, 2:] - record["uv_vis"][present, :2]).max() < 0.05
        colour = np.asarray(Image.open(rhd / "training" / "color" / f"{i:05d}.png"))
        assert colour.shape == (SIZE, SIZE, 3)
        assert np.abs(colour.astype(int) - batch.images[i].permute(1, 2, 0).numpy()).max() <= 1
        mask = np.asarray(Image.open(rhd / "training" / "mask" / f"{i:05d}.png"))
        assert mask.dtype == np.uint8 and (mask == batch.mask[i].numpy()).mean() > 0.999
        depth = np.asarray(Image.open(rhd / "training" / "depth" / f"{i:05d}.png")).astype(int)
        metres = (depth[..., 0] * 256 + depth[..., 1]) / 65535 * 5
        assert np.abs(metres[mask > 0] * 1000 - batch.depth_mm[i].numpy()[mask > 0]).max() < 0.05


def test_interhand_layout_reprojects_from_the_world(interhand):
    stem = interhand / "annotations" / "train" / "InterHand2.6M_train"
    data, cameras, joints = (
        json.loads(stem.with_name(f"{stem.name}_{name}.json").read_text()) for name in ("data", "camera", "joint_3d")
    )
    assert len(data["images"]) == len(data["annotations"]) == 6
    made = {"dataset": "standin-interhand", "generator_version": GENERATOR_VERSION, "seed": 0}
    assert data["info"] == {"description": "msff stand-in, rendered, not photographs"} | made
    assert not re.search(r"-0\.0[,\]]", "".join(p.read_text() for p in stem.parent.iterdir()))
    frames = layouts.interhand_frames(0, "train", list(range(6)), 128, round(128 * 334 / 512))
    for i, (image, annotation) in enumerate(zip(data["images"], data["annotations"], strict=True)):
        picture = Image.open(interhand / "images" / "train" / image["file_name"])
        assert picture.size == (image["width"], image["height"]) == (128, 84)
        record = joints[str(image["capture"])][str(image["frame_idx"])]
        camera = {k: np.array(v[image["camera"]]) for k, v in cameras[str(image["capture"])].items()}
        cam = (np.array(record["world_coord"]) - camera["campos"]) @ camera["camrot"].T
        pixel = cam[:, :2] / cam[:, 2:] * camera["focal"] + camera["princpt"]
        present = np.repeat(frames.batch.side_present[i].numpy(), 21)
        assert np.abs(pixel - frames.batch.joints_px[i].numpy())[present].max() < 0.05
        assert np.linalg.det(camera["camrot"]) == pytest.approx(1)
        assert annotation["hand_type"] == record["hand_type"] == "interacting"  # the first sequence of every capture
        assert np.ravel(annotation["joint_valid"]).tolist() == frames.joint_valid[i].int().tolist()
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0 and x + w <= 127 and y + h <= 83 and min(w, h) > 10


def test_manifest_and_nothing_left_over(rhd):
    manifest = json.loads((rhd / "standin.json").read_text())
    assert manifest["generator_version"] == GENERATOR_VERSION
    assert (manifest["seed"], manifest["train"], manifest["test"], manifest["size"]) == (0, 5, 2, SIZE)
    assert set(manifest["images_sha256"]) == {"training", "evaluation"}
    for split, digest in manifest["images_sha256"].items():  # as `sha256sum` lists the files
        names = sorted(p.relative_to(rhd).as_posix() for p in (rhd / split).rglob("*.png"))
        listed = "".join(f"{hashlib.sha256((rhd / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
        assert hashlib.sha256(listed.encode()).hexdigest() == digest
        assert len(names) == 3 * {"training": 5, "evaluation": 2}[split]
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((rhd / name).read_bytes()).hexdigest() == digest
    assert len(manifest["sha256"]) == 2
    assert not rhd.with_name("rhd.partial").exists() and not (rhd / formats.PARTS).exists()
    assert not list(rhd.rglob("*.tmp"))


def test_images_do_not_depend_on_the_count(rhd, tmp_path):
    fewer = make("standin-rhd", tmp_path / "fewer", 2, 1, size=SIZE, progress=False)
    two, five = (pickle.loads((r / "training" / "anno_training.pickle").read_bytes()) for r in (fewer, rhd))
    for i in range(2):
        for key in ("uv_vis", "xyz", "K"):
            assert two[i][key] == pytest.approx(five[i][key], abs=1e-9)
        pictures = [np.asarray(Image.open(r / "training" / "color" / f"{i:05d}.png")).astype(int) for r in (fewer, rhd)]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_an_interrupted_run_goes_on_where_it_was(rhd, tmp_path, monkeypatch):
    root = tmp_path / "stopped"
    saved = []
    original = formats.save_part

    def die_after_five(folder, split, index, arrays):
        if len(saved) == 5:
            raise KeyboardInterrupt
        saved.append((split, index))
        original(folder, split, index, arrays)

    monkeypatch.setattr(formats, "save_part", die_after_five)
    with pytest.raises(KeyboardInterrupt):
        make("standin-rhd", root, 5, 2, size=SIZE, progress=False)
    assert not root.exists() and root.with_name("stopped.partial").is_dir()
    again = []

    def count(folder, split, index, arrays):
        again.append((split, index))
        original(folder, split, index, arrays)

    monkeypatch.setattr(formats, "save_part", count)
    make("standin-rhd", root, 5, 2, size=SIZE, progress=False)
    assert sorted(again) == [("evaluation", 0), ("evaluation", 1)]  # all of training was whole
    assert contents(root) == contents(rhd)


def test_a_batch_that_was_cut_short_is_rendered_as_a_whole(rhd, tmp_path, monkeypatch):
    original = formats.save_part

    def die_within_the_batch(folder, split, index, arrays):
        if index == 2:
            raise KeyboardInterrupt
        original(folder, split, index, arrays)

    monkeypatch.setattr(formats, "save_part", die_within_the_batch)
    with pytest.raises(KeyboardInterrupt):
        make("standin-rhd", tmp_path / "cut", 5, 2, size=SIZE, progress=False)
    monkeypatch.setattr(formats, "save_part", original)
    written = []
    monkeypatch.setattr(formats, "save_images", lambda *a: written.append(sorted(a[1])[0]) or {})
    monkeypatch.setattr(writers, "images_digest", lambda *a: "")
    make("standin-rhd", tmp_path / "cut", 5, 2, size=SIZE, progress=False)
    assert {f"training/color/{i:05d}.png" for i in range(4)} <= set(written)


DAMAGES = [
    ("[]", "standin.json: expected a JSON object .*found a list"),
    ("{}", "standin.json: damaged, it names no dataset"),
    ('{"seed": 0', "standin.json: not a whole JSON file"),
]


@pytest.mark.parametrize(("text", "message"), DAMAGES)
def test_a_damaged_manifest_is_named_and_the_folder_left_alone(tmp_path, text, message):
    (tmp_path / "standin.json").write_text(text)
    with pytest.raises(DataError, match=f"{message}(.|\n)*delete {tmp_path}"):
        make("standin-rhd", tmp_path, 5, 2, size=SIZE, progress=False)
    assert (tmp_path / "standin.json").read_text() == text


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for root in (tmp_path / "one", tmp_path / "one" / "below"):
        with pytest.raises(DataError, match=f"{root}: .* symbolic link that leads back to itself"):
            make("standin-rhd", root, 1, 1, size=SIZE, progress=False)
    (tmp_path / "set.partial").symlink_to("one")
    (tmp_path / "next.partial").symlink_to("nowhere")
    for name in ("set", "next"):
        with pytest.raises(DataError, match=f"{name}.partial: is a symbolic link where .* remove it"):
            make("standin-rhd", tmp_path / name, 1, 1, size=SIZE, progress=False)
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "set").exists()


def test_a_file_has_its_bytes_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(formats.os, "fsync", lambda handle: steps.append(os.fstat(handle).st_size))
    replace = os.replace
    monkeypatch.setattr(formats.os, "replace", lambda *paths: steps.append("named") or replace(*paths))
    formats.write_whole(tmp_path / "file", lambda stream: stream.write(b"12345"))
    assert steps == [5, "named"]


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("dataset", "function"), [("standin-rhd", "rhd_scenes"), ("standin-interhand", "interhand_frames")]
)
def test_the_device_renders_and_is_no_part_of_the_dataset(tmp_path, monkeypatch, dataset, function):
    request = Request(dataset, GENERATOR_VERSION, 0, 100, 1, 320, "cuda")
    assert request == Request(dataset, GENERATOR_VERSION, 0, 100, 1, 320)
    assert "device" not in request.identity() and request.identity()["size"] == 320

    def asked(*arguments):
        assert arguments[-1] == "cuda"
        raise Stop

    monkeypatch.setattr(formats.layouts, function, asked)
    spec = formats.DATASETS[dataset]
    with pytest.raises(Stop):
        spec.write(tmp_path, spec.splits[0], [0], request)
    assert [len(b) for b in writers._unrendered(tmp_path, spec.splits[0], 100, request)] == [16] * 6 + [4]


def test_a_batch_comes_to_the_processor(tmp_path, monkeypatch):
    batch, moved = layouts.rhd_scenes(0, "training", [0], SIZE), []
    monkeypatch.setattr(formats.layouts, "rhd_scenes", lambda *_: batch)
    monkeypatch.setattr(renderer.RenderedBatch, "cpu", lambda self: moved.append(self) or self)
    formats.DATASETS["standin-rhd"].write(tmp_path, "training", [0], Request("standin-rhd", 1, 0, 1, 1, SIZE))
    assert moved == [batch]


def test_an_unknown_device(tmp_path, capsys):
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match="device must be one of cpu"):
            make("standin-rhd", tmp_path / "new", 1, 1, size=SIZE, progress=False, device=device)
    command = ["data", "make", "standin-rhd", "--root", str(tmp_path / "new"), "--train", "1", "--test", "1"]
    assert main([*command, "--device", "gpu"]) == 1
    assert "device must be one of cpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_became_of_the_dataset(rhd, capsys):
    command = ["data", "make", "standin-rhd", "--train", "5", "--test", "2", "--size", str(SIZE)]
    assert main([*command, "--root", str(rhd)]) == 0
    said = f"standin-rhd: 5 training and 2 test images in {rhd}: already there from the same request, left unchanged; "
    assert capsys.readouterr().out == f"{said}`msff data verify` checks it\n"


def test_an_unfinished_dataset_under_its_final_name(rhd, tmp_path):
    root = tmp_path / "moved"
    shutil.copytree(rhd, root)
    manifest = json.loads((root / "standin.json").read_text())
    (root / "standin.json").write_text(json.dumps(manifest | {"finished": False}))
    with pytest.raises(DataError, match=r"unfinished stand-in; rename it to moved.partial"):
        make("standin-rhd", root, 5, 2, size=SIZE, progress=False)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def denied(path, write):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(writers, "write_json", denied)
    with pytest.raises(DataError, match=r"new.partial.*cannot be read or written \(Permission denied\); choose"):
        make("standin-rhd", tmp_path / "new", 1, 1, size=SIZE, progress=False)


def test_a_disk_that_fills_up_while_rendering(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "save_images", full)
    with pytest.raises(DataError, match="the disk is full; free some space and run again"):
        make("standin-rhd", tmp_path / "new", 1, 1, size=SIZE, progress=False)
    assert not (tmp_path / "new").exists()


def test_a_root_behind_a_link_keeps_the_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk.partial").mkdir()
    (tmp_path / "disk.partial" / "standin.json.tmp").touch()  # of a run killed at its first file
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    make("standin-rhd", tmp_path / "link", 1, 1, size=SIZE, progress=False)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "standin.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed"),
        ({"train": 6}, "train"),
        ({"size": 128}, "size"),
        ({"dataset": "standin-interhand"}, "dataset"),
    ],
)
def test_another_dataset_is_not_overwritten(rhd, change, message):
    wanted = {"dataset": "standin-rhd", "train": 5, "test": 2, "seed": 0, "size": SIZE} | change
    with pytest.raises(DataError, match=message):
        make(root=rhd, progress=False, **wanted)
    assert json.loads((rhd / "standin.json").read_text())["seed"] == 0


def test_another_generator_version_is_refused(rhd, monkeypatch):
    monkeypatch.setattr(writers, "GENERATOR_VERSION", GENERATOR_VERSION + 1)
    with pytest.raises(DataError, match="generator_version"):
        make("standin-rhd", rhd, 5, 2, size=SIZE, progress=False)


def test_foreign_folders_and_files_stay_untouched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(DataError, match="not a stand-in"):
        make("standin-rhd", tmp_path / "mine", 1, 1, size=SIZE, progress=False)
    with pytest.raises(DataError, match="found a file"):
        make("standin-rhd", tmp_path / "mine" / "letter.txt", 1, 1, size=SIZE, progress=False)
    with pytest.raises(DataError, match="letter.txt: is a file, so no folder"):
        make("standin-rhd", tmp_path / "mine" / "letter.txt" / "new", 1, 1, size=SIZE, progress=False)
    (tmp_path / "next.partial").write_text("keep")
    with pytest.raises(DataError, match="next.partial: is a file"):
        make("standin-rhd", tmp_path / "next", 1, 1, size=SIZE, progress=False)
    assert (tmp_path / "mine" / "letter.txt").read_text() == (tmp_path / "next.partial").read_text() == "keep"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": 0}, "train"),
        ({"test": -3}, "test"),
        ({"size": 95}, "no finger can be made out"),
        ({"size": 1025}, "size"),
        ({"seed": -1}, "seed"),
        ({"dataset": "rhd"}, "known"),
    ],
)
def test_bad_requests(tmp_path, wrong, message):
    request = {"dataset": "standin-rhd", "train": 1, "test": 1, "size": SIZE} | wrong
    with pytest.raises(ValueError, match=message):
        make(root=tmp_path / "new", progress=False, **request)
    assert not list(tmp_path.iterdir())


def test_too_little_disk_space_is_said_before_rendering(tmp_path, monkeypatch):
    monkeypatch.setattr(writers.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="MB free"):
        make("standin-rhd", tmp_path / "new", 1, 1, size=SIZE, progress=False)
    assert not (tmp_path / "new").exists()


def test_a_second_process_waits_and_finds_the_dataset(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        roots = list(pool.map(lambda _: make("standin-rhd", tmp_path / "set", 1, 1, size=SIZE, progress=False), "ab"))
    assert roots == [tmp_path / "set"] * 2 and not (tmp_path / "set.partial").exists()
