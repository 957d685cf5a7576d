"""The losses of the variational autoencoders by hand, who learns in which phase, and that they learn."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from msff.data.synthetic import synthetic_batch
from msff.models.baselines.pose_convention import PoseTargets, pose_targets
from msff.models.baselines.spurr import Spurr, SpurrConfig, SpurrOutput
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import Yang, YangConfig, YangOutput
from msff.models.registry import SPURR_VARIANTS
from msff.settings.losses import SpurrLossConfig, YangLossConfig
from msff.settings.networks import BackboneConfig
from msff.settings.training import TrainingConfig
from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, WRIST
from msff.study.experiment import Experiment
from msff.study.phases import phases
from msff.study.profiles import PROFILES
from msff.training.loop import train_step
from msff.training.objectives.vae import (
    draw_noise,
    kl_divergence,
    spurr_loss,
    spurr_objective,
    squared_error,
    yang_loss,
    yang_objective,
)

JOINT = TrainingConfig(batch_size=32, epochs=20, learning_rate=1e-5, decay_epochs=())
SLIM = VaeSize(64, BackboneConfig("basic", 8, (1, 1, 1, 1)), hidden=64, encoder_layers=2, decoder_layers=2)


def spurr(variant="plain", **changes):
    torch.manual_seed(0)
    return Spurr(SpurrConfig(SLIM, **{"latent": 16, **SPURR_VARIANTS[variant], **changes}))


def yang(**changes):
    torch.manual_seed(0)
    return Yang(YangConfig(SLIM, **{"canonical_latent": 16, "view_latent": 16, **changes}))


def phases_of(method):
    """The phases of a method, of Yang also the last one that is off by default."""
    profile = PROFILES["smoke"]
    recipes = replace(profile.recipes, yang=replace(profile.recipes.yang, joint=JOINT))
    variant = "plain" if method == "spurr" else "full"
    return phases(Experiment("smoke", "standin-rhd", method, variant), replace(profile, recipes=recipes))


def batch_of(count=3, seed=0):
    """Both hands in every crop: twice as many hands."""
    return synthetic_batch(count, 64, "cpu", torch.Generator().manual_seed(seed))


def values(losses):
    return {name: value.item() for name, value in losses.items()}


# terms


def test_divergence_by_hand():
    """Mean 1, variance 4: (4 + 1 - 1 - log 4) / 2. Mean -2, variance 1: 4 / 2. A standard normal: 0."""
    mean, variance = torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[4.0, 1.0], [1.0, 1.0]])
    expected = [(4 - math.log(4)) / 2 + 2, 0.0]
    assert kl_divergence(mean, variance.log()).tolist() == pytest.approx(expected)


def test_squared_error_by_hand():
    """Joint 0 off by (1, 2, 3): 14; joint 1 by 5 in x, but not valid. Hand 1: joint 4 off by 0.5 in z."""
    predicted, valid = torch.zeros(2, 21, 3), torch.ones(2, 21, dtype=torch.bool)
    predicted[0, 0], predicted[0, 1, 0], predicted[1, 4, 2] = torch.tensor([1.0, 2, 3]), 5.0, 0.5
    valid[0, 1] = False
    assert squared_error(predicted, torch.zeros(2, 21, 3), valid).tolist() == [14.0, 0.25]


def targets_of(count):
    """Hands at the origin, the frame being the camera's."""
    return PoseTargets(
        image=torch.full((count, 3, 4, 4), 0.5), side=torch.ones(count, dtype=torch.int64),
        pose=torch.zeros(count, 21, 3), rotation=torch.eye(3).expand(count, 3, 3),
        valid=torch.ones(count, 21, dtype=torch.bool), scale_mm=torch.ones(count),
    )  # fmt: skip


def off(count, joint, by):
    pose = torch.zeros(count, 21, 3)
    pose[:, joint, 0] = by
    return pose


def test_spurr_by_hand():
    """Poses off by 2 (not valid in hand 1) and, of hand 0 alone, by 3; codes of means 2 and 4.

    pose (4 + 0) / 2, autoencoded 9, divergences 2 and 8.
    """
    targets = targets_of(2)
    targets.valid[1, 5] = False
    zero = torch.zeros(2, 1)
    seen = SpurrOutput(off(2, 5, 2.0), torch.full((2, 1), 2.0), zero)
    own = SpurrOutput(off(1, 6, 3.0), torch.full((1, 1), 4.0), zero[:1])
    config = SpurrLossConfig(beta=0.1, pose_weight=10.0)
    losses = values(spurr_loss(seen, targets, own, targets.at(targets.valid.all(-1)), config))
    expected = {"pose": 2.0, "autoencoded": 9.0, "kl_image": 2.0, "kl_pose": 8.0}
    assert losses == pytest.approx(expected | {"total": 2 + 90 + 0.1 * 10})


def test_yang_by_hand():
    """p off by 2, c by 3, the six numbers by 0.5 each; a code of mean 2: 4, 9, 1.5, 2."""
    targets = targets_of(1)
    view = torch.tensor([[1.0, 0, 0, 0, 1, 0]]) + 0.5
    output = YangOutput(off(1, 5, 2.0), off(1, 6, 3.0), view, torch.full((1, 1), 2.0), torch.zeros(1, 1))
    config = YangLossConfig(beta=0.1, pose_weight=1.0, canonical_weight=10.0, view_weight=100.0)
    losses = values(yang_loss(output, targets, config))
    terms = {"pose": 4.0, "canonical": 9.0, "view": 1.5, "kl": 2.0}
    assert losses == pytest.approx(terms | {"total": 4 + 90 + 150 + 0.2})
    targets.valid[0, 5:7] = False
    assert values(yang_loss(output, targets, config)) == pytest.approx(
        {"pose": 0.0, "canonical": 0.0, "view": 1.5, "kl": 2.0, "total": 150.2}
    )


# objectives


def test_the_objective_of_spurr_is_the_loss_of_its_outputs():
    model, batch = spurr("scale-side").eval(), batch_of()
    targets = pose_targets(batch, model.config.convention)
    noise = draw_noise(batch, 3, (6, 16), (6, 16))
    seen, own = model(targets.image, targets.side, noise[0]), model.from_pose(targets.pose, noise[1])
    config = SpurrLossConfig(beta=0.5)
    expected = values(spurr_loss(seen, targets, own, targets, config))
    assert values(spurr_objective(model, batch, config, seed=3)) == pytest.approx(expected, rel=1e-4)
    assert expected["total"] > 1


def test_the_objective_of_yang_adds_its_paths():
    model, batch = yang().eval(), batch_of()
    both = values(yang_objective(model, batch, ("labels", "image"), YangLossConfig()))
    losses = (yang_objective(model, batch, (path,), YangLossConfig()) for path in ("labels", "image"))
    labels, image = map(values, losses)
    assert both.pop("total") == pytest.approx(labels.pop("total") + image.pop("total"), rel=1e-4)
    assert both == pytest.approx(labels | image, rel=1e-4)
    names = ("pose", "canonical", "view", "kl")
    assert list(both) == [f"{path}_{name}" for path in ("labels", "image") for name in names]


def test_noise_depends_on_seed_order_and_crop_alone():
    batch = batch_of()
    first, second = draw_noise(batch, 0, (400, 5), (400, 5))
    assert torch.equal(draw_noise(batch, 0, (400, 5))[0], first) and not torch.equal(first, second)
    turned = replace(batch, affine=batch.affine * 1.5)
    others = [(batch, 1), (replace(batch, index=batch.index.flip(0)), 0), (turned, 0)]
    assert all(not torch.equal(draw_noise(*other, (400, 5))[0], first) for other in others)
    assert first.mean().abs() < 0.1 and abs(first.std() - 1) < 0.1
    state = torch.get_rng_state()
    draw_noise(batch, 0, (2, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_invalid_joints_do_not_teach():
    """Whatever is said of a joint that is not annotated; the hand is not encoded as a pose either."""
    model, batch = spurr().eval(), batch_of(1)
    batch.joint_valid[0, 3] = False
    before = values(spurr_objective(model, batch, SpurrLossConfig()))
    batch.joints_cam_mm[0, 3] += 1000.0
    assert values(spurr_objective(model, batch, SpurrLossConfig())) == pytest.approx(before)
    batch.joint_valid[0, 3] = True
    assert values(spurr_objective(model, batch, SpurrLossConfig()))["pose"] > 5 * before["pose"]


OBJECTIVES = [
    (spurr, partial(spurr_objective, config=SpurrLossConfig())),
    *(
        (yang, partial(yang_objective, paths=paths, config=YangLossConfig()))
        for paths in (("labels",), ("image",), ("labels", "image"))
    ),
]


@pytest.mark.parametrize("make, objective", OBJECTIVES)
def test_one_hand(make, objective):
    model, batch = make(), batch_of(1)
    batch.side_present[0, 0] = 0
    losses = objective(model, batch)
    losses["total"].backward()
    assert losses["total"] > 0 and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("make, objective", OBJECTIVES)
@pytest.mark.parametrize("why", ["absent", "without palm"])
def test_no_hand_that_counts_is_no_loss(make, objective, why):
    model, batch = make(), batch_of(2)
    if why == "absent":
        batch.side_present[:] = 0
    else:
        batch.joint_valid[:, [MIDDLE_MCP, 21 + MIDDLE_MCP]] = False
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = train_step(model, torch.optim.Adam(model.parameters()), batch, objective, 0.1)
    assert losses["total"].item() == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("make, objective", [OBJECTIVES[0], OBJECTIVES[3]])
def test_hands_that_lack_a_joint_learn_from_the_image_alone(make, objective):
    model, batch = make(), batch_of(2)
    batch.joint_valid[:, [0, 21]] = False
    objective(model, batch)["total"].backward()
    learnt = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert "image_encoder" in learnt and "pose_decoder" in learnt
    assert not learnt & {"pose_encoder", "canonical_encoder", "view_encoder"}
    assert values(yang_objective(yang(), batch, ("labels",), YangLossConfig())) == {"total": 0}


def test_the_frame_of_yang_needs_the_little_finger():
    batch = batch_of(1)
    batch.joint_valid[0, [LITTLE_MCP, 21 + WRIST]] = False
    assert values(yang_objective(yang(), batch, ("image",), YangLossConfig())) == {"total": 0}


# phases


@pytest.mark.parametrize("make, position", [(spurr, 0), (yang, 0), (yang, 1), (yang, 2)])
def test_the_gradient_reaches_exactly_the_parameters_of_the_phase(make, position):
    model = make()
    phase = phases_of("spurr" if make is spurr else "yang")[position]
    with phase.learning(model):
        chosen = {name for name, p in model.named_parameters() if p.requires_grad}
        phase.objective(model, batch_of())["total"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    everything = {name for name, _ in model.named_children()}
    assert {name.split(".")[0] for name in chosen} == set(phase.modules or everything)
    assert reached == chosen
    assert all(p.requires_grad for p in model.parameters())


def test_the_phase_of_the_labels_looks_at_no_pixel():
    batch = batch_of()
    black = replace(batch, image=torch.zeros_like(batch.image))
    for phase in phases_of("yang"):
        losses = [phase.objective(yang().eval(), b)["total"].item() for b in (batch, black)]
        assert (losses[0] == losses[1]) != phase.pixels


def test_what_was_frozen_before_stays_frozen_after_an_error():
    model = yang()
    model.view_decoder.requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"), phases_of("yang")[0].learning(model):
        assert all(p.requires_grad for p in model.view_decoder.parameters())
        raise RuntimeError("stop")
    assert not any(p.requires_grad for p in model.view_decoder.parameters())
    assert all(p.requires_grad for p in model.image_encoder.parameters())
