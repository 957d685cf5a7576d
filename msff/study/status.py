"""What a study has and what it still lacks: its trainings and pages, with the time that each is expected to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tqdm import tqdm

from msff.files import is_locked
from msff.models.registry import AUXILIARY
from msff.study.cluster.state import read_state
from msff.study.durations import Durations
from msff.study.grid import in_order
from msff.study.pages import all_pages, is_current
from msff.study.procedures import procedure
from msff.study.progress import epochs_trained, finished, lock_path
from msff.study.project import Project

STORED, RUNNING, WAITING, FAILED = "stored", "running", "waiting", "failed"
PAGE_S = 15.0
"""Seconds of a page: kernel, imports, figures."""


class Training(NamedTuple):
    """A training in the order of the queue."""

    run: str
    state: str
    epochs: str  # trained/all
    hours_left: float
    note: str  # of a run on a cluster its worker, of one that failed there the reason


def trainings(project: Project) -> list[Training]:
    """Return every training of the grid, in the order of the queue."""
    cluster = read_state(project) or {"workers": {}, "runs": {}}
    machine = next(iter(cluster["workers"].values()), {"device": None, "hardware": None})  # a cluster's first worker
    durations, rows = Durations(project, machine["device"], machine["hardware"]), []
    for experiment in in_order(project.profile):
        epochs = procedure(experiment, project.profile).epochs
        if finished(project, experiment) is not None:
            rows.append(Training(experiment.run_id, STORED, f"{epochs}/{epochs}", 0.0, ""))
            continue
        there = cluster["runs"].get(experiment.run_id, {})
        running = "fraction" in there or is_locked(lock_path(project, experiment))
        state = RUNNING if running else FAILED if "error" in there else WAITING
        share = max(there.get("fraction", 0.0), epochs_trained(project, experiment) / max(epochs, 1))
        done = int(share * epochs + 1e-6)
        hours = durations.whole(experiment) * (1 - share) / 3600
        note = there.get("error") or there.get("worker") or ""
        rows.append(Training(experiment.run_id, state, f"{done}/{epochs}", hours, note))
    return rows


def summary(rows: Sequence[Training], profile: str) -> str:
    """Return the counts and the remaining hours in one line."""
    counts = Counter(row.state for row in rows)
    states = [state for state in (STORED, RUNNING, WAITING, FAILED) if state != FAILED or counts[FAILED]]
    listed = ", ".join(f"{counts[state]} {state}" for state in states)
    hours = sum(row.hours_left for row in rows)
    left = f"{hours:.1f} core hours" if hours >= 1 else tqdm.format_interval(3600 * hours)
    return f"Profile {profile}, {len(rows)} trainings: {listed}; {left} left."


class Step(NamedTuple):
    """A training or page of ``msff study run``."""

    step: str
    kind: str  # "auxiliary", "run" or "page"
    done: bool
    expected_s: float


def plan(project: Project) -> list[Step]:
    """Return every training and page, in the order of ``msff study run``."""
    runs = [
        Step(row.run, "auxiliary" if row.run.split("/")[1] in AUXILIARY else "run", row.state == STORED,
             round(3600 * row.hours_left, 1))
        for row in trainings(project)
    ]  # fmt: skip
    pages = [(page.output, is_current(project, page)) for page in all_pages(project)]
    return runs + [Step(output, "page", done, 0.0 if done else PAGE_S) for output, done in pages]
