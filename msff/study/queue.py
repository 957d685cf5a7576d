"""The training queue: the missing runs of a grid in their order, some side by side, each in a process of its own.

The store decides what is finished and the locks of the trainings what is running; there is no other state. A queue
that was killed resumes when it is started again, each run from its last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from msff.data.datasets import DATASETS
from msff.errors import MsffError
from msff.files import is_locked
from msff.study.execute import expected_seconds
from msff.study.experiment import Study
from msff.study.grid import experiments, helpers
from msff.study.progress import clock
from msff.study.store import Experiment
from msff.training.checkpoint import load_checkpoint
from msff.training.loop import count_epochs

SAFETY = 1.1
"""No run starts that would miss the deadline if it took this much longer than expected."""
STORED, RUNNING, WAITING = "stored", "running", "waiting"


class QueueError(MsffError):
    """Runs of a queue that failed. The message names them and their logs."""


def in_order(study: Study) -> list[Experiment]:
    """Every training of the grid, an auxiliary network just before the first run whose predictions need it."""
    order: list[Experiment] = []
    known = set(helpers(study.profile))
    for experiment in experiments(study.profile):
        order += [shared for shared in sorted(study.rests_on(experiment) & known) if shared not in order]
        order.append(experiment)
    return order


def run_queue(
    study: Study, jobs: int = 2, budget_s: float | None = None, log: Callable[[str], None] = print
) -> list[Experiment]:
    """Train what the store lacks, ``jobs`` runs at a time with an equal share of the cores; -> what was finished.

    With ``budget_s`` no run starts that is expected to end more than so many seconds from now. A dataset that is
    missing is rendered before the first run that needs it. QueueError at the end if runs failed; the others are not
    affected.
    """
    deadline = None if budget_s is None else time.monotonic() + budget_s
    todo = [e for e in in_order(study) if study.finished(e) is None]
    ready: set[str] = set()
    active: dict[subprocess.Popen, tuple[Experiment, float]] = {}
    done, failed = [], []
    try:
        while todo or active:
            while len(active) < jobs and (following := _fitting(study, todo, deadline)) is not None:
                todo.remove(following)
                if following.dataset not in ready:
                    _prepare(study, following.dataset, log)
                    ready.add(following.dataset)
                active[_start(study, following, jobs)] = following, time.monotonic()
                log(f"started   {following.run_id}")
            if not active:
                break
            time.sleep(0.5)
            for process in [p for p in active if p.poll() is not None]:
                experiment, began = active.pop(process)
                if process.returncode == 0 and study.finished(experiment) is not None:
                    done.append(experiment)
                    log(f"finished  {experiment.run_id} in {clock(time.monotonic() - began)}")
                else:
                    failed.append(experiment)
                    log(f"failed    {experiment.run_id}: see {log_path(study, experiment)}")
    finally:
        for process in active:
            process.terminate()
        for process in active:
            process.wait()
    for experiment in todo:
        log(f"left      {experiment.run_id}: would not end in time")
    if failed:
        logs = "\n".join(f"  {e.run_id}: {log_path(study, e)}" for e in failed)
        raise QueueError(f"{len(failed)} of {len(failed) + len(done)} runs failed; their logs:\n{logs}")
    return done


def _prepare(study: Study, dataset: str, log: Callable[[str], None]) -> None:
    log(f"Data: {DATASETS[dataset].label} in {study.data_root(dataset)}")
    study.make_data(dataset, check=False)
    study.truth(dataset)


def _fitting(study: Study, todo: list[Experiment], deadline: float | None) -> Experiment | None:
    """The first run that is expected to end in time."""
    if deadline is None:
        return next(iter(todo), None)
    expected = expected_seconds(study)
    left = deadline - time.monotonic()
    return next((e for e in todo if SAFETY * left_seconds(study, e, expected.training(e)) <= left), None)


def _start(study: Study, experiment: Experiment, jobs: int) -> subprocess.Popen:
    """`msff train` of one run; what it prints goes into its log."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    command = [sys.executable, "-m", "msff.cli", "train", "--profile", study.profile.name, "--device", study.device]
    for name in ("dataset", "method", "variant", "seed"):
        command += [f"--{name}", str(getattr(experiment, name))]
    path = log_path(study, experiment)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {"MSFF_THREADS": threads, "OMP_NUM_THREADS": threads} | os.environ
    with path.open("a") as output:
        return subprocess.Popen(command, cwd=study.root, env=environment, stdout=output, stderr=subprocess.STDOUT)


def log_path(study: Study, experiment: Experiment) -> Path:
    """Where the output of a run's process is kept."""
    return study.checkpoint_path(experiment).with_suffix(".log")


def epochs_done(study: Study, experiment: Experiment) -> int:
    """Epochs of a training in today's configuration that the checkpoint here holds."""
    path = study.checkpoint_path(experiment)
    if not path.exists():
        return 0
    state = load_checkpoint(path, mapped=True)
    return state["epoch"] if state["config_hash"] == study.config_hash(experiment) else 0


def left_seconds(study: Study, experiment: Experiment, expected_s: float) -> float:
    """Expected seconds less the share of the epochs that are trained already."""
    return expected_s * (1 - epochs_done(study, experiment) / max(1, count_epochs(study.phases(experiment))))


def is_running(study: Study, experiment: Experiment) -> bool:
    """Return True if some process holds the lock of the training."""
    return is_locked(study.checkpoint_path(experiment).with_suffix(".lock"))


def queue_table(study: Study) -> pd.DataFrame:
    """One row per training in the order of the queue: run, state (stored, running, waiting), epochs, hours_left."""
    expected = expected_seconds(study, elsewhere=True)
    rows = []
    for experiment in in_order(study):
        epochs = count_epochs(study.phases(experiment))
        if study.finished(experiment) is not None:
            rows.append((experiment.run_id, STORED, f"{epochs}/{epochs}", 0.0))
            continue
        state = RUNNING if is_running(study, experiment) else WAITING
        hours = left_seconds(study, experiment, expected.training(experiment)) / 3600
        rows.append((experiment.run_id, state, f"{epochs_done(study, experiment)}/{epochs}", hours))
    return pd.DataFrame(rows, columns=["run", "state", "epochs", "hours_left"])
