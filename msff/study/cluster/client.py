"""The client of a Dask cluster: the queue's runs as tasks, their archives into the store as they complete.

`Cluster` has the interface of `msff.study.pool.Pool`, so that order, requirements and failures are the queue's. The
state file tells `msff study status` what the workers do; which runs are finished is the store's alone.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing

from distributed import Client, Future

from msff.study.archive import ADDED, KNOWN, ArchiveError, ingest_bytes, packed
from msff.study.cluster.process import request_of
from msff.study.cluster.state import ClusterError, State
from msff.study.cluster.worker import GPU, TOPIC, Order, admit, gate, make
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_needed_by, in_order
from msff.study.procedures import procedure
from msff.study.progress import log_path
from msff.study.project import Project

RETRIES = 2
"""Attempts after the first where a run's process died or failed for a reason that may pass."""
CONNECT_S = 20.0


class Cluster:
    """The runs under way on the workers of a Dask scheduler.

    ``jobs`` limits how many are handed over at a time, 0 to as many as the workers have room for; None hands over
    everything that is ready. Waits for a first worker; ClusterError if all that are there differ from this checkout.
    """

    def __init__(
        self, project: Project, address: str, jobs: int | None, own: bool = False, log: Callable[[str], None] = print
    ):
        self._project, self._address, self._own, self._jobs, self._log = project, address, own, jobs, log
        self._grid = in_order(project.profile)
        self._request = request_of(project, self._grid)
        self._futures: dict[Experiment, Future] = {}
        self._ended: queue.SimpleQueue[Experiment] = queue.SimpleQueue()
        self._workers: dict[str, dict] = {}  # address -> facts of `admit`
        self.fractions: dict[Experiment, float] = {}
        with ExitStack() as opened:
            self._state = opened.enter_context(closing(State(project, address)))
            try:
                self._client = opened.enter_context(closing(Client(address, timeout=CONNECT_S, name="msff")))
            except (OSError, TimeoutError) as error:
                raise ClusterError(f"{address}: no Dask scheduler answers there ({type(error).__name__})") from error
            self._client.subscribe_topic(TOPIC, self._hear)
            self._wait_for_a_worker()
            self._opened = opened.pop_all()

    # workers

    def _wait_for_a_worker(self) -> None:
        self._admit_new()
        if not self._workers:
            self._log(f"waiting for a worker at {self._address}")
        while not self._workers:
            time.sleep(1.0)
            self._admit_new()
        if not self._admitted():
            refused = "\n".join(f"  {w}: {facts['refused']}" for w, facts in self._workers.items())
            raise ClusterError(f"{self._address}: every worker differs from this checkout:\n{refused}")

    def _admit_new(self) -> None:
        """Check the workers that have joined and forget those that have left."""
        here = self._client.nthreads()
        self._workers = {address: facts for address, facts in self._workers.items() if address in here}
        new = [address for address in here if address not in self._workers]
        answers = self._client.run(admit, self._request, workers=new, on_error="return") if new else {}
        for address, facts in answers.items():
            if not isinstance(facts, dict):
                facts = {"refused": f"no msff that fits ({type(facts).__name__}: {facts})"}
            self._workers[address] = facts | {"threads": here[address]}
            state = facts["refused"] and f"refused: {facts['refused']}"
            self._log(f"worker    {address}: {state or facts['hardware']}")

    def _admitted(self) -> dict[str, dict]:
        return {address: facts for address, facts in self._workers.items() if not facts["refused"]}

    @property
    def slots(self) -> int:
        """How many runs the workers make at a time: one per declared GPU, where none has one, one per thread."""
        admitted = self._admitted().values()
        gpus = int(sum(min(facts["gpus"], facts["threads"]) for facts in admitted))
        return gpus or sum(facts["threads"] for facts in admitted)

    # runs

    @property
    def is_full(self) -> bool:
        limit = len(self._grid) if self._jobs is None else self._jobs or max(1, self.slots)
        return len(self._futures) >= limit

    @property
    def running(self) -> list[Experiment]:
        """The runs handed over: under way or waiting for a worker."""
        return list(self._futures)

    def start(self, experiment: Experiment, resume: bool) -> None:
        """Hand a run over, if possible to a worker that holds it, part of it or the weights that it starts from."""
        here = self._project.store.get(experiment)
        unwanted = here.record.uid if here else None
        needed = map(self._project.store.get, auxiliary_needed_by(self._project.profile, experiment))
        auxiliary = packed(self._project, runs) if (runs := list(needed)) else None
        order = Order(self._request, experiment.run_id, resume, self._own, unwanted, auxiliary)
        needs = {gate(self._request): 1} | ({GPU: 1} if any(w.get("gpus") for w in self._workers.values()) else {})
        key = "-".join(filter(None, (experiment.run_id, config_hash(self._project, experiment), unwanted)))
        holders = self._holders(experiment)
        future = self._client.submit(
            make, order, key=key, resources=needs, retries=RETRIES, priority=-self._grid.index(experiment), pure=False,
            workers=holders, allow_other_workers=holders is not None,
        )  # fmt: skip
        self._futures[experiment] = future
        future.add_done_callback(lambda _: self._ended.put(experiment))

    def _holders(self, experiment: Experiment) -> list[str] | None:
        """Return the workers with the largest part of the run, else those with the weights that it starts from."""
        start = procedure(experiment, self._project.profile).start_from
        for wanted in filter(None, (experiment, start)):
            shares = {w: facts["held"].get(wanted.run_id, 0.0) for w, facts in self._admitted().items()}
            if best := max(shares.values(), default=0.0):
                return [worker for worker, share in shares.items() if share == best]
        return None

    def _hear(self, event: tuple[float, dict]) -> None:
        """Note a worker's report; called by Dask's own thread."""
        _, message = event
        for experiment in list(self._futures):
            if experiment.run_id == message["run"]:
                self.fractions[experiment] = message["fraction"]
                self._state.runs[experiment.run_id] = {"fraction": message["fraction"], "worker": message["worker"]}

    def poll(self, timeout_s: float) -> list[tuple[Experiment, str]]:
        """Wait for news; return the runs that ended, each with its error, empty if it is stored."""
        try:
            self._admit_new()
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                "the scheduler does not answer any more. Start it again, then its workers, and run the same command: "
                "what the workers have finished is fetched"
            ) from error
        self._state.write(self._admitted(), self.slots)
        try:
            experiment = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return []
        error = self._collect(experiment, self._futures[experiment])
        worker = self._state.runs.pop(experiment.run_id, {}).get("worker")
        del self._futures[experiment]
        self.fractions.pop(experiment, None)
        if error:
            log = log_path(self._project, experiment)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as stream:
                stream.write(f"{error}\n")
            self._state.runs[experiment.run_id] = {"error": error.splitlines()[0], "worker": worker}
        elif worker in self._workers:
            self._workers[worker]["held"][experiment.run_id] = 1.0
        self._state.write(self._admitted(), self.slots, now=True)
        return [(experiment, error.partition("\n")[0])]

    def _collect(self, experiment: Experiment, future: Future) -> str:
        """Add a finished task's run to the store; return what prevents it."""
        try:
            result = future.result()
        except CancelledError:
            return "cancelled on the cluster"
        except Exception as error:  # the worker's own, or Dask's KilledWorker
            return f"{type(error).__name__}: {error}"
        if isinstance(result, str):
            return result
        try:
            _, outcome = ingest_bytes(
                result, experiment.run_id, self._project.root, replace=True, project=self._project
            )
        except ArchiveError as error:
            return f"{type(error).__name__}: {error}"
        what = outcome.get(experiment.run_id, "its archive holds another run")
        return "" if what in (ADDED, KNOWN) else what

    def close(self) -> None:
        """Withdraw what has not begun. A run under way ends on its worker, where the next call fetches it."""
        self._client.cancel(list(self._futures.values()), reason="the client of the study has ended")
        self._opened.close()
