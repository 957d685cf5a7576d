import pytest

from msff.study.grid import experiments, find
from msff.study.profiles import PROFILES, get_profile


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
