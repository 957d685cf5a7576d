"""A Dask scheduler and workers on 127.0.0.1, each worker in a project folder of its own as on a machine of its own."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from distributed import Client
from tiny_study import ROOT, tiny_study, with_images

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MSFF_THREADS": "1", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}


class Machines:
    """The scheduler's ``address``; ``workers`` and ``roots`` by name."""

    def __init__(self, folder: Path):
        self.folder, self.workers, self.roots = folder, {}, {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")

    def add_worker(self, name: str, *options: str, package: Path = ROOT, images: bool = True) -> None:
        study = tiny_study(self.folder / name)
        self.roots[name] = (with_images(study) if images else study).root
        arguments = ["worker", self.address, "--host", "127.0.0.1", "--no-dashboard", "--no-nanny", *options]
        arguments += ["--local-directory", str(self.folder / f"{name}-scratch"), "--name", name]
        self.workers[name] = self._start(*arguments, cwd=self.roots[name], package=package)

    def wait_for_workers(self) -> None:
        """Wait until all workers have joined."""
        with Client(self.address, timeout=120) as client:
            client.wait_for_workers(len(self.workers), timeout=120)

    def _start(self, *arguments: str, cwd: Path | None = None, package: Path = ROOT) -> subprocess.Popen:
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT / 'tests'}"}
        with (self.folder / f"{arguments[0]}-{len(self.workers)}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
                cwd=cwd or self.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        for process in (*self.workers.values(), self._scheduler):
            process.kill()
            process.wait()


@contextmanager
def machines(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    started = Machines(folder)
    try:
        with Client(started.address, timeout=120):  # on a busy machine the scheduler takes longer than msff waits
            pass
        yield started
    finally:
        started.stop()


def until(condition, seconds: float = 300.0):
    """Return the first true value of ``condition()``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError, ValueError):  # of a file that is being written
            if found := condition():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s")
