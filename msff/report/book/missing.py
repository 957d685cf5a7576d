"""What the page *What the study says* cannot answer yet: the missing runs of each question with their core hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np
import pandas as pd

from msff.report.alternatives import ALTERNATIVES
from msff.report.book.questions import QUESTIONS, Question, quotes, wordings
from msff.report.findings import Finding, lacking, seeds_in_words
from msff.report.formatting import markdown
from msff.report.results import Results
from msff.study.durations import Durations
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_needed_by
from msff.study.profiles import get_profile
from msff.study.project import Project

COLUMNS = ["question", "trainings", "core hours", "which"]


def missing_section(results: Results, findings: Mapping[str, Finding]) -> str:
    """Return what the answers lack: runs by question with their core hours, and what has no number otherwise."""
    runs: dict[tuple[Experiment, ...], list[str]] = {}  # questions that lack the same runs share a line
    for question in QUESTIONS:
        if missing := tuple(missing_runs(results, findings, question)):
            runs.setdefault(missing, []).append(question.heading)
    parts = ["## What is missing", *(_table(results, runs) if runs else ()), *_other_reasons(results, findings)]
    absent = "; ".join(what for _, what, contrast in ALTERNATIVES if contrast is None)
    return "\n\n".join([*parts, f"The study has no network for: {absent}."])


def _table(results: Results, runs: Mapping[tuple[Experiment, ...], list[str]]) -> tuple[str, str]:
    durations = Durations(Project(results.profile, results.store.root.parents[1]))
    hours = {run: durations.seconds(run) / 3600 for missing in runs for run in missing}
    rows = [
        (" ".join(headings), len(missing), f"{sum(map(hours.get, missing)):.1f}", _in_words(missing))
        for missing, headings in runs.items()
    ]
    rows.append(("together, each once", len(hours), f"{sum(hours.values()):.1f}", ""))
    table = markdown(pd.DataFrame(rows, columns=COLUMNS))
    command = f"`.venv/bin/msff study train --profile {results.profile}`"
    return table, f"{command} makes them, in order of priority."


def missing_runs(results: Results, findings: Mapping[str, Finding], question: Question) -> list[Experiment]:
    """Return the runs that a question's sentences lack, auxiliary networks included."""
    profile, found = get_profile(results.profile), []
    for finding in _asked(findings, [question]):
        for cell, seeds in lacking(results, finding.contrast).items():
            runs = [Experiment(profile.name, cell.dataset, cell.method, cell.variant, seed) for seed in seeds]
            found += [e for run in runs for e in (*auxiliary_needed_by(profile, run), run)]
    return sorted({run for run in found if results.store.get(run) is None}, key=lambda run: run.run_id)


def _asked(findings: Mapping[str, Finding], questions: Iterable[Question]) -> list[Finding]:
    """Return the findings that the preferred wordings of the questions quote."""
    sentences = (sentence for question in questions for sentence in question.sentences)
    names = dict.fromkeys(name for sentence in sentences for name in quotes(wordings(sentence)[0]))
    return [findings[name] for name in names if name in findings]


def _other_reasons(results: Results, findings: Mapping[str, Finding]) -> list[str]:
    """Return a sentence for each reason but missing runs why contrasts have no number, with their names."""
    reasons: dict[str, list[str]] = {}
    for finding in _asked(findings, QUESTIONS):
        if np.isnan(finding.estimate) and not lacking(results, finding.contrast):
            reasons.setdefault(finding.reason.partition(":")[0], []).append(finding.contrast.name)
    return [f"{reason.capitalize()}: {'; '.join(names)}." for reason, names in reasons.items()]


def _in_words(runs: Iterable[Experiment]) -> str:
    """Return runs by seeds: "msff/grm, msff/lom seeds 0, 1; msff/ccm seed 1"."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(f"{run.method}/{run.variant}", []).append(run.seed)
    groups = groupby(sorted(seeds.items(), key=lambda item: item[1]), key=lambda item: item[1])
    return "; ".join(f"{', '.join(name for name, _ in rows)} {seeds_in_words(own)}" for own, rows in groups)
