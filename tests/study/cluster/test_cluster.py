"""The queue on a Dask cluster: a scheduler and workers on this machine, real runs of a tiny study."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from dask_machines import ENVIRONMENT, machines, until
from distributed import Client
from tiny_study import ROOT, again, tiny_study, with_images

from msff.study.cluster.state import read_state
from msff.study.configuration import config_hash
from msff.study.profiles import RHD, Block, RootDepthSpec
from msff.study.progress import log_path
from msff.study.queue import QueueError, missing_runs, run_all
from msff.study.runner import ensure_run
from msff.study.status import trainings
from msff.study.store import Store

pytestmark = pytest.mark.slow
TWO = (Block(("mean-pose", "internet"), layouts=RHD),)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def made_by(root: Path):
    return Store(root / "results" / "smoke").runs()


def numbers(study):
    runs = [*study.store.runs(), *study.store.auxiliary()]
    return {run.experiment.run_id: (run.record.config_hash, run.record.metrics) for run in runs}


def other_version(folder: Path) -> Path:
    """A copy of the package with one more line of code."""
    shutil.copytree(ROOT / "msff", folder / "msff", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "msff" / "data" / "sample.py").open("a") as source:
        source.write("\nCHANGED = True\n")
    return folder


def test_the_same_hashes_and_numbers_as_without_a_cluster_one_run_per_gpu_and_no_run_on_another_version(tmp_path):
    study = again(tiny_study(tmp_path / "client"), grid=TWO)
    lines = []
    with machines(tmp_path / "there") as there:
        there.add_worker("a", "--nthreads", "2", "--resources", "GPU=1")
        there.add_worker("b", "--nthreads", "2", package=other_version(tmp_path / "changed"))
        there.wait_for_workers()
        made = run_all(study, dask=there.address, log=lines.append)
        roots = there.roots
    assert len(made) == 3 and missing_runs(study) == []  # and the RootNet that both need
    assert not (study.root / "data" / "smoke").exists()  # no image was rendered here
    assert made_by(roots["b"]) == [] and any("refused: ValueError: its code is" in line for line in lines)
    spans = sorted((r.record.finished - r.record.seconds, r.record.finished) for r in made_by(roots["a"]))
    assert len(spans) == 2 and spans[1][0] >= spans[0][1], spans
    alone = with_images(again(tiny_study(tmp_path / "alone"), grid=TWO))
    for experiment in made:
        ensure_run(alone, experiment.run_id)
    assert numbers(study) == numbers(alone)


def boxed(folder, grid=TWO):
    return again(tiny_study(folder), grid=grid, root_depth=RootDepthSpec("box"))


def checkpoints(root: Path) -> list[Path]:
    return list((root / "data" / "checkpoints").rglob("internet/full/seed0.pt"))


def test_the_run_of_a_killed_worker_is_made_again_on_another(tmp_path):
    study, killed = boxed(tmp_path / "client", (Block(("internet",), layouts=RHD),)), []
    with machines(tmp_path / "there") as there:
        for name in "ab":
            there.add_worker(name, "--nthreads", "1")

        def kill():
            (training,) = until(lambda: [name for name, root in there.roots.items() if checkpoints(root)])
            killed.append(trainings(study))
            there.workers[training].kill()

        threading.Thread(target=kill, daemon=True).start()
        made = run_all(study, dask=there.address, log=lambda _: None)
    assert killed and len(made) == 1 and missing_runs(study) == []
    (rows,) = killed
    assert any(row.state == "running" and row.note.startswith("tcp://") for row in rows)


def test_a_run_whose_process_dies_is_tried_again_under_its_own_key(tmp_path):
    study, killed, keys = boxed(tmp_path / "client", (Block(("internet",), layouts=RHD),)), [], []
    with machines(tmp_path / "there") as there:
        there.add_worker("a", "--nthreads", "1")

        def kill():
            until(lambda: list((there.roots["a"] / "data" / "checkpoints").rglob("seed0.log")))  # its process has begun
            for child in psutil.Process(there.workers["a"].pid).children():
                if "msff.study.cluster.process" in child.cmdline():
                    child.kill()
                    killed.append(child)
            with Client(there.address) as client:
                keys.extend(client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks]))

        threading.Thread(target=kill, daemon=True).start()
        made = run_all(study, dask=there.address, log=lambda _: None)
        assert there.workers["a"].poll() is None
    assert len(killed) == len(made) == 1 and missing_runs(study) == []
    assert keys == [f"{made[0].run_id}-{config_hash(study, made[0])}"]


CLIENT = """
import sys
from pathlib import Path
from study.cluster.test_cluster import boxed
from msff.study.queue import run_all
run_all(boxed(Path(sys.argv[1])), dask=sys.argv[2])
"""


def test_a_killed_client_goes_on_from_what_is_finished(tmp_path):
    study = boxed(tmp_path / "client")
    with machines(tmp_path / "there") as there:
        there.add_worker("a", "--nthreads", "1")
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        client = subprocess.Popen([sys.executable, "-c", CLIENT, study.root, there.address], env=environment)
        until(lambda: study.store.runs() and checkpoints(there.roots["a"]))
        (first,) = study.store.runs()
        client.send_signal(signal.SIGKILL)
        client.wait()
        uid = first.record.uid
        made = run_all(study, dask=there.address, log=lambda _: None)
        assert {e.method for e in made} == {"internet"}
        (there_made,) = [run for run in made_by(there.roots["a"]) if run.experiment.method == "internet"]
    assert Store(study.store.root).get(first.experiment).record.uid == uid
    assert study.store.get(made[0]).record.uid == there_made.record.uid
    assert read_state(study)["runs"] == {} and missing_runs(study) == []


def test_of_two_runs_that_begin_together_without_images_the_one_that_fails_is_named_with_its_reason(tmp_path):
    grid = (Block(("mean-pose", "msff"), layouts=RHD),)
    study = again(tiny_study(tmp_path / "client"), grid=grid, root_depth=RootDepthSpec("box"))
    with machines(tmp_path / "there") as there:
        there.add_worker("a", "--nthreads", "2", images=False)
        broken = there.roots["a"] / "data" / "checkpoints" / "smoke" / "standin-rhd" / "msff" / "full" / "seed0.pt"
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"no checkpoint")
        with pytest.raises(QueueError, match="1 of 2 runs failed:\n.*msff/full/seed0: CheckpointError"):
            run_all(study, dask=there.address, log=lambda _: None)
    rows = {row.run: row for row in trainings(study)}
    row = rows["standin-rhd/msff/full/seed0"]
    assert row.state == "failed" and row.note.startswith("CheckpointError")
    assert rows["standin-rhd/mean-pose/full/seed0"].state == "stored"
    assert "seed0.pt" in log_path(study, study.experiment("standin-rhd/msff/full/seed0")).read_text()
