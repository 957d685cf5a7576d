"""Archives: what a call finished, checked to the last byte, into the results of another project."""

import dataclasses
import io
import json
import os
import signal
import time
import zipfile

import numpy as np
import pytest
from fake_study import fake_run, fake_truth, make_study  # noqa: F401
from make_results import add_photos
from msff.evaluation.answers import Answers
from msff.study.execute import done, run_study, steps
from msff.study.ingest import merge

from msff.study import execute
from msff.study.archive import MANIFEST, ArchiveError, State, pack, packing, read

MIB = 2**20


def silent(text):
    pass


@pytest.fixture
def study(make_study):  # noqa: F811
    return make_study()


@pytest.fixture
def other(make_study):  # noqa: F811
    return make_study("there")


def run_ids(study, *run_ids):
    return [study.experiment(f"standin-rhd/{name}/seed0") for name in run_ids]


def some_runs(study, count=3, **record):
    """Stored runs with their ground truth."""
    for dataset in ("standin-rhd", "standin-interhand"):
        fake_truth(study, dataset)
    names = ("msff/full", "internet/full", "posenet/full", "spurr/plain", "yang/full")[:count]
    return [fake_run(study, e, **record) for e in run_ids(study, *names)]


def packed(study, folder, limit_mib=16.0):
    return pack(study, folder, State(frozenset(), {}), limit_mib, silent)


def one_archive(study, folder):
    folder.mkdir(exist_ok=True)
    (path,) = packed(study, folder)
    return path


def content(study, *folders):
    root = study.store.root
    files = [p for folder in folders for p in (root / folder).rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def rewrite(path, change):
    """The archive again, with ``change(files)`` applied to its content, and a manifest that is whole."""
    with zipfile.ZipFile(path) as source:
        files = {name: source.read(name) for name in source.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return path


def changed_manifest(change):
    def apply(files):
        manifest = json.loads(files[MANIFEST])
        change(manifest)
        files[MANIFEST] = json.dumps(manifest).encode()

    return apply


def test_from_a_run_into_a_fresh_project(study, other, tmp_path):
    with packing(study, tmp_path / "out", 16.0, silent):
        run_study(study, jobs=1, log=silent)
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("msff-smoke-2") and path.suffix == ".zip"
    result = merge(other, read(path))
    stored = ("runs", "helpers", "truth")
    assert content(other, *stored) == content(study, *stored)
    pages = [step for step in steps(study) if step.stage < 3]
    assert len(result.pages) == len(pages) and all(done(other, step) for step in pages)
    assert not any(done(other, step) for step in steps(study) if step.stage == 3)  # of one machine's results
    assert len(result.merged) == len(study.store.runs()) + len(study.store.helpers())
    assert not result.kept and not result.refused and result.truth == ["standin-interhand", "standin-rhd"]


def test_only_what_the_call_finished_is_packed(study, tmp_path):
    some_runs(study, 2)
    execute._execute(study, next(s for s in steps(study) if s.name == "01-data"))
    with packing(study, tmp_path, 16.0, silent):
        fake_run(study, *run_ids(study, "posenet/full"))
        execute._execute(study, next(s for s in steps(study) if s.name == "02-backbone"))
    archive = read(next(tmp_path.glob("*.zip")))
    trained = {run["run_id"] for run in archive.manifest["runs"].values()}
    assert trained == {"standin-rhd/posenet/full/seed0", "standin-rhd/msff/bare/seed0"}
    assert [name for name in archive.files if name.endswith("ipynb")] == ["notebooks/02-backbone.ipynb"]
    assert {name for name in archive.files if name.startswith("truth")} == {
        "truth/standin-rhd.npz", "truth/standin-rhd.json"
    }  # fmt: skip


def test_the_manifest_says_what_and_whence(study, tmp_path):
    run = some_runs(study, 1)[0]
    manifest = read(one_archive(study, tmp_path / "out")).manifest
    assert manifest["format"] == 1 and manifest["profile"] == "smoke" and manifest["left_out"] == []
    assert manifest["package"]["version"] and len(manifest["package"]["sha256"]) == 64
    assert (manifest["part"], manifest["parts"]) == (1, 1) and manifest["generator_version"] >= 2
    folder = "runs/standin-rhd/msff/full/seed0"
    assert manifest["runs"] == {folder: {key: run.record[key] for key in ("run_id", "config_hash", "uid")}}
    assert manifest["files"][f"{folder}/run.json"]["size"] == (run.path / "run.json").stat().st_size


def test_nothing_finished_is_an_archive_of_nothing(study, other, tmp_path):
    path = one_archive(study, tmp_path / "out")
    assert merge(other, read(path)).merged == [] and not other.store.root.exists()


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_call_packs_what_is_finished(study, monkeypatch, tmp_path, word):
    page, usual = execute._execute, signal.getsignal(signal.SIGTERM)
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

    def interrupted(study, step):
        if step.name == "02-backbone":
            os.kill(os.getpid(), word)
            time.sleep(1)
        page(study, step)

    monkeypatch.setattr(execute, "_execute", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), packing(study, tmp_path / "out", 16.0, silent):
            run_study(study, jobs=1, log=silent)
    finally:
        signal.signal(signal.SIGINT, ctrl_c)
    assert signal.getsignal(signal.SIGTERM) is usual
    archive = read(next((tmp_path / "out").glob("*.zip")))
    assert {run["run_id"].split("/")[1] for run in archive.manifest["runs"].values()} >= {"mean-pose", "oracle"}


def test_a_process_that_is_killed_leaves_what_it_packed(study, tmp_path):
    """Each packing in the block holds all before it, in archives that take the place of the former ones."""
    found = []
    with packing(study, tmp_path / "out", 16.0, silent) as pack_now:
        for run in run_ids(study, "posenet/full", "yang/full"):
            fake_run(study, run)
            pack_now()
            (path,) = (tmp_path / "out").iterdir()
            found.append(len(read(path).manifest["runs"]))
    assert found == [1, 2] and len(list((tmp_path / "out").iterdir())) == 1


def test_the_place_for_archives_is_looked_at_first(study, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ArchiveError, match="expected a folder for archives"), packing(study, tmp_path / "out", 16.0):
        raise AssertionError("not reached")


def test_a_run_of_an_older_configuration_is_not_packed(study, tmp_path):
    some_runs(study, 2)
    fake_run(study, *run_ids(study, "yang/full"), config_hash="0123456789ab")
    assert len(read(one_archive(study, tmp_path / "out")).manifest["runs"]) == 2


# real photos

PHOTOS_OF_MSFF = {f"runs/standin-rhd/msff/full/seed0/realworld.{suffix}" for suffix in ("json", "npz")}


@pytest.fixture
def with_photos(study, tmp_path):
    """An archive of two runs, of which MS-FF's has seen real photos."""
    add_photos(study.store, some_runs(study, 2)[0], 10.0)
    return one_archive(study, tmp_path / "photos")


def test_what_a_run_measured_on_photos_comes_with_it(study, other, with_photos):
    assert {name for name in read(with_photos).files if "realworld" in name} == PHOTOS_OF_MSFF
    result = merge(other, read(with_photos))
    assert len(result.merged) == 2 and result.photos == []
    assert content(other, "runs") == content(study, "runs") and content(other, "runs").keys() > PHOTOS_OF_MSFF
    assert "realworld" not in "".join(content(other, "truth"))


def test_the_very_same_run_gets_what_it_lacks(study, other, with_photos):
    merge(other, read(with_photos))
    run = other.store.get(*run_ids(other, "msff/full"))
    for name in PHOTOS_OF_MSFF:
        (other.store.root / name).unlink()
    before = content(other, "runs")
    result = merge(other, read(with_photos))
    assert result.merged == [] and len(result.skipped) == 2 and result.photos == [run.experiment.run_id]
    assert any("measured on real photos was not, and is now" in line for line in result.lines())
    assert content(other, "runs") == content(study, "runs") != before
    assert merge(other, read(with_photos)).photos == []


def test_photos_of_a_replaced_run_go_with_it(study, other, with_photos, tmp_path):
    (mine,) = some_runs(other, 1)
    add_photos(other.store, mine, 20.0)
    for name in PHOTOS_OF_MSFF:
        (study.store.root / name).unlink()
    merge(other, read(one_archive(study, tmp_path / "out")), replace=True)
    assert not content(other, "runs").keys() & PHOTOS_OF_MSFF


def test_half_stored_photos_are_not_packed(study, with_photos, tmp_path):
    """As a process leaves them that is killed between the two files."""
    (study.store.root / "runs/standin-rhd/msff/full/seed0/realworld.json").unlink()
    archive = read(one_archive(study, tmp_path / "out"))
    assert not archive.files.keys() & PHOTOS_OF_MSFF and len(archive.manifest["runs"]) == 2


def test_photos_of_another_run_or_not_whole_are_refused(study, other, with_photos, tmp_path):
    record, predictions = (study.store.root / name for name in sorted(PHOTOS_OF_MSFF))
    stored = json.loads(record.read_text())
    metrics = {"T2": {name: number for name, number in stored["metrics"]["T2"].items() if name != "pa21"}}
    for number, (changed, match) in enumerate((
        ({"uid": "another"}, "found run another on 30, without none"),
        ({"photos": {"count": 98, "sha256": ""}}, "on the 30 photos predicted, found run .* on 98"),
        ({"metrics": metrics}, "found run .* on 30, without pa21"),
        ({"metrics": {}}, "realworld.json cannot be read"),
    )):  # fmt: skip
        record.write_text(json.dumps(stored | changed))
        refused(one_archive(study, tmp_path / f"out{number}"), other, match)
    record.write_text(json.dumps(stored))
    predictions.write_bytes(predictions.read_bytes()[:100])
    refused(one_archive(study, tmp_path / "cut"), other, "realworld.json cannot be read")


# what helpers answered

ANSWERS_OF_ROOTNET = "helpers/standin-rhd/rootnet/full/seed0/answers.npz"


@pytest.fixture
def with_answers(study, tmp_path):
    """An archive of a run and of a helper that has answered about four crops."""
    (run,) = some_runs(study, 1)
    ids, rng = np.array([f"s{i:03d}" for i in range(4)]), np.random.default_rng(0)
    answers = Answers(ids, *(rng.normal(size=(4, *shape)).astype(np.float32) for shape in ((4,), (3, 3), (2,))))
    helper = fake_run(study, *run_ids(study, "rootnet/full"))
    study.store.save_run(helper.experiment, helper.record, helper.history, answers)
    return one_archive(study, tmp_path / "answers")


def test_what_a_helper_answered_comes_with_it(study, other, with_answers):
    assert ANSWERS_OF_ROOTNET in read(with_answers).manifest["files"]
    merge(other, read(with_answers))
    assert content(other, "helpers") == content(study, "helpers") and ANSWERS_OF_ROOTNET in content(other, "helpers")
    stored = [s.store.get(*run_ids(s, "rootnet/full")) for s in (study, other)]
    assert all(run.answered for run in stored) and not study.store.runs()[0].answered
    np.testing.assert_array_equal(*(run.answers.value for run in stored))


def test_answers_that_cannot_be_read_are_refused(study, other, with_answers, tmp_path):
    path = study.store.root / ANSWERS_OF_ROOTNET
    data = path.read_bytes()
    with np.load(path) as arrays:
        columns = dict(arrays)
    for number, damage in enumerate((data[:-50], b"", {"box": columns["box"][:1]}, {"more": columns["box"]})):
        if isinstance(damage, bytes):
            path.write_bytes(damage)
        else:
            np.savez(path, **columns | damage)
        refused(one_archive(study, tmp_path / f"out{number}"), other, f"{ANSWERS_OF_ROOTNET} cannot be read")


# limits


def test_notebooks_are_dropped_before_anything_is_split(study, tmp_path):
    some_runs(study)
    noise = np.random.default_rng(0)
    for name, size in (("01-data", 0.3), ("02-backbone", 0.2)):
        path = study.store.notebooks / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"metadata": {}, "x": noise.bytes(int(size * MIB)).hex()}))
    assert len(read(one_archive(study, tmp_path / "all")).files) == 3 * 3 + 2 + 2
    (path,) = packed(study, tmp_path, limit_mib=0.5)
    archive = read(path)
    assert path.stat().st_size <= 0.5 * MIB
    assert archive.manifest["left_out"] == ["notebooks/01-data.ipynb"]
    assert "notebooks/02-backbone.ipynb" in archive.files and len(archive.manifest["runs"]) == 3


def test_what_is_still_too_much_is_split_into_whole_runs(study, other, tmp_path):
    runs = some_runs(study, 5)
    one = sum((run.path / "predictions.npz").stat().st_size for run in runs[:1])
    limit = (3.2 * one) / MIB + 0.02
    paths = packed(study, tmp_path, limit_mib=limit)
    assert len(paths) > 1 and [p.name[-6:] for p in paths] == [f"-{k}.zip" for k in range(1, len(paths) + 1)]
    assert all(path.stat().st_size <= limit * MIB for path in paths)
    assert [read(path).manifest["part"] for path in paths] == list(range(1, len(paths) + 1))
    for path in reversed(paths):  # in any order
        merge(other, read(path))
    assert content(other, "runs") == content(study, "runs")
    assert content(other, "truth").keys() == {"truth/standin-rhd.npz", "truth/standin-rhd.json"}


def test_a_run_larger_than_the_limit_stays_whole(study, tmp_path):
    some_runs(study, 2)
    said = []
    paths = pack(study, tmp_path, State(frozenset(), {}), 0.001, said.append)
    assert sum(len(read(path).manifest["runs"]) for path in paths) == 2
    assert any("for a run stays whole" in line for line in said)


# damage


def refused(path, study, match):
    """The archive is refused by name, and nothing of it is in the results."""
    before = content(study, ".")
    with pytest.raises(ArchiveError, match=match) as error:
        merge(study, read(path))
    assert str(path) in str(error.value)
    assert content(study, ".") == before


@pytest.fixture
def archive(study, tmp_path):
    some_runs(study, 2)
    return one_archive(study, tmp_path / "out")


def test_every_cut_is_noticed(archive, other):
    data = archive.read_bytes()
    for length in (0, 1, 30, len(data) // 2, len(data) - 1):
        archive.write_bytes(data[:length])
        refused(archive, other, "damaged or cut short.*Fetch the archive again")


def test_a_changed_byte_is_noticed(archive, other):
    data = archive.read_bytes()
    with zipfile.ZipFile(archive) as source:
        entries = [entry for entry in source.infolist() if entry.compress_size > 100]
    for entry in entries:
        at = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
        archive.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(archive, other, "damaged|cannot be read")


def test_content_that_is_not_what_the_manifest_says(archive, other):
    name = "runs/standin-rhd/msff/full/seed0/history.csv"

    def tampered(files):
        files[name] = files[name].replace(b"2", b"3")

    def longer(files):
        files[name] += b" "

    original = archive.read_bytes()
    for change, match in (
        (tampered, "history.csv is damaged: its SHA-256"),
        (longer, "history.csv is damaged: expected .* bytes"),
        (lambda files: files.pop(name), "content differ: .*history.csv"),
        (lambda files: files.update({name.replace("seed0", "seed7"): b"x"}), "content differ: .*seed7"),
        (lambda files: files.pop(MANIFEST), "expected one manifest.json, found 0"),
        (lambda files: files.update({MANIFEST: b"[]"}), "manifest.json cannot be read"),
        (changed_manifest(lambda m: m.update(format=2)), "expected format 1, found 2"),
        (changed_manifest(lambda m: m.update(profile="huge")), "unknown profile 'huge'"),
        (changed_manifest(lambda m: m.update(profile="cpu")), "of profile cpu, not of smoke"),
        (changed_manifest(lambda m: m["runs"].clear()), "not named in manifest.json"),
        (changed_manifest(lambda m: next(iter(m["runs"].values())).update(uid="x")), "of another run than"),
    ):
        archive.write_bytes(original)
        refused(rewrite(archive, change), other, match)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "runs/../../evil", "runs/a/b/c/seed0/../run.json", "runs\\evil", "runs/a/b/c/seed0/x.py",
     "truth/../reference.json", "notebooks/runs/../../x.ipynb", "notebooks/x.ipynb\n"],
)  # fmt: skip
def test_no_name_leads_out_of_the_results(archive, other, name):
    def change(files):
        files[name] = b"x"
        manifest = json.loads(files[MANIFEST])
        manifest["files"][name] = {
            "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            "size": 1,
        }
        files[MANIFEST] = json.dumps(manifest).encode()

    refused(rewrite(archive, change), other, "which is no file of results")


def test_what_is_no_archive(other, tmp_path):
    refused(tmp_path / "none.zip", other, "found none")
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", other, "damaged or cut short")


# merging


def test_a_run_of_another_configuration_is_refused_and_the_others_are_merged(study, other, make_study, tmp_path):  # noqa: F811
    old = make_study("old")
    recipe = dataclasses.replace(old.profile.training, epochs=3)
    some_runs(study, 1)
    old.profile = dataclasses.replace(old.profile, training=recipe)  # of MS-FF and InterNet
    fake_truth(old, "standin-rhd")
    for e in run_ids(old, "msff/full", "spurr/plain"):
        fake_run(old, e)
    result = merge(other, read(one_archive(old, tmp_path / "out")))
    assert result.merged == ["standin-rhd/spurr/plain/seed0"]
    why = result.refused["standin-rhd/msff/full/seed0"]
    assert other.config_hash(other.experiment("standin-rhd/msff/full/seed0")) in why and "train it anew" in why
    assert [run.experiment.method for run in other.store.runs()] == ["spurr"]


def test_the_same_archive_twice(archive, other):
    merge(other, read(archive))
    before = content(other, ".")
    result = merge(other, read(archive))
    assert result.merged == [] and len(result.skipped) == 2 and result.truth == []
    assert content(other, ".") == before


def test_another_run_of_the_experiment_stays_unless_replaced(archive, study, other):
    (mine,) = some_runs(other, 1)
    result = merge(other, read(archive))
    assert result.kept == ["standin-rhd/msff/full/seed0"] and result.merged == ["standin-rhd/internet/full/seed0"]
    assert other.store.get(mine.experiment).record["uid"] == mine.record["uid"]
    result = merge(other, read(archive), replace=True)
    assert result.merged == result.replaced == ["standin-rhd/msff/full/seed0"]
    assert content(other, "runs") == content(study, "runs")


def test_a_run_of_an_older_configuration_makes_room(archive, study, other):
    fake_truth(other, "standin-rhd")
    fake_run(other, *run_ids(other, "msff/full"), config_hash="0123456789ab")
    assert merge(other, read(archive)).replaced == ["standin-rhd/msff/full/seed0"]
    assert content(other, "runs") == content(study, "runs")


def test_the_ground_truth_must_be_the_same(archive, other):
    path = other.store.root / "truth" / "standin-rhd.npz"
    fake_truth(other, "standin-rhd")
    with np.load(path) as file:
        arrays = dict(file)
    for shift_mm, same in ((0.001, True), (1.0, False)):  # processors differ in the last bits
        shifted = io.BytesIO()
        np.savez_compressed(shifted, **arrays | {"joints_cam_mm": arrays["joints_cam_mm"] + np.float32(shift_mm)})
        path.write_bytes(shifted.getvalue())
        if same:
            assert len(merge(other, read(archive)).merged) == 2
            for run in other.store.runs():
                (run.path / "run.json").unlink()
        else:
            refused(archive, other, "ground truth of .* is not the one in .*delete it and run")
