"""Archives: what a call made, into the results of another project."""

import errno
import io
import os
import re
import signal
import tarfile
import time

import numpy as np
import pandas as pd
import pytest
from hostile_archives import HOSTILE, write_hostile
from make_results import add_photos, make_record, make_truth, store_made_up
from tiny_study import again, tiny_study

from msff.evaluation.auxiliary_predictions import AuxiliaryPredictions
from msff.study import archive as module
from msff.study.archive import ADDED, KEPT, KNOWN, ArchiveError, ingest, pack, packing
from msff.study.configuration import config_hash
from msff.study.progress import finished
from msff.study.store import PHOTO_FILES, Store

RUNS = tuple(f"standin-rhd/{row}/seed0" for row in ("msff/full", "internet/full", "yang/full"))


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path / "here")


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another project of the same profile."""
    other = tiny_study(tmp_path / "there")
    monkeypatch.setattr(module, "Project", lambda name, root: again(other))
    return other


def store_run(study, run_id=RUNS[0], **fields):
    return store_made_up(study, run_id, **{"uid": f"{study.root.name} {run_id}"} | fields)


def store_rootnet(study):
    experiment = study.experiment("standin-rhd/rootnet/full/seed0")
    predictions = AuxiliaryPredictions(np.array(["a"]), *(np.ones((1, *s), np.float32) for s in ((4,), (3, 3), (2,))))
    record = make_record(experiment, config_hash=config_hash(study, experiment), test_images=6)
    return study.store.save_run(record, pd.DataFrame(), predictions)


def packed(study, folder, limit_mib=16.0):
    folder.mkdir(exist_ok=True)
    return pack(study, folder, set(), limit_mib)


def one_archive(study, folder):
    (path,) = packed(study, folder)
    return path


def outcome(path, study, replace=False):
    return ingest(path, study.root, replace)[1]


def content(study, *folders):
    root = study.store.root
    files = [p for folder in folders for p in (root / folder).rglob("*") if p.is_file()]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def test_runs_auxiliary_networks_and_ground_truth_arrive_as_they_were(study, other, tmp_path):
    for run_id in RUNS:
        store_run(study, run_id)
    store_rootnet(study)
    found = outcome(one_archive(study, tmp_path / "out"), other)
    assert found == dict.fromkeys([*RUNS, "standin-rhd/rootnet/full/seed0"], ADDED)
    assert content(other, "runs", "auxiliary") == content(study, "runs", "auxiliary")
    assert other.store.truth_source("standin-rhd") == other.data_config("standin-rhd", "test")
    assert other.store.truth("standin-rhd").sample_id == study.store.truth("standin-rhd").sample_id
    assert not list((other.root / "results").rglob("*.partial*"))


def test_only_what_the_block_made_is_packed_also_when_it_fails_or_is_terminated(study, other, tmp_path):
    store_run(study, RUNS[0])
    for stop in ("error", "SIGTERM"):
        folder = tmp_path / stop
        with pytest.raises(KeyboardInterrupt if stop == "SIGTERM" else RuntimeError), packing(study, folder, 16.0):
            store_run(study, RUNS[1], uid=stop)
            if stop == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            raise RuntimeError
        (path,) = folder.glob("*.tar.gz")
        with tarfile.open(path) as source:
            assert {name.split("/")[3] for name in source.getnames() if "/runs/" in name} == {"internet"}
    with packing(study, tmp_path / "nothing", 16.0):
        pass
    assert not list((tmp_path / "nothing").iterdir())


def test_a_file_in_the_place_of_the_folder_is_named_before_anything_is_made(study, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ArchiveError, match="out: expected a folder"), packing(study, tmp_path / "out", 16.0):
        pytest.fail("it begins")


def test_archives_stay_below_the_limit_and_runs_stay_whole(study, other, tmp_path):
    for run_id in RUNS:
        store_run(study, run_id)
    size = sum(p.stat().st_size for p in study.store.path(study.experiment(RUNS[0])).iterdir())
    truth = sum(p.stat().st_size for p in (study.store.root / "truth").iterdir())
    limit = (2.5 * size + truth) / 2**20
    paths = packed(study, tmp_path / "out", limit)
    assert len(paths) == 2 and all(path.stat().st_size <= limit * 2**20 for path in paths)
    assert sorted(run for path in paths for run in outcome(path, other)) == sorted(RUNS)
    assert len(packed(study, tmp_path / "small", 0.001)) == 3


def test_a_run_of_an_older_configuration_is_neither_packed_nor_taken(study, other, tmp_path):
    store_run(study, RUNS[0], config_hash="older")
    assert packed(study, tmp_path / "out") == []
    store_run(study, RUNS[1])
    path = tmp_path / "both.tar.gz"
    path.write_bytes(module.packed(study, study.store.runs()))
    found = outcome(path, other)
    assert found[RUNS[1]] == ADDED and "older is not this checkout's" in found[RUNS[0]]
    assert [run.experiment.run_id for run in other.store.runs()] == [RUNS[1]]


def test_the_same_archive_twice_and_another_run_of_the_experiment(study, other, tmp_path):
    store_run(study)
    path = one_archive(study, tmp_path / "out")
    assert [outcome(path, other)[RUNS[0]] for _ in range(2)] == [ADDED, KNOWN]
    store_run(other, uid="its own")
    for replace, what in ((False, KEPT), (True, ADDED)):
        assert outcome(path, other, replace) == {RUNS[0]: what}
        assert (finished(other, other.experiment(RUNS[0])).record.uid == "its own") is not replace


def test_photos_come_with_a_run_and_to_the_same_run_that_lacks_them(study, other, tmp_path):
    run = store_run(study)
    store_run(other, uid=run.record.uid)
    add_photos(study.store, run, 5.0)
    path = one_archive(study, tmp_path / "out")
    assert outcome(path, other) == {RUNS[0]: KNOWN}
    here = other.store.path(run.experiment)
    assert all((here / name).read_bytes() == (run.path / name).read_bytes() for name in PHOTO_FILES)


def test_another_ground_truth_stops_the_ingest(study, other, tmp_path):
    store_run(study)
    other.store.save_truth(make_truth("standin-rhd", 6, seed=3), other.data_config("standin-rhd", "test"))
    with pytest.raises(ArchiveError, match="ground truth of the stand-in in RHD format is not the one in .*npz"):
        ingest(one_archive(study, tmp_path / "out"), other.root)
    assert other.store.runs() == []


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "record", "predictions", "truth"])
def test_a_damaged_or_hostile_archive_is_named_and_adds_nothing(study, other, tmp_path, damage):
    store_run(study)
    path = one_archive(study, tmp_path / "out")
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "text":
        path.write_text("no archive")
    else:
        run = f"smoke/runs/{RUNS[0]}"
        name = {
            "truth": "smoke/truth/standin-rhd.json", "record": f"{run}/run.json",
            "predictions": f"{run}/predictions.npz",
        }[damage]  # fmt: skip
        with tarfile.open(path) as source:
            source.extractall(tmp_path / "content", filter="data")
        with tarfile.open(path, "w:gz") as target:
            target.add(tmp_path / "content" / "smoke", "smoke")
            target.add(study.root / "_config.yml", name)  # the last of two files with a name counts
    with pytest.raises(ArchiveError, match=path.name):
        ingest(path, other.root)
    assert Store(other.root / "results" / "smoke").runs() == []
    assert not list((other.root / "results").rglob("*.partial*"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_holds_plain_files_of_runs_or_is_refused_before_anything_is_written(tmp_path, kind):
    project, path = tmp_path / "project", tmp_path / "a.tar.gz"
    project.mkdir()
    write_hostile(path, kind)
    expected = "unpacks to more than 200 times its size" if "zeros" in kind else "without links, devices"
    with pytest.raises(ArchiveError, match=rf"a\.tar\.gz: .*{expected}") as caught:
        ingest(path, project)
    assert str(caught.value).isprintable()
    assert not list(project.rglob("*.*")) and not (tmp_path / "outside.txt").exists()


def test_an_npz_file_of_an_unknown_version_is_damage(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    content = re.sub(rb"(PK\x01\x02..).", b"\\1\xff", stream.getvalue(), flags=re.DOTALL)
    member = tarfile.TarInfo("smoke/truth/standin-rhd.npz")
    member.size = len(content)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as target:
        target.addfile(member, io.BytesIO(content))
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz: damaged, cut short or no archive"):
        ingest(tmp_path / "a.tar.gz", tmp_path)


def test_a_full_disk_is_not_the_archive_s_fault(study, other, tmp_path, monkeypatch):
    store_run(study)
    path = one_archive(study, tmp_path / "out")

    def extract(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", extract)
    with pytest.raises(OSError, match="No space left"):
        ingest(path, other.root)
