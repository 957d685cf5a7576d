import dataclasses

import pytest
import torch
from tiny_study import tiny_study

from msff.study.experiment import Study
from msff.training.checkpoint import CheckpointError, load_checkpoint


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def experiment(study):
    """A trained one."""
    experiment = study.experiment("standin-rhd/msff/full/seed0")
    study.trained_network(experiment)
    return experiment


def test_initial_weights_depend_on_the_seed_alone(study, experiment):
    state = torch.random.get_rng_state()
    first, again = study.network(experiment), study.network(experiment)
    other = study.network(dataclasses.replace(experiment, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's generator is left alone
    weights = [next(network.parameters()) for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_goes_on_from_its_checkpoint_as_if_never_stopped(study, experiment):
    whole = load_checkpoint(study.checkpoint_path(experiment))
    half = dataclasses.replace(study.profile, training=dataclasses.replace(study.profile.training, epochs=1))
    interrupted = Study("smoke", study.root, device="cpu")
    interrupted.profile = half
    path = study.checkpoint_path(experiment)
    path.unlink()
    interrupted.config_hash = lambda e: study.config_hash(e)  # stopped after the first of two epochs
    interrupted._train(experiment, resume=True)
    assert load_checkpoint(path)["epoch"] == 1
    model, history = study._train(experiment, resume=True)
    assert history.epoch.tolist() == [1, 2]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, whole["model"][name], rtol=1e-4, atol=1e-5)


def test_a_corrupt_checkpoint_is_named(study, experiment):
    path = study.checkpoint_path(experiment)
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    try:
        with pytest.raises(CheckpointError, match="seed0.pt is damaged.*rm "):
            study.trained_network(experiment)
    finally:
        path.write_bytes(content)
