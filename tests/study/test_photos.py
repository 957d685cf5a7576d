"""Predictions of real photographs: made where photos are present, stored apart from the runs, and never needed."""

import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from make_official import real_photos, write_realworld
from tiny_study import tiny_study, twin, with_images

from msff.cli import main
from msff.data.realworld import read_realworld
from msff.data.sample import DataError
from msff.evaluation.evaluate import evaluate
from msff.evaluation.hand_size import AVERAGE_HAND_MM, with_hand_size
from msff.evaluation.joint_errors import JointErrors
from msff.evaluation.predictions import Predictions, Truth
from msff.skeleton import LEFT, ROOTS
from msff.study import execution
from msff.study.pages import Page, fingerprint
from msff.study.photos import METRICS, SIZED, measured, photo_source, predict_missing, predicts_photos
from msff.study.predict import predict
from msff.study.progress import checkpoint_path, finished
from msff.study.runner import ensure_run
from msff.study.store import PHOTO_FILES, PHOTO_PREDICTIONS, Run
from msff.study.train import trained_network, untrained_network
from msff.study.workspace import Workspace

RUNS = [
    "standin-rhd/msff/full/seed0", "standin-rhd/yang/full/seed0", "standin-rhd/song/full/seed0",
    "standin-rhd/mean-pose/full/seed0",
]  # fmt: skip
REGRESSED, FOUND = "standin-rhd/song/regressed/seed0", "standin-rhd/posenet/segmented/seed0"
TWO_HANDS = "standin-interhand/spurr/plain/seed0"  # needs no SideNet
MEAN_POSE = RUNS[-1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_realworld(folder, 3)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory, photos) -> Workspace:
    """Runs that were trained with photos on the machine."""
    study = with_images(tiny_study(tmp_path_factory.mktemp("project")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSFF_REALWORLD", str(photos))
        for run_id in (*RUNS, REGRESSED, FOUND, TWO_HANDS):
            ensure_run(study, run_id)
    return study


@pytest.fixture
def on_machine(monkeypatch, photos):
    monkeypatch.setenv("MSFF_REALWORLD", str(photos))


@pytest.fixture
def without(monkeypatch):
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)


def stored(study: Workspace, run_id: str) -> dict | None:
    """What the run measured on the photos."""
    return study.store.get(study.experiment(run_id)).photos


def joints_mm(run: Run) -> np.ndarray:
    """(N, 42, 3) as stored for the photos."""
    return Predictions.load(run.path / PHOTO_PREDICTIONS).joints["T2"]


@pytest.mark.parametrize("run_id", [*RUNS, REGRESSED, FOUND, TWO_HANDS])
def test_a_run_predicts_the_photos_on_the_track_without_truth(study, photos, run_id):
    run, record = study.store.get(study.experiment(run_id)), stored(study, run_id)
    predictions = Predictions.load(run.path / PHOTO_PREDICTIONS)
    assert record["uid"] == run.record.uid
    assert record["dataset"] == "realworld" and record["photos"]["count"] == 3
    assert record["root_depth"] == run.record.root_depth and record["root_depth"]["source"] == "network"
    assert set(predictions.joints) == set(record["metrics"]) == set(record["given"]) == {"T2"}
    assert record["given"]["T2"]["scale"] in ("none", "training mean")
    assert record["given"]["T2"]["side_input"] in ("none", "predicted")
    assert record["given"]["T2"]["crop"] == ("found" if run_id == FOUND else "true box")
    assert predictions.sample_id == ["00000", "00001", "00002"]
    assert np.isfinite(predictions.joints["T2"][:, LEFT]).all()  # the annotated hand
    truth = Truth.from_samples(read_realworld(photos), "realworld")
    exact, numbers = evaluate(truth, predictions, "T2").summary(), record["metrics"]["T2"]
    assert numbers["wrist20"]["value"] == pytest.approx(exact["wrist20"], abs=0.1)  # joints are float16
    assert numbers["wrist20_auc_0_50"]["value"] == pytest.approx(exact["wrist20_auc_0_50"], abs=0.01)
    assert numbers["pa21"]["low"] <= numbers["pa21"]["value"] <= numbers["pa21"]["high"]
    assert numbers["pa21"]["samples"] == 3
    if predictions.inputs["T2"].root_depth == "none":
        assert numbers[SIZED] is None
    else:
        sized = evaluate(truth, with_hand_size(predictions, AVERAGE_HAND_MM), "T2").summary()["wrist20"]
        assert numbers[SIZED]["value"] == pytest.approx(sized, abs=0.1) and sized != exact["wrist20"]


def test_metrics_by_hand():
    """Two photos, 21 joints: errors of 10 mm and 40 mm."""
    error = torch.tensor([[10.0], [40.0]], dtype=torch.float64).expand(2, 21)
    errors = JointErrors(error, torch.ones(2, 21, dtype=torch.bool))
    nothing = errors.where(torch.zeros(2, dtype=torch.bool))
    known = SimpleNamespace(
        errors=dict.fromkeys(("wrist20", "palm21", "pa21"), errors) | {"wrist20_pred_side": nothing}
    )
    numbers = measured(known)
    assert set(numbers) == set(METRICS) and numbers["wrist20_pred_side"] is None
    assert numbers["palm21"] == {"value": 25.0, "low": 10.0, "high": 40.0, "samples": 2}
    assert numbers["wrist20_pck_30"] == {"value": 0.5, "low": 0.0, "high": 1.0, "samples": 2}
    # 20 thresholds, 19 intervals: 10 mm lies in the 4th, 40 mm in the 16th, whose half counts
    assert numbers["pa21_auc_0_50"]["value"] == pytest.approx((15.5 / 19 + 3.5 / 19) / 2)
    assert numbers["pa21_auc_20_50"]["value"] == pytest.approx((1.0 + 3.5 / 11) / 2)


def test_neither_photos_nor_annotation_are_stored(study, photos):
    kept = [path for path in study.store.root.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} <= {".json", ".npz", ".csv"}
    assert {path.name for path in kept if "realworld" in str(path.relative_to(study.store.root))} == {*PHOTO_FILES}
    assert {path.stem for path in (study.store.root / "truth").iterdir()} == {"standin-rhd", "standin-interhand"}
    true_mm = np.stack([sample.joints_cam_mm[LEFT] for sample in read_realworld(photos)])  # (3, 21, 3)
    for path in study.store.root.rglob(PHOTO_PREDICTIONS):
        assert set(Predictions.load(path).joints) == {"T2"}  # T1 is lifted with the annotated depth
        off_mm = np.linalg.norm(Predictions.load(path).joints["T2"][:, LEFT] - true_mm, axis=-1)
        assert (off_mm > 1).all() and str(photos) not in path.with_suffix(".json").read_text()


def test_the_annotation_of_the_photos_changes_no_prediction(study, monkeypatch, tmp_path):
    """Other joints on the same photos: only the errors differ."""
    write_realworld(tmp_path / "photos", 3)
    moved = replace_pose(tmp_path / "photos", 1.2)
    other = fresh(study, tmp_path / "other")
    monkeypatch.setenv("MSFF_REALWORLD", str(moved))
    for run_id in (RUNS[0], RUNS[1]):
        experiment = study.experiment(run_id)
        model = trained_network(study, experiment)
        found, with_truth = (predict(w, experiment, model, "realworld").joints["T2"] for w in (other, study))
        np.testing.assert_array_equal(found, with_truth)
    assert other.samples("realworld", "test").samples[0].joints_cam_mm[ROOTS["left"], 2] == pytest.approx(
        1.2 * study.samples("realworld", "test").samples[0].joints_cam_mm[ROOTS["left"], 2]
    )


def replace_pose(folder: Path, factor: float) -> Path:
    """The same photos, with every joint so much farther along its ray."""
    params = scipy.io.loadmat(folder / "params.mat")
    pose = scipy.io.loadmat(folder / "pose_gt.mat")["pose_gt"] * factor
    fields = {k: v for k, v in params.items() if not k.startswith("__")}
    scipy.io.savemat(folder / "params.mat", fields | {"pose_root": pose[:, 0]})
    scipy.io.savemat(folder / "pose_gt.mat", {"pose_gt": pose})
    return folder


def test_who_predicts_photos(study):
    def predicts(run_id: str) -> bool:
        return predicts_photos(study.experiment(run_id))

    assert predicts(RUNS[0]) and predicts(MEAN_POSE) and predicts(TWO_HANDS) and predicts(REGRESSED)
    assert predicts("standin-rhd/yang/native/seed0") and predicts("standin-rhd/internet/native/seed0")
    assert not predicts("standin-rhd/oracle/full/seed0")  # decodes the truth
    assert not predicts("standin-rhd/rootnet/full/seed0") and not predicts("standin-rhd/sidenet/full/seed0")


@pytest.mark.parametrize(("method", "unified"), [("spurr", "plain"), ("internet", "full")])
def test_a_papers_own_recipe_sees_photos_as_all_do(study, on_machine, method, unified):
    """Its own test images it sees as the paper has them, Spurr about the true joints: track T0."""
    native = study.experiment(f"standin-rhd/{method}/native/seed0")
    model = untrained_network(study, native)
    assert set(predict(study, native, model).joints) == {"T0"}
    found = predict(study, native, model, "realworld")
    assert found.inputs["T2"].crop == "true box" and set(found.joints) == {"T1", "T2"}
    like = predict(study, replace(native, variant=unified), model, "realworld")
    np.testing.assert_array_equal(found.joints["T2"], like.joints["T2"])


def test_photos_that_cannot_be_read_do_not_cost_the_run(study, monkeypatch, tmp_path):
    write_realworld(tmp_path / "photos")
    damaged = tmp_path / "photos" / "images" / "00001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:700])
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "photos"))
    other = fresh(study, tmp_path)
    with pytest.warns(UserWarning, match=r"is stored, but without .*00001\.jpg: image is truncated.*msff study photos"):
        run = ensure_run(other, RUNS[0])
    assert finished(other, run.experiment) and stored(other, RUNS[0]) is None
    (tmp_path / "photos" / "pose_gt.mat").write_bytes(b"")
    other = fresh(study, tmp_path / "again")
    with pytest.warns(UserWarning, match=r"pose_gt\.mat: .*found an empty file"):
        assert finished(other, ensure_run(other, MEAN_POSE).experiment)


def test_a_variable_that_names_no_folder_is_said(study, monkeypatch, tmp_path):
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "nowhere"))
    other = fresh(study, tmp_path)
    with pytest.warns(UserWarning, match="nowhere does not exist: put real-world test set there, or set MSFF_REAL"):
        ensure_run(other, MEAN_POSE)
    with pytest.raises(DataError, match="nowhere does not exist"):
        predict_missing(other)


def fresh(study: Workspace, folder: Path) -> Workspace:
    """A twin that has not read any photo yet, with the auxiliary networks and their weights."""
    other = twin(study, folder)
    forget_photos(other)
    for network in ("rootnet", "sidenet"):
        shutil.copytree(study.checkpoints / "standin-rhd" / network, other.checkpoints / "standin-rhd" / network)
    return other


def forget_photos(study: Workspace) -> None:
    study._memory = {key: value for key, value in study._memory.items() if "realworld" not in key}


def test_the_folder_data_realworld_is_found_without_a_variable(study, without, tmp_path):
    other = fresh(study, tmp_path)
    other.root = tmp_path
    assert not other.names_data("realworld")
    write_realworld(tmp_path / "data" / "realworld", 2)
    assert other.names_data("realworld")


# Afterwards


def without_photos(study: Workspace, folder: Path, run_ids) -> Workspace:
    """A study of the same weights, auxiliary networks and runs, as they were before any photo was on the machine."""
    other = twin(study, folder)
    forget_photos(other)
    shutil.copytree(study.store.root, other.store.root, ignore=shutil.ignore_patterns("runs"), dirs_exist_ok=True)
    shutil.copytree(study.checkpoints, other.checkpoints)
    for run_id in run_ids:
        source = study.store.root / "runs" / run_id
        shutil.copytree(source, other.store.root / "runs" / run_id, ignore=shutil.ignore_patterns(*PHOTO_FILES))
    return other


def test_photos_are_predicted_afterwards_without_training(study, photos, monkeypatch, tmp_path):
    runs = [*RUNS, REGRESSED]
    other = without_photos(study, tmp_path, runs)
    uids = {run.record.uid for run in other.store.runs()}
    monkeypatch.setenv("MSFF_REALWORLD", str(photos))
    monkeypatch.setattr("msff.training.loop._epoch", lambda *_: pytest.fail("it trains"))
    run = other.store.get(other.experiment(RUNS[0]))
    page = Page("02-backbone", "02-backbone", experiments=(run.experiment,))
    before = fingerprint(other, page)
    assert ensure_run(other, RUNS[0]).record == run.record and stored(other, RUNS[0]) is None  # it stays as it is
    lines = []
    made = predict_missing(other, lines.append)
    assert sorted(run.experiment.run_id for run in made) == sorted(runs)
    assert fingerprint(other, page) == before  # no page that shows the run is stale
    assert lines[-1].endswith("5 runs, 0 had predicted the real photographs, 5 have now, 0 cannot.")
    assert {run.record.uid for run in other.store.runs()} == uids
    assert predict_missing(other, lines.append) == []
    assert all(run.photos == stored(other, run.experiment.run_id) for run in made)
    joints = {run.experiment.run_id: joints_mm(run) for run in made}
    assert not np.allclose(joints[REGRESSED], joints["standin-rhd/song/full/seed0"])  # before the optimisation
    experiment = other.experiment(RUNS[0])
    direct = predict(other, experiment, trained_network(other, experiment), "realworld")
    np.testing.assert_allclose(joints[RUNS[0]][:, LEFT], direct.joints["T2"][:, LEFT], rtol=1e-3, atol=0.5)


def test_runs_without_their_weights_are_named_and_left(study, on_machine, tmp_path):
    other = without_photos(study, tmp_path, [*RUNS[:2], MEAN_POSE])
    checkpoint_path(other, other.experiment(RUNS[0])).unlink()
    trained_elsewhere(other, RUNS[1])
    lines = []
    assert [run.experiment.run_id for run in predict_missing(other, lines.append)] == [MEAN_POSE]
    for run_id in RUNS[:2]:
        assert any(line.startswith(f"{run_id}: ") and "does not hold the weights" in line for line in lines)
    other.profile = replace(other.profile, decoder="argmax")
    predict_missing(other, lines.append)
    assert f"{RUNS[0]}: its configuration is not today's; train it again" in lines


def trained_elsewhere(study: Workspace, run_id: str) -> None:
    """Let the stored run be of another training than the weights here."""
    run = study.store.get(study.experiment(run_id))
    run.record.uid = "another"
    study.store.save_run(run.record, run.history, run.predictions)


def test_without_an_auxiliary_networks_predictions_and_weights_nothing_is_trained(study, photos, monkeypatch, tmp_path):
    other = without_photos(study, tmp_path, [MEAN_POSE])
    network = other.experiment("standin-rhd/rootnet/full/seed0")
    write_realworld(tmp_path / "more", 4)
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "more"))
    checkpoint_path(other, network).unlink()
    monkeypatch.setattr("msff.training.loop._epoch", lambda *_: pytest.fail("it trains"))
    lines = []
    assert predict_missing(other, lines.append) == []
    assert lines[0].startswith(f"{MEAN_POSE}: standin-rhd/rootnet/full/seed0 has not predicted these photographs")


def test_predictions_of_other_photos_are_made_again(study, on_machine, photos, monkeypatch, tmp_path):
    other = without_photos(study, tmp_path, [MEAN_POSE])
    (run,) = predict_missing(other, lambda _: None)
    assert run.photos["photos"]["count"] == 3 and predict_missing(other, lambda _: None) == []
    write_realworld(tmp_path / "more", 4)
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "more"))
    forget_photos(other)
    (again,) = predict_missing(other, lambda _: None)
    assert again.photos["photos"]["count"] == len(joints_mm(again)) == 4
    assert again.photos["metrics"]["T2"]["wrist20"]["samples"] == 4


def test_a_retrained_run_loses_what_the_old_one_predicted(study, without, tmp_path):
    other = without_photos(study, tmp_path, [MEAN_POSE])
    run = other.store.get(other.experiment(MEAN_POSE))
    found = stored(study, MEAN_POSE), Predictions.load(study.store.path(run.experiment) / PHOTO_PREDICTIONS)
    assert other.store.save_photos(run, *found).photos == stored(other, MEAN_POSE) == stored(study, MEAN_POSE)
    ensure_run(other, MEAN_POSE, force=True)
    assert stored(other, MEAN_POSE) is None and not (run.path / PHOTO_PREDICTIONS).exists()


def test_the_source_tells_other_photos_apart(study, photos):
    truth = Truth.from_samples(read_realworld(photos), "realworld")
    moved = replace(truth, joints_cam_mm=truth.joints_cam_mm + 1)
    renamed = replace(truth, sample_id=["a", "b", "c"])
    assert stored(study, MEAN_POSE)["photos"] == photo_source(truth)
    assert len({photo_source(t)["sha256"] for t in (truth, moved, renamed)}) == 3


def test_the_command_says_what_it_needs_and_makes_the_tables(study, photos, monkeypatch, tmp_path, capsys):
    other = without_photos(study, tmp_path, [MEAN_POSE])
    monkeypatch.setattr("msff.cli.common.open_workspace", lambda args: other)
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "nowhere"))
    assert main(["study", "photos", "--profile", "smoke"]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    monkeypatch.setenv("MSFF_REALWORLD", str(photos))
    assert main(["study", "photos", "--profile", "smoke"]) == 0
    assert f"{MEAN_POSE}: predicted" in capsys.readouterr().out
    table = (other.store.tables / "realworld.md").read_text()
    assert "| mean pose (baseline) | stand-in in RHD format |" in table


def test_real_photos_are_predicted_by_the_mean_pose(study, monkeypatch, tmp_path):
    """With the photos themselves: finite errors of a hand's size, and no warning."""
    monkeypatch.setenv("MSFF_REALWORLD", str(real_photos()))
    other = fresh(study, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensure_run(other, MEAN_POSE)
    record = stored(other, MEAN_POSE)
    numbers = record["metrics"]["T2"]
    assert record["photos"]["count"] in (98, 583) and 10 < numbers["pa21"]["value"] < 40
    assert 20 < numbers["wrist20"]["low"] < numbers["wrist20"]["high"] < 120


def test_notebooks_find_a_folder_that_was_named_from_elsewhere(study, monkeypatch, tmp_path):
    """Kernels run in notebooks/, where a relative path would lead nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSFF_REALWORLD", "photos")
    seen = []
    monkeypatch.setattr(execution, "_execute", lambda *_: seen.append(os.environ["MSFF_REALWORLD"]))
    execution.execute_pages(study, [Page("01-data", "01-data")])
    assert seen == [str(tmp_path / "photos")]
