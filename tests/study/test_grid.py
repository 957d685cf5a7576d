from dataclasses import replace

import pytest

from msff.models.registry import AUXILIARY, FACTORIAL, method_of
from msff.settings.training import AugmentConfig, TrainingConfig
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_of, experiments, find, in_order, needed_by
from msff.study.phases import phases
from msff.study.procedures import procedure
from msff.study.profiles import EXTRAS, PROFILES, RHD, SCHEDULE_EXTRAS, TABLE1, Block, RootDepthSpec, get_profile


def auxiliary_networks(profile):
    return [e for e in in_order(profile) if e.method in AUXILIARY]


def ids(name):
    return [e.run_id for e in experiments(get_profile(name))]


def test_smoke_grid():
    """The baselines, the first three methods, the ladder, the others; masks only where there are."""

    def of_both(runs):
        return [f"{d}/{run}/seed0" for run in runs.split() for d in ("standin-rhd", "standin-interhand")]

    others = of_both("chen/full spurr/plain yang/full song/full")
    others.remove("standin-interhand/chen/full/seed0")
    ladder = [f"standin-rhd/msff/{step}/seed0" for step in ("bare", "ccm", "no-lom")]
    first = of_both("mean-pose/full oracle/full msff/full internet/full posenet/full")
    assert ids("smoke") == first + ladder + others


def test_a_block_goes_seed_by_seed_and_a_run_that_two_blocks_name_is_one():
    blocks = (Block(("msff/bare", "spurr"), (2, 1), RHD), Block(("msff/bare",), (1,)))
    found = [e.run_id for e in experiments(replace(get_profile("smoke"), grid=blocks))]
    rows = ("msff/bare", "spurr/plain")
    assert found == [f"standin-rhd/{row}/seed{seed}" for seed in (2, 1) for row in rows] + [
        "standin-interhand/msff/bare/seed1"
    ]
    assert replace(get_profile("smoke"), grid=blocks).seeds == (1, 2)


def test_the_long_profile_trains_the_whole_factorial_at_three_seeds_beside_internet():
    runs = ids("cpu-long")
    rows = [f"msff/{variant}" for variant in FACTORIAL] + ["internet/full"]
    assert set(FACTORIAL) == {"bare", "ccm", "grm", "lom", "no-lom", "no-ccm", "no-grm", "full"}
    assert {f"standin-rhd/{row}/seed{seed}" for row in rows for seed in (0, 1, 2)} <= set(runs)
    cells = ("msff/bare", "msff/full", "internet/full")
    assert runs[2:11] == [f"standin-rhd/{row}/seed{seed}" for seed in (0, 1, 2) for row in cells]


@pytest.mark.parametrize("extra", [*EXTRAS, *SCHEDULE_EXTRAS])
def test_extras_are_variants_that_are_no_rows(extra):
    method, variant = extra.split("/")
    assert variant in method_of(method).variants and variant != method_of(method).headline


def test_a_network_has_its_own_rate_and_that_of_the_other_in_the_variant_of_that_name():
    profile = replace(get_profile("cpu-long"), rates={"msff": 2e-4, "msff/bare": 3e-4})
    assert profile.rate("msff", "full") == profile.rate("msff", "ccm") == 2e-4 and profile.rate("msff", "bare") == 3e-4
    assert profile.rate("internet", "full") == profile.rate("msff", "other-rate") == profile.training.learning_rate
    assert profile.rate("internet", "other-rate") == 2e-4
    (phase,) = phases(Experiment("cpu-long", "standin-rhd", "msff", "bare"), profile)
    assert phase.training.learning_rate == 3e-4 and phase.training.epochs == profile.training.epochs


def test_gaussian_volumes_are_learnt_and_decoded_where_the_variant_says_so():
    profile = get_profile("cpu-long")
    for method in ("msff", "internet"):
        own, default = (Experiment("cpu-long", "standin-rhd", method, variant) for variant in ("gaussian", "full"))
        recipe, other = procedure(own, profile).recipe, procedure(default, profile).recipe
        training = other["training"] | {"learning_rate": profile.rate(method, "gaussian")}
        changed = {"loss": other["loss"] | {"volume": "mse"}, "decoder": "subvoxel", "training": training}
        assert recipe == other | changed and other["loss"]["volume"] != "mse"
        (phase,) = phases(own, profile)
        assert phase.objective.config.volume == "mse"


def test_the_papers_own_recipes_run_on_real_images_of_rhds_layout_alone():
    native = [i for i in ids("paper") if "/native/" in i]
    methods = ("internet", "posenet", "chen", "spurr", "yang")
    assert native == [f"rhd/{m}/native/seed{seed}" for seed in (0, 1, 2) for m in methods]
    assert ids("paper")[-len(native) :] == native
    assert not [i for name in ("smoke", "cpu", "cpu-long", "gpu") for i in ids(name) if "/native/" in i]


@pytest.mark.parametrize("name", PROFILES)
def test_every_run_is_unique_and_found_by_its_id(name):
    profile = get_profile(name)
    runs = experiments(profile)
    assert len(set(runs)) == len(runs)
    for run in runs:
        assert find(profile, run.run_id) == run


def test_further_seeds_come_last_and_without_the_baselines():
    runs = experiments(get_profile("gpu"))
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    later = {(run.method, run.variant) for run in runs if run.seed}
    rows = {(m, "plain" if m == "spurr" else "full") for m in TABLE1}
    assert later == rows | {("msff", variant) for variant in FACTORIAL}


@pytest.mark.parametrize("name", PROFILES)
def test_auxiliary_networks_of_each_dataset_and_none_is_a_row(name):
    """RootNet where the depth comes from a network, SideNet where a run needs the handedness."""
    profile = replace(get_profile(name), root_depth=RootDepthSpec("network"))
    shared, datasets = auxiliary_networks(profile), {e.dataset for e in experiments(profile)}
    sidenet = () if name in ("cpu", "gpu-short") else ("sidenet",)  # these train MS-FF and InterNet alone
    expected = [f"{d}/{m}/full/seed0" for d in datasets for m in ("rootnet", *sidenet)]
    assert sorted(e.run_id for e in shared) == sorted(expected)
    assert not set(shared) & set(experiments(profile))
    assert all(find(profile, e.run_id) == e == auxiliary_of(profile, e.dataset, e.method) for e in shared)
    from_box = auxiliary_networks(replace(profile, root_depth=RootDepthSpec("box")))
    assert sorted(e.run_id for e in from_box) == sorted(i for i in expected if "sidenet" in i)


@pytest.mark.parametrize("name", ["gpu", "paper"])
def test_depth_network_as_published(name):
    """Adam 1e-3, divided by 10 at epoch 17, 20 epochs of batch 32; rotation 30 degrees, no shift, no scale."""
    spec = get_profile(name).root_depth
    training = spec.training
    assert spec.source == "network" and spec.loss.depth_unit_mm == 1
    assert (training.batch_size, training.epochs, training.learning_rate) == (32, 20, 1e-3)
    assert training.decay_epochs == (17,) and training.optimizer == "adam"
    assert training.augment == AugmentConfig(shift=0.0, scale=0.0, rotation_deg=30.0)


def test_a_depth_source_that_does_not_exist_or_moves_the_box():
    with pytest.raises(ValueError, match="source must be one of network, box, got 'law'"):
        RootDepthSpec("law")
    with pytest.raises(ValueError, match="neither shift nor scale the box.*shift=0.15"):
        RootDepthSpec(training=TrainingConfig())


@pytest.mark.parametrize("name", ["cpu-long", "gpu", "paper"])
def test_the_methods_of_one_hand_are_trained_as_long_as_the_heat_map_networks(name):
    profile = get_profile(name)
    recipes, training = profile.recipes, profile.training
    phases = (recipes.posenet.pose2d, recipes.chen.training, recipes.spurr.training, recipes.yang.image)
    for phase in (*phases, recipes.song.training):
        same = (training.epochs, training.batch_size, training.images_per_epoch, training.decay_epochs)
        assert (phase.epochs, phase.batch_size, phase.images_per_epoch, phase.decay_epochs) == same


@pytest.mark.parametrize("name", ["gpu", "paper"])
def test_paper_hyper_parameters(name):
    """Stated in the paper: 256 px, batch 16, 20 epochs, 1e-4, divided by 10 at epochs 15 and 17."""
    profile = get_profile(name)
    training = profile.training
    assert profile.network.crop_size == 256 and profile.network.backbone.blocks == (3, 4, 6, 3)
    assert (training.batch_size, training.epochs, training.learning_rate) == (16, 20, 1e-4)
    assert training.decay_epochs == (15, 17) and training.decay_factor == 0.1
    assert [training.rate(e, 10**6) for e in (14, 15, 17)] == pytest.approx([1e-4, 1e-5, 1e-6])


def test_volume_keeps_the_width_of_the_gaussian_relative_to_the_volume():
    assert get_profile("gpu").volume.sigma_bin == 2.5
    assert get_profile("smoke").volume.sigma_bin == 2.5 * get_profile("smoke").network.bins / 64


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("rhd/msff/full/seed0", "has no dataset 'rhd'"),
        ("standin-rhd/resnet/full/seed0", "unknown method 'resnet'"),
        ("standin-rhd/msff/half/seed0", "no variant 'half'"),
        ("standin-interhand/chen/full/seed0", "needs masks of the hands, which stand-in in InterHand2.6M format does"),
        ("standin-interhand/posenet/segmented/seed0", "choose a dataset of RHD's layout"),
    ],
)
def test_unknown_experiment(run_id, message):
    with pytest.raises(ValueError, match=message):
        find(get_profile("smoke"), run_id)


def test_every_training_is_in_order_once_and_after_what_it_needs():
    profile = get_profile("cpu-long")
    order = in_order(profile)
    assert len(set(order)) == len(order) and set(order) >= set(experiments(profile))
    assert [e.method for e in order[:6]] == ["rootnet", "mean-pose", "oracle", "msff", "msff", "internet"]
    auxiliary = set(auxiliary_networks(profile))
    for experiment in experiments(profile):
        for needed in auxiliary.intersection(needed_by(profile, experiment)):
            assert order.index(needed) < order.index(experiment)
    chen = Experiment("cpu-long", "standin-rhd", "chen")
    assert [e.method for e in needed_by(profile, chen)] == ["rootnet", "sidenet", "posenet"]
