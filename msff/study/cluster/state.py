"""The address of a cluster, and what its workers do, in a file for `msff study status`; needs no Dask."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from pathlib import Path

from filelock import FileLock, Timeout

from msff.errors import MsffError
from msff.files import is_locked, write_json
from msff.study.project import Project

STATE_EVERY_S = 2.0
_ADDRESS = re.compile(r"(tcp|tls)://(\[[^]\s]+\]|[^][:/\s]+):(\d{1,5})")


class ClusterError(MsffError):
    """A cluster that cannot be used. The message names the address or worker and the remedy."""


def scheduler_address(text: str, trusted_network: bool = False) -> str:
    """Return the address in ``text``, "tcp://host:port", "tls://host:port" or a scheduler's JSON file.

    ClusterError for anything else, and for tcp beyond this machine unless the network is trusted: whoever reaches
    such a scheduler can run code as its owner.
    """
    address = text
    if text.endswith(".json"):
        try:
            address = str(json.loads(Path(text).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ClusterError(f"{text}: expected the file that `dask scheduler --scheduler-file` writes") from error
    if "://" not in address:
        address = f"tcp://{address}"
    parts = _ADDRESS.fullmatch(address)
    if parts is None or not 0 < int(parts[3]) < 2**16:
        raise ClusterError(
            f"{text!r}: expected the address of a Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT, or the file that "
            "`dask scheduler --scheduler-file` writes"
        )
    if not (parts[1] == "tls" or _is_here(parts[2]) or trusted_network):
        raise ClusterError(
            f"{address}: Dask over tcp has no authentication, so that whoever reaches the scheduler runs code as you. "
            "Use tls://, or a tunnel (ssh -N -L 8786:127.0.0.1:8786 HOST) and tcp://127.0.0.1:8786, or say "
            "--trusted-network (book, chapter On a cluster)"
        )
    return address


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class State:
    """The state file, and the lock that shows that its writer lives."""

    def __init__(self, project: Project, address: str):
        self._path = project.checkpoints / "cluster.json"
        self._lock, self._address, self._written = FileLock(self._path.with_suffix(".lock")), address, 0.0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            profile = project.profile.name
            raise ClusterError(f"another call already collects the runs of profile {profile} here") from error
        self.runs: dict[str, dict] = {}  # run id -> fraction, worker; of a failed one error

    def write(self, workers: dict[str, dict], slots: int, now: bool = False) -> None:
        """Write what the workers do, unless that was just done; ``now`` in any case."""
        if not now and time.monotonic() - self._written < STATE_EVERY_S:
            return
        self._written = time.monotonic()
        facts = {w: {"device": f["device"], "hardware": f["hardware"]} for w, f in workers.items()}
        write_json(self._path, {"address": self._address, "workers": facts, "slots": slots, "runs": dict(self.runs)})

    def close(self) -> None:
        """Let go; what is left in the file are failures."""
        self._lock.release()


def read_state(project: Project) -> dict | None:
    """Return ``address``, ``workers``, ``slots`` and ``runs`` of the last call with a cluster; None without one.

    Of a call that has ended only failed runs are left, and no workers.
    """
    path = project.checkpoints / "cluster.json"
    if not path.exists():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    if not is_locked(path.with_suffix(".lock")):
        failed = {run: facts for run, facts in state["runs"].items() if "error" in facts}
        state |= {"runs": failed, "workers": {}, "slots": 0}
    return state
