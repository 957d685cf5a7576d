"""Configuration hashes, checkpoints and training."""

import dataclasses

import pytest
import torch
from tiny_study import again

from msff.study import train as module
from msff.study.configuration import config_hash
from msff.study.progress import checkpoint_path, holds_weights_of, is_trained, is_training
from msff.study.train import train, trained_network, untrained_network
from msff.training.checkpoint import load_checkpoint
from msff.training.header import CheckpointError


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


def test_a_resumed_training_ends_as_one_that_was_never_stopped(study, experiment, monkeypatch):
    path, today = checkpoint_path(study, experiment), config_hash(study, experiment)
    whole = load_checkpoint(path)
    path.unlink()
    half = again(study, training=dataclasses.replace(study.profile.training, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(module, "config_hash", lambda *_: today)  # stopped after the first of two epochs
        uid = train(half, experiment).uid
    assert load_checkpoint(path)["epoch"] == 1 and not is_trained(study, experiment)
    trained = train(study, experiment)
    assert trained.history.epoch.tolist() == [1, 2] and trained.uid == uid
    for name, value in trained.network.state_dict().items():
        torch.testing.assert_close(value, whole["model"][name], rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_one_training_until_the_next(study, experiment):
    uid = load_checkpoint(checkpoint_path(study, experiment))["uid"]
    assert holds_weights_of(study, experiment, uid) and not holds_weights_of(study, experiment, "another")
    assert not is_training(study, experiment)
    second = train(study, experiment, resume=False)
    assert second.uid != uid and holds_weights_of(study, experiment, second.uid)


def test_a_corrupt_checkpoint_is_named(study, experiment):
    path = checkpoint_path(study, experiment)
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    try:
        with pytest.raises(CheckpointError, match="seed0.pt is damaged.*rm "):
            trained_network(study, experiment)
    finally:
        path.write_bytes(content)
