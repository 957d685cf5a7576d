"""Runs the study of one profile: data, the networks that all runs share, then every notebook with papermill.

Each only if it is missing or stale.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
import psutil
import torch

from msff.data.datasets import DATASETS
from msff.errors import MsffError
from msff.files import atomic_file
from msff.study.data import DATA_VARIABLES
from msff.study.expected import Expected
from msff.study.experiment import Study
from msff.study.grid import FLOORS, ablation_dataset, experiments, helpers
from msff.study.photos import announce
from msff.study.progress import Bar, clock
from msff.study.store import Experiment

MODULE_NOTEBOOKS = {  # each explains a module and trains the network as built so far; the last shows the whole one
    "02-backbone": "bare",
    "03-channel-conversion": "ccm",
    "04-global-regression": "no-lom",
    "05-local-optimization": "full",
    "06-heads": "full",
}
RESULT_NOTEBOOKS = ("08-ablation", "09-table1", "10-fig5", "11-fig6", "12-verdict", "13-conventions")


class StudyError(MsffError):
    """A study that cannot go on. The message says which step failed and where to look."""


@dataclass(frozen=True)
class Step:
    """One notebook execution."""

    notebook: str  # stem under notebooks/
    output: str  # stem under results/<profile>/notebooks/
    parameters: dict = field(default_factory=dict)
    experiments: tuple[Experiment, ...] = ()  # the runs it shows
    trains: bool = False  # whether it may have to train them first
    stage: int = 0  # steps of one stage do not depend on each other and may run side by side

    @property
    def name(self) -> str:
        return self.output.removeprefix("runs/")


def steps(study: Study) -> list[Step]:
    """Every notebook execution of the profile, in order."""
    profile, all_runs = study.profile, tuple(experiments(study.profile))
    common = {"profile": profile.name}
    dataset, seed = ablation_dataset(profile), profile.seeds[0]
    modules = {
        notebook: Experiment(profile.name, dataset, "msff", variant, seed)
        for notebook, variant in MODULE_NOTEBOOKS.items()
    }
    plan = [Step("01-data", "01-data", common)]
    first = {run: name for name, run in reversed(modules.items())}  # the page that trains it
    plan += [
        Step(name, name, common, (run,), trains=first[run] == name, stage=1 if first[run] == name else 2)
        for name, run in modules.items()
    ]
    for run in all_runs:
        output = "runs/07-train--" + run.run_id.replace("/", "--")
        # The floor comes first, since every page compares with it; what a module's page trains is only shown again.
        # A method that starts from another's weights comes after it.
        shown, later = run in modules.values(), study.procedure(run).start is not None
        stage = 0 if run.method in FLOORS else 2 if shown or later else 1
        trains = stage > 0 and not shown
        plan.append(Step("07-train", output, common | {"run_id": run.run_id}, (run,), trains, stage))
    plan += [Step(name, name, common, all_runs, stage=3) for name in RESULT_NOTEBOOKS]
    return sorted(plan, key=lambda step: step.stage)


def result_steps(study: Study) -> list[Step]:
    """The pages about all runs, of the runs that are stored."""
    stored = tuple(e for e in experiments(study.profile) if study.finished(e) is not None)
    return [Step(name, name, {"profile": study.profile.name}, stored, stage=3) for name in RESULT_NOTEBOOKS]


def execute_results(study: Study, log: Callable[[str], None] = print) -> list[str]:
    """Execute the pages about all runs from what is stored, without a dataset; -> those that were out of date.

    StudyError without a stored run.
    """
    plan = result_steps(study)
    if not plan[0].experiments:
        raise StudyError(f"profile {study.profile.name} has no stored run: `msff study train` makes them")
    missing = [step for step in plan if not done(study, step)]
    log(f"Profile {study.profile.name}: {len(plan[0].experiments)} stored runs, {len(missing)} pages to execute")
    for step in missing:
        _execute(study, step)
    return [step.name for step in missing]


def by_worth(study: Study) -> list[Step]:
    """The same steps in the order of their runs' worth: what trains a run, what shows it, then the pages of all."""
    runs = experiments(study.profile)
    rank = {run: float(number) for number, run in enumerate(runs)}
    for floor in (run for run in runs if run.method in FLOORS):  # just before the first run that compares with it
        rank[floor] = min(rank[run] for run in runs if run.method not in FLOORS and run.dataset == floor.dataset) - 0.5

    def worth(step: Step) -> tuple[float, int, bool]:
        if step.stage == 3 or not step.experiments:
            return len(rank), step.stage, False
        return rank[step.experiments[0]], 0, not step.trains

    return sorted(steps(study), key=worth)


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
    """Hash of the notebook's source, its parameters, the code that shows, the runs that it shows and the reference."""
    source = json.loads((study.root / "notebooks" / f"{step.notebook}.ipynb").read_text())
    runs = [study.store.get(e) for e in step.experiments]
    parts = [
        [cell["source"] for cell in source["cells"]],
        step.parameters,
        code_hash("evaluation", "report"),  # of the rest a page shows only what its runs hold
        [run.record["uid"] if run else None for run in runs],
        study.store.reference(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache
def code_hash(*folders: str) -> str:
    """Hash of the package's code, or of these folders of it."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for folder in folders or ("",) for path in (package / folder).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def default_jobs(study: Study) -> int:
    """How many notebooks run side by side: slim networks use one core each better than several together."""
    return 1 if study.device.startswith("cuda") else max(1, min(os.cpu_count() or 1, 4))


def run_study(
    study: Study,
    *,
    own: bool = False,
    force: bool = False,
    jobs: int | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Do what is missing: render, train, execute, each step whole or not at all.

    ``jobs`` notebooks run side by side, the cores divided among them (None: `default_jobs`). ``own`` retrains the
    runs that are only shipped with the project, ``force`` retrains all. StudyError if a step fails; what finished
    before stays, and a second call goes on from there.
    """
    study.store.sweep()
    plan = steps(study)
    since = time.time()
    missing = [step for step in plan if force or not done(study, step, own)]
    first = [e for e in helpers(study.profile) if force or _wanted(study, e, missing, own)]
    expected = expected_seconds(study, own, force)
    log(
        f"Profile {study.profile.name} ({study.profile.purpose}) on {study.device}: "
        f"{len(plan) - len(missing)} of {len(plan)} notebooks are up to date, {len(missing)} to execute"
        + (f", {len(first)} shared networks to train." if first else ".")
    )
    if missing or first:
        for dataset in study.profile.data.datasets:
            log(f"Data: {DATASETS[dataset].label} in {study.data_root(dataset)}")
            study.make_data(dataset)
            study.truth(dataset)
        if line := announce(study):
            log(line)
        jobs = jobs or default_jobs(study)
        _execute_all(study, first, missing, expected, own, since if force else None, jobs, log)


def _wanted(study: Study, helper: Experiment, missing: list[Step], own: bool) -> bool:
    """Whether a helper has to be trained: it is not stored, or runs are to come that it can tell nothing."""
    if study.finished(helper, own) is None:
        return True
    runs = {e for step in missing for e in step.experiments if helper in study.rests_on(e)}
    return any(study.finished(e, own) is None and helper in study.to_train(e, own) for e in runs)


def _execute_all(study, first, missing, expected, own, force_since, jobs, log) -> None:
    started, wanted = time.monotonic(), [*map(helper_step, first), *missing]
    with under_way(study, wanted, expected, jobs, own, force_since) as carry_out:
        for step in wanted[: len(first)]:
            carry_out(step)
        for stage in sorted({step.stage for step in missing}):
            _execute_stage([s for s in missing if s.stage == stage], expected, jobs, carry_out)
    log(f"Executed {len(missing)} notebooks in {clock(time.monotonic() - started)}.")


@contextmanager
def under_way(
    study: Study, wanted: list[Step], expected: Callable[[Step], float], jobs: int, own: bool = False,
    force_since: float | None = None, total: float | None = None,
) -> Iterator[Callable[[Step], None]]:  # fmt: skip
    """What carries out one step, a helper's training or a page, while a bar shows how far all the ``wanted`` are.

    ``total`` is the expected time of all, if not their sum.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with tempfile.TemporaryDirectory() as folder:
        variables = {"MSFF_PROGRESS": folder, "JUPYTER_PREFER_ENV_PATH": "1"}
        slim = {"MSFF_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        slim = slim if jobs > 1 and "MSFF_THREADS" not in os.environ else {}
        variables |= {"MSFF_OWN": "1"} if own else {}
        places = {name: os.environ.get(name) for name in DATA_VARIABLES.values()}  # kernels run in another folder
        variables |= {name: str(Path(place).resolve()) for name, place in places.items() if place}
        variables |= {"MSFF_FORCE": "1", "MSFF_FORCE_SINCE": repr(force_since)} if force_since else {}
        total = sum(expected(step) for step in wanted) if total is None else total
        with Bar(total, len(wanted), jobs, Path(folder)) as bar, _environment(variables | slim):

            def carry_out(step: Step) -> None:
                with bar.step(step.name, expected(step)):
                    if step.notebook:
                        _execute(study, step)
                    else:
                        with _environment(dict.fromkeys(slim)):  # every core
                            _train_helper(study, step.experiments[0], own, resume=force_since is None)

            yield carry_out


def helper_step(helper: Experiment) -> Step:
    """The training of a helper as a step of the plan; it has no page."""
    return Step("", "helper--" + helper.run_id.replace("/", "--"), experiments=(helper,), trains=True)


def _train_helper(study: Study, helper: Experiment, own: bool, resume: bool) -> None:
    """In this process and while no page is executed, on every core; its images and weights are let go at the end.

    A stored run with answers stays where it is its network alone that is needed.
    """
    fresh = Study(study.profile.name, study.root, study.device)
    fresh.profile = study.profile
    if resume and fresh.finished(helper, own) is not None:
        fresh.helper(helper.dataset, helper.method, itself=True)
    else:
        fresh.run(helper, resume)
    del fresh
    torch.cuda.empty_cache()


def _execute_stage(stage: list[Step], expected, jobs: int, carry_out: Callable[[Step], None]) -> None:
    """Steps that do not depend on each other, ``jobs`` at a time; the first failure stops those not yet begun."""
    with ThreadPoolExecutor(jobs) as pool:
        # Long ones first, so that the stage does not end with one long step alone.
        futures = [pool.submit(carry_out, step) for step in sorted(stage, key=expected, reverse=True)]
        with stopped_together(futures):
            for future in as_completed(futures):
                future.result()


@contextmanager
def stopped_together(futures: Collection[Future]) -> Iterator[None]:
    """If the block fails, at Ctrl-C too, nothing more begins and what is under way ends."""
    try:
        yield
    except BaseException:
        for future in futures:
            future.cancel()
        _stop_kernels()
        raise


def _stop_kernels() -> None:
    """End the kernels that this process started: they have sessions of their own and never see a Ctrl-C."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any("ipykernel" in word for word in child.cmdline()):
                child.terminate()


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


def expected_seconds(study: Study, own: bool = False, force: bool = False, elsewhere: bool = False) -> Expected:
    """Seconds that a step takes if it is done now, see `msff.study.expected`."""
    return Expected(study, [(step, output_path(study, step)) for step in steps(study)], own, force, elsewhere)


def plan_table(study: Study, own: bool = False) -> pd.DataFrame:
    """One row per step by worth: step, kind, runs, done, expected_s. The helpers (kind "helper") come first.

    ``expected_s`` is of doing the step now, or of doing it all again where it is done; ``attrs["elsewhere"]`` names
    the machines that it was measured on if this one's kind has measured nothing.
    """
    expected, again = (expected_seconds(study, own, force, elsewhere=True) for force in (False, True))
    rows = [("helper", helper_step(e), study.finished(e, own) is not None) for e in helpers(study.profile)]
    rows += [("notebook", step, done(study, step, own)) for step in by_worth(study)]
    rows = [
        (step.name, kind, len(step.experiments), ok, round((again if ok else expected)(step), 1))
        for kind, step, ok in rows
    ]
    table = pd.DataFrame(rows, columns=["step", "kind", "runs", "done", "expected_s"])
    table.attrs["elsewhere"] = expected.measured_elsewhere
    return table


@contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """The kernels inherit these variables (None: not set); the caller's environment is left as it was."""

    def put(variables: dict[str, str | None]) -> None:
        for key, value in variables.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value

    before = {key: os.environ.get(key) for key in values}
    put(values)
    try:
        yield
    finally:
        put(before)
