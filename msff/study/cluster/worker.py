"""What a Dask worker does for the study: it is checked once, then makes one run per task.

Both happen in a process of their own (`msff.study.cluster.process`): a run that crashes takes no worker with it, runs
start processes freely (a worker's own process may not), and the worker never imports torch. Nothing here does either.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection

from dask.system import CPU_COUNT
from distributed import get_worker

from msff.errors import MsffError

TOPIC = "msff"
"""Of the events by which workers report the share of a training that is done."""
GPU = "GPU"
"""The Dask resource that keeps two runs off one GPU."""


@dataclass(frozen=True)
class Request:
    """What the client demands of a worker's checkout before anything starts there."""

    versions: dict[str, str]  # see `process.versions`
    profile: bytes  # pickled; opened when the versions agree
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """One run to be made or, if it is finished on the worker's disk, to be fetched."""

    request: Request
    run_id: str
    resume: bool
    own: bool  # a run that came with the project does not count as finished
    unwanted: str | None  # uid of the finished run that is to be replaced
    auxiliary: bytes | None  # archive of the auxiliary networks that the run needs


class LostRun(MsffError):
    """A run whose process died or failed for a reason that another attempt may not have."""


def gate(request: Request) -> str:
    """Return the name of the Dask resource that only checked workers have, so that no other one gets a run."""
    return f"msff-{request.versions['code'][:12]}"


async def admit(request: Request, dask_worker) -> dict:
    """Compare this worker's checkout with the client's; grant the resource that runs require if they agree.

    Returns ``refused`` (the reason, empty if admitted), ``device``, ``hardware``, ``held`` (run id -> share that is
    done here) and ``gpus``, the quantity of the GPU resource.
    """
    gpus = dask_worker.state.total_resources.get(GPU, 0)
    (facts,) = await asyncio.to_thread(lambda: list(_process(request)))
    if not isinstance(facts, dict):
        return {"refused": str(facts)}
    facts |= {"gpus": gpus}
    if facts["device"].startswith("cuda") and not gpus:
        return facts | {"refused": "it has a GPU but does not say how many runs fit: start it with --resources GPU=1"}
    await dask_worker.set_resources(**{gate(request): dask_worker.state.nthreads})
    return facts


def make(order: Order) -> bytes | str:
    """Make a run here and return its archive, or the reason why no attempt can succeed.

    LostRun for every other failure, which Dask answers with another attempt.
    """
    worker = get_worker()
    for answer in chain([0.0], _process(order, max(1, CPU_COUNT // worker.state.nthreads))):
        if isinstance(answer, LostRun):
            raise answer
        if not isinstance(answer, float):
            return answer
        worker.log_event(TOPIC, {"run": order.run_id, "fraction": answer, "worker": worker.address})
    raise AssertionError("every process ends with an answer")


def _process(message: Request | Order, threads: int = 1) -> Iterator[dict | bytes | str | float | LostRun]:
    """Start a process in the worker's folder and yield its answers; the last one is no float."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "msff.study.cluster.process", str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            env={"MSFF_THREADS": str(threads)} | os.environ,
        )  # fmt: skip
        theirs.close()
        connection = Connection(ours.detach())
    try:
        connection.send(message)
        while True:
            answer = connection.recv()
            yield answer
            if not isinstance(answer, float):
                return
    except (EOFError, ConnectionError):
        yield LostRun(f"its process ended with code {process.wait()}")
    finally:
        connection.close()
        process.wait()
