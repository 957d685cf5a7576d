from dataclasses import replace

import pytest

from msff.data.crops import AugmentConfig
from msff.study.grid import experiments, find, helpers
from msff.study.profiles import PROFILES, RootDepthSpec, get_profile
from msff.training.loop import TrainingConfig


def ids(name):
    return [e.run_id for e in experiments(get_profile(name))]


def test_smoke_grid():
    assert ids("smoke") == [
        "standin-rhd/mean-pose/full/seed0",
        "standin-interhand/mean-pose/full/seed0",
        "standin-rhd/msff/full/seed0",
        "standin-interhand/msff/full/seed0",
        "standin-rhd/internet/full/seed0",
        "standin-interhand/internet/full/seed0",
        "standin-rhd/msff/backbone/seed0",
        "standin-rhd/msff/ccm/seed0",
        "standin-rhd/msff/ccm-grm/seed0",
        "standin-rhd/msff/ccm-grm-lom/seed0",
    ]


@pytest.mark.parametrize("name", PROFILES)
def test_every_run_is_unique_and_found_by_its_id(name):
    profile = get_profile(name)
    runs = experiments(profile)
    assert len(set(runs)) == len(runs)
    for run in runs:
        assert find(profile, run.run_id) == run


def test_further_seeds_come_last_and_without_the_mean_pose():
    runs = experiments(get_profile("gpu"))
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    assert not [run for run in runs if run.method == "mean-pose" and run.seed]


@pytest.mark.parametrize("name", PROFILES)
def test_one_depth_network_per_dataset_and_none_is_a_row(name):
    profile = replace(get_profile(name), root_depth=RootDepthSpec("network"))
    shared = helpers(profile)
    assert [e.run_id for e in shared] == [f"{d}/rootnet/full/seed0" for d in profile.data.datasets]
    assert not set(shared) & set(experiments(profile))
    assert all(find(profile, e.run_id) == e for e in shared)
    assert helpers(replace(profile, root_depth=RootDepthSpec("box"))) == []


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
    with pytest.raises(ValueError, match="must be 'network' or 'box', got 'law'"):
        RootDepthSpec("law")
    with pytest.raises(ValueError, match="neither shift nor scale the box.*shift=0.15"):
        RootDepthSpec(training=TrainingConfig())


def test_the_paper_profile_reads_only_real_data():
    assert {e.dataset for e in experiments(get_profile("paper"))} == {"rhd", "interhand26m"}


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


def test_unknown_profile():
    with pytest.raises(ValueError, match="unknown profile 'big': choose one of smoke, cpu"):
        get_profile("big")


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("rhd/msff/full/seed0", "has no dataset 'rhd'"),
        ("standin-rhd/resnet/full/seed0", "unknown method 'resnet'"),
        ("standin-rhd/msff/half/seed0", "no variant 'half'"),
    ],
)
def test_unknown_experiment(run_id, message):
    with pytest.raises(ValueError, match=message):
        find(get_profile("smoke"), run_id)
