"""The training queue, with real processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from make_results import make_history, store_made_up
from tiny_study import again, tiny_study, with_images

from msff.files import locked
from msff.study import queue
from msff.study.configuration import config
from msff.study.durations import GUESSED_RATE, Durations, measured_speed
from msff.study.experiment import Experiment
from msff.study.profiles import RHD, Block, RootDepthSpec, get_profile
from msff.study.progress import checkpoint_path, finished, log_path
from msff.study.queue import QueueError, missing_runs, run_all
from msff.study.status import summary, trainings

pytestmark = pytest.mark.slow

FEW = (Block(("mean-pose", "msff", "internet"), layouts=RHD),)


@pytest.fixture(autouse=True)
def without_photos(monkeypatch):
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)


@pytest.fixture
def study(tmp_path):
    """Three runs and the RootNet that they need."""
    return again(with_images(tiny_study(tmp_path)), grid=FEW)


def run_ids(experiments):
    return [e.run_id.removeprefix("standin-rhd/") for e in experiments]


def test_the_missing_runs_are_made_side_by_side_after_what_they_need(study):
    lines = []
    made = run_all(study, jobs=2, log=lines.append)
    expected = ["rootnet/full/seed0", "mean-pose/full/seed0", "msff/full/seed0", "internet/full/seed0"]
    assert run_ids(made)[0] == expected[0] and sorted(run_ids(made)) == sorted(expected)
    assert all(finished(study, e) for e in made)
    assert study.store.get(made[-1]).record.threads == max(1, os.cpu_count() // 2)
    assert run_all(study, log=lines.append) == [] and missing_runs(study) == []
    rows = trainings(study)
    assert {row.state for row in rows} == {"stored"}
    assert summary(rows, "smoke").startswith("Profile smoke, 4 trainings: 4 stored")


def test_a_failed_run_is_named_with_its_log_and_costs_only_what_needs_it(study):
    """A checkpoint that is none, and a log that cannot be written, as on a full disk."""
    grid = (Block(("mean-pose", "msff", "oracle"), layouts=RHD),)
    study = again(study, grid=grid, root_depth=RootDepthSpec("box"))
    broken, unlogged = (Experiment("smoke", "standin-rhd", method) for method in ("msff", "mean-pose"))
    checkpoint_path(study, broken).parent.mkdir(parents=True)
    checkpoint_path(study, broken).write_bytes(b"no checkpoint")
    log_path(study, unlogged).mkdir(parents=True)
    with pytest.raises(QueueError) as caught:
        run_all(study, jobs=1, log=lambda _: None)
    message = str(caught.value)
    assert "2 of 3 runs failed:" in message and "mean-pose/full/seed0: IsADirectoryError" in message
    assert re.search(r"msff/full/seed0: CheckpointError.*\n.*seed0.log", message)
    assert run_ids(missing_runs(study)) == ["mean-pose/full/seed0", "msff/full/seed0"]
    assert "damaged" in log_path(study, broken).read_text()


class OneAtATime:
    """A pool of one process in words: each run ends at once with ``error``."""

    error = ""
    is_full = property(lambda self: bool(self.running))

    def __init__(self, *_):
        self.running, self.fractions = [], {}

    def start(self, experiment, resume):
        self.running.append(experiment)

    def poll(self, timeout_s):
        return [(self.running.pop(), self.error)]

    def close(self):
        pass


def test_the_bar_counts_expected_seconds_since_baselines_take_a_moment(study, monkeypatch, capsys):
    shares = []

    class Bar(queue.tqdm):
        def update(self, n):
            shares.append(self.n / self.total)

    monkeypatch.setattr(queue, "Pool", OneAtATime)
    monkeypatch.setattr(queue, "tqdm", Bar)
    monkeypatch.setattr(Durations, "whole", lambda self, e: 0.0 if e.method == "mean-pose" else 24.0)
    run_all(again(study, root_depth=RootDepthSpec("box")), jobs=1, log=lambda _: None)
    assert shares == pytest.approx([1 / 49, 25 / 49, 1.0])
    assert "| 00:00 elapsed, 3 of 3 runs, 00:00 left" in capsys.readouterr().err


def test_the_time_left_is_the_expected_one_until_the_pace_is_known():
    side_by_side = [None, None]
    assert queue._left_s(1000.0, 0.0, 0.0, side_by_side) == 500
    assert queue._left_s(1000.0, 1.0, 18.0, side_by_side) == pytest.approx(500, rel=0.4)
    assert queue._left_s(1000.0, 500.0, 500.0, side_by_side) == pytest.approx(458, abs=1)  # half as fast


def test_a_full_disk_starts_no_further_run(study, monkeypatch):
    monkeypatch.setattr(queue, "Pool", OneAtATime)
    monkeypatch.setattr(OneAtATime, "error", "OSError: [Errno 28] No space left on device: 'run.json'")
    lines = []
    with pytest.raises(QueueError, match="1 of 1 runs failed"):
        run_all(again(study, root_depth=RootDepthSpec("box")), log=lines.append)
    assert sum(line.startswith("left") for line in lines) == 2


def test_a_killed_worker_costs_its_run_alone(study):
    few = again(study, grid=(Block(("mean-pose", "oracle"), layouts=RHD),), root_depth=RootDepthSpec("box"))

    def kill_one():
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for pid in _children():
                return os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(QueueError, match="1 of 2 runs failed:\n.*mean-pose.*its process ended with code -9"):
        run_all(few, jobs=1, log=lambda _: None)
    assert run_ids(missing_runs(few)) == ["mean-pose/full/seed0"]


def _children() -> list[int]:
    """Worker processes of this one that have begun their work."""
    command = ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


def test_nothing_starts_that_would_not_end_in_time(study, monkeypatch):
    monkeypatch.setattr(queue, "Pool", OneAtATime)
    monkeypatch.setattr(Durations, "seconds", lambda self, e: 0.0 if e.method == "mean-pose" else 1e6)
    boxed = again(study, root_depth=RootDepthSpec("box"))
    lines = []
    assert run_ids(run_all(boxed, budget_s=60, log=lines.append)) == ["mean-pose/full/seed0"]
    assert [line for line in lines if line.startswith("left")] == [
        "left      standin-rhd/msff/full/seed0", "left      standin-rhd/internet/full/seed0"
    ]  # fmt: skip


def test_the_table_shows_who_is_training(study):
    experiment = Experiment("smoke", "standin-rhd", "msff")
    with locked(checkpoint_path(study, experiment).with_suffix(".lock")):
        rows = {row.run: row for row in trainings(study)}
    assert rows["standin-rhd/msff/full/seed0"][1:3] == ("running", "0/2")
    assert rows["standin-rhd/internet/full/seed0"].state == "waiting"


# durations


def test_the_speed_of_a_training_is_measured_on_synthetic_images():
    rate, compiled = measured_speed(get_profile("smoke"), "cpu", seconds=0.1)
    assert rate > 0 and not compiled


def store_run(study, method, seconds=10.0, variant="full", seed=0, **fields):
    """A run that trained 24 images at 2.4 images/s and took ``seconds`` in all."""
    run_id = f"standin-rhd/{method}/{variant}/seed{seed}"
    settings = {"config": config(study, study.experiment(run_id)), "device": "cpu", "images_per_s": 2.4}
    history = make_history(method).assign(images_per_s=2.4, seconds=5.0)
    return store_made_up(study, run_id, history, **settings | {"train_seconds": 10.0, "seconds": seconds} | fields)


def test_before_any_run_the_time_is_guessed_from_the_images(study):
    expected = 2 * 12 / GUESSED_RATE
    assert Durations(study).seconds(Experiment("smoke", "standin-rhd", "msff")) == pytest.approx(expected)
    assert Durations(study).seconds(Experiment("smoke", "standin-rhd", "mean-pose")) == 0
    study.store.tuning.parent.mkdir(parents=True)
    study.store.tuning.write_text("row,images_per_s\nmsff,12.0\n")
    assert Durations(study).seconds(Experiment("smoke", "standin-rhd", "msff")) == pytest.approx(2.0)


def test_stored_runs_of_the_method_tell_and_others_with_an_allowance(study):
    store_run(study, "msff", seconds=12.0, seed=1)
    durations = Durations(study)
    assert durations.seconds(Experiment("smoke", "standin-rhd", "msff")) == pytest.approx(12.0)
    assert durations.seconds(Experiment("smoke", "standin-rhd", "internet")) == pytest.approx(1.4 * 10 + 2)


def test_runs_of_another_device_or_network_or_of_several_processes_tell_nothing(study):
    run = store_run(study, "msff")
    for changes in ({"device": "cuda"}, {"processes": 2}, {"config": {"network": {}}}):
        store_run(study, "msff", **changes)
        assert Durations(study).seconds(run.experiment) == pytest.approx(24 / GUESSED_RATE)


def test_what_is_trained_already_does_not_count(study, monkeypatch):
    monkeypatch.setattr("msff.study.durations.epochs_trained", lambda *_: 1)
    assert Durations(study).seconds(Experiment("smoke", "standin-rhd", "msff")) == pytest.approx(12 / GUESSED_RATE)


def test_an_interrupted_study_ends_its_workers(study):
    script = study.root / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})\n"
        "from pathlib import Path\nfrom tiny_study import tiny_study\nfrom msff.study.queue import run_all\n"
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # nohup's children ignore it
        f"if __name__ == '__main__':\n    run_all(tiny_study(Path({str(study.root)!r})), jobs=1)\n"
    )
    process = subprocess.Popen([sys.executable, script], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((study.root / "data" / "checkpoints").rglob("*.log")) and time.monotonic() < deadline:
        time.sleep(0.1)  # until the first run has begun
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    deadline = time.monotonic() + 20
    while left := subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout.split():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
