"""Comparison of a profile's runs with the reference: the numbers that the project ships for it."""

from __future__ import annotations

import math

import pandas as pd

from msff.data.datasets import DATASETS
from msff.evaluation.evaluate import PRIMARY_METRIC
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK, RANKING_TRACK
from msff.files import write_json
from msff.models.registry import AUXILIARY
from msff.study.experiment import Experiment
from msff.study.grid import experiments, in_order
from msff.study.progress import finished
from msff.study.project import Project
from msff.study.store import Run

_TOLERANCE = {"smoke": 0.15, "cpu": 0.08}


def tolerance_of(profile: str) -> float:
    """Return the relative half-width of reproduction, unless the seeds spread more."""
    return _TOLERANCE.get(profile, 0.05)


def headline_metric(experiment: Experiment) -> tuple[str, str]:
    """Return track and metric of an experiment's headline error; a paper's own recipe has its own."""
    metric = PRIMARY_METRIC[DATASETS[experiment.dataset].layout]
    if experiment.variant != "native":
        return RANKING_TRACK, metric
    return PAPER_TRACK, PAPER_PROTOCOLS[experiment.method].own_metric or metric


def headline(run: Run) -> float:
    """Return the run's headline error in mm."""
    track, metric = headline_metric(run.experiment)
    return run.record.metrics[track][metric]


def compare(project: Project) -> pd.DataFrame:
    """Return a row per experiment of the grid: run, metric, yours, reference, tolerance (mm), verdict.

    The tolerance is the profile's share of the reference, or twice the largest distance between its seeds if that is
    more. Verdicts: inside, outside, same (the shipped run itself), missing, no reference.
    """
    reference = project.store.reference()
    rows = []
    for experiment in experiments(project.profile):
        run, shipped = finished(project, experiment), reference.get(experiment.run_id)
        yours = headline(run) if run else math.nan
        theirs = shipped["headline_mm"] if shipped else math.nan
        group = experiment.run_id.rsplit("/", 1)[0] + "/"
        seeds = [r["headline_mm"] for key, r in reference.items() if key.startswith(group)]
        tolerance = max(tolerance_of(project.profile.name) * theirs, 2 * (max(seeds) - min(seeds)) if seeds else 0.0)
        if run is None:
            verdict = "missing"
        elif shipped is None:
            verdict = "no reference"
        elif run.record.uid == shipped["uid"]:
            verdict = "same"
        else:
            verdict = "inside" if abs(yours - theirs) <= tolerance else "outside"
        rows.append((experiment.run_id, " ".join(headline_metric(experiment)), yours, theirs, tolerance, verdict))
    columns = ["run", "metric", "yours_mm", "reference_mm", "tolerance_mm", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def reference_line(project: Project, run: Run) -> str:
    """Return a line that is the same on every machine while the run agrees with the reference; else raise."""
    table = compare(project).set_index("run")
    row = table.loc[run.experiment.run_id]
    share = f"{tolerance_of(project.profile.name):.0%}"
    if row.verdict == "outside":
        raise AssertionError(
            f"{run.experiment.run_id}: {row.yours_mm:.2f} mm is further than {row.tolerance_mm:.2f} mm from the "
            f"reference {row.reference_mm:.2f} mm"
        )
    answer = "no reference" if row.verdict == "no reference" else "yes"
    return f"error within {share} of the reference (or twice its seed spread): {answer}"


def update_reference(project: Project) -> None:
    """Make today's runs the reference of the profile. ValueError if one is missing."""
    runs, keys = {}, ("uid", "config_hash", "commit", "hardware", "seconds")
    for experiment in in_order(project.profile):
        run, auxiliary = finished(project, experiment), experiment.method in AUXILIARY
        if run is not None:
            error = {} if auxiliary else {"headline_mm": headline(run)}
            runs[experiment.run_id] = {key: getattr(run.record, key) for key in keys} | error
        elif not auxiliary:
            profile = project.profile.name
            raise ValueError(f"{experiment.run_id} is missing: finish `make study PROFILE={profile}` first")
    write_json(project.store.reference_path, {"profile": project.profile.name, "runs": runs})
