"""What a study still has to do: its trainings and pages, with the time that each is expected to take."""

from __future__ import annotations

import pandas as pd

from msff.models.registry import AUXILIARY
from msff.study.durations import Durations
from msff.study.grid import in_order
from msff.study.pages import all_pages, is_current
from msff.study.runner import finished
from msff.study.workspace import Workspace

PAGE_S = 15.0
"""Seconds of a page: kernel, imports, figures."""


def plan_table(workspace: Workspace) -> pd.DataFrame:
    """Return one row per training and page, in the order of ``msff study run``: step, kind, done, expected_s."""
    durations = Durations(workspace)
    rows = []
    for experiment in in_order(workspace.profile):
        kind = "auxiliary" if experiment.method in AUXILIARY else "run"
        done = finished(workspace, experiment) is not None
        rows.append((experiment.run_id, kind, done, 0.0 if done else round(durations.seconds(experiment), 1)))
    for page in all_pages(workspace):
        done = is_current(workspace, page)
        rows.append((page.output, "page", done, 0.0 if done else PAGE_S))
    return pd.DataFrame(rows, columns=["step", "kind", "done", "expected_s"])
