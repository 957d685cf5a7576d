"""PoseNet's objectives: losses by hand, phases, schedules; and they can be learnt."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from msff.data.synthetic import synthetic_batch
from msff.models.baselines.posenet import PoseNet, PoseNetConfig, PoseNetOutput
from msff.models.baselines.posenet_segmentation import FoundHand
from msff.models.baselines.posenet_targets import (
    canonical_targets,
    palm_hands,
    score_map_profiles,
    score_map_targets,
)
from msff.settings.losses import JitterConfig, Pose2DConfig
from msff.settings.native import POSENET_NATIVE
from msff.skeleton import MIDDLE_MCP
from msff.study.experiment import Experiment
from msff.study.phases import phases
from msff.study.profiles import PROFILES
from msff.training.loop import Phase, train_step
from msff.training.objectives.posenet import (
    lifting_loss,
    lifting_objective,
    mean_square_of_enlarged,
    pose2d_objective,
    score_map_loss,
    segmentation_loss,
    segmentation_objective,
)

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)
SIDES = torch.tensor([0, 1])
NOISY = (
    partial(pose2d_objective, config=Pose2DConfig()),
    partial(lifting_objective, jitter=JitterConfig(), sigma_px=25.0),
)


def slim(config=SLIM, seed=0):
    torch.manual_seed(seed)
    return PoseNet(config)


def phases_of(variant, **changes):
    """The phases of PoseNet at seed 7, with other fields of its recipe in a profile."""
    profile = PROFILES["smoke"]
    recipes = replace(profile.recipes, posenet=replace(profile.recipes.posenet, **changes))
    return phases(Experiment("smoke", "standin-rhd", "posenet", variant, 7), replace(profile, recipes=recipes))


def batch_of(count=3, size=32, seed=0):
    return synthetic_batch(count, size, "cpu", torch.Generator().manual_seed(seed))


def test_score_map_loss_by_hand():
    """Zero maps against one visible joint: its root mean square, divided by 1.001; likewise ones."""
    joints, visible = torch.full((1, 21, 2), 30.0), torch.zeros(1, 21, dtype=torch.bool)
    visible[0, 7] = True
    target = score_map_targets(joints, visible, 64)[0, 7]
    maps = (torch.zeros(1, 21, 8, 8), torch.ones(1, 21, 8, 8))
    losses = score_map_loss(maps, joints, visible, 64, Pose2DConfig())
    first, second = target.square().mean().sqrt() / 1.001, (1 - target).square().mean().sqrt() / 1.001
    assert losses["stage1"].item() == pytest.approx(first.item()) and losses["stage2"].item() == pytest.approx(
        second.item()
    )
    assert losses["total"].item() == pytest.approx((first + second).item())


@pytest.mark.parametrize("cells, size", [(8, 64), (4, 32), (12, 96)])
def test_the_loss_without_large_maps_is_the_loss_with_them(cells, size):
    """Value and gradient against the maps enlarged and compared pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand(3, 21, 2, generator=generator, dtype=torch.float64) * size
    visible = torch.rand(3, 21, generator=generator) < 0.7
    maps = torch.randn(3, 21, cells, cells, generator=generator, dtype=torch.float64, requires_grad=True)
    short = mean_square_of_enlarged(maps, score_map_profiles(joints, visible, size))
    wide = torch.nn.functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
    long = (wide - score_map_targets(joints, visible, size)).square().mean((2, 3))
    torch.testing.assert_close(short, long, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(value.sqrt().sum(), maps)[0] for value in (short, long)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_a_perfect_map_has_a_gradient():
    maps = torch.zeros(1, 21, 4, 4, requires_grad=True)
    nothing = torch.zeros(1, 21, dtype=torch.bool)
    score_map_loss((maps,), torch.zeros(1, 21, 2), ~nothing, 32, Pose2DConfig())["total"].backward()
    assert torch.isfinite(maps.grad).all()


def test_lifting_loss_by_hand():
    """All coordinates off by 0.5: 0.25. The identity off by 1 in one of nine entries of each of five hands: 1 / 9."""
    batch = batch_of()
    batch.joint_valid[1, 21 + MIDDLE_MCP] = False
    batch.joint_valid[0, 5] = False
    hands = palm_hands(batch)
    canonical, rotation = canonical_targets(hands)
    canonical = canonical + 0.5
    canonical[0, 5] = 99.0  # not annotated
    rotation = rotation.clone()
    rotation[:, 0, 1] += 1
    losses = lifting_loss(PoseNetOutput(canonical, canonical, rotation), hands)
    values = {name: value.item() for name, value in losses.items()}
    assert values == pytest.approx({"canonical": 0.25, "rotation": 1 / 9, "total": 0.25 + 1 / 9}, rel=1e-4)


def test_segmentation_loss_by_hand():
    """Logits (0, ln 3): hand with 3/4. Half of the pixels show a hand: -(ln 3/4 + ln 1/4) / 2 = 0.8370."""
    logits = torch.tensor([0.0, 1.0986123]).view(1, 2, 1, 1)
    mask = torch.tensor([[[True, False], [False, True]]])
    assert segmentation_loss(logits.expand(1, 2, 2, 2), mask).item() == pytest.approx(0.83699, abs=1e-4)


def test_each_phase_trains_its_part():
    batch, net = batch_of(), slim()
    found = phases_of("full")
    assert {module for phase in found for module in phase.modules} == {name for name, _ in net.named_children()}
    for phase in found:
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with phase.learning(net):
            train_step(net, torch.optim.Adam(net.parameters()), batch, phase.objective, 1e-3)
        moved = {n.split(".")[0] for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
        assert moved == {phase.name} == set(phase.modules)


def test_the_phases_hand_on_their_settings():
    maps, jitter = Pose2DConfig(sigma_px=60.0), JitterConfig(joint_px=1.0)
    first, second = phases_of("full", maps=maps, jitter=jitter)
    assert first.objective.func is pose2d_objective and first.objective.keywords == {"config": maps, "seed": 7}
    assert second.objective.func is lifting_objective
    assert second.objective.keywords == {"jitter": jitter, "sigma_px": 60.0, "seed": 7}
    natives = [phase.training for phase in phases_of("native")]
    assert natives == [POSENET_NATIVE["pose2d"], POSENET_NATIVE["lifting"]]


def test_the_segmentation_alone_learns_for_the_found_hand():
    """Untrained, with the authors' gain, it costs ln 2."""
    torch.manual_seed(0)
    config = replace(SLIM, layers=replace(SLIM.layers, gain=1.0))
    batch, net, trained = batch_of(), FoundHand(config).eval(), slim(config, seed=1).eval()
    net.start_from(trained)
    image, side = torch.rand(2, 3, 32, 32), SIDES
    assert torch.equal(net(image, side).pose, trained(image, side).pose)
    objective = partial(segmentation_objective, masks=lambda b: torch.zeros(len(b), 32, 32, dtype=torch.bool))
    phase = Phase("segmentation", objective, POSENET_NATIVE["segmentation"], ("segmentation",))
    assert phase.objective(net, batch)["total"].item() == pytest.approx(math.log(2), abs=0.05)
    optimizer = torch.optim.Adam(net.parameters())
    with phase.learning(net):
        for _ in range(10):
            train_step(net, optimizer, batch, phase.objective, 1e-2)
    assert phase.objective(net, batch)["total"].item() < 0.3
    learnt = net.posenet.state_dict()
    assert all(torch.equal(learnt[name], value) for name, value in trained.state_dict().items())
    with pytest.raises(ValueError, match="the weights are of"):
        net.start_from(PoseNet(SLIM.slim(64, 0.0625)))


def test_a_batch_without_a_hand_is_no_loss():
    batch, net = batch_of(), slim()
    batch.side_present.zero_()
    for objective in NOISY:
        total = objective(net, batch, seed=0)["total"]
        total.backward()
        assert total.item() == 0


@pytest.mark.parametrize("objective", NOISY)
def test_noise_depends_on_seed_and_batch_alone(objective):
    """What a resumed training draws is what an uninterrupted one drew, whatever was drawn in between."""
    batch, net = batch_of(), slim().eval()

    def total(seed, batch=batch):
        return objective(net, batch, seed=seed)["total"].item()

    first = total(0)
    torch.rand(7)
    assert total(0) == first != total(1) and total(None) != first
    assert total(0, replace(batch, index=batch.index + 100)) != first
    assert total(None, replace(batch, index=batch.index + 100)) == total(None)


def test_phases_without_pixels_learn_the_same_from_black_images():
    """The objectives of the phases that say so give the same loss and gradient whatever the crop shows."""
    batch, black = batch_of(), replace(batch_of(), image=torch.zeros(()).expand_as(batch_of().image))
    net = slim().eval()
    for phase in phases_of("full"):
        losses = [phase.objective(net, b)["total"].item() for b in (batch, black)]
        assert (losses[0] == losses[1]) != phase.pixels
