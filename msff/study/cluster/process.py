"""The process in which a worker compares its checkout with the client's, or makes one run.

``python -m msff.study.cluster.process FD``: reads a `Request` or an `Order` from a socket and answers there. It runs in
the worker's project folder, whose store is the one place where a finished run waits until the client has it.
"""

from __future__ import annotations

import os
import pickle
import platform
import sys
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from msff.errors import MsffError
from msff.files import locked
from msff.standin import GENERATOR_VERSION
from msff.study.archive import ingest, write_archive
from msff.study.cluster.worker import LostRun, Order, Request
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.machine import code_hash, hardware
from msff.study.pool import reporting, write_output_to
from msff.study.procedures import procedure
from msff.study.profiles import Profile
from msff.study.progress import checkpoint_path, epochs_trained, finished
from msff.study.runner import run
from msff.study.workspace import Workspace

_CODE = ("study", "training", "evaluation", "models", "standin", "data")
"""Folders whose code can change a run's numbers."""
LOG_LINES = 15


def versions() -> dict[str, str]:
    """Return what must be the same in client and worker, by the name that a refusal uses."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "generator": str(GENERATOR_VERSION), "code": code_hash(*_CODE)}


def request_of(workspace: Workspace, experiments: list[Experiment]) -> Request:
    """Return what a worker must agree with before it makes these runs."""
    hashes = {e.run_id: config_hash(workspace, e) for e in experiments}
    return Request(versions(), pickle.dumps(workspace.profile), hashes)


def main() -> None:
    """Serve the one message of the socket whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    message = connection.recv()
    try:
        if isinstance(message, Request):
            connection.send(_facts(message))
        else:
            connection.send(_archive(message, connection))
    except (MsffError, ValueError, FileNotFoundError) as error:  # another attempt would end the same
        connection.send(f"{type(error).__name__}: {error}")
    except Exception as error:
        connection.send(LostRun(f"{type(error).__name__}: {error}"))
        traceback.print_exc()


def _facts(request: Request) -> dict:
    workspace = _agreed(request)
    held = {run_id: _share_done(workspace, workspace.experiment(run_id)) for run_id in request.hashes}
    return {
        "refused": "",
        "device": workspace.device,
        "hardware": hardware(workspace.device),
        "held": {run_id: share for run_id, share in held.items() if share},
    }


def _share_done(workspace: Workspace, experiment: Experiment) -> float:
    try:
        if finished(workspace, experiment) is not None:
            return 1.0
        epochs = procedure(experiment, workspace.profile).epochs
        return epochs_trained(workspace, experiment) / epochs if epochs else 0.0
    except MsffError:  # a damaged file fails the run that needs it, not the worker
        return 0.0


def _agreed(request: Request) -> Workspace:
    """Return the workspace here; ValueError names the first thing in which it differs from the client's."""
    here = versions()
    for name, wanted in request.versions.items():
        if here[name] != wanted:
            raise ValueError(
                f"its {name} is {here[name][:12]}, the client's {wanted[:12]}: "
                "bring both to the same commit and Python, and start the worker again"
            )
    profile: Profile = pickle.loads(request.profile)
    workspace = Workspace(profile)
    for run_id, wanted in request.hashes.items():
        found = config_hash(workspace, workspace.experiment(run_id))
        if found != wanted:
            raise ValueError(f"its configuration of {run_id} is {found}, the client's {wanted}")
    return workspace


def _archive(order: Order, connection: Connection) -> bytes:
    """Return the archive of the order's run, which is made unless it is finished here."""
    workspace = _agreed(order.request)
    experiment = workspace.experiment(order.run_id)
    log = checkpoint_path(workspace, experiment).with_suffix(".log")
    write_output_to(log)
    found = finished(workspace, experiment, order.own)
    if found is None or found.record.uid == order.unwanted:
        found = _make(workspace, experiment, order, connection)
    with tempfile.TemporaryDirectory() as folder:
        return write_archive(workspace, Path(folder) / "run.tar.gz", [found]).read_bytes()


def _make(workspace: Workspace, experiment: Experiment, order: Order, connection: Connection):
    import torch

    if "MSFF_THREADS" not in os.environ:
        torch.set_num_threads(order.threads)
    if order.auxiliary:
        with locked(workspace.checkpoints / "auxiliary.lock"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "auxiliary.tar.gz"
            path.write_bytes(order.auxiliary)
            ingest(path, workspace.root, replace=True, workspace=workspace)
    workspace.make_data_alone(experiment.dataset, check=False)
    return run(workspace, experiment, order.resume, reporting(connection))


if __name__ == "__main__":
    main()
