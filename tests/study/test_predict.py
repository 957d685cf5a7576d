"""Runs of the smoke grid end to end in a tiny study; what single-hand methods are given on each track.

Of the heat-map networks one on two hands; the others are trained by the smoke study, and MS-FF by test_runner.py.
"""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from tiny_study import SHORT, tiny_recipes, twin

from msff.evaluation.tracks import PAPER_PROTOCOLS
from msff.models.registry import METHODS
from msff.settings.training import TrainingConfig
from msff.skeleton import ROOTS, SCALE_BONE, SIDES
from msff.study import procedures, runner
from msff.study.configuration import config_hash
from msff.study.grid import experiments
from msff.study.predict import TrainingHands, predict
from msff.study.procedures import procedure
from msff.study.profiles import EXTRAS, PROFILES, RHD, Block
from msff.study.progress import finished, is_trained
from msff.study.runner import ensure_run
from msff.study.train import trained_network

SMOKE = PROFILES["smoke"]
ALL = [e.run_id for e in experiments(replace(SMOKE, grid=(*SMOKE.grid, Block(EXTRAS, layouts=RHD))))]
ONE_HAND = [r for r in ALL if METHODS[r.split("/")[1]].single_hand]
GRID = [r for r in ALL if r in ONE_HAND or not METHODS[r.split("/")[1]].has_network] + [
    "standin-interhand/internet/full/seed0"
]
PHASES = {"posenet": ["pose2d", "lifting"], "posenet/segmented": ["segmentation"], "yang": ["labels", "image"]}
BASELINES = ("mean-pose", "oracle")
NEEDS = {  # side and scale
    "posenet": (True, True), "chen": (True, True), "yang": (True, True), "song": (False, False),
    "spurr/plain": (False, False), "spurr/side": (True, False), "spurr/scale": (False, True),
    "spurr/scale-side": (True, True),
}  # fmt: skip


def of(table, run_id, default=None):
    """The entry of a method's variant, or of the method."""
    _, method, variant, _ = run_id.split("/")
    return table.get(f"{method}/{variant}", table.get(method, default))


# the grid


@pytest.mark.parametrize("run_id", GRID)
def test_every_run_of_the_grid_trains_predicts_and_is_stored(study, run_id):
    dataset, method, _, _ = run_id.split("/")
    run = ensure_run(study, run_id)
    record, truth = run.record, study.truth(dataset)
    assert finished(study, run.experiment).record.uid == record.uid and record.config_hash
    assert run.predictions.sample_id == truth.sample_id and set(run.predictions.joints) == {"T1", "T2"}
    for track in ("T1", "T2"):
        hands = run.predictions.joints[track].reshape(len(truth), 2, -1)
        assert np.isfinite(hands[truth.side_present]).all()  # the others are stored if predicted to be present
        assert all(v is None or np.isfinite(v) for v in record.metrics[track].values())
        assert record.test_time_inputs[track] == asdict(run.predictions.inputs[track])
    if method in BASELINES:
        assert record.parameters == record.macs == 0 and record.predict_images_per_s is None
        return
    assert record.parameters > 1000 and record.macs > 10_000 and record.predict_images_per_s > 0
    if method != "song" or "regressed" not in run_id:
        phases = of(PHASES, run_id, ["all"])
        assert run.history.phase.tolist() == [name for name in phases for _ in range(SHORT["epochs"])]
        assert run.history.epoch.tolist() == list(range(1, len(phases) * SHORT["epochs"] + 1))
        assert np.isfinite(run.history.loss).all() and record.train_seconds > 0


@pytest.mark.parametrize("run_id", ONE_HAND)
def test_a_record_states_what_a_single_hand_method_was_given(study, run_id):
    given, (side, scale) = ensure_run(study, run_id).record.test_time_inputs, of(NEEDS, run_id)
    box = "true box per hand" if "interhand" in run_id else "true box"
    for track, handedness, length in (("T1", "true", "true bone"), ("T2", "predicted", "training mean")):
        assert given[track]["side_input"] == (handedness if side else "none")
        assert given[track]["scale"] == (length if scale else "none")
        assert given[track]["crop"] == ("found" if "segmented" in run_id else box)
        assert given[track]["side_slot"] == "true"
    depths = [given[track]["root_depth"] for track in ("T1", "T2")]
    assert depths == (["true", "own"] if "/song/" in run_id else ["none", "none"])
    config = ensure_run(study, run_id).record.config
    assert ("side" in config) == side


# what is given


def predicted(study, run_id, samples=None):
    """Predictions of a trained run, of other test samples if they are given."""
    experiment = study.experiment(run_id)
    ensure_run(study, run_id)
    other = twin(study, study.root / "elsewhere")
    other.store = study.store
    if samples is not None:
        other._memory = {key: value for key, value in other._memory.items() if "test" not in key}
        other._memory["read", experiment.dataset, "test"] = samples
    start = procedure(experiment, study.profile).start_from
    model = trained_network(study, start if experiment.variant == "regressed" else experiment)
    return predict(other, experiment, model)


def larger(sample, factor=1.3):
    """The same image, with hands annotated so much larger about their wrists."""
    wrists = sample.joints_cam_mm[[ROOTS[side] for side in SIDES]].repeat(21, 0)
    return replace(sample, joints_cam_mm=wrists + factor * (sample.joints_cam_mm - wrists))


def test_mean_scale_and_bones_come_from_the_training_hands_alone(study):
    hands = study.hands("standin-interhand", "train")
    known = TrainingHands.of(hands)
    assert len(hands) > len(study.read("standin-interhand", "train"))
    a, b = SCALE_BONE
    lengths = {0: [], 1: []}
    for sample, side in zip(hands.samples, hands.side, strict=True):
        own = sample.joints_cam_mm[21 * side : 21 * side + 21]
        if sample.joint_valid[[21 * side + a, 21 * side + b]].all():
            lengths[int(side)].append(np.linalg.norm(own[a] - own[b]))
    mean = known.mean_scale
    assert mean.right_mm == pytest.approx(np.mean(lengths[0]), rel=1e-5)
    assert mean.left_mm == pytest.approx(np.mean(lengths[1]), rel=1e-5)
    assert known.bone_ratio.shape == (20,) and known.bone_ratio.sum().item() == pytest.approx(1, abs=1e-4)


# the papers' own recipes


def native_study(study, monkeypatch, folder):
    """The tiny study, with the papers' recipes as short as its own but for their batch and augmentation."""
    short = replace(study.profile.training, epochs=1, batch_size=6, augment=None)
    monkeypatch.setattr(procedures, "NATIVE", tiny_recipes(short))
    monkeypatch.setattr(procedures, "INTERNET_NATIVE", {"rhd": short})
    return twin(study, folder)


@pytest.mark.parametrize("method", ["internet", "posenet", "chen", "spurr", "yang"])
def test_a_papers_own_recipe_holds_track_t0_alone(study, tmp_path, monkeypatch, method):
    other = native_study(study, monkeypatch, tmp_path)
    run = runner.run(other, other.experiment(f"standin-rhd/{method}/native/seed0"))
    assert set(run.predictions.joints) == set(run.record.metrics) == set(run.record.test_time_inputs) == {"T0"}
    given, published = run.record.test_time_inputs["T0"], asdict(PAPER_PROTOCOLS[method].inputs)
    assert given == asdict(run.predictions.inputs["T0"])
    assert given == {name: given[name] if word == "unknown" else word for name, word in published.items()}
    metric = PAPER_PROTOCOLS[method].metric
    assert metric is None or run.record.metrics["T0"][metric] > 0
    phases = PHASES.get(method, ["all"])
    assert run.history.phase.tolist() == phases and set(run.history.lr) <= {3e-3, 1e-3, 1e-4}
    if method == "chen":
        assert is_trained(other, other.experiment("standin-rhd/posenet/native/seed0"))
    assert '"batch_size": 6' in json.dumps(run.record.config)  # the paper's, not the profile's 4


@pytest.mark.parametrize("method", ["posenet", "chen", "spurr", "yang"])
def test_a_papers_own_recipe_sees_the_hand_about_its_true_joints(study, monkeypatch, tmp_path, method):
    other = native_study(study, monkeypatch, tmp_path)
    how = procedure(other.experiment(f"standin-rhd/{method}/native/seed0"), other.profile)
    assert how.view == "keypoints" and how.test_view == ""
    boxes = [[s.box for s in other.samples("standin-rhd", "test", view).samples] for view in ("keypoints", "hands")]
    assert not np.allclose(*boxes)


def test_a_papers_own_recipe_does_not_depend_on_the_profiles(study, monkeypatch, tmp_path):
    other = native_study(study, monkeypatch, tmp_path)
    changed = twin(study, tmp_path)
    longer = tiny_recipes(TrainingConfig(epochs=9))
    changed.profile = replace(study.profile, recipes=replace(longer, sidenet=study.profile.recipes.sidenet))
    for method in ("posenet", "chen", "spurr", "yang"):
        variants = ("native", METHODS[method].headline)
        native, own = (other.experiment(f"standin-rhd/{method}/{variant}/seed0") for variant in variants)
        assert config_hash(changed, native) == config_hash(other, native)
        assert config_hash(changed, own) != config_hash(other, own)
