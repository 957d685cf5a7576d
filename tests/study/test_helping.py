"""Helpers on another machine: runs rest on what they answered, and nobody trains them again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_study import fake_run, make_study  # noqa: F401
from make_official import write_realworld
from msff.evaluation.answers import Answers
from msff.study.execute import steps
from msff.study.slices import Agenda
from tiny_study import tiny_study, twin

from msff.evaluation.predictions import Predictions, ResultError
from msff.models.registry import AUXILIARY
from msff.study import execute, reference
from msff.study.experiment import Study
from msff.study.grid import experiments, helpers
from msff.study.photos import announce, predict_missing
from msff.study.store import ANSWERS, PHOTO_PREDICTIONS

DATASET = "standin-interhand"  # with hands of their own crops
MSFF, YANG, FLOOR = (f"{DATASET}/{name}/seed0" for name in ("msff/full", "yang/full", "mean-pose/full"))
SEGMENTED = "standin-rhd/posenet/segmented/seed0"
RUNS = (MSFF, YANG, FLOOR)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_realworld(folder, 3)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory, photos) -> Study:
    """Where everything was trained, with photos at hand."""
    study = tiny_study(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSFF_REALWORLD", str(photos))
        for run_id in RUNS:
            study.ensure_run(run_id)
        for method in AUXILIARY:
            study.helper("standin-rhd", method)
    return study


@pytest.fixture
def trained(monkeypatch):
    """What is trained, in its order; a checkpoint that is whole counts too."""
    started, train = [], Study._train
    monkeypatch.setattr(Study, "_train", lambda self, e, resume: started.append(e.run_id) or train(self, e, resume))
    return started


@pytest.fixture(autouse=True)
def without_photos(monkeypatch):
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)


@pytest.fixture
def away(home, tmp_path) -> Study:
    """Another machine: the helpers' stored runs without their weights; of the methods, the weights and no run."""
    shutil.copytree(home.store.root / "helpers", tmp_path / "smoke" / "helpers")
    for run_id in RUNS:
        path = tmp_path / "checkpoints" / f"{run_id}.pt"
        if home.checkpoint_path(home.experiment(run_id)).exists():
            path.parent.mkdir(parents=True)
            shutil.copy(home.checkpoint_path(home.experiment(run_id)), path)
    return stranger(home, tmp_path)


def stranger(home, folder) -> Study:
    """A process that knows nothing yet of helpers and photos."""
    other = twin(home, folder)
    other._helpers.clear()
    for name in ("_samples", "_hands", "_datasets"):
        setattr(other, name, {k: v for k, v in getattr(other, name).items() if k[0] != "realworld"})
    return other


def uids(study) -> dict[str, str]:
    return {run.experiment.run_id: run.record["uid"] for run in study.store.helpers()}


def change(study, method, edit, dataset=DATASET):
    """The helper's stored answers after ``edit(arrays)``."""
    path = study.store.path(study.experiment(f"{dataset}/{method}/full/seed0")) / ANSWERS
    with np.load(path) as file:
        arrays = dict(file)
    edit(arrays)
    np.savez_compressed(path, **arrays)


def last_is_missing(arrays):
    hands = np.flatnonzero([name.endswith("#left") for name in arrays["sample_id"]])
    arrays["sample_id"][hands[-1]] = "another"


def test_a_helper_keeps_its_answers_about_what_runs_show_it(home):
    images, hands = home._read(DATASET, "test"), home.hands(DATASET, "test").samples
    both = [s for s in images if s.hand_type == "interacting"]
    photos = [f"{i:05d}" for i in range(3)]
    answers = {m: home.store.get(home.experiment(f"{DATASET}/{m}/full/seed0")).answers for m in AUXILIARY}
    seen = [s.sample_id for s in images] + [f"{s.sample_id}#{side}" for s in both for side in ("right", "left")]
    assert both and sorted(answers["rootnet"].sample_id) == sorted(seen + photos)  # a hand alone is seen once
    assert sorted(answers["sidenet"].sample_id) == sorted([s.sample_id for s in hands] + photos)
    depths, sides = answers["rootnet"].value, answers["sidenet"].value
    assert (depths > 50).all() and (depths < 5000).all() and not np.allclose(depths[0], depths[1])
    np.testing.assert_allclose(sides.sum(1), 1, rtol=1e-6)


def test_runs_elsewhere_rest_on_the_stored_answers(home, away, trained, photos, monkeypatch):
    monkeypatch.setenv("MSFF_REALWORLD", str(photos))
    before = uids(away)
    for run_id in RUNS:
        run, here = away.ensure_run(run_id), home.store.get(home.experiment(run_id))
        for track in ("T1", "T2"):
            np.testing.assert_array_equal(run.predictions.joints[track], here.predictions.joints[track])
        np.testing.assert_array_equal(run.predictions.side_probability, here.predictions.side_probability)
        assert run.record["root_depth"] == here.record["root_depth"]
        assert run.record["root_depth"]["uid"] == before[f"{DATASET}/rootnet/full/seed0"]
        assert (
            run.record["config_hash"] == here.record["config_hash"] and run.record["metrics"] == here.record["metrics"]
        )
        theirs, ours = (Predictions.load(r.path / PHOTO_PREDICTIONS).joints["T2"] for r in (here, run))
        np.testing.assert_array_equal(ours, theirs)
    assert away.store.get(away.experiment(YANG)).record["side"]["uid"] == before[f"{DATASET}/sidenet/full/seed0"]
    assert "side" not in away.store.get(away.experiment(MSFF)).record
    assert set(trained) <= set(RUNS) and uids(away) == before and announce(away).endswith("when it is trained.")


def test_where_the_weights_are_runs_rest_on_the_answers_too(home, tmp_path, trained):
    """Else batches of another size would already give depths that differ in the last bits."""
    shutil.copytree(home.store.root / "helpers", tmp_path / "smoke" / "helpers")
    shutil.copytree(home.root / "data" / "checkpoints" / "smoke", tmp_path / "checkpoints")
    other = stranger(home, tmp_path)
    change(other, "rootnet", lambda arrays: arrays["value"].__imul__(2))
    run, here = other.ensure_run(FLOOR), home.store.get(home.experiment(FLOOR))
    depths = [r.predictions.root_depth_mm["T2"] for r in (run, here)]
    np.testing.assert_array_equal(depths[0], 2 * depths[1])
    assert trained == []


@pytest.mark.parametrize("method", AUXILIARY)
def test_a_missing_test_crop_has_the_helper_trained_again(away, trained, method):
    before, helper = uids(away), f"{DATASET}/{method}/full/seed0"
    change(away, method, last_is_missing)
    run = away.ensure_run(YANG)
    assert [run_id for run_id in trained if run_id not in RUNS] == [helper]
    assert {run_id for run_id, uid in uids(away).items() if uid != before[run_id]} == {helper}
    assert run.record[{"rootnet": "root_depth", "sidenet": "side"}[method]]["uid"] == uids(away)[helper]
    assert away.store.get(away.experiment(helper)).answers.hold(away.hands(DATASET, "test").samples)


def test_damaged_answers_are_named(away, trained):
    path = away.store.path(away.experiment(f"{DATASET}/rootnet/full/seed0")) / ANSWERS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ResultError, match=f"{path} is truncated .*Delete the folder {path.parent}") as error:
        away.ensure_run(FLOOR)
    assert trained == []
    shutil.rmtree(path.parent)  # as it says
    assert "trains the helper anew" in str(error.value)
    assert away.ensure_run(FLOOR).record["root_depth"]["uid"] == uids(away)[f"{DATASET}/rootnet/full/seed0"]


# crops that no helper has seen


def test_a_method_that_finds_the_hands_has_the_network_trained_and_the_others_keep_their_answers(away, trained):
    before = uids(away)
    found = away.ensure_run(SEGMENTED).record
    assert {run_id.split("/")[1] for run_id in trained} == {"rootnet", "sidenet", "posenet"}
    assert uids(away) == before  # trained without a run
    assert found["root_depth"]["uid"] is found["side"]["uid"] is None
    assert found["root_depth"]["config_hash"] == away.config_hash(away.experiment("standin-rhd/rootnet/full/seed0"))
    trained.clear()
    floor = away.ensure_run("standin-rhd/mean-pose/full/seed0")
    answers = away.store.get(away.experiment("standin-rhd/rootnet/full/seed0")).answers
    rows = answers.rows(away._read("standin-rhd", "test"))
    np.testing.assert_array_equal(floor.predictions.root_depth_mm["T2"], answers.value[rows])
    assert floor.record["root_depth"]["uid"] == before["standin-rhd/rootnet/full/seed0"] and trained == []
    with pytest.raises(ResultError, match="has not seen this crop"):  # the network here is not the one that is cited
        away.root_depth("standin-rhd")[0].on(away.samples("standin-rhd", "test", "frames"))


def test_a_network_that_was_trained_without_a_run_becomes_one_where_the_run_is_of_no_use(away, trained):
    rootnet = away.experiment("standin-rhd/rootnet/full/seed0")
    before = uids(away)
    away.trained_network(rootnet)
    assert not away.keeps(away.store.get(rootnet)) and away.trained(rootnet)
    (away.store.path(rootnet) / ANSWERS).unlink()
    source = away.root_depth("standin-rhd")[1]
    assert source["uid"] == uids(away)[rootnet.run_id] != before[rootnet.run_id]
    assert away.keeps(away.store.get(rootnet)) and away.store.get(rootnet).answered


# plans


def page(study, run_id):
    return next(s for s in steps(study) if s.trains and s.experiments[0].run_id == run_id)


def test_no_plan_has_a_helper_trained_that_has_answered(home, away):
    rootnet, sidenet = (home.experiment(f"{DATASET}/{method}/full/seed0") for method in ("rootnet", "sidenet"))
    missing, agenda = [page(away, YANG)], Agenda(away, 0.0)
    assert agenda._helpers(missing[0]) == [] and agenda.before(missing[0]) == DATASET
    assert not [s for s in agenda.todo if not s.notebook]
    assert not any(execute._wanted(away, e, missing, own=False) for e in helpers(away.profile))
    (away.store.path(sidenet) / ANSWERS).unlink()
    assert Agenda(away, 0.0)._helpers(missing[0]) == [sidenet]
    wanted = [e for e in helpers(away.profile) if execute._wanted(away, e, missing, own=False)]
    assert wanted == [sidenet] and away.to_train(away.experiment(MSFF)) == set()
    segmented = page(away, SEGMENTED)
    of_rhd = [e for e in helpers(away.profile) if e.dataset == "standin-rhd"]
    assert Agenda(away, 0.0)._helpers(segmented) == of_rhd
    assert [e for e in helpers(away.profile) if execute._wanted(away, e, [segmented], own=False)] == of_rhd
    assert rootnet not in Agenda(away, 0.0)._helpers(segmented)


def test_a_step_of_the_plan_keeps_the_run_of_a_helper_that_has_answered(home, away, trained, monkeypatch):
    made = []
    monkeypatch.setattr(execute, "Study", lambda *_: made.append(stranger(away, away.store.root.parent)) or made[-1])
    rootnet, sidenet = (home.experiment(f"standin-rhd/{method}/full/seed0") for method in ("rootnet", "sidenet"))
    before = uids(away)
    execute._train_helper(away, rootnet, own=False, resume=True)
    assert trained == [rootnet.run_id] and uids(away) == before and away.trained(rootnet)
    (away.store.path(sidenet) / ANSWERS).unlink()
    execute._train_helper(away, sidenet, own=False, resume=True)
    after = uids(away)
    assert after.pop(sidenet.run_id) != before.pop(sidenet.run_id) and after == before
    execute._train_helper(away, rootnet, own=False, resume=False)  # forced
    assert uids(away)[rootnet.run_id] != before[rootnet.run_id]


def test_ones_own_is_not_what_is_shipped_with_its_answers(home, away, trained):
    helper = away.experiment(f"{DATASET}/rootnet/full/seed0")
    shipped = away.finished(helper).record["uid"]
    assert away.finished(helper, own=True).record["uid"] == shipped  # from another machine of one's own
    away.store.reference_path.write_text(json.dumps({"runs": {helper.run_id: {"uid": shipped}}}))
    assert away.finished(helper).record["uid"] == shipped and away.finished(helper, own=True) is None
    assert helper in away.to_train(away.experiment(FLOOR), own=True)
    assert Agenda(away, 0.0, own=True)._helpers(page(away, YANG)) == [helper]
    run = away.ensure_run(FLOOR, own=True)
    own = uids(away)[helper.run_id]
    assert trained == [helper.run_id] and run.record["root_depth"]["uid"] == own != shipped
    assert away.finished(helper, own=True).record["uid"] == own


def test_the_reference_names_the_helpers_that_are_shipped(make_study, monkeypatch):  # noqa: F811
    study = make_study()
    for experiment in (*experiments(study.profile), *helpers(study.profile)):
        fake_run(study, experiment, commit="x")
    monkeypatch.setattr(reference, "headline", lambda run: 10.0)
    reference.update_reference(study)
    shipped = {run_id: entry["uid"] for run_id, entry in study.store.reference().items()}
    assert shipped.items() >= uids(study).items() and len(uids(study)) == 4
    assert set(reference.compare(study).verdict) == {"same"} and len(reference.compare(study)) == len(
        experiments(study.profile)
    )


# photos


def test_photos_that_a_helper_has_not_seen_are_not_predicted_and_that_is_said(away, trained, photos, monkeypatch):
    before = uids(away)
    for method in AUXILIARY:
        change(away, method, lambda arrays: arrays["sample_id"].__setitem__(slice(-3, None), ["x", "y", "z"]))
    monkeypatch.setenv("MSFF_REALWORLD", str(photos))
    with pytest.warns(
        UserWarning, match=r"is stored, but without .*rootnet/full/seed0 has not seen this crop.* 3 such"
    ):
        run = away.ensure_run(FLOOR)
    assert away.finished(run.experiment) and run.photos is None
    assert f"rest on {DATASET}/rootnet/full/seed0, {DATASET}/sidenet/full/seed0: no answers" in announce(away)
    lines = []
    assert predict_missing(away, lines.append) == []
    assert lines[0].startswith(f"{FLOOR}: cannot ask {DATASET}/rootnet/full/seed0: no answers about these photos")
    assert uids(away) == before and trained == []


def test_photos_that_came_later_are_asked_of_the_weights(home, tmp_path, monkeypatch):
    """Where these are: another set than the helper saw when it was trained."""
    shutil.copytree(home.store.root / "helpers", tmp_path / "smoke" / "helpers")
    shutil.copytree(home.root / "data" / "checkpoints" / "smoke", tmp_path / "checkpoints")
    write_realworld(tmp_path / "more", 4)
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "more"))
    run = stranger(home, tmp_path).ensure_run(FLOOR)
    assert run.photos["photos"]["count"] == 4 and run.photos["root_depth"] == run.record["root_depth"]


def test_damaged_photos_do_not_cost_the_helper(home, tmp_path, monkeypatch):
    write_realworld(tmp_path / "photos")
    damaged = tmp_path / "photos" / "images" / "00001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:700])
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "photos"))
    other = stranger(home, tmp_path)
    with pytest.warns(
        UserWarning, match=r"sidenet/full/seed0 is trained, but not asked about .*00001\.jpg: image is tr"
    ):
        run = other.run(other.experiment(f"{DATASET}/sidenet/full/seed0"))
    assert len(run.answers) == len(home.hands(DATASET, "test"))


def test_the_record_of_a_helper_measures_its_answers(home):
    """Right wrists and left ones at the stored depths, each against its own annotation."""
    run = home.store.get(home.experiment(f"{DATASET}/rootnet/full/seed0"))
    samples, answers = home._read(DATASET, "test"), Answers.load(run.path / ANSWERS)
    off = []
    for sample, told in zip(samples, answers.value[answers.rows(samples)], strict=True):
        for joint, depth in zip((20, 41), told, strict=True):
            true = sample.joints_cam_mm[joint, 2]
            off += [abs(depth - true) / true] if sample.joint_valid[joint] else []
    metrics = run.record["metrics"]["network"]
    assert metrics["wrists"] == len(off) and metrics["mean_percent"] == pytest.approx(100 * np.mean(off), rel=1e-4)
    assert replace(run.experiment, method="sidenet") in helpers(home.profile)
