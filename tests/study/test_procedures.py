"""How each experiment is trained: its configuration, what it starts from, what an interruption leaves of it."""

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_study import tiny_study, twin, with_images

from msff.models.building import build, count_parameters
from msff.models.registry import AUXILIARY, METHODS, method_of
from msff.settings.losses import RefineConfig, SongLossConfig, SpurrLossConfig, TonalityConfig, YangLossConfig
from msff.settings.training import AugmentConfig
from msff.study import train as module
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_of, experiments
from msff.study.phases import phases
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import PROFILES
from msff.study.progress import checkpoint_path, is_trained
from msff.study.runner import run
from msff.study.train import train
from msff.study.workspace import Workspace
from msff.training.checkpoint import load_checkpoint

DATASET = "standin-rhd"
SIDED = {("posenet", "full"), ("posenet", "segmented"), ("chen", "full"), ("chen", "plain"), ("yang", "full")}
SIDED |= {("spurr", "side"), ("spurr", "scale-side")}


def named(study, name):
    return study.experiment(f"{DATASET}/{name}/seed0")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Workspace:
    """With its auxiliary networks trained."""
    study = with_images(tiny_study(tmp_path_factory.mktemp("project")))
    for method in ("rootnet", "sidenet"):
        run(study, named(study, f"{method}/full"))
    return study


@pytest.fixture
def fits(monkeypatch):
    """One entry per call of ``fit``: what is trained, its state before, whether it went on from a checkpoint."""
    calls, fit = [], module.fit

    def recorded(model, dataset, phases, **options):
        state = {name: value.clone() for name, value in model.state_dict().items()}
        name, resumed = "{method}/{variant}".format(**options["describe"]), options["checkpoint"].exists()
        calls.append({"name": name, "before": state, "resumed": resumed})
        return fit(model, dataset, phases, **options)

    monkeypatch.setattr(module, "fit", recorded)
    return calls


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def weights(study, experiment):
    return load_checkpoint(checkpoint_path(study, experiment))["model"]


# configuration


def changed_hashes(study, **recipes):
    """(method, variant) of the experiments of a dataset whose hash another set of recipes changes."""
    other = Workspace("smoke", study.root, device="cpu")
    other.profile = replace(study.profile, recipes=replace(study.profile.recipes, **recipes))
    mine = [e for e in experiments(study.profile) if e.dataset == DATASET] + [
        auxiliary_of(study.profile, DATASET, "sidenet")
    ]
    return {(e.method, e.variant) for e in mine if config_hash(other, e) != config_hash(study, e)}


def longer(training):
    return replace(training, epochs=training.epochs + 1)


def test_the_hash_changes_with_the_recipe_of_its_own_method_alone(study):
    recipes = study.profile.recipes
    variants = {("spurr", v) for v in ("plain", "side", "scale", "scale-side")}
    song = {("song", "full"), ("song", "regressed")}
    for change in ({"training": longer(recipes.spurr.training)}, {"loss": SpurrLossConfig(beta=0.5)}):
        assert changed_hashes(study, spurr=replace(recipes.spurr, **change)) == variants
    for change in ({"labels": longer(recipes.yang.labels)}, {"joint": recipes.yang.image},
                   {"loss": YangLossConfig(beta=0.5)}):  # fmt: skip
        assert changed_hashes(study, yang=replace(recipes.yang, **change)) == {("yang", "full")}
    for change in ({"loss": SongLossConfig(part_weight=0.5)}, {"refine": RefineConfig(steps=4)}):
        assert changed_hashes(study, song=replace(recipes.song, **change)) == song
    chen = {("chen", "full"), ("chen", "plain")}
    assert changed_hashes(study, chen=replace(recipes.chen, training=longer(recipes.chen.training))) == chen
    toned = replace(recipes.chen, tonality=TonalityConfig(share=0.25))
    assert changed_hashes(study, chen=toned) == {("chen", "full")}  # "plain" is without the augmentation


def test_chens_hash_changes_with_posenets_since_it_starts_there(study):
    posenet = study.profile.recipes.posenet
    resting = {("posenet", "full"), ("posenet", "segmented"), ("chen", "full"), ("chen", "plain")}
    for stage in ("pose2d", "lifting"):
        assert changed_hashes(study, posenet=replace(posenet, **{stage: longer(getattr(posenet, stage))})) == resting
    found = replace(posenet, segmentation=longer(posenet.segmentation))
    assert changed_hashes(study, posenet=found) == {("posenet", "segmented")}


def test_what_needs_the_side_changes_with_sidenets_training(study):
    sidenet = longer(study.profile.recipes.sidenet)
    assert changed_hashes(study, sidenet=sidenet) == SIDED | {("sidenet", "full")}


def test_the_heat_map_runs_do_not_depend_on_the_recipes_at_all(study):
    training = replace(study.profile.training, epochs=7, augment=AugmentConfig(shift=0.0))
    changed = changed_hashes(study, **vars(type(study.profile.recipes).alike(training, chen_rate=1.0)))
    everything = {(e.method, e.variant) for e in experiments(study.profile) if e.dataset == DATASET}
    untouched = everything - changed
    assert {method for method, _ in untouched} == {"mean-pose", "oracle", "msff", "internet"}
    assert not {method for method, _ in changed} & {"mean-pose", "oracle", "msff", "internet"}


def test_the_hash_depends_on_the_sizes_of_the_own_network_alone(study):
    other = Workspace("smoke", study.root, device="cpu")
    other.profile = replace(study.profile, network=replace(study.profile.network, vae_hidden=24))
    runs = [e for e in experiments(study.profile) if e.dataset == DATASET]
    changed = {e.method for e in runs if config_hash(other, e) != config_hash(study, e)}
    assert changed == {"spurr", "yang"}


@pytest.mark.parametrize(("method", "variant"), [("chen", "full"), ("chen", "native"), ("posenet", "segmented")])
def test_what_needs_masks_runs_on_rhds_layout_alone(method, variant):
    assert [runs_on(method, variant, d) for d in ("rhd", DATASET, "interhand26m")] == [True, True, False]
    assert runs_on(method, "full", "rhd") and runs_on("chen", "plain", "interhand26m")


# weights of another


def test_chen_starts_from_posenets_weights_which_are_trained_if_they_are_absent(study, fits, tmp_path):
    fresh = twin(study, tmp_path)
    chen, posenet = named(fresh, "chen/full"), named(fresh, "posenet/full")
    model = train(fresh, chen).network
    assert [call["name"] for call in fits] == ["posenet/full", "chen/full"]
    trained = weights(fresh, posenet)
    assert is_trained(fresh, posenet) and same_state(fits[1]["before"], trained)
    assert not same_state(fits[0]["before"], trained) and not same_state(model.state_dict(), trained)
    assert fresh.store.get(posenet) is None  # only its weights are needed

    fits.clear()
    train(fresh, named(fresh, "chen/plain"))
    assert [call["name"] for call in fits] == ["chen/plain"]  # they are there
    assert same_state(fits[0]["before"], trained) and same_state(weights(fresh, posenet), trained)


def test_an_unfinished_posenet_is_no_start(study, fits, tmp_path, monkeypatch):
    fresh = twin(study, tmp_path)
    posenet = named(fresh, "posenet/full")
    with pytest.raises(KeyboardInterrupt):
        train(fresh, posenet, progress=stop_at(3, 2))
    assert not is_trained(fresh, posenet)
    train(fresh, named(fresh, "chen/plain"))
    assert is_trained(fresh, posenet) and load_checkpoint(checkpoint_path(fresh, posenet))["epoch"] == 4


def test_song_regressed_is_songs_network_before_the_optimisation(study, fits, tmp_path):
    fresh = twin(study, tmp_path)
    full, regressed = (run(fresh, named(fresh, f"song/{v}")) for v in ("full", "regressed"))
    assert [call["name"] for call in fits] == ["song/full", "song/regressed"]
    assert same_state(fits[1]["before"], weights(fresh, full.experiment))
    assert regressed.history.empty and regressed.record.train_seconds == 0
    assert not checkpoint_path(fresh, regressed.experiment).exists()
    np.testing.assert_array_equal(full.predictions.side_probability, regressed.predictions.side_probability)
    moved = np.nanmax(np.abs(full.predictions.joints["T2"] - regressed.predictions.joints["T2"]))
    assert 0.01 < moved < 100
    for key in ("parameters", "macs"):
        assert getattr(regressed.record, key) == getattr(full.record, key) > 0


def test_segmentation_leaves_posenets_weights_as_they_are(study, fits, tmp_path):
    fresh = twin(study, tmp_path)
    found, posenet = named(fresh, "posenet/segmented"), named(fresh, "posenet/full")
    train(fresh, found)
    state, trained = weights(fresh, found), weights(fresh, posenet)
    inner = {name.removeprefix("posenet."): value for name, value in state.items() if name.startswith("posenet.")}
    assert same_state(inner, trained)
    before = fits[-1]["before"]
    learnt = [name for name in state if not torch.equal(state[name], before[name])]
    assert learnt and all(name.startswith("segmentation.") for name in learnt)


# interruption


def stop_at(epoch, step):
    """A callback that kills the training at a step."""

    def progress(now, epochs, step_now, steps, loss):
        if (now, step_now) == (epoch, step):
            raise KeyboardInterrupt

    return progress


def test_killed_in_the_second_phase_it_ends_as_if_never_stopped(study, tmp_path, monkeypatch):
    """Each phase has two epochs of three steps: killed as the second phase begins, then in its midst."""
    whole, stopped = twin(study, tmp_path / "whole"), twin(study, tmp_path / "stopped")
    experiment = named(study, "yang/full")
    for epoch, step in ((3, 1), (4, 2)):
        with pytest.raises(KeyboardInterrupt):
            run(stopped, experiment, progress=stop_at(epoch, step))
        assert load_checkpoint(checkpoint_path(stopped, experiment))["epoch"] == epoch - 1
        assert stopped.store.get(experiment) is None
    monkeypatch.undo()
    resumed, uninterrupted = run(stopped, experiment), run(whole, experiment)
    assert resumed.history.epoch.tolist() == [1, 2, 3, 4]
    assert resumed.history.phase.tolist() == uninterrupted.history.phase.tolist()
    np.testing.assert_allclose(resumed.history.loss, uninterrupted.history.loss, rtol=1e-4)
    for track, joints in uninterrupted.predictions.joints.items():
        np.testing.assert_allclose(resumed.predictions.joints[track], joints, atol=0.05)  # stored to 1/32 mm


# two at once


def at_once(work, count=2):
    """``work(number)`` in threads; the results, once all have ended. A deadlock fails."""
    found, threads = {}, []
    for number in range(count):
        threads.append(threading.Thread(target=lambda n=number: found.update({n: work(n)}), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not [t for t in threads if t.is_alive()], "they wait for each other"
    assert len(found) == count, "one of them failed"
    return [found[n] for n in range(count)]


def test_two_runs_that_lack_an_auxiliary_network_train_it_once_and_without_deadlock(study, fits, tmp_path):
    names = ("yang/full", "spurr/side")
    twins = [twin(study, tmp_path) for _ in range(2)]
    shutil.rmtree(twins[0].store.root / "auxiliary")

    def work(number):
        return run(twins[number], named(study, names[number])).record

    first, second = at_once(work)
    assert first.root_depth["uid"] == second.root_depth["uid"]  # stored once
    fresh = [call["name"] for call in fits if not call["resumed"]]
    assert sorted(fresh) == ["rootnet/full", "sidenet/full", "spurr/side", "yang/full"]


def test_a_schedule_variant_changes_the_schedule_and_nothing_else():
    profile = PROFILES["gpu"]
    for method in ("msff", "internet"):
        variants = ("full", "batch-x4", "images-x2", "epochs-x2")
        runs = [phases(Experiment("gpu", "standin-rhd", method, variant), profile) for variant in variants]
        (plain,), (big,), (long,), (twice,) = runs
        assert big == replace(plain, training=replace(plain.training, batch_size=64, learning_rate=2e-4))
        assert long == replace(plain, training=replace(plain.training, images_per_epoch=8_000))
        assert twice == replace(plain, training=replace(plain.training, epochs=40, decay_epochs=(30, 34)))
        sizes = [count_parameters(build(method, v, PROFILES["smoke"].network)) for v in variants]
        assert len(set(sizes)) == 1
    with pytest.raises(ValueError, match="images-x2 needs a profile that limits images_per_epoch"):
        procedure(Experiment("cpu", "standin-rhd", "msff", "images-x2"), PROFILES["cpu"])


@pytest.mark.parametrize("method", [*METHODS, *AUXILIARY])
def test_the_phases_have_the_schedules_of_the_procedure(method):
    dataset, profile = "standin-interhand", PROFILES["cpu-long"]
    for variant in method_of(method).variants:
        if variant != "native" and runs_on(method, variant, dataset):
            experiment = Experiment("cpu-long", dataset, method, variant)
            found = {phase.name: phase.training for phase in phases(experiment, profile)}
            assert found == procedure(experiment, profile).schedules
