"""The process in which a worker compares its checkout with the client's, or makes one run.

``python -m msff.study.cluster.process FD``: reads a `Request` or an `Order` from a socket and answers there. It runs in
the worker's project folder, whose store is the one place where a finished run waits until the client has it. Torch is
imported only to make a run.
"""

from __future__ import annotations

import pickle
import platform
import sys
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection

from msff.errors import MsffError
from msff.files import locked
from msff.study.archive import ingest_bytes, packed
from msff.study.cluster.worker import LostRun, Order, Request
from msff.study.experiment import Experiment
from msff.study.machine import code_hash, hardware
from msff.study.pool import reporting, write_output_to
from msff.study.procedures import procedure
from msff.study.progress import epochs_trained, finished, log_path
from msff.study.project import Project
from msff.study.store import Run

_CODE = (
    "study", "training", "evaluation", "models", "standin", "data", "settings", "heatmaps.py", "volume_kernels.py",
    "camera.py", "skeleton.py", "device.py",
)  # fmt: skip
"""What can change a run's numbers; of equal code, equal profiles have equal configurations."""


def versions() -> dict[str, str]:
    """Return what must be the same in client and worker, by the name that a refusal uses."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "code": code_hash(*_CODE)}


def request_of(project: Project, experiments: Iterable[Experiment]) -> Request:
    """Return what a worker must agree with before it makes these runs."""
    return Request(versions(), pickle.dumps(project.profile), tuple(e.run_id for e in experiments))


def main() -> None:
    """Serve the one message of the socket whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    message = connection.recv()
    try:
        connection.send(_facts(message) if isinstance(message, Request) else _archive(message, connection))
    except (MsffError, ValueError, FileNotFoundError) as error:  # another attempt would end the same
        connection.send(f"{type(error).__name__}: {error}")
    except Exception as error:
        connection.send(LostRun(f"{type(error).__name__}: {error}"))
        traceback.print_exc()


def _facts(request: Request) -> dict:
    project = _agreed(request)
    held = {run_id: _share_done(project, project.experiment(run_id)) for run_id in request.run_ids}
    return {
        "refused": "",
        "device": project.device,
        "hardware": hardware(project.device),
        "held": {run_id: share for run_id, share in held.items() if share},
    }


def _share_done(project: Project, experiment: Experiment) -> float:
    try:
        if finished(project, experiment) is not None:
            return 1.0
        epochs = procedure(experiment, project.profile).epochs
        return epochs_trained(project, experiment) / epochs if epochs else 0.0
    except MsffError:  # a damaged file fails the run that needs it, not the worker
        return 0.0


def _agreed(request: Request) -> Project:
    """Return the project here; ValueError names the first thing in which it differs from the client's."""
    here = versions()
    for name, wanted in request.versions.items():
        if here[name] != wanted:
            raise ValueError(
                f"its {name} is {here[name][:12]}, the client's {wanted[:12]}: "
                "bring both to the same commit and Python, and start the worker again"
            )
    return Project(pickle.loads(request.profile))


def _archive(order: Order, connection: Connection) -> bytes:
    """Return the archive of the order's run, which is made unless it is finished here."""
    project = _agreed(order.request)
    experiment = project.experiment(order.run_id)
    write_output_to(log_path(project, experiment))
    found = finished(project, experiment, order.own)
    if found is None or found.record.uid == order.unwanted:
        found = _make(project, experiment, order, connection)
    return packed(project, [found])


def _make(project: Project, experiment: Experiment, order: Order, connection: Connection) -> Run:
    from msff.study.runner import run  # brings torch
    from msff.study.workspace import Workspace

    workspace = Workspace(project.profile)
    if order.auxiliary:
        with locked(workspace.checkpoints / "auxiliary.lock"):
            ingest_bytes(order.auxiliary, "the auxiliary networks", workspace.root, replace=True, project=workspace)
    workspace.make_data(experiment.dataset)
    return run(workspace, experiment, order.resume, reporting(connection))


if __name__ == "__main__":
    main()
