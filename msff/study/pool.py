"""Worker processes that make runs side by side, each with an equal share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from msff.environment import replaced
from msff.study.experiment import Experiment
from msff.study.progress import log_path
from msff.study.project import Project

REPORT_EVERY_S = 0.5


class Pool:
    """``jobs`` worker processes. A worker that dies costs its run alone: it is replaced."""

    def __init__(self, project: Project, jobs: int):
        self._project, self._threads = project, max(1, (os.cpu_count() or 1) // jobs)
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Experiment] = {}
        self.jobs = jobs
        self.fractions: dict[Experiment, float] = {}  # of the training that is done, by run under way

    @property
    def is_full(self) -> bool:
        return len(self._busy) >= self.jobs

    @property
    def running(self) -> list[Experiment]:
        return list(self._busy.values())

    def start(self, experiment: Experiment, resume: bool) -> None:
        """Begin a run in an idle worker. Its output goes into its log."""
        self._idle = [worker for worker in self._idle if worker.process.is_alive()]
        worker = self._idle.pop() if self._idle else _Worker(self._project, self._threads)
        worker.connection.send((experiment, resume, log_path(self._project, experiment)))
        self._busy[worker] = experiment
        self.fractions[experiment] = 0.0

    def poll(self, timeout_s: float) -> list[tuple[Experiment, str]]:
        """Wait for news; return the runs that ended, each with its error, empty if it is stored."""
        ended = []
        for connection in wait([worker.connection for worker in self._busy], timeout_s):
            worker = next(w for w in self._busy if w.connection is connection)
            experiment = self._busy[worker]
            try:
                message = connection.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                message = f"its process ended with code {worker.process.exitcode}"
            if isinstance(message, float):
                self.fractions[experiment] = message
                continue
            del self._busy[worker], self.fractions[experiment]
            if worker.process.is_alive():
                self._idle.append(worker)
            ended.append((experiment, message))
        return ended

    def close(self) -> None:
        """End every worker; a run under way resumes from its checkpoint next time."""
        workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


class _Worker:
    def __init__(self, project: Project, threads: int):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        place = project.profile, project.root, project.device
        self.process = context.Process(target=_serve, args=(theirs, threads, *place), daemon=True)
        with replaced({"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}):
            self.process.start()
        theirs.close()


def _serve(connection: Connection, threads: int, *place) -> None:
    """Make one run after the other until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    import torch

    from msff.study.runner import run
    from msff.study.workspace import Workspace

    torch.set_num_threads(threads)
    workspace = Workspace(*place)
    dataset = None
    while True:
        try:
            experiment, resume, log = connection.recv()
        except (EOFError, ConnectionError):
            return
        if experiment.dataset != dataset:
            workspace.forget()  # the images of one dataset at a time
            dataset = experiment.dataset
        try:
            write_output_to(log)
            run(workspace, experiment, resume, reporting(connection))
            connection.send("")
        except Exception as error:
            with suppress(OSError):  # a full disk takes no log either
                traceback.print_exc()
                sys.stderr.flush()
            connection.send(f"{type(error).__name__}: {error}")


def write_output_to(log: Path) -> None:
    """Append to ``log`` from now on what this process and its children print."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())


def reporting(connection: Connection) -> Callable[[int, int, int, int, float], None]:
    """Return a training callback that sends the share of the training that is done, a few times per second."""
    last = 0.0

    def report(epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_EVERY_S:
            last = time.monotonic()
            connection.send((epoch - 1 + step / steps) / epochs)

    return report
