import dataclasses
import fcntl
import json
import threading

import numpy as np
import pytest
import torch
from tiny_study import tiny_study

from msff.report.book.fragments import compute_table
from msff.study.experiment import Study
from msff.study.store import ANSWERS, Store
from msff.training.checkpoint import load_checkpoint

MSFF = "standin-rhd/msff/full/seed0"
FLOOR = "standin-rhd/mean-pose/full/seed0"
ROOTNET = "standin-rhd/rootnet/full/seed0"


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


def test_the_mean_pose_needs_no_training(study):
    record = study.ensure_run("standin-interhand/mean-pose/full/seed0").record
    assert record["parameters"] == 0 and record["train_seconds"] == 0
    assert record["metrics"]["T2"]["mpjpe_all"] > 10


def with_source(study, source):
    """The same project with track T2's depth from ``source``."""
    other = Study("smoke", study.root, device="cpu")
    spec = dataclasses.replace(study.profile.root_depth, source=source)
    other.profile = dataclasses.replace(study.profile, root_depth=spec)
    return other


def test_the_depth_network_is_trained_once_and_shared(study, run):
    helper = study.experiment(ROOTNET)
    uid = study.finished(helper).record["uid"]  # trained with the first run that needed it
    floor = study.ensure_run(FLOOR)
    assert study.finished(helper).record["uid"] == uid
    again = Study("smoke", study.root, device="cpu")  # another process, so to say
    again.profile = study.profile
    depth, source = again.root_depth("standin-rhd")
    assert depth.source == "network" and source["uid"] == uid
    for name in (run, floor):
        assert name.record["root_depth"] == source
        np.testing.assert_array_equal(name.predictions.root_depth_mm["T2"], run.predictions.root_depth_mm["T2"])
    test = again.samples("standin-rhd", "test")
    batch = next(iter(test.in_order(6)))
    told = run.predictions.root_depth_mm["T2"]
    np.testing.assert_array_equal(depth.on(test)(batch).numpy(), told)
    np.testing.assert_allclose(again.helper("standin-rhd", "rootnet").network(batch).numpy(), told, rtol=1e-4)


def test_a_run_says_that_its_depth_is_a_networks(study, run):
    record, helper = run.record, study.experiment(ROOTNET)
    assert record["given"]["T2"]["root_depth"] == "network" and record["given"]["T1"]["root_depth"] == "true"
    assert run.predictions.inputs["T2"].root_depth == "network"
    expected = {"source": "network", "helper": ROOTNET, "config_hash": study.config_hash(helper)}
    assert record["config"]["root_depth"] == expected
    assert record["root_depth"]["config_hash"] == study.config_hash(helper)


def test_a_helper_is_stored_beside_the_runs_and_is_none_of_them(study, run):
    (helper,) = [r for r in study.store.helpers() if r.experiment.dataset == "standin-rhd"]
    assert helper.experiment.run_id == ROOTNET
    assert ROOTNET not in [r.experiment.run_id for r in study.store.runs()]
    assert list(helper.history)[:5] == ["phase", "epoch", "loss", "loss_xy", "loss_depth"]
    record = helper.record
    assert record["parameters"] > 10_000 and record["macs"] > 1_000_000 and record["train_seconds"] > 0
    assert record["metrics"]["network"]["median_percent"] > 0 and 0 < record["metrics"]["box"]["mean_percent"] < 100
    assert record["metrics"]["network"]["wrists"] == record["metrics"]["box"]["wrists"] == 6
    assert "decoder" not in record["config"] and "root_depth" not in record["config"]
    assert "| RootNet" in compute_table(study.store.runs() + study.store.helpers())


def test_the_box_needs_no_network(study, run):
    other = with_source(study, "box")
    assert other.finished(run.experiment) is None  # the source is part of the configuration
    assert other.config(run.experiment)["root_depth"] == {"source": "box"}
    other.store = Store(study.root / "results" / "elsewhere" / "smoke")
    floor = other.run(other.experiment(FLOOR))
    assert floor.record["given"]["T2"]["root_depth"] == "box" and floor.record["root_depth"]["scale_mm"] > 0
    assert other.store.helpers() == []


def without_weights_and_answers(study, helper):
    """As a helper came from another machine that was stored before answers were kept."""
    study.checkpoint_path(helper).unlink()
    (study.store.path(helper) / ANSWERS).unlink()


def test_without_weights_and_answers_the_network_is_trained_again(study, run):
    helper = study.experiment(ROOTNET)
    uid, weights = study.finished(helper).record["uid"], load_checkpoint(study.checkpoint_path(helper))["model"]
    without_weights_and_answers(study, helper)
    fresh = Study("smoke", study.root, device="cpu")
    fresh.profile = study.profile
    assert fresh.finished(helper, own=False).record["uid"] == uid and fresh.finished(helper, own=True) is None
    assert fresh.finished(run.experiment)  # what is stored stays good
    source = fresh.root_depth("standin-rhd")[1]
    assert source["uid"] != uid and fresh.trained(helper) and fresh.finished(helper).answered
    for name, value in fresh.helper("standin-rhd", "rootnet").network.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4)


def test_an_unfinished_helper_is_continued_and_one_of_another_configuration_starts_anew(study, run):
    helper, spec = study.experiment(ROOTNET), study.profile.root_depth
    longer = with_source(study, "network")
    longer.store = Store(study.root / "results" / "elsewhere" / "smoke")
    training = dataclasses.replace(spec.training, epochs=3)
    longer.profile = dataclasses.replace(study.profile, root_depth=dataclasses.replace(spec, training=training))
    assert study.trained(helper) and not longer.trained(helper)
    longer.config_hash = lambda e: study.config_hash(e)  # as if study's training had stopped after 2 of 3 epochs
    assert not longer.trained(helper)
    first = load_checkpoint(study.checkpoint_path(helper))["history"][0]
    assert longer.run(helper).history.seconds[0] == pytest.approx(first["seconds"], rel=1e-4)  # not measured again
    longer.config_hash = lambda e: "another"
    anew = longer.run(helper).history
    assert anew.epoch.tolist() == [1, 2, 3] and anew.seconds[0] != pytest.approx(first["seconds"], rel=1e-4)


def test_a_second_process_waits_and_finds_the_network_trained(study, run, monkeypatch):
    helper = study.experiment(ROOTNET)
    without_weights_and_answers(study, helper)
    started = []
    train = Study._train
    monkeypatch.setattr(Study, "_train", lambda self, e, *rest: started.append(e.run_id) or train(self, e, *rest))

    def work(found):
        other = Study("smoke", study.root, device="cpu")
        other.profile = study.profile
        found.append(other.root_depth("standin-rhd")[1]["uid"])

    found = []
    lock = study.checkpoint_path(helper).with_suffix(".run.lock")
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        threads = [threading.Thread(target=work, args=(found,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        threads[0].join(timeout=1.0)
        assert started == [] and all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert started == [ROOTNET] and found[0] == found[1]


def test_force_trains_the_helper_again(study, run):
    uid = study.ensure_run(ROOTNET).record["uid"]
    assert study.ensure_run(ROOTNET).record["uid"] == uid
    forced = study.ensure_run(ROOTNET, force=True).record["uid"]
    assert forced != uid and study.root_depth("standin-rhd")[1]["uid"] == forced
