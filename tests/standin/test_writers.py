"""The stand-in on disk: official values, atomic, resumable, refusing to overwrite."""

import builtins
import fcntl
import hashlib
import io
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from msff.cli import main
from msff.data.sample import DataError
from msff.skeleton import CANONICAL_FROM_RHD
from msff.standin import GENERATOR_VERSION, formats, layouts, renderer, writers
from msff.standin.formats import Request, encode_depth
from msff.standin.writers import make

SIZE = 96


@pytest.fixture(scope="module")
def rhd(tmp_path_factory):
    return make("standin-rhd", tmp_path_factory.mktemp("sets") / "rhd", 5, 2, size=SIZE, progress=False)


@pytest.fixture(scope="module")
def interhand(tmp_path_factory):
    return make("standin-interhand", tmp_path_factory.mktemp("sets") / "ih", 6, 4, size=128, progress=False)


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


def test_an_equal_dataset_is_left_alone(rhd):
    before = {p: p.stat().st_mtime_ns for p in rhd.rglob("*")}
    assert make("standin-rhd", rhd, 5, 2, size=SIZE, progress=False) == rhd
    assert {p: p.stat().st_mtime_ns for p in rhd.rglob("*")} == before


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


def test_killed_just_before_the_end_only_moves(rhd, tmp_path, monkeypatch):
    def power_cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writers.Path, "rename", power_cut)
    with pytest.raises(KeyboardInterrupt):
        make("standin-rhd", tmp_path / "end", 5, 2, size=SIZE, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(writers, "_render_split", power_cut)
    make("standin-rhd", tmp_path / "end", 5, 2, size=SIZE, progress=False)
    assert contents(tmp_path / "end") == contents(rhd)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that was killed when all was rendered and nothing annotated."""
    root = tmp_path_factory.mktemp("sets") / "stopped"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_RHD_FILES", ())  # no place for the annotations: an IndexError
        with pytest.raises(IndexError):
            make("standin-rhd", root, 5, 2, size=SIZE, progress=False)
    return root.with_name("stopped.partial")


def truncate(path, size=100):
    path.write_bytes(path.read_bytes()[:size])


def flip(path):
    """Another bit in the values: in an archive it is the checksum that tells."""
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 5] ^= 1
    path.write_bytes(data)


PART = f"{formats.PARTS}/training_0000002.npz"


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: truncate(r / "training/color/00001.png"),
        lambda r: shutil.copy(r / "training/mask/00001.png", r / "training/mask/00002.png"),
        lambda r: flip(r / PART),
        lambda r: (r / PART).write_bytes(b"no archive"),
        lambda r: (r / PART).unlink(),
    ],
    ids=["cut image", "other image", "bit in part", "no archive", "lost part"],
)
def test_what_was_damaged_before_the_end_is_rendered_again(rhd, unfinished, tmp_path, monkeypatch, damage):
    partial = shutil.copytree(unfinished, tmp_path / "hurt.partial")
    damage(partial)
    original, again = formats.save_part, []
    monkeypatch.setattr(formats, "save_part", lambda *a: again.append(a[1:3]) or original(*a))
    make("standin-rhd", tmp_path / "hurt", 5, 2, size=SIZE, progress=False)
    assert sorted(again) == [("training", i) for i in range(4)]  # its batch, and no other
    assert contents(tmp_path / "hurt") == contents(rhd)


@pytest.mark.parametrize("name", ["training/color/00004.png", "evaluation/anno_evaluation.pickle"])
def test_a_finished_set_is_checked_before_it_gets_its_name(rhd, tmp_path, name):
    shutil.copytree(rhd, tmp_path / "late.partial")
    truncate(tmp_path / "late.partial" / name)
    make("standin-rhd", tmp_path / "late", 5, 2, size=SIZE, progress=False)
    assert contents(tmp_path / "late") == contents(rhd)


def change_manifest(root, **values):
    manifest = json.loads((root / "standin.json").read_text()) | values
    (root / "standin.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def lost_among_others(root):
    (root / "training/color/00002.png").unlink()
    for i in range(3):
        shutil.copy(root / "training/color/00001.png", root / f"more_{i}.png")


def swap_for_a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [
    (lambda r: (r / "training/anno_training.pickle").write_bytes(b"x"), "anno_training.pickle: changed"),
    (lambda r: (r / "evaluation/anno_evaluation.pickle").unlink(), "anno_evaluation.pickle: missing"),
    (lambda r: (r / "training/mask/00003.png").unlink(), r"mask/00003.png: missing.*\(1 of 15 image files"),
    (lost_among_others, r"color/00002.png: missing.*\(1 of 15 image files"),
    (lambda r: swap_for_a_folder(r / "evaluation/depth/00001.png"), "depth/00001.png: missing, or not a file"),
    (lambda r: shutil.rmtree(r / "evaluation/mask"), r"mask/00000.png: missing.*\(2 of 6"),
    (lambda r: truncate(r / "training/depth/00003.png"), "training/depth/00003.png: changed or damaged"),
    (lambda r: truncate(r / "training/color/00001.png", 0), "training/color/00001.png: changed or damaged"),
    (
        lambda r: shutil.copy(r / "training/color/00001.png", r / "training/color/00002.png"),
        "training: at least one of its 15 images was changed or replaced",
    ),
    (lambda r: (r / "standin.json").write_text("[]"), "standin.json: expected a JSON object .*found a list"),
    (lambda r: (r / "standin.json").write_text("{}"), "standin.json: damaged, it names no dataset"),
    (lambda r: (r / "standin.json").write_text('{"seed": 0'), "standin.json: not a whole JSON file"),
    (lambda r: change_manifest(r, sha256=[1]), "standin.json: 'sha256' is missing or damaged"),
    (lambda r: change_manifest(r, sha256={"training/anno_training.pickle": 1}), "'sha256' is missing or damaged"),
    (lambda r: change_manifest(r, sha256={}), "'sha256' is missing or damaged"),
    (lambda r: change_manifest(r, sha256=None), "'sha256' is missing or damaged"),
    (lambda r: change_manifest(r, images_sha256=None), "'images_sha256' is missing or damaged"),
    (lambda r: change_manifest(r, images_sha256={"training": "0"}), "'images_sha256' is missing or damaged"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_dataset_is_not_left_alone(rhd, tmp_path, damage, message):
    root = tmp_path / "copy"
    shutil.copytree(rhd, root)
    damage(root)
    before = contents(root)
    with pytest.raises(DataError, match=message) as caught:
        make("standin-rhd", root, 5, 2, size=SIZE, progress=False)
    assert f"delete {root}" in str(caught.value)
    assert contents(root) == before


def test_files_beyond_the_dataset_are_no_damage(rhd, tmp_path):
    root = shutil.copytree(rhd, tmp_path / "copy")
    (root / "training/color/notes.png").write_text("mine")
    assert make("standin-rhd", root, 5, 2, size=SIZE, progress=False) == root
    assert (root / "training/color/notes.png").read_text() == "mine"


def test_a_damaged_interhand_image_is_found(interhand, tmp_path):
    root = shutil.copytree(interhand, tmp_path / "copy")
    assert make("standin-interhand", root, 6, 4, size=128, progress=False) == root
    image = sorted((root / "images" / "test").rglob("*.jpg"))[1]
    truncate(image, 300)
    with pytest.raises(DataError, match=f"{image.name}: changed or damaged"):
        make("standin-interhand", root, 6, 4, size=128, progress=False)
    image.unlink()
    with pytest.raises(DataError, match=rf"{image.name}: missing.*\(1 of 4 image files"):
        make("standin-interhand", root, 6, 4, size=128, progress=False)


@pytest.mark.parametrize("name", ["standin.json", "training/anno_training.pickle", "training/color", PART])
def test_what_may_not_be_read_is_not_called_damaged(rhd, unfinished, tmp_path, monkeypatch, name):
    """The tests may run as root, who may read everything: so it is `open` that refuses."""
    shutil.copytree(unfinished, tmp_path / "copy.partial") if name == PART else shutil.copytree(rhd, tmp_path / "copy")
    original = io.open

    def refuse(path, *arguments, **options):
        if name in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(DataError, match=rf"{name}.*: cannot be read \(Permission denied\)") as caught:
        make("standin-rhd", tmp_path / "copy", 5, 2, size=SIZE, progress=False)
    assert "delete" not in str(caught.value) and "written" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_folder_is_not_called_damaged(rhd, tmp_path):
    root = shutil.copytree(rhd, tmp_path / "copy")
    (root / "training" / "mask").chmod(0)
    try:
        with pytest.raises(DataError, match=r"mask/00000.png: cannot be read \(Permission denied\)"):
            make("standin-rhd", root, 5, 2, size=SIZE, progress=False)
    finally:
        (root / "training" / "mask").chmod(0o755)


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
    said = f"standin-rhd: 5 training and 2 test images in {rhd}: already there, complete and from the same request; "
    assert capsys.readouterr().out == f"{said}left unchanged\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threads", "-2", "expected a whole number from 1 up, got '-2'"),
        ("--threads", "0", "expected a whole number from 1 up, got '0'"),
        ("--batch", "0", "expected a whole number from 1 up, got '0'"),
        ("--size", "x", "expected a whole number from 1 up, got 'x'"),
        ("--seconds", "-1", "expected a number of seconds above 0, got '-1'"),
        ("--seconds", "nan", "expected a number of seconds above 0, got 'nan'"),
        ("--seconds", "inf", "expected a number of seconds above 0, got 'inf'"),
        ("--seconds", "soon", "expected a number of seconds above 0, got 'soon'"),
    ],
)
def test_bench_arguments_that_make_no_sense(capsys, option, value, message):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "render", f"{option}={value}"])
    assert stop.value.code == 2
    assert f"argument {option}: {message}" in capsys.readouterr().err


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
    with pytest.raises(DataError, match=r"new.partial.*cannot be written \(Permission denied\); choose a --root"):
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


def test_two_processes_do_not_write_the_same_dataset(tmp_path):
    partial = tmp_path / "rhd.partial"
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is writing this dataset"):
            make("standin-rhd", tmp_path / "rhd", 1, 1, size=96, progress=False)
    finally:
        os.close(handle)
    make("standin-rhd", tmp_path / "rhd", 1, 1, size=96, progress=False)
    assert (tmp_path / "rhd" / "training" / "color" / "00000.png").is_file()


def test_unchecked_the_manifest_is_believed(tmp_path):
    root = make("standin-rhd", tmp_path / "set", 1, 1, size=SIZE, progress=False)
    (root / "training" / "color" / "00000.png").write_bytes(b"no picture")
    assert make("standin-rhd", root, 1, 1, size=SIZE, progress=False, check=False) == root
    with pytest.raises(DataError, match="00000.png"):
        make("standin-rhd", root, 1, 1, size=SIZE, progress=False)
