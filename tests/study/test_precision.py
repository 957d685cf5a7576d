"""Every method's phases and predictions in bf16, which a CPU that lacks it emulates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_study import again, tiny_study, with_images

from msff.models.registry import AUXILIARY, METHODS, method_of
from msff.settings.training import SpeedConfig
from msff.study import runner
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.phases import phases
from msff.study.predict import predict
from msff.study.procedures import procedure
from msff.study.profiles import RootDepthSpec
from msff.study.train import untrained_network
from msff.study.workspace import Workspace
from msff.training import engine as module
from msff.training.engine import Engine
from msff.training.loop import fit

DATASET = "standin-rhd"
BF16 = SpeedConfig("bf16")
TRAINED = [
    (name, variant)
    for name, method in (METHODS | AUXILIARY).items()
    if method.has_network
    for variant in {method.headline: 0, "segmented": 0}
    if variant in method.variants
]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Workspace:
    return with_images(again(tiny_study(tmp_path_factory.mktemp("project")), root_depth=RootDepthSpec("box")))


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """As on a device that has bf16."""
    monkeypatch.setattr(module, "usable_precision", lambda wanted, device: wanted)


def experiment(method: str, variant: str) -> Experiment:
    return Experiment("smoke", DATASET, method, variant)


def trained(study: Workspace, which: Experiment, speed: SpeedConfig):
    """The network after two steps of each phase, and the history."""
    how, model = procedure(which, study.profile), untrained_network(study, which)
    data = study.samples(DATASET, "train", how.view)
    short = [
        replace(phase, training=replace(phase.training, epochs=1, decay_epochs=(), images_per_epoch=8))
        for phase in phases(which, study.profile, data)
    ]
    return model, fit(model, data, short, seed=0, engine=Engine("cpu", speed))


@pytest.mark.parametrize("method, variant", TRAINED)
def test_every_phase_learns_in_bf16_about_what_it_does_in_float32(study, method, variant):
    which = experiment(method, variant)
    model, history = trained(study, which, BF16)
    single, reference = trained(study, which, SpeedConfig())
    assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
    assert all(value.isfinite().all() for value in model.parameters())
    losses, expected = (h.filter(like="loss").to_numpy() for h in (history, reference))
    np.testing.assert_allclose(losses, expected, rtol=0.1, atol=0.02)
    assert not np.array_equal(losses, expected)


@pytest.mark.parametrize("method, exact, rounded", [
    ("msff", ("relative_root_bin",), ("volume", "side_logits")),
    ("internet", ("relative_root_bin",), ("volume", "side_logits")),
    ("rootnet", ("gamma",), ("heat_map",)),
    ("posenet", ("pose", "canonical", "rotation"), ()),
    ("spurr", ("pose", "mean", "log_variance"), ()),
    ("yang", ("pose", "canonical", "view", "mean", "log_variance"), ()),
    ("song", ("relative_dm", "side_logit", "gamma"), ("heat_maps", "part_logits")),
])  # fmt: skip
def test_what_is_a_length_an_angle_or_a_depth_is_float32(study, method, exact, rounded):
    model = untrained_network(study, experiment(method, method_of(method).headline)).eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    given = (image, torch.tensor([0, 1])) if method in ("posenet", "yang") else (image,)
    with torch.no_grad():
        output, plain = Engine("cpu", BF16).network(model)(*given), model(*given)
    for name in (*exact, *rounded):
        value, single = getattr(output, name), getattr(plain, name)
        assert value.dtype == (torch.float32 if name in exact else torch.bfloat16), name
        assert (value - single).norm() <= 0.05 * single.norm(), name


def test_methods_and_children_of_a_network_run_in_its_precision_too(study):
    spurr = Engine("cpu", BF16).network(untrained_network(study, experiment("spurr", "plain")))
    posenet = Engine("cpu", BF16).network(untrained_network(study, experiment("posenet", "full")))
    hidden = []
    spurr.model.pose_encoder.register_forward_hook(lambda module, inputs, output: hidden.append(output.dtype))
    spurr.from_pose(torch.zeros(2, 21, 3))
    assert hidden == [torch.bfloat16]
    assert posenet.pose2d(torch.zeros(1, 3, 64, 64))[0].dtype == torch.bfloat16
    assert spurr.config.latent == 30 and len(list(spurr.parameters())) == len(list(spurr.model.parameters()))
    with pytest.raises(AttributeError, match="nothing"):
        _ = spurr.nothing


# Not Song-S refined: which bin of maps that have learnt for an epoch is the highest is up to the rounding.
@pytest.mark.parametrize("method, variant", [("internet", "full"), ("song", "regressed"), ("spurr", "plain")])
def test_predictions_in_bf16_are_those_in_float32_but_for_rounding(study, method, variant, monkeypatch):
    which = experiment(method, variant)
    model = trained(study, which, SpeedConfig())[0]
    single = predict(study, which, model)
    monkeypatch.setitem(study.__dict__, "engine", Engine("cpu", BF16))
    rounded = predict(study, which, model)
    for track, joints in single.joints.items():
        off = np.abs(rounded.joints[track] - joints)
        assert 0 < off.max() < 20 and np.median(off) < 2, track  # mm


def test_the_record_names_the_precision_and_the_hash_does_not(study):
    fast = again(study, speed=BF16)
    which = experiment("sidenet", "full")
    run = runner.run(fast, which)
    assert run.record.precision == "bf16" and run.record.compiled is False
    assert config_hash(fast, which) == config_hash(study, which) == run.record.config_hash
