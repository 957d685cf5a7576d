"""Executed notebooks: which there are, when they are stale, and what a failure leaves."""

import json
import os

import pytest
from make_results import store_made_up
from tiny_study import ROOT, tiny_study, with_images

from msff.study.execution import PageError, execute_pages
from msff.study.experiment import Experiment
from msff.study.machine import code_hash
from msff.study.pages import all_pages, evidence_stores, fingerprint, is_current, result_pages
from msff.study.reference import compare, reference_line, update_reference
from msff.study.runner import ensure_run
from msff.study.workspace import Workspace

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
MEAN_POSE = "standin-rhd/mean-pose/full/seed0"


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)
    monkeypatch.setattr("msff.study.kernels.IMPORTED", ("ipykernel.kernelapp",))  # the real ones take seconds
    study = with_images(tiny_study(tmp_path))
    for notebook in (tmp_path / "notebooks").glob("*.ipynb"):
        notebook.write_text(json.dumps(ONE_CELL))
    return study


def page(study, name):
    return next(page for page in all_pages(study) if page.output == name)


def execute(study, *names):
    return [p.output for p in execute_pages(study, [page(study, name) for name in names])]


def test_every_notebook_is_a_page_and_every_output_is_one(study):
    plan = all_pages(study)
    assert {p.notebook for p in plan} == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len({p.output for p in plan}) == len(plan)
    walked = [p.parameters["run_id"] for p in plan if p.notebook == "07-train"]
    assert walked == ["standin-rhd/msff/full/seed0", "standin-rhd/internet/full/seed0"]


def test_a_page_about_all_runs_shows_those_that_are_stored(study):
    assert all(p.experiments == () for p in result_pages(study))
    store_made_up(study, MEAN_POSE)
    assert {p.experiments for p in result_pages(study)} == {(Experiment("smoke", "standin-rhd", "mean-pose"),)}


def test_a_page_is_current_until_its_source_changes(study):
    assert not is_current(study, page(study, "01-data"))
    assert execute(study, "01-data") == ["01-data"]
    executed = json.loads(page(study, "01-data").path(study).read_text())
    assert "".join(executed["cells"][-1]["outputs"][0]["text"]) == "2\n"
    assert is_current(study, page(study, "01-data")) and execute(study, "01-data") == []
    source = study.root / "notebooks" / "01-data.ipynb"
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    assert not is_current(study, page(study, "01-data"))


def test_another_run_makes_a_page_stale_and_the_same_does_not(study):
    bare = page(study, "02-backbone")
    stamps = set()
    for fields in ({"uid": "a"}, {"uid": "a"}, {"uid": "b"}, {"uid": "b", "finished": 1.0}):
        store_made_up(study, bare.experiments[0].run_id, **fields)
        stamps.add(fingerprint(study, bare))
    assert len(stamps) == 3


def test_a_run_of_another_profile_makes_the_pages_of_modules_stale_and_no_other(study):
    """They show a module's effect from the best profile that has it; the smoke test shows its own."""
    assert [store.profile for store in evidence_stores(study.store)] == ["smoke"]
    study, longer = (Workspace(profile, study.root, "cpu") for profile in ("cpu", "cpu-long"))
    pages = page(study, "02-backbone"), page(study, "01-data")
    before = [fingerprint(study, p) for p in pages]
    store_made_up(longer, "standin-rhd/msff/lom/seed0")
    after = [fingerprint(study, p) for p in pages]
    assert before[0] != after[0] and before[1] == after[1]


def test_other_code_of_the_networks_makes_the_pages_stale_that_run_it_and_no_other(study, monkeypatch):
    """They print its source, train it for some steps and compare it with the equations."""
    names = "02-backbone", "runs/07-train--standin-rhd--msff--full--seed0", "12-verdict"
    pages = [page(study, name) for name in names]
    before = [fingerprint(study, p) for p in pages]
    monkeypatch.setattr("msff.study.pages.code_hash", lambda *names: code_hash(*names) + "models" * ("models" in names))
    after = [fingerprint(study, p) for p in pages]
    assert [old != new for old, new in zip(before, after, strict=True)] == [True, True, False]


def test_a_failing_notebook_is_named_and_kept_for_inspection(study):
    source = study.root / "notebooks" / "01-data.ipynb"
    source.write_text(source.read_text().replace("1 + 1", "1 / 0"))
    with pytest.raises(PageError, match=r"01-data failed in cell .*ZeroDivisionError(.|\n)*01-data.failed.ipynb"):
        execute(study, "01-data")
    folder = study.store.notebooks
    assert (folder / "01-data.failed.ipynb").exists() and not (folder / "01-data.ipynb").exists()
    assert not list(folder.rglob("*.partial*"))


def test_a_kernel_has_none_of_the_caller_s_settings_and_is_not_interrupted_before_it_ends(study, tmp_path, monkeypatch):
    """Another Python's kernel, a profile that changes every page, an rc file, and the backend that draws nothing.

    An interrupt would be reported as an error by a kernel that is still tidying up after the last cell.
    """
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    for folder in (kernel, startup):
        folder.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["false"], "display_name": "foreign", "language": "python"}')
    (startup / "00.py").write_text("FOREIGN = True")
    (tmp_path / "matplotlibrc").write_text("figure.figsize: 1, 1")
    for name, value in (
        ("MPLBACKEND", "Agg"), ("JUPYTER_PATH", tmp_path / "jupyter"), ("IPYTHONDIR", tmp_path / "ipython"),
        ("MATPLOTLIBRC", tmp_path / "matplotlibrc"),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))
    source, mark = study.root / "notebooks" / "01-data.ipynb", tmp_path / "interrupted"
    code = "assert 'FOREIGN' not in globals(); from matplotlib import pyplot as plt; plt.plot([1]); plt.show()"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code += "; import os; print('threads', os.environ['OMP_NUM_THREADS'])"
    code += "; print(plt.rcParams['figure.figsize']); import signal; get_ipython().kernel.post_handler_hook = "
    code += f"lambda: signal.signal(signal.SIGINT, lambda *_: open({str(mark)!r}, 'w').close())"
    source.write_text(source.read_text().replace("print(1 + 1)", code))
    assert execute(study, "01-data") == ["01-data"]
    outputs = json.loads(page(study, "01-data").path(study).read_text())["cells"][-1]["outputs"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "[6.4, 4.8]" in json.dumps(outputs) and "threads 1" in json.dumps(outputs)
    assert os.environ["MPLBACKEND"] == "Agg" and not mark.exists()


def test_a_page_whose_figure_is_text_fails_and_is_not_current(study):
    source, shown = study.root / "notebooks" / "01-data.ipynb", page(study, "01-data")
    path, inputs = shown.path(study), fingerprint(study, shown)
    path.parent.mkdir(parents=True)
    for text, current in (("2", True), ("<Figure size 1x1>", False)):
        output = {"output_type": "display_data", "data": {"text/plain": [text]}}
        executed = ONE_CELL | {"metadata": {"msff": {"inputs": inputs}}, "cells": [{"outputs": [output]}]}
        path.write_text(json.dumps(executed))
        assert is_current(study, shown) == current
    code = "from matplotlib import pyplot as plt; plt.switch_backend('agg'); display(plt.figure())"
    code = f"get_ipython().display_formatter.formatters.pop('image/png', None); {code}"
    source.write_text(source.read_text().replace("print(1 + 1)", code))
    with pytest.raises(PageError, match=r"01-data: a figure came out as text(.|\n)*01-data.failed.ipynb"):
        execute(study, "01-data")
    assert json.loads(path.read_text()) == executed


def test_no_page_is_executed_whose_runs_are_missing(study):
    with pytest.raises(PageError, match="profile smoke lacks standin-rhd/msff/bare/seed0: `make study PROFILE=smoke`"):
        execute(study, "01-data", "02-backbone")
    assert not page(study, "01-data").path(study).exists()


def test_reproduced_against_reference(study):
    run = ensure_run(study, MEAN_POSE)
    row = compare(study).set_index("run").loc[MEAN_POSE]
    assert row.verdict == "no reference" and "no reference" in reference_line(study, run)
    value = row.yours_mm
    study.store.root.mkdir(parents=True, exist_ok=True)
    for reference, verdict in ((value / 1.1, "inside"), (value / 1.3, "outside")):
        entry = {"uid": "x", "headline_mm": reference}
        study.store.reference_path.write_text(json.dumps({"runs": {MEAN_POSE: entry}}))
        assert compare(study).set_index("run").loc[MEAN_POSE].verdict == verdict
    with pytest.raises(AssertionError, match="further than"):
        reference_line(study, run)
    assert compare(study).set_index("run").loc["standin-rhd/msff/full/seed0"].verdict == "missing"
    with pytest.raises(ValueError, match="standin-interhand/mean-pose/full/seed0 is missing"):
        update_reference(study)
