"""The demonstration network: trained on both stand-ins, stored in half precision, measured as stored, loaded alone."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import torch
from tiny_demo import change_index, demo_in
from tiny_study import again, tiny_study, with_images

from msff import cli
from msff.data.sample import DataError
from msff.demo import training as module
from msff.demo.examples import example_sheet
from msff.demo.network import INDEX, demo_folder, load_demo
from msff.demo.training import train_demo
from msff.evaluation.evaluate import evaluate
from msff.evaluation.hand_size import hand_size, with_hand_size
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict
from msff.evaluation.predictions import Truth
from msff.study.profiles import PROFILES
from msff.study.workspace import Workspace
from msff.training.checkpoint import CheckpointError, load_checkpoint

STANDINS = ("standin-rhd", "standin-interhand")


@pytest.fixture
def folder(demo_study, tmp_path):
    """A copy of the network that a test may spoil."""
    return shutil.copytree(demo_folder(demo_study.root), tmp_path / "demo")


def index_of(study):
    return json.loads((demo_folder(study.root) / INDEX).read_text())


def checkpoint(study):
    return study.checkpoints / "demo.pt"


def test_the_index_says_what_it_was_trained_on(demo_study):
    record = index_of(demo_study)
    made = record["trained_on"]
    assert [(d["name"], d["images"]) for d in made["datasets"]] == [(name, 12) for name in STANDINS]
    assert made["image_steps"] == 2 * 24 and made["epochs"] == 2 and made["profile"] == "smoke"
    assert record["precision"] == "float16" and record["method"] == "msff" and record["seed"] == 0
    assert not {"hardware", "device", "versions", "threads"} & record.keys()
    assert os.environ["MADE_ONCE"] not in json.dumps(record)  # where it was trained


def test_an_epoch_has_as_many_images_of_each_stand_in_as_a_run_s(demo_study):
    few = dataclasses.replace(demo_study.profile.training, images_per_epoch=4)
    longer = module._for_both(again(demo_study, training=few))
    assert longer.profile.training.images_per_epoch == 8 and longer.root == demo_study.root
    assert module._for_both(demo_study) is demo_study  # all images of both


def test_the_stored_weights_are_those_of_the_training_rounded(demo_study):
    trained = load_checkpoint(checkpoint(demo_study))["model"]
    stored = load_demo(demo_folder(demo_study.root)).network.state_dict()
    assert stored.keys() == trained.keys()
    for name, tensor in trained.items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(stored[name], expected), name


def test_the_errors_are_those_of_the_stored_network(demo_study):
    demo = load_demo(demo_folder(demo_study.root))
    measured = index_of(demo_study)["measured"]
    assert set(measured) == {*STANDINS, "realworld"}
    for name, metric in (("standin-rhd", "wrist20"), ("standin-interhand", "mpjpe_all")):
        test = demo_study.samples(name, "test")
        found = measured[name]
        assert found["images"] == 6 and found["label"].startswith("stand-in")
        predictions = predict(demo.network, test, demo.volume, demo.decoder, BoxDepth(1000.0))
        predictions = with_hand_size(predictions, demo.hand_mm)
        for track in ("T1", "T2"):
            errors = found["tracks"][track]
            truth = Truth.from_samples(test.samples, name)
            expected = evaluate(truth, predictions, track).summary()[metric]
            assert errors["network"][metric]["value"] == pytest.approx(expected)
            for by in ("network", "mean_pose"):
                number = errors[by][metric]
                if truth.cluster is None:
                    assert number["low"] <= number["value"] <= number["high"]
                else:  # the six are of one sequence, which has no interval
                    assert number.keys() == {"value"} and not truth.cluster.any()
    photos = measured["realworld"]
    assert photos["images"] == 3 and photos["tracks"].keys() == {"T2"}
    assert photos["tracks"]["T2"]["given"]["scale"] == "training mean"
    assert photos["tracks"]["T2"]["network"].keys() > {"wrist20", "wrist20_pred_side", "pa21"}
    assert "measured on 3 real photographs" in demo.expected


def test_every_hand_gets_the_average_size_of_the_training_hands(demo_study):
    demo = load_demo(demo_folder(demo_study.root))
    hands = []
    for name in STANDINS:
        for sample in demo_study.samples(name, "train").samples:
            joints, valid = sample.joints_cam_mm.reshape(2, 21, 3), sample.joint_valid.reshape(2, 21)
            hands += [hand_size(torch.tensor(joints[k])).item() for k in range(2) if valid[k].all()]
    assert demo.hand_mm == pytest.approx(np.mean(hands), abs=0.06)
    image = np.random.default_rng(0).integers(0, 255, (80, 60, 3), np.uint8)
    for box in ((0, 0, 60, 80), (20, 20, 30, 30)):
        (pose,) = demo([image], box)
        sizes = hand_size(torch.from_numpy(pose.joints_mm.reshape(2, 21, 3)))
        torch.testing.assert_close(sizes, torch.full((2,), demo.hand_mm), rtol=1e-3, atol=0)


def test_its_examples_are_three_images_of_each_layout_at_percentiles_of_the_error(demo_study):
    demo, test = load_demo(demo_folder(demo_study.root)), demo_study.samples("standin-rhd", "test")
    predictions = predict(demo.network, test, demo.volume, demo.decoder, BoxDepth(1000.0))
    figure = example_sheet({"standin-rhd": test}, {"standin-rhd": predictions})
    titles = [ax.get_title() for ax in figure.axes]
    errors = evaluate(Truth.from_samples(test.samples, "standin-rhd"), predictions, "T2").errors["wrist20_pred_side"]
    means = sorted(float(e[v].mean()) for e, v in zip(errors.value, errors.valid, strict=True))
    expected = [f"{p}th percentile, {means[i]:.0f} mm" for p, i in ((10, 0), (50, 2), (90, 4))]
    assert titles == expected + [""] * 3  # of six images
    assert (demo_folder(demo_study.root) / "examples.png").exists()


def test_frames_of_different_size_are_seen_as_by_themselves(demo_study):
    """Both layouts in one data set give the crops that each gives alone."""
    parts = [demo_study.samples(name, "train") for name in STANDINS]
    assert parts[0].samples[0].image_size != parts[1].samples[0].image_size
    both = demo_study.dataset([s for part in parts for s in part.samples], real=False)

    def crops(data):
        batches = data.in_order(5)
        return torch.cat([batch.image for batch in batches])

    torch.testing.assert_close(crops(both), torch.cat([crops(part) for part in parts]), rtol=0, atol=2e-5)


def test_it_loads_without_its_profile(folder, monkeypatch):
    monkeypatch.setitem(PROFILES, "smoke", None)
    demo = load_demo(folder)
    image = torch.rand(2, 3, demo.volume.crop_size, demo.volume.crop_size)
    with torch.no_grad():
        assert demo.network(image).volume.isfinite().all()


def test_loading_draws_no_random_number(folder):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_demo(folder)
    assert torch.equal(torch.rand(3), expected)


def test_a_damaged_index_another_format_and_another_version(folder):
    change_index(folder, format=99)
    with pytest.raises(CheckpointError, match="has format 99, this version reads 2: restore the folder"):
        load_demo(folder)
    change_index(folder, format=2, network={"crop_size": 64, "colour": "red"})
    with pytest.raises(CheckpointError, match="does not fit this version of msff .*: restore"):
        load_demo(folder)
    (folder / INDEX).write_text('{"format"')
    with pytest.raises(CheckpointError, match="is no index of a demonstration network"):
        load_demo(folder)


def test_weights_of_another_network(folder):
    network = json.loads((folder / INDEX).read_text())["network"]
    change_index(folder, network=network | {"pyramid_channels": 24})
    with pytest.raises(CheckpointError, match="weights do not fit the network, the first at .*: restore"):
        load_demo(folder)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_and_ends_where_it_would_have(demo_study, tmp_path):
    study = with_images(tiny_study(tmp_path / "project"))
    epochs = []

    def kill(epoch, *_):
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        train_demo(study, kill)
    assert load_checkpoint(checkpoint(study))["epoch"] == 1 and not demo_folder(study.root).exists()
    train_demo(study, lambda epoch, *_: epochs.append(epoch))
    assert set(epochs) == {2}
    resumed, whole = (load_demo(demo_folder(s.root)).network.state_dict() for s in (study, demo_study))
    for name, tensor in whole.items():
        np.testing.assert_allclose(resumed[name], tensor, rtol=1e-2, atol=1e-4, err_msg=name)


def test_a_checkpoint_belongs_to_one_recipe_and_to_the_images_of_both_sets(demo_study):
    """Its hash decides whether it is resumed or discarded."""
    profile, experiment = demo_study.profile, module._experiment(demo_study)
    slower = dataclasses.replace(profile.training, learning_rate=1e-4)
    other = dataclasses.replace(profile.data, seed=profile.data.seed + 1)
    changed = again(demo_study, training=slower), again(demo_study, data=other), again(demo_study)
    mine, *hashes = (module._config_hash(study, experiment) for study in (demo_study, *changed))
    assert [found == mine for found in hashes] == [False, False, True]
    assert load_checkpoint(checkpoint(demo_study))["config_hash"] == mine


def test_photographs_that_are_named_but_missing_stop_it_before_it_trains(demo_study, tmp_path, monkeypatch):
    monkeypatch.setenv("MSFF_REALWORLD", str(tmp_path / "nowhere"))
    epochs = []
    with pytest.raises(DataError, match="nowhere does not exist.*MSFF_REALWORLD"):
        train_demo(demo_study, lambda *step: epochs.append(step))
    assert not epochs and index_of(demo_study)["measured"]["realworld"]


def test_a_profile_of_real_data_is_refused(demo_study):
    with pytest.raises(ValueError, match=r"paper trains on RHD and InterHand2.6M.*choose a profile"):
        train_demo(Workspace("paper", demo_study.root, device="cpu"))


def test_a_network_too_large_to_keep_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    study = tiny_study(tmp_path)
    monkeypatch.setattr(module, "TOTAL_BYTES", 1000)
    with pytest.raises(ValueError, match="the network takes .* MiB in half precision, expected at most"):
        train_demo(study)
    assert not study.data_root("standin-rhd").exists()


def test_the_papers_own_network_can_be_kept():
    study = Workspace("gpu", device="cpu")
    assert module._experiment(study).run_id == "standin-rhd/msff/grm-norm/seed0"


def test_the_command_says_what_it_made_and_measures_a_finished_training_again(tmp_path, monkeypatch, capsys):
    study = demo_in(tmp_path)
    monkeypatch.setattr("msff.training.loop._epoch", lambda *_: pytest.fail("it trains"))
    monkeypatch.setattr("msff.cli.common.open_workspace", lambda args: study)
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)
    assert cli.main(["demo", "train"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        f"{demo_folder(study.root)}: MS-FF with batch norm, trained on: stand-in in RHD format (12 images)"
    )
    assert "Error on real photographs: not measured for this network." in out
    assert set(index_of(study)["measured"]) == set(STANDINS)
