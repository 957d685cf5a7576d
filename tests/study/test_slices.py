import pytest
from fake_study import make_study  # noqa: F401
from msff.study.execute import StudyError, steps
from msff.study.slices import SAFETY, Agenda, run_slice

from msff.study import execute, slices
from msff.study.grid import FLOORS, experiments, helpers


@pytest.fixture
def study(make_study):  # noqa: F811
    return make_study()


@pytest.fixture
def lines():
    return []


def expect(monkeypatch, seconds, otherwise=0.0):
    """Expected seconds by the step's name."""
    expected = lambda study, own=False, force=False: lambda step: seconds.get(step.name, otherwise)  # noqa: E731
    monkeypatch.setattr(slices, "expected_seconds", expected)
    monkeypatch.setattr(Agenda, "_data_seconds", lambda self, dataset: 0.0)


def slice_of(study, budget_s, lines, **options):
    return run_slice(study, budget_s, jobs=1, log=lines.append, **options)


def test_no_time_does_nothing(study, make_study, lines):  # noqa: F811
    result = slice_of(study, 0, lines)
    assert result.done == [] and not result.whole and make_study.events == []
    assert len(result.left) == len(steps(study)) + len(helpers(study.profile))
    assert not study.store.root.exists()
    assert "Done: nothing." in lines


def test_it_says_whether_real_photos_are_predicted(study, monkeypatch, lines):
    slice_of(study, 0, lines)
    assert not any("Real photos" in line for line in lines)
    monkeypatch.setattr(slices, "announce", lambda study: "Real photos: 98")
    slice_of(study, 0, lines)
    assert "Real photos: 98" in lines


def test_one_run_fits(study, monkeypatch, lines):
    expect(
        monkeypatch,
        {"05-local-optimization": 50.0} | {f"07-train--standin-rhd--{m}--full--seed0": 1.0 for m in FLOORS},
        900.0,
    )
    monkeypatch.setattr(slices, "helpers", lambda profile: [])
    result = slice_of(study, 50 * SAFETY + 4, lines)
    assert (
        result.done[0] == "standin-rhd rendered"
        and result.done[-1] == "05-local-optimization"
        and len(result.done) == 4
    )
    assert {run.experiment.run_id for run in study.store.runs()} == {
        f"standin-rhd/{m}/full/seed0" for m in ("mean-pose", "oracle", "msff")
    }
    assert "to be safe" in result.left["07-train--standin-rhd--internet--full--seed0"]
    assert result.left["07-train--standin-interhand--msff--full--seed0"] == (
        "waits for standin-interhand/mean-pose/full/seed0"
    )
    assert result.left["09-table1"].startswith("waits for")


def test_the_safety_counts(study, monkeypatch, lines):
    expect(monkeypatch, {"07-train--standin-rhd--mean-pose--full--seed0": 10.0}, 900.0)
    monkeypatch.setattr(slices, "helpers", lambda profile: [])
    assert slice_of(study, 11.0, lines).done == []
    assert slice_of(study, 12.0, lines).done == [
        "standin-rhd rendered",
        "07-train--standin-rhd--mean-pose--full--seed0",
    ]


def test_time_counts_from_the_commands_start(study, monkeypatch, lines):
    expect(monkeypatch, {}, 1.0)
    began = slices.time.monotonic() - 100
    assert slice_of(study, 99.0, lines, started=began).done == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_with_time_enough_everything_is_done_in_its_order(study, make_study, monkeypatch, jobs):  # noqa: F811
    expect(monkeypatch, {})
    result = run_slice(study, 600, jobs=jobs, log=lambda text: None)
    assert result.whole and len(result.done) == len(steps(study)) + len(helpers(study.profile)) + 2  # renderings
    events = make_study.events
    assert len(events) == len(result.done)
    at = {name: number for number, name in enumerate(events)}
    assert events[0] == "data standin-rhd" and events[1] == "standin-rhd/rootnet/full/seed0"
    page = "07-train--standin-rhd--{}--seed0".format
    assert at["standin-rhd/sidenet/full/seed0"] < at[page("posenet--full")] < at[page("chen--full")]
    assert at[page("song--full")] < at[page("song--regressed")]
    assert at["05-local-optimization"] < at[page("msff--full")]
    assert max(at[page(f"{floor}--full")] for floor in FLOORS) < at["05-local-optimization"]
    assert at["data standin-interhand"] > at[page("mean-pose--full")]
    assert min(at[name] for name in execute.RESULT_NOTEBOOKS) > max(at[s.name] for s in steps(study) if s.trains)
    make_study.events.clear()
    again = run_slice(study, 600, jobs=jobs, log=lambda text: None)
    assert again.whole and again.done == [] and make_study.events == []


def test_a_page_that_needs_a_helper_fits_with_it_or_not_at_all(study, make_study, monkeypatch, lines):  # noqa: F811
    expect(monkeypatch, {"helper--standin-rhd--rootnet--full--seed0": 100.0}, 1.0)
    result = slice_of(study, 60, lines)
    assert "standin-rhd/rootnet/full/seed0" not in make_study.events
    assert "07-train--standin-rhd--mean-pose--full--seed0" in result.left  # its depth is RootNet's
    assert "07-train--standin-interhand--mean-pose--full--seed0" in result.done


def test_rendering_counts(study, make_study, monkeypatch, lines):  # noqa: F811
    expect(monkeypatch, {}, 1.0)
    monkeypatch.setattr(Agenda, "_data_seconds", lambda self, dataset: 100.0 * (dataset == "standin-rhd"))
    slice_of(study, 60, lines)
    assert "data standin-rhd" not in make_study.events and "data standin-interhand" in make_study.events


def test_images_that_are_still_to_be_rendered(study):
    agenda = Agenda(study, 0.0)
    assert agenda._px_to_render("standin-rhd") == (12 + 6) * 96**2
    parts = study.data_root("standin-rhd").with_name("standin-rhd.partial") / slices.PARTS
    parts.mkdir(parents=True)
    for number in range(8):
        (parts / f"training_{number:07d}.npz").touch()
    assert agenda._px_to_render("standin-rhd") == (12 + 6 - 8) * 96**2
    study.data_root("standin-rhd").mkdir()
    (study.data_root("standin-rhd") / slices.MANIFEST).touch()
    assert agenda._px_to_render("standin-rhd") == 0


def test_a_failing_page_keeps_none_of_the_others_from_being_made(study, monkeypatch, lines):
    expect(monkeypatch, {})
    page = execute._execute

    def failing(study, step):
        if step.name == "05-local-optimization":
            raise StudyError("05-local-optimization failed in cell 3")
        page(study, step)

    monkeypatch.setattr(execute, "_execute", failing)
    pages = []
    with pytest.raises(StudyError, match="05-local-optimization failed in cell 3"):
        slice_of(study, 600, lines, on_page=lambda: pages.append(len(study.store.runs())))
    runs = {run.experiment.run_id for run in study.store.runs()}
    assert "standin-rhd/msff/full/seed0" not in runs and "standin-interhand/msff/full/seed0" in runs
    assert len(runs) == len(experiments(study.profile)) - 1 and pages[-1] == len(runs) and pages == sorted(pages)
    told = "\n".join(lines)
    assert "  05-local-optimization: failed" in told
    assert "07-train--standin-rhd--msff--full--seed0: waits for standin-rhd/msff/full/seed0" in told
