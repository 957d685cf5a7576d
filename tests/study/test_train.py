"""Configuration hashes, checkpoints and training."""

import dataclasses

import pytest
import torch

from msff.files import is_locked
from msff.study.progress import checkpoint_path, holds_weights_of, lock_path
from msff.study.train import train, trained_network, untrained_network
from msff.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def experiment(study):
    """A trained one."""
    experiment = study.experiment("standin-rhd/msff/full/seed0")
    trained_network(study, experiment)
    return experiment


def test_initial_weights_depend_on_the_seed_alone(study, experiment):
    state = torch.random.get_rng_state()
    first, same = untrained_network(study, experiment), untrained_network(study, experiment)
    other = untrained_network(study, dataclasses.replace(experiment, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's generator is unchanged
    weights = [next(network.parameters()) for network in (first, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_weights_are_those_of_one_training_until_the_next(study, experiment):
    uid = load_checkpoint(checkpoint_path(study, experiment))["uid"]
    assert holds_weights_of(study, experiment, uid) and not holds_weights_of(study, experiment, "another")
    assert not is_locked(lock_path(study, experiment))
    second = train(study, experiment, resume=False)
    assert second.uid != uid and holds_weights_of(study, experiment, second.uid)
