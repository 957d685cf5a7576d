"""The training queue: the missing runs of a grid in their order, some side by side.

The store decides what is finished and the locks of the trainings what is running; there is no other state. A queue that
was killed resumes when it is started again, each run from its last checkpoint.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from msff.data.datasets import DATASETS
from msff.errors import MsffError
from msff.study.durations import Durations
from msff.study.experiment import Experiment
from msff.study.grid import in_order, needed_by
from msff.study.pool import Pool
from msff.study.progress import finished, log_path
from msff.study.workspace import Workspace

SAFETY = 1.1
"""No run starts that would miss the deadline if it took this much longer than expected."""


class QueueError(MsffError):
    """Runs of a queue that failed. The message names them, the reason and their logs."""


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
    dask: str | None = None,
    log: Callable[[str], None] = tqdm.write,
) -> list[Experiment]:
    """Make the missing runs, ``jobs`` at a time with an equal share of the cores, and return those that were made.

    With ``dask``, the address of a scheduler, its workers make them, and render the datasets that they lack.
    With ``budget_s`` no run starts that is expected to end later than that many seconds from now. A missing dataset is
    rendered before the first run. QueueError at the end if runs failed; they affect only the runs that need them.
    """
    deadline = None if budget_s is None else time.monotonic() + budget_s
    todo = missing_runs(workspace, own, force)
    if not todo:
        return []
    if dask:
        if importlib.util.find_spec("distributed") is None:
            raise QueueError("--dask needs the packages of the extra `cluster`: pip install 'msff[cluster]'")
        from msff.study.cluster.client import Cluster  # an optional extra

        pool = Cluster(workspace, dask, jobs if budget_s is None else jobs or 0, own, log)
    else:
        for dataset in dict.fromkeys(e.dataset for e in todo):  # before processes share the work
            log(f"Data: {DATASETS[dataset].label} in {workspace.data_root(dataset)}")
            workspace.make_data(dataset)
            workspace.truth(dataset)
        workspace.forget()
        # slim networks use one core each better than several together
        usual = 1 if workspace.device.startswith("cuda") else min(os.cpu_count() or 1, 4)
        pool = Pool(workspace, min(jobs or usual, len(todo)))
    made, failed, durations, started = [], {}, Durations(workspace), time.monotonic()
    expected_s = {e: max(1.0, durations.whole(e)) for e in todo}  # the bar counts these, since runs differ in length
    how = {"bar_format": _BAR, "dynamic_ncols": True, "miniters": 0}
    interval = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines: many in a log file
    with tqdm(total=sum(expected_s.values()), mininterval=interval, **how) as bar:
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
                        if os.strerror(errno.ENOSPC) in error:  # the others would fail too, so start none
                            deadline = time.monotonic()
                    else:
                        made.append(experiment)
                        log(f"finished  {experiment.run_id}")
                shares = dict.fromkeys([*made, *failed], 1.0) | pool.fractions
                bar.n = sum(expected_s[e] * share for e, share in shares.items())
                left = tqdm.format_interval(_left_s(bar.total, bar.n, time.monotonic() - started, pool.running))
                words = [f"{len(made) + len(failed)} of {len(expected_s)} runs", f"{left} left"]
                bar.set_postfix_str(", ".join([*words, *(e.run_id for e in pool.fractions)]), refresh=False)
                bar.update(0)
        finally:
            pool.close()
    for experiment in todo:
        log(f"left      {experiment.run_id}")
    if failed:
        listed = "\n".join(f"  {e.run_id}: {error}\n    {log_path(workspace, e)}" for e, error in failed.items())
        raise QueueError(f"{len(failed)} of {len(failed) + len(made)} runs failed:\n{listed}")
    return made


_BAR = "{percentage:3.0f}% |{bar:20}| {elapsed} elapsed{postfix}"
TRUST = 0.1
"""Share of the expected work after which the measured pace weighs more than the expected one."""


def _left_s(total: float, done: float, elapsed: float, running: list[Experiment]) -> float:
    """Return the seconds left of work whose expected seconds are ``total`` and ``done``."""
    prior = TRUST * total
    return (total - done) * (elapsed + prior / max(1, len(running))) / (done + prior)


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
