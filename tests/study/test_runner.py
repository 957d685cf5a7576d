"""One run from the data to the store, and which stored runs count."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_study import again, tiny_study, twin, with_images

from msff.evaluation.evaluate import evaluate
from msff.study import auxiliary
from msff.study.configuration import config, config_hash
from msff.study.grid import auxiliary_of
from msff.study.profiles import RootDepthSpec
from msff.study.progress import checkpoint_path, finished
from msff.study.runner import ensure_run
from msff.study.workspace import Workspace

MSFF = "standin-rhd/msff/full/seed0"
MEAN_POSE = "standin-rhd/mean-pose/full/seed0"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Workspace:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MSFF_REALWORLD", raising=False)
        yield with_images(tiny_study(tmp_path_factory.mktemp("project")))


@pytest.fixture(scope="module")
def run(study):
    return ensure_run(study, MSFF)


@pytest.fixture
def rootnet(study, run):
    return study.store.get(auxiliary_of(study.profile, "standin-rhd", "rootnet"))


def test_a_run_holds_everything(study, run):
    record = run.record
    assert record.run_id == MSFF and record.experiment == run.experiment
    assert record.test_images == 6 and record.parameters > 10_000 and record.macs > 1_000_000
    assert set(record.metrics) == {"T1", "T2"} and 5 < record.metrics["T2"]["wrist20"] < 300
    assert run.history.epoch.tolist() == [1, 2] and run.history.lr.tolist() == pytest.approx([3e-3, 3e-4])
    truth = study.truth("standin-rhd")
    assert run.predictions.sample_id == truth.sample_id
    assert np.isfinite(run.predictions.joints["T2"].reshape(6, 2, -1)[truth.side_present]).all()
    assert record.seconds > record.train_seconds > 0


def test_the_recorded_metrics_are_those_of_the_stored_predictions(study, run):
    for track, metrics in run.record.metrics.items():
        assert evaluate(study.truth("standin-rhd"), run.predictions, track).summary() == metrics


def test_a_stored_run_is_not_trained_again_unless_forced(study, run):
    assert ensure_run(study, MSFF).record.uid == run.record.uid
    assert ensure_run(study, MEAN_POSE).record.uid == ensure_run(study, MEAN_POSE).record.uid
    assert ensure_run(study, MEAN_POSE).record.uid != ensure_run(study, MEAN_POSE, force=True).record.uid


def test_only_a_shipped_run_is_retrained_for_ones_own(study, run):
    uid = run.record.uid
    for shipped, counts in ((uid, False), ("another", True)):
        study.store.reference_path.write_text(json.dumps({"runs": {MSFF: {"uid": shipped}}}))
        assert finished(study, run.experiment) is not None
        assert (finished(study, run.experiment, own=True) is not None) == counts
    study.store.reference_path.unlink()


def test_a_run_of_another_configuration_or_test_part_is_stale(study, run):
    changed = again(study, decoder="argmax")
    assert config_hash(changed, run.experiment) != config_hash(study, run.experiment)
    assert finished(changed, run.experiment) is None
    larger = again(study, data=dataclasses.replace(study.profile.data, test=7))
    assert config_hash(larger, run.experiment) == config_hash(study, run.experiment)
    assert finished(larger, run.experiment) is None


# auxiliary networks


def test_rootnet_is_trained_once_and_all_runs_look_its_predictions_up(study, run, rootnet):
    mean_pose = ensure_run(study, MEAN_POSE)
    for other in (run, mean_pose):
        assert other.record.root_depth["uid"] == rootnet.record.uid
        assert other.record.test_time_inputs["T2"]["root_depth"] == "network"
    hidden = run.predictions.root_depth_mm["T2"], mean_pose.predictions.root_depth_mm["T2"]
    np.testing.assert_array_equal(*hidden)
    test = study.samples("standin-rhd", "test")
    rows = rootnet.auxiliary_predictions.rows(test.samples)
    np.testing.assert_array_equal(hidden[0], rootnet.auxiliary_predictions.value[rows])
    expected = {"source": "network", "helper": rootnet.record.run_id, "config_hash": rootnet.record.config_hash}
    assert config(study, run.experiment)["root_depth"] == expected


def test_rootnets_record_states_its_accuracy_beside_that_of_the_box(rootnet):
    metrics = rootnet.record.metrics
    assert metrics["network"]["wrists"] == metrics["box"]["wrists"] == 6
    assert metrics["network"]["median_percent"] > 0 and 0 < metrics["box"]["mean_percent"] < 100
    assert rootnet.record.box_depth["scale_mm"] > 0
    assert list(rootnet.history)[:5] == ["phase", "epoch", "loss", "loss_xy", "loss_depth"]


def test_stored_predictions_serve_where_the_weights_are_not(study, run, rootnet, tmp_path):
    elsewhere = twin(study, tmp_path)  # no checkpoint there
    elsewhere.store = study.store
    assert auxiliary.covers(elsewhere, rootnet, "standin-rhd")
    assert not checkpoint_path(elsewhere, rootnet.experiment).exists()


def test_a_larger_test_part_is_predicted_with_the_weights_and_needs_a_training_without(study, run, rootnet, tmp_path):
    larger = again(study, data=dataclasses.replace(study.profile.data, test=8))
    larger.root = tmp_path  # other images
    larger.store = study.store
    assert not auxiliary.covers(_without_weights(larger, tmp_path), rootnet, "standin-rhd")
    assert auxiliary.covers(larger, rootnet, "standin-rhd")
    stored = study.store.get(rootnet.experiment)
    assert stored.record.uid == rootnet.record.uid
    assert len(stored.auxiliary_predictions) == 8  # the first six are the same


def _without_weights(workspace, folder):
    other = again(workspace)
    other.root, other.store, other.checkpoints = workspace.root, workspace.store, folder / "nothing"
    return other


def test_the_box_needs_no_network(study, run, tmp_path):
    other = twin(study, tmp_path)
    shutil.rmtree(other.store.root)
    other.profile = dataclasses.replace(study.profile, root_depth=RootDepthSpec("box"))
    assert finished(study, run.experiment) and config_hash(other, run.experiment) != run.record.config_hash
    record = ensure_run(other, MEAN_POSE).record
    assert record.test_time_inputs["T2"]["root_depth"] == "box" and record.root_depth["scale_mm"] > 0
    assert other.store.auxiliary() == []
