"""The study in slices: as many whole steps as fit into some seconds, for a machine that one has for minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import torch

from msff.data.datasets import DATASETS
from msff.standin.formats import DATASETS as LAYOUTS
from msff.standin.formats import PARTS
from msff.standin.writers import MANIFEST
from msff.study.execute import (
    Step,
    StudyError,
    by_worth,
    default_jobs,
    done,
    expected_seconds,
    helper_step,
    stopped_together,
    under_way,
)
from msff.study.experiment import Study
from msff.study.grid import FLOORS, experiments, helpers
from msff.study.photos import announce
from msff.study.progress import clock
from msff.study.store import Experiment

SAFETY = 1.15  # nothing begins that would not fit if it took this much longer than expected
RENDERED_PX_PER_S = 1e6  # by one core at 320 px, as measured on one; a guess until this call has rendered something
CHECKED_PER_S = 1000  # images of a dataset that is there already


@dataclass
class Slice:
    """What a call did and what it left."""

    done: list[str] = field(default_factory=list)  # renderings, helpers and pages, in their order
    left: dict[str, str] = field(default_factory=dict)  # step -> why

    @property
    def whole(self) -> bool:
        """Whether nothing of the study is left."""
        return not self.left


def run_slice(
    study: Study,
    budget_s: float,
    *,
    started: float | None = None,
    own: bool = False,
    jobs: int | None = None,
    on_page: Callable[[], None] | None = None,
    log: Callable[[str], None] = print,
) -> Slice:
    """Do what fits into ``budget_s`` seconds from ``started`` (`time.monotonic`, None: now), the worthiest first.

    No step begins that is expected to end too late; one that has begun is done to its end. A dataset is rendered and
    a helper trained when the first page needs it, together with which it has to fit; the pages of results come last
    and only when every run is there. ``on_page`` is called after each page. A page that fails does not keep the others
    from being made; at the end StudyError tells of it.
    """
    agenda = Agenda(study, (time.monotonic() if started is None else started) + budget_s, own)
    jobs = jobs or default_jobs(study)
    log(
        f"Profile {study.profile.name} ({study.profile.purpose}) on {study.device}: {len(agenda.todo)} steps to do, "
        f"{clock(max(0.0, agenda.left_s()))} for those that fit."
    )
    if line := announce(study):
        log(line)
    if agenda.next() is not None:
        study.store.sweep()
        total = min(sum(map(agenda.expected, agenda.todo)), jobs * agenda.left_s())
        with under_way(study, agenda.todo, lambda step: agenda.expected(step), jobs, own, total=total) as carry_out:
            _work(agenda, jobs, carry_out, on_page or (lambda: None))
    left = {name: "failed" for name in agenda.failed} | {step.name: agenda.reason(step) for step in agenda.todo}
    result = Slice(agenda.done, left)
    log(f"Done: {', '.join(result.done) or 'nothing'}.")
    if result.left:
        log(f"Left, with {clock(max(0.0, agenda.left_s()))} to go:")
    for name, why in result.left.items():
        log(f"  {name}: {why}")
    if agenda.failed:
        raise StudyError("\n".join(agenda.failed.values()))
    return result


def _work(agenda: Agenda, jobs: int, carry_out: Callable[[Step], None], on_page: Callable[[], None]) -> None:
    """``jobs`` pages at a time, each begun as soon as there is a place for it and what it needs is there."""
    active: dict[Future, Step] = {}
    with ThreadPoolExecutor(jobs) as pool, stopped_together(active):
        while True:
            while len(active) < jobs and (step := agenda.next()) is not None:
                before = agenda.before(step)
                if active and (before or not step.notebook):
                    break  # rendering and helpers take every core: the pages under way end first
                if isinstance(before, str):
                    agenda.make_data(before)  # and look again: it may have taken longer than expected
                elif before or not step.notebook:
                    agenda.begin(before or step)
                    carry_out(before or step)
                    agenda.end(before or step)
                else:
                    agenda.begin(step)
                    active[pool.submit(carry_out, step)] = step
            if not active:
                return
            for future in wait(active, return_when=FIRST_COMPLETED).done:
                step = active.pop(future)
                try:
                    future.result()
                except StudyError as error:
                    agenda.failed[step.name] = str(error)
                else:
                    agenda.end(step)
                    on_page()


class Agenda:
    """What is still to do until a time (`time.monotonic`), in the order of its worth, and what of it can begin now."""

    def __init__(self, study: Study, until: float, own: bool = False):
        self.study, self.until, self.own = study, until, own
        self.done: list[str] = []
        self.failed: dict[str, str] = {}  # page -> why
        self.expected = expected_seconds(study, own)
        pages = [step for step in by_worth(study) if not done(study, step, own)]
        shared = [helper_step(e) for e in helpers(study.profile) if study.finished(e, own) is None]
        # A helper that no page has asked for is worth less than any run, and more than pages of results.
        self.todo = [s for s in pages if s.stage < 3] + shared + [s for s in pages if s.stage == 3]
        self._runs = experiments(study.profile)
        self._ready: set[str] = set()  # datasets and helpers that this call has seen to
        self._px_per_s = RENDERED_PX_PER_S * torch.get_num_threads()

    def left_s(self) -> float:
        return self.until - time.monotonic()

    def next(self) -> Step | None:
        """The worthiest step that can begin now and is expected to end in time."""
        return next((step for step in self.todo if not self.waits_for(step) and self.fits(step)), None)

    def fits(self, step: Step) -> bool:
        return SAFETY * self.cost(step) <= self.left_s()

    def cost(self, step: Step) -> float:
        """Expected seconds of a step, with all that has to be there before."""
        data = sum(self._data_seconds(name) for name in self._datasets(step))
        return data + sum(self.expected(helper_step(e)) for e in self._helpers(step)) + self.expected(step)

    def before(self, step: Step) -> str | Step | None:
        """What comes before the step: a dataset that has to be rendered or checked, else a helper's training."""
        dataset, helper = next(iter(self._datasets(step)), None), next(iter(self._helpers(step)), None)
        return dataset or (helper_step(helper) if helper else None)

    def begin(self, step: Step) -> None:
        self.todo = [other for other in self.todo if other.name != step.name]
        self._ready |= set() if step.notebook else {step.name}

    def end(self, step: Step) -> None:
        """The step is done, and its speed tells of those to come."""
        self.done.append(step.name)
        self.expected = expected_seconds(self.study, self.own)

    def reason(self, step: Step) -> str:
        """Why the step was left."""
        if missing := self.waits_for(step):
            return f"waits for {missing}"
        return f"would need {clock(SAFETY * self.cost(step))} to be safe"

    def waits_for(self, step: Step) -> str:
        """The run that has to be there first; empty if none. Every page compares with the floors."""
        if step.stage == 3:
            needed = self._runs
        elif not step.notebook or not step.experiments or step.experiments[0].method in FLOORS:
            needed = []
        else:
            (run,) = step.experiments
            needed = [e for e in self._runs if e.method in FLOORS and e.dataset == run.dataset]
            needed += [] if step.trains else [run]
            needed += [e for e in (self.study.procedure(run).start,) if e in self._runs]
        return next((e.run_id for e in needed if self.study.finished(e, self.own) is None), "")

    # data and helpers

    def _datasets(self, step: Step) -> list[str]:
        """Datasets that the step reads and this call has not seen to."""
        known = self.study.profile.data.datasets
        read = {run.dataset for run in step.experiments} or set(known)
        return [name for name in known if name in read - self._ready]

    def _helpers(self, step: Step) -> list[Experiment]:
        """Helpers that have to be trained before the step."""
        study = self.study
        runs = [e for e in step.experiments if step.notebook and study.finished(e, self.own) is None]
        needed = {helper for run in runs for helper in study.to_train(run, self.own)}
        return [e for e in helpers(study.profile) if e in needed and helper_step(e).name not in self._ready]

    def _data_seconds(self, dataset: str) -> float:
        data = self.study.profile.data
        return self._px_to_render(dataset) / self._px_per_s + (data.train + data.test) / CHECKED_PER_S

    def _px_to_render(self, dataset: str) -> float:
        """Pixels of the images that are not there yet; none of a real dataset."""
        if not DATASETS[dataset].is_standin or (self.study.data_root(dataset) / MANIFEST).exists():
            return 0
        data, root = self.study.profile.data, self.study.data_root(dataset)
        there = len(list(root.with_name(f"{root.name}.partial").glob(f"{PARTS}/*.npz")))
        layout = LAYOUTS[dataset]
        return max(0, data.train + data.test - there) * (data.size or layout.size) ** 2 * layout.height

    def make_data(self, dataset: str) -> None:
        px, begun = self._px_to_render(dataset), time.monotonic()
        self.study.make_data(dataset)
        if px:
            self._px_per_s = px / (time.monotonic() - begun)
            self.done.append(f"{dataset} rendered")
        self.study.truth(dataset)
        self._ready.add(dataset)
