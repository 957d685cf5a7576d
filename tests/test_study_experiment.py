import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny_study import tiny_study

from msff.data.sample import DataError
from msff.study.experiment import Study, find_root, progress_file
from msff.training.checkpoint import CheckpointError, load_checkpoint

MSFF = "standin-rhd/msff/full/seed0"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def run(study):
    return study.ensure_run(MSFF)


def test_a_run_holds_everything(study, run):
    record = run.record
    assert record["run_id"] == MSFF and record["status"] == "finished"
    assert record["test_images"] == 6 and record["parameters"] > 10_000 and record["macs"] > 1_000_000
    assert set(record["metrics"]) == {"T1", "T2"} and 5 < record["metrics"]["T2"]["wrist20"] < 300
    assert record["box_depth"]["scale_mm"] > 0
    assert run.history.epoch.tolist() == [1, 2] and run.history.lr.tolist() == pytest.approx([3e-3, 3e-4])
    assert run.predictions.sample_id == study.truth("standin-rhd").sample_id
    assert np.isfinite(run.predictions.joints["T2"]).all()


def test_a_stored_run_is_not_trained_again(study, run):
    assert study.ensure_run(MSFF).record["uid"] == run.record["uid"]


def test_only_the_shipped_run_is_retrained_for_ones_own(study, run):
    uid = run.record["uid"]
    study.store.reference_path.write_text(json.dumps({"runs": {MSFF: {"uid": uid}}}))
    assert study.finished(run.experiment, own=False).record["uid"] == uid
    assert study.finished(run.experiment, own=True) is None
    study.store.reference_path.write_text(json.dumps({"runs": {MSFF: {"uid": "another"}}}))
    assert study.finished(run.experiment, own=True).record["uid"] == uid
    study.store.reference_path.unlink()


def test_a_run_of_another_configuration_is_stale(study, run):
    changed = Study("smoke", study.root, device="cpu")
    changed.profile = dataclasses.replace(study.profile, decoder="argmax")
    assert changed.config_hash(run.experiment) != study.config_hash(run.experiment)
    assert changed.finished(run.experiment) is None


def test_initial_weights_depend_on_the_seed_alone(study):
    experiment = study.experiment(MSFF)
    state = torch.random.get_rng_state()
    first, again = study.network(experiment), study.network(experiment)
    other = study.network(dataclasses.replace(experiment, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's generator is left alone
    weights = [next(network.parameters()) for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_goes_on_from_its_checkpoint_as_if_never_stopped(study, run):
    experiment = study.experiment(MSFF)
    whole = load_checkpoint(study.checkpoint_path(experiment))
    half = dataclasses.replace(study.profile, training=dataclasses.replace(study.profile.training, epochs=1))
    interrupted = Study("smoke", study.root, device="cpu")
    interrupted.profile = half
    train = study.samples("standin-rhd", "train")
    path = study.checkpoint_path(experiment)
    path.unlink()
    interrupted.config_hash = lambda e: study.config_hash(e)  # stopped after the first of two epochs
    interrupted._train(experiment, train, resume=True)
    assert load_checkpoint(path)["epoch"] == 1
    model, history = study._train(experiment, train, resume=True)
    assert history.epoch.tolist() == [1, 2]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, whole["model"][name], rtol=1e-4, atol=1e-5)


def test_a_corrupt_checkpoint_is_named(study, run):
    experiment = study.experiment(MSFF)
    path = study.checkpoint_path(experiment)
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    try:
        with pytest.raises(CheckpointError, match="seed0.pt is damaged.*rm "):
            study.run(experiment)
    finally:
        path.write_bytes(content)


def test_the_mean_pose_needs_no_training(study):
    record = study.ensure_run("standin-interhand/mean-pose/full/seed0").record
    assert record["parameters"] == 0 and record["train_seconds"] == 0
    assert record["metrics"]["T2"]["mpjpe_all"] > 10


def test_a_missing_real_dataset_says_where_it_belongs(study, monkeypatch):
    monkeypatch.setenv("MSFF_RHD", str(study.root / "nowhere"))
    with pytest.raises(DataError, match="nowhere does not exist: put RHD there, or set MSFF_RHD"):
        study.make_data("rhd")


def test_find_root(study, tmp_path):
    assert find_root(study.root / "notebooks") == study.root.resolve()
    with pytest.raises(FileNotFoundError, match="not inside the msff project"):
        find_root(tmp_path)


def test_progress_reports_the_share_done(tmp_path, monkeypatch):
    monkeypatch.delenv("MSFF_PROGRESS", raising=False)
    assert progress_file("run") is None
    monkeypatch.setenv("MSFF_PROGRESS", str(tmp_path))
    progress_file("run")(2, 4, 5, 10, 0.25)
    (path,) = tmp_path.glob("*.json")
    state = json.loads(path.read_text())
    assert state == {"label": "run", "epoch": 2, "epochs": 4, "done": 0.375, "loss": 0.25}
