"""The training queue: the missing runs of a grid in their order, some side by side.

The store decides what is finished and the locks of the trainings what is running; there is no other state. A queue that
was killed resumes when it is started again, each run from its last checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from msff.data.datasets import DATASETS
from msff.errors import MsffError
from msff.study.durations import Durations, clock
from msff.study.experiment import Experiment
from msff.study.grid import in_order, needed_by
from msff.study.photos import announce
from msff.study.pool import Pool
from msff.study.procedures import procedure
from msff.study.runner import finished
from msff.study.train import checkpoint_path, epochs_trained, is_training
from msff.study.workspace import Workspace
from msff.training.loop import count_epochs

SAFETY = 1.1
"""No run starts that would miss the deadline if it took this much longer than expected."""
STORED, RUNNING, WAITING = "stored", "running", "waiting"


class QueueError(MsffError):
    """Runs of a queue that failed. The message names them, the reason and their logs."""


def default_jobs(device: str) -> int:
    """Return how many runs go side by side: slim networks use one core each better than several together."""
    return 1 if device.startswith("cuda") else max(1, min(os.cpu_count() or 1, 4))


def missing_runs(workspace: Workspace, own: bool = False, force: bool = False) -> list[Experiment]:
    """Return the trainings of the grid that are to be made, in order.

    ``own`` adds the runs that were only shipped with the project, ``force`` all.
    """
    return [e for e in in_order(workspace.profile) if force or finished(workspace, e, own) is None]


def run_all(
    workspace: Workspace,
    *,
    jobs: int | None = None,
    budget_s: float | None = None,
    own: bool = False,
    force: bool = False,
    log: Callable[[str], None] = tqdm.write,
) -> list[Experiment]:
    """Make the missing runs, ``jobs`` at a time with an equal share of the cores, and return those that were made.

    With ``budget_s`` no run starts that is expected to end later than that many seconds from now. A missing dataset is
    rendered before the first run. QueueError at the end if runs failed; they affect only the runs that need them.
    """
    deadline = None if budget_s is None else time.monotonic() + budget_s
    todo = missing_runs(workspace, own, force)
    if not todo:
        return []
    jobs = min(jobs or default_jobs(workspace.device), len(todo))
    for dataset in dict.fromkeys(e.dataset for e in todo):
        log(f"Data: {DATASETS[dataset].label} in {workspace.data_root(dataset)}")
        workspace.make_data(dataset)
        workspace.truth(dataset)
    if line := announce(workspace):
        log(line)
    workspace.forget()
    made, failed = [], {}
    total = len(todo)
    pool = Pool(workspace.profile, workspace.root, workspace.device, jobs, lambda e: log_path(workspace, e))
    with tqdm(total=total, unit="run", dynamic_ncols=True, bar_format=_BAR, mininterval=_interval()) as bar:
        try:
            while True:
                while not pool.is_full and (following := _next(workspace, todo, pool.running, failed, deadline)):
                    todo.remove(following)
                    pool.start(following, resume=not force)
                if not pool.running:
                    break
                for experiment, error in pool.poll(timeout_s=1.0):
                    if error:
                        failed[experiment] = error
                        log(f"failed    {experiment.run_id}: {error}; see {log_path(workspace, experiment)}")
                    else:
                        made.append(experiment)
                        log(f"finished  {experiment.run_id}")
                bar.n = len(made) + len(failed) + sum(pool.fractions.values())
                bar.set_postfix_str(", ".join(e.run_id for e in pool.running), refresh=False)
                bar.update(0)
        finally:
            pool.close()
    for experiment in todo:
        log(f"left      {experiment.run_id}")
    if failed:
        listed = "\n".join(f"  {e.run_id}: {error}\n    {log_path(workspace, e)}" for e, error in failed.items())
        raise QueueError(f"{len(failed)} of {len(failed) + len(made)} runs failed:\n{listed}")
    return made


_BAR = "{percentage:3.0f}% |{bar:20}| {n:.1f}/{total} runs, {elapsed} elapsed, {remaining} left{postfix}"


def _interval() -> float:
    """Return the seconds between two lines of progress: many in a log file."""
    return 0.5 if sys.stderr.isatty() else 30.0


def _next(
    workspace: Workspace, todo: list[Experiment], running: list[Experiment], failed: dict, deadline: float | None
) -> Experiment | None:
    """Return the first run whose requirements are stored and that is expected to end in time."""
    waiting = {*todo, *running, *failed}
    ready = [e for e in todo if not waiting.intersection(needed_by(workspace.profile, e))]
    if deadline is None or not ready:
        return next(iter(ready), None)
    durations, left = Durations(workspace), deadline - time.monotonic()
    return next((e for e in ready if SAFETY * durations.seconds(e) <= left), None)


def log_path(workspace: Workspace, experiment: Experiment) -> Path:
    """Return where the output of a run's process is kept."""
    return checkpoint_path(workspace, experiment).with_suffix(".log")


def queue_table(workspace: Workspace) -> pd.DataFrame:
    """Return one row per training in the order of the queue: run, state, epochs, hours_left."""
    durations, rows = Durations(workspace), []
    for experiment in in_order(workspace.profile):
        epochs = count_epochs(procedure(experiment, workspace.profile).phases(None))
        if finished(workspace, experiment) is not None:
            rows.append((experiment.run_id, STORED, f"{epochs}/{epochs}", 0.0))
            continue
        state = RUNNING if is_training(workspace, experiment) else WAITING
        hours = durations.seconds(experiment) / 3600
        rows.append((experiment.run_id, state, f"{epochs_trained(workspace, experiment)}/{epochs}", hours))
    return pd.DataFrame(rows, columns=["run", "state", "epochs", "hours_left"])


def summary(table: pd.DataFrame, profile: str) -> str:
    """Return the table's counts and remaining hours in one line."""
    counts = ", ".join(f"{(table.state == state).sum()} {state}" for state in (STORED, RUNNING, WAITING))
    hours = table.hours_left.sum()
    left = f"{hours:.1f} core hours" if hours >= 1 else clock(3600 * hours)
    return f"Profile {profile}, {len(table)} trainings: {counts}; {left} left."
