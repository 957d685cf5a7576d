"""Runs the study of one profile: data, then every notebook with papermill, each only if it is missing or stale."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from msff.data.datasets import DATASETS
from msff.study.experiment import Study
from msff.study.grid import ablation_dataset, experiments
from msff.study.runs import Experiment, atomic_file

MODULE_NOTEBOOKS = {  # each explains a module and trains the network as built so far: the cumulative ablation
    "02-backbone": "backbone",
    "03-channel-conversion": "ccm",
    "04-global-regression": "ccm-grm",
    "05-local-optimization": "ccm-grm-lom",
    "06-heads": "full",
}
RESULT_NOTEBOOKS = ("08-ablation", "09-table1", "10-fig5", "11-fig6", "12-verdict")


class StudyError(Exception):
    """A study that cannot go on. The message says which step failed and where to look."""


@dataclass(frozen=True)
class Step:
    """One notebook execution."""

    notebook: str  # stem under notebooks/
    output: str  # stem under results/<profile>/notebooks/
    parameters: dict = field(default_factory=dict)
    experiments: tuple[Experiment, ...] = ()  # the runs it shows
    trains: bool = False  # whether it may have to train them first

    @property
    def name(self) -> str:
        return self.output.removeprefix("runs/")


def steps(study: Study) -> list[Step]:
    """Every notebook execution of the profile, in order."""
    profile, all_runs = study.profile, tuple(experiments(study.profile))
    common = {"profile": profile.name}
    plan = [Step("01-data", "01-data", common)]
    dataset, seed = ablation_dataset(profile), profile.seeds[0]
    for notebook, variant in MODULE_NOTEBOOKS.items():
        run = Experiment(profile.name, dataset, "msff", variant, seed)
        plan.append(Step(notebook, notebook, common, (run,), trains=True))
    for run in all_runs:
        output = "runs/07-train--" + run.run_id.replace("/", "--")
        plan.append(Step("07-train", output, common | {"run_id": run.run_id}, (run,), trains=True))
    plan += [Step(name, name, common, all_runs) for name in RESULT_NOTEBOOKS]
    return plan


def output_path(study: Study, step: Step) -> Path:
    return study.store.notebooks / f"{step.output}.ipynb"


def done(study: Study, step: Step, own: bool = False) -> bool:
    """Whether the executed notebook is there and what it was made from is unchanged."""
    path = output_path(study, step)
    runs = [study.finished(e, own) for e in step.experiments]
    if None in runs or not path.exists():
        return False
    try:
        stored = json.loads(path.read_text())["metadata"].get("msff", {})
    except (json.JSONDecodeError, KeyError):
        return False
    return stored.get("inputs") == fingerprint(study, step)


def fingerprint(study: Study, step: Step) -> str:
    """Hash of the notebook's source, its parameters, the package's code and the runs that it shows."""
    source = json.loads((study.root / "notebooks" / f"{step.notebook}.ipynb").read_text())
    runs = [study.store.get(e) for e in step.experiments]
    parts = [
        [cell["source"] for cell in source["cells"]],
        step.parameters,
        package_hash(),
        [run.record["uid"] if run else None for run in runs],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@lru_cache
def package_hash() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def run_study(study: Study, *, own: bool = False, force: bool = False, log: Callable[[str], None] = print) -> None:
    """Do what is missing: render, train, execute, each step whole or not at all.

    ``own`` retrains the runs that are only shipped with the project, ``force`` retrains all. StudyError if a step
    fails; what finished before stays, and a second call goes on from there.
    """
    plan = steps(study)
    since = time.time()
    missing = [step for step in plan if force or not done(study, step, own)]
    expected = expected_seconds(study)
    log(
        f"Profile {study.profile.name} ({study.profile.purpose}) on {study.device}: "
        f"{len(plan) - len(missing)} of {len(plan)} notebooks are up to date, {len(missing)} to execute."
    )
    if missing:
        for dataset in study.profile.data.datasets:
            log(f"Data: {DATASETS[dataset].label} in {study.data_root(dataset)}")
            study.make_data(dataset)
            study.truth(dataset)
        _execute_all(study, missing, expected, own, since if force else None, log)


def _execute_all(study, missing, expected, own, force_since, log) -> None:
    total = sum(expected(step) for step in missing)
    finished_expected, started = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress.json"
        environment = {"MSFF_PROGRESS": str(progress), "JUPYTER_PREFER_ENV_PATH": "1"}
        environment |= {"MSFF_OWN": "1"} if own else {}
        environment |= {"MSFF_FORCE": "1", "MSFF_FORCE_SINCE": repr(force_since)} if force_since else {}
        with _environment(environment), _Bar(total, progress) as bar:
            for number, step in enumerate(missing, 1):
                # A step may have become up to date meanwhile: an earlier notebook trained its run.
                bar.begin(f"run {number}/{len(missing)} {step.name}", finished_expected, expected(step))
                _execute(study, step)
                progress.unlink(missing_ok=True)
                finished_expected += expected(step)
    log(f"Executed {len(missing)} notebooks in {_clock(time.monotonic() - started)}.")


def _execute(study: Study, step: Step) -> None:
    """Execute one notebook into a temporary sibling and rename it; a failed one stays as ``*.failed.ipynb``."""
    import papermill

    source, output = study.root / "notebooks" / f"{step.notebook}.ipynb", output_path(study, step)
    failed = output.with_name(output.stem + ".failed.ipynb")
    failed.unlink(missing_ok=True)
    started = time.time()
    with atomic_file(output) as partial:
        try:
            papermill.execute_notebook(
                source, partial, parameters=step.parameters, kernel_name="python3", progress_bar=False,
                cwd=study.root / "notebooks", log_output=False, extra_arguments=["--log-level=ERROR"],
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            partial.rename(failed)
            raise StudyError(
                f"{step.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"Its output is in {failed}. Mend the cause and run the same command again: it goes on from here."
            ) from error
        _stamp(partial, study, step, time.time() - started)


def _stamp(path: Path, study: Study, step: Step, seconds: float) -> None:
    """Put the fingerprint into the executed notebook, without what differs from machine to machine."""
    notebook = json.loads(path.read_text())
    papermill_meta = notebook["metadata"].pop("papermill", {})
    notebook["metadata"]["msff"] = {
        "inputs": fingerprint(study, step),
        "seconds": round(seconds, 1),
        "parameters": papermill_meta.get("parameters", step.parameters),
    }
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def expected_seconds(study: Study) -> Callable[[Step], float]:
    """Seconds that a step takes: as measured for the shipped reference of this profile, else a guess from its size."""
    measured = {}
    if study.store.reference_path.exists():
        measured = json.loads(study.store.reference_path.read_text()).get("steps", {})
    training = study.profile.training
    images = min(training.images_per_epoch or study.profile.data.train, study.profile.data.train)
    guess = images * training.epochs / 300  # images/s of a slim network on two cores

    def expected(step: Step) -> float:
        return measured.get(step.name, 10.0 + (guess if step.trains else 0.0))

    return expected


def plan_table(study: Study, own: bool = False) -> pd.DataFrame:
    """One row per step in order: step, runs, done, expected_s."""
    expected = expected_seconds(study)
    rows = [
        (step.name, len(step.experiments), done(study, step, own), round(expected(step), 1)) for step in steps(study)
    ]
    return pd.DataFrame(rows, columns=["step", "runs", "done", "expected_s"])


class _Bar:
    """One progress bar over the whole study, fed by the notebook's own training progress; says what remains."""

    def __init__(self, total: float, progress: Path):
        interactive = sys.stderr.isatty()
        self._bar = tqdm(
            total=max(total, 1e-9), mininterval=0.5 if interactive else 20, file=sys.stderr, dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed} gone{postfix}",
        )  # fmt: skip
        self._progress, self._interactive = progress, interactive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._state = ("", 0.0, 1.0, time.monotonic())
        self._started = time.monotonic()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._bar.n = self._bar.total
        self._bar.set_postfix_str("done" if kind is None else "stopped", refresh=True)
        self._bar.close()

    def begin(self, label: str, before: float, expected: float) -> None:
        self._state = (label, before, expected, time.monotonic())
        if not self._interactive:
            self._refresh()

    def _watch(self) -> None:
        while not self._stop.wait(0.5 if self._interactive else 20.0):
            self._refresh()

    def _refresh(self) -> None:
        label, before, expected, began = self._state
        inside, detail = min((time.monotonic() - began) / expected, 0.95), ""
        try:
            state = json.loads(self._progress.read_text())
            inside = max(inside, 0.95 * state["done"]) if state["done"] < 1 else inside
            detail = f", epoch {state['epoch']}/{state['epochs']}, loss {state['loss']:.3g}"
        except (OSError, json.JSONDecodeError, KeyError):
            pass  # no training under way: the clock alone tells
        self._bar.n = max(self._bar.n, min(before + inside * expected, self._bar.total))
        gone, share = time.monotonic() - self._started, self._bar.n / self._bar.total
        # Trust the plan at first and the measured pace more and more.
        planned = self._bar.total - self._bar.n
        paced = gone * (1 - share) / share if share > 0 else planned
        left = (1 - share) * planned + share * paced
        self._bar.set_postfix_str(f"about {_clock(left)} left: {label}{detail}", refresh=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The kernels inherit these variables; the caller's environment is left as it was."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
