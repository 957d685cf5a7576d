"""The training queue: its order, its processes, what a failure or a deadline leaves, and what the status says."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_study import ROOT

from msff.files import locked
from msff.study import queue
from msff.study.experiment import Study
from msff.study.grid import experiments
from msff.study.queue import QueueError, in_order, log_path, queue_table, run_queue
from msff.study.store import Experiment

ORACLE = Experiment("smoke", "standin-rhd", "oracle")


@pytest.fixture
def study(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").touch()
    return Study("smoke", tmp_path, "cpu")


@pytest.fixture
def few(study, monkeypatch):
    """A queue of three runs whose processes only sleep; ``finished`` is what they leave."""
    runs = [Experiment("smoke", "standin-rhd", method) for method in ("mean-pose", "msff", "internet")]
    finished = []
    monkeypatch.setattr(queue, "in_order", lambda _: list(runs))
    monkeypatch.setattr(study, "make_data", lambda *_, **__: None)
    monkeypatch.setattr(study, "truth", lambda _: None)
    monkeypatch.setattr(study, "finished", lambda e: e if e in finished else None)
    study.began = []

    def start(_, experiment, jobs):
        study.began.append(experiment.method)
        finished.append(experiment)
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])

    monkeypatch.setattr(queue, "_start", start)
    return study


def test_every_training_is_queued_once_an_auxiliary_network_before_the_first_run_that_needs_it():
    long = Study("cpu-long", ROOT, "cpu")
    order = in_order(long)
    assert len(set(order)) == len(order) and set(order) >= set(experiments(long.profile))
    for experiment in experiments(long.profile):
        for shared in long.rests_on(experiment):
            assert order.index(shared) < order.index(experiment)
    assert [e.method for e in order[:6]] == ["rootnet", "mean-pose", "oracle", "msff", "msff", "internet"]


def test_runs_go_side_by_side_in_order_and_a_second_call_has_nothing_to_do(few):
    lines = []
    assert [e.method for e in run_queue(few, jobs=2, log=lines.append)] and few.began == [
        "mean-pose", "msff", "internet"
    ]  # fmt: skip
    assert sum(line.startswith("finished") for line in lines) == 3
    assert run_queue(few, jobs=2, log=lines.append) == [] and len(few.began) == 3


def test_a_dataset_is_rendered_before_the_first_run_that_needs_it(few, monkeypatch):
    runs = [Experiment("smoke", d, "oracle", seed=s) for d in ("standin-rhd", "standin-interhand") for s in (0, 1)]
    monkeypatch.setattr(queue, "in_order", lambda _: list(runs))
    rendered = []
    monkeypatch.setattr(few, "make_data", lambda dataset, **_: rendered.append((dataset, len(few.began))))
    run_queue(few, jobs=1, log=lambda _: None)
    assert rendered == [("standin-rhd", 0), ("standin-interhand", 2)]


def test_a_failed_run_is_named_with_its_log_and_costs_no_other(few, monkeypatch):
    started = queue._start

    def failing(study, experiment, jobs):
        if experiment.method == "msff":
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        return started(study, experiment, jobs)

    monkeypatch.setattr(queue, "_start", failing)
    with pytest.raises(QueueError, match="1 of 3 runs failed.*\n.*standin-rhd/msff/full/seed0: .*seed0.log"):
        run_queue(few, jobs=1, log=lambda _: None)
    assert few.began == ["mean-pose", "internet"]


def test_nothing_starts_that_would_miss_the_deadline(few, monkeypatch):
    seconds = {"mean-pose": 1.0, "msff": 3000.0, "internet": 50.0}

    class Expected:
        def training(self, experiment):
            return seconds[experiment.method]

    monkeypatch.setattr(queue, "expected_seconds", lambda *_, **__: Expected())
    lines = []
    run_queue(few, jobs=1, budget_s=100, log=lines.append)
    assert (
        few.began == ["mean-pose", "internet"]
        and lines[-1] == "left      standin-rhd/msff/full/seed0: would not end in time"
    )


def test_a_real_run_in_a_process_of_its_own(study, monkeypatch):
    """The oracle at smoke: rendered, predicted, stored; with a log that says where."""
    data = study.profile.data
    subprocess.run(
        [sys.executable, "-m", "msff.cli", "data", "make", "standin-rhd", "--root", str(study.data_root("standin-rhd")),
         "--train", str(data.train), "--test", str(data.test), "--size", str(data.size)],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr(queue, "in_order", lambda _: [ORACLE])
    assert run_queue(study, jobs=1, log=lambda _: None) == [ORACLE]
    assert study.finished(ORACLE).record["metrics"]["T1"]["wrist20"] < 1
    assert "standin-rhd/oracle/full/seed0" in log_path(study, ORACLE).read_text()


def test_the_status_tells_stored_running_and_waiting_with_hours(study):
    running = Experiment("smoke", "standin-rhd", "msff")
    table = queue_table(study).set_index("run")
    assert set(table.state) == {"waiting"} and table.hours_left[running.run_id] > 0
    with locked(study.checkpoint_path(running).with_suffix(".lock")):
        assert queue_table(study).set_index("run").state[running.run_id] == "running"
    assert queue_table(study).set_index("run").state[running.run_id] == "waiting"


def test_a_killed_queue_ends_its_processes(study, tmp_path):
    """Ctrl-C while a run is under way: the process of the run ends with the queue's."""
    code = (
        "import subprocess, sys\n"
        "from msff.study import queue\n"
        "from msff.study.experiment import Study\n"
        "from msff.study.store import Experiment\n"
        f"study = Study('smoke', {str(tmp_path)!r}, 'cpu')\n"
        "study.make_data = lambda *_, **__: None\n"
        "study.truth = lambda _: None\n"
        "queue.in_order = lambda _: [Experiment('smoke', 'standin-rhd', 'msff')]\n"
        "def start(*_):\n"
        "    process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "queue._start = start\n"
        "queue.run_queue(study, jobs=1, log=lambda line: print(line, flush=True))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    lines = iter(parent.stdout.readline, "")
    child = int(next(line for line in lines if line.strip().isdecimal()))
    assert next(line for line in lines if line.startswith("started"))
    parent.send_signal(signal.SIGINT)
    parent.wait(timeout=60)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} outlived its queue")
