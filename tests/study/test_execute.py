import json
import os

import pytest
from msff.study.execute import StudyError, by_worth, done, expected_seconds, output_path, plan_table, run_study, steps
from msff.study.notebooks import refresh
from tiny_study import ROOT, tiny_study

from msff.study import execute
from msff.study.experiment import Study
from msff.study.grid import experiments, helpers
from msff.study.reference import compare, reference_line, update_reference
from msff.study.store import ANSWERS

ONE_CELL = {
    "cells": [
        {"cell_type": "code", "id": "a-0", "metadata": {"tags": ["parameters"]}, "outputs": [], "execution_count": None,
         "source": 'profile = "smoke"\nrun_id = ""'},
        {"cell_type": "code", "id": "a-1", "metadata": {}, "outputs": [], "execution_count": None,
         "source": "# NBVAL_CHECK_OUTPUT\nprint(1 + 1)"},
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    study = tiny_study(tmp_path)
    for notebook in (tmp_path / "notebooks").glob("*.ipynb"):
        notebook.write_text(json.dumps(ONE_CELL))
    return study


def test_every_notebook_has_its_step_and_every_run_its_page(study):
    plan = steps(study)
    assert {step.notebook for step in plan} == {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    shown = [step.experiments[0] for step in plan if step.notebook == "07-train"]
    assert sorted(shown) == sorted(experiments(study.profile))
    assert len({step.output for step in plan}) == len(plan)


def test_no_run_is_trained_by_two_steps_of_one_stage(study):
    for stage in range(4):
        trained = [run for step in steps(study) if step.stage == stage and step.trains for run in step.experiments]
        assert len(trained) == len(set(trained))


def test_what_starts_from_anothers_weights_comes_a_stage_later(study):
    stage = {step.experiments[0].run_id: step.stage for step in steps(study) if step.notebook == "07-train"}
    later = ("chen/full", "chen/plain", "song/regressed", "posenet/segmented")
    assert all(stage[f"standin-rhd/{run}/seed0"] == 2 for run in later)
    first = ("posenet/full", "song/full", "spurr/plain", "spurr/scale-side", "yang/full", "internet/full")
    assert all(stage[f"standin-rhd/{run}/seed0"] == 1 for run in first)
    assert stage["standin-rhd/oracle/full/seed0"] == 0
    assert all(step.trains for step in steps(study) if step.output.endswith(("chen--full--seed0", "segmented--seed0")))


def test_results_come_after_the_runs_that_they_show(study):
    plan = steps(study)
    last_training = max(step.stage for step in plan if step.trains)
    assert all(step.stage > last_training for step in plan if step.notebook in ("08-ablation", "12-verdict"))


def test_steps_by_worth_are_the_same_steps(study):
    plan = by_worth(study)
    assert sorted(step.name for step in plan) == sorted(step.name for step in steps(study))
    runs = [step.experiments[0] for step in plan if step.notebook == "07-train"]
    floors = ("mean-pose", "oracle")
    assert [e for e in runs if e.method not in floors] == [
        e for e in experiments(study.profile) if e.method not in floors
    ]
    begun = [(e.dataset, e.method) for e in runs[:6]]  # a dataset's floors just before its first method
    assert begun == [(d, m) for d in study.profile.data.datasets for m in (*floors, "msff")]
    names = [step.name for step in plan]
    shown = names.index("07-train--standin-rhd--msff--full--seed0")
    assert names[shown - 2 : shown] == ["05-local-optimization", "06-heads"]  # the first of which trains it
    assert names[-7] == "01-data" and names[-6] == "08-ablation"


def test_a_helper_uses_every_core_where_pages_share_them(study, monkeypatch):
    seen = {}
    look = lambda name: seen.update({name: [os.environ.get(key) for key in ("MSFF_THREADS", "MSFF_PROGRESS")]})  # noqa: E731
    monkeypatch.delenv("MSFF_THREADS", raising=False)
    monkeypatch.setattr(execute, "_execute", lambda study, step: look("page"))
    monkeypatch.setattr(execute, "_train_helper", lambda study, helper, own, resume: look("helper"))
    helper, page = execute.helper_step(helpers(study.profile)[0]), steps(study)[0]
    with execute.under_way(study, [helper, page], lambda step: 0.0, jobs=2) as carry_out:
        carry_out(helper)
        carry_out(page)
    assert seen["helper"][0] is None and seen["page"][0] is not None
    assert seen["helper"][1] == seen["page"][1] is not None
    assert "MSFF_THREADS" not in os.environ and "MSFF_PROGRESS" not in os.environ


def test_a_step_is_done_until_its_source_changes(study):
    (step,) = [s for s in steps(study) if s.notebook == "01-data"]
    assert not done(study, step)
    execute._execute(study, step)
    executed = json.loads(output_path(study, step).read_text())
    assert "".join(executed["cells"][-1]["outputs"][0]["text"]) == "2\n"
    assert done(study, step)
    source = study.root / "notebooks" / "01-data.ipynb"
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    assert not done(study, step)


def test_a_failing_notebook_stops_the_study_and_is_kept_for_inspection(study):
    source = study.root / "notebooks" / "01-data.ipynb"
    source.write_text(source.read_text().replace("1 + 1", "1 / 0"))
    with pytest.raises(StudyError, match=r"01-data failed in cell .*ZeroDivisionError(.|\n)*01-data.failed.ipynb"):
        run_study(study, jobs=1, log=lambda text: None)
    folder = study.store.notebooks
    assert (folder / "01-data.failed.ipynb").exists() and not (folder / "01-data.ipynb").exists()
    assert not list(folder.rglob("*.partial*"))


DATASETS = ("standin-rhd", "standin-interhand")
AUXILIARY = [f"helper--{d}--{m}--full--seed0" for d in DATASETS for m in ("rootnet", "sidenet")]


def test_the_plan_shows_the_helpers_first_and_apart(study):
    table = plan_table(study)
    assert table.step.tolist()[:4] == AUXILIARY and table.kind.tolist()[:4] == ["helper"] * 4
    assert (table.kind[4:] == "notebook").all() and len(table) == 4 + len(steps(study))
    study.ensure_run(helpers(study.profile)[0].run_id)
    assert plan_table(study).done.tolist()[:5] == [True, False, False, False, False]


def test_helpers_are_trained_before_any_notebook_and_only_where_they_are_needed(study, monkeypatch):
    events = []
    monkeypatch.setattr(execute, "_execute", lambda study, step: events.append(step.name))
    run = Study.run
    monkeypatch.setattr(Study, "run", lambda self, e, resume=True: events.append(e.run_id) or run(self, e, resume))
    run_study(study, jobs=1, log=lambda text: None)
    shared = helpers(study.profile)
    assert events[:4] == [e.run_id for e in shared] and len(events) == 4 + len(steps(study))
    events.clear()
    run_study(study, jobs=1, log=lambda text: None)
    assert len(events) == len(steps(study))  # trained once
    names, depth, side = {e.run_id for e in shared}, shared[0], shared[3]
    for answered in (True, False):
        for e in (depth, side):
            study.checkpoint_path(e).unlink(missing_ok=True)
            if not answered:
                (study.store.path(e) / ANSWERS).unlink()
        events.clear()
        run_study(study, jobs=1, log=lambda text: None)
        # runs are missing that need it, and one of them, PoseNet with HandSegNet on RHD, needs its weights
        assert [e for e in events if e in names] == ([] if answered else [depth.run_id, side.run_id])
        assert study.trained(depth) and study.trained(side) != answered
    monkeypatch.setattr(Study, "finished", lambda self, e, own=False: self.store.get(depth))
    study.checkpoint_path(depth).unlink()
    events.clear()
    run_study(study, jobs=1, log=lambda text: None)
    assert not names & set(events)  # every run is there: pages alone need no weights


def test_time_left_rests_on_measured_steps(study):
    (step,) = [s for s in steps(study) if s.notebook == "01-data"]
    assert expected_seconds(study)(step) == 10.0
    study.store.root.mkdir(parents=True, exist_ok=True)
    study.store.reference_path.write_text(json.dumps({"runs": {}, "steps": {"01-data": 4.5}}))
    assert expected_seconds(study)(step) == 4.5


def test_reproduced_against_reference(study):
    run_id = "standin-rhd/mean-pose/full/seed0"
    run = study.ensure_run(run_id)
    row = compare(study).set_index("run").loc[run_id]
    assert row.verdict == "no reference" and "no reference" in reference_line(study, run)
    value = row.yours_mm
    for reference, verdict in ((value / 1.1, "inside"), (value / 1.3, "outside")):
        entry = {"uid": "x", "headline_mm": reference}
        study.store.reference_path.write_text(json.dumps({"runs": {run_id: entry}, "steps": {}}))
        assert compare(study).set_index("run").loc[run_id].verdict == verdict
    with pytest.raises(AssertionError, match="further than"):
        reference_line(study, run)
    assert compare(study).set_index("run").loc["standin-rhd/msff/full/seed0"].verdict == "missing"
    with pytest.raises(ValueError, match="standin-interhand/mean-pose/full/seed0 is missing"):
        update_reference(study)


def test_refresh_keeps_the_outputs_of_checked_cells_only(study):
    with pytest.raises(StudyError, match="01-data has not been executed"):
        refresh(study)
    for notebook in sorted((study.root / "notebooks").glob("*.ipynb")):
        if notebook.stem != "01-data":
            notebook.unlink()
    (step,) = [s for s in steps(study) if s.notebook == "01-data"]
    execute._execute(study, step)
    (path,) = refresh(study)
    first, second = json.loads(path.read_text())["cells"]
    assert first["outputs"] == [] and "".join(second["outputs"][0]["text"]) == "2\n"
    assert first["execution_count"] is None and second["execution_count"] == 1  # nbval compares counted cells only
    assert done(study, step)  # outputs are no part of the source
