"""Chen (2018): PoseNet without dropout, its loss by hand, the schedule, the augmentation's place; and it learns."""

from dataclasses import replace

import pytest
import torch

from msff.data.synthetic import synthetic_batch
from msff.models.baselines.chen import Chen, chen_config
from msff.models.baselines.posenet import PoseNet, PoseNetConfig
from msff.models.baselines.posenet_targets import palm_hands
from msff.models.building import count_parameters
from msff.settings.losses import TonalityConfig
from msff.skeleton import WRIST
from msff.training.objectives.chen import chen_objective, distance_loss

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)


def batch_of(count=4):
    return synthetic_batch(count, 32, "cpu", torch.Generator().manual_seed(0))


def test_posenet_without_dropout():
    with torch.device("meta"):
        assert count_parameters(Chen(PoseNetConfig())) == count_parameters(PoseNet(PoseNetConfig())) == 21_394_529
    net, image, side = Chen(SLIM), torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    assert net.training and torch.equal(net(image, side).pose, net(image, side).pose)
    assert net.config == chen_config(SLIM) and net.config.prior_dropout == net.config.viewpoint_dropout == 0


def test_it_starts_from_a_trained_posenet():
    posenet, net = PoseNet(SLIM).eval(), Chen(SLIM)
    net.start_from(posenet)
    image, side = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    assert torch.equal(net(image, side).pose, posenet(image, side).pose)
    with pytest.raises(ValueError, match="the weights are of"):
        net.start_from(PoseNet(SLIM.slim(64, 0.0625)))


def test_loss_by_hand():
    """The palm of each hand is off by 0.3 bones along x and 0.4 along y, all else right: 0.5 * s / 21 on average."""
    hands = palm_hands(batch_of())
    joints = hands.relative.clone()
    joints[:, WRIST] += torch.tensor([0.3, 0.4, 0])
    expected = (0.5 * hands.scale_mm / 21).mean().item()
    assert distance_loss(joints, hands).item() == pytest.approx(expected, rel=1e-4)
    hidden = replace(hands, visible=torch.zeros_like(hands.visible))
    assert distance_loss(joints, hidden).item() == pytest.approx(expected, rel=1e-4)  # visible or not
    unknown = hands.valid.clone()
    unknown[:, WRIST] = False
    assert distance_loss(joints, replace(hands, valid=unknown)).item() == 0


def test_the_gradient_reaches_every_parameter_and_no_hand_is_no_loss():
    batch, net = batch_of(), Chen(SLIM)
    chen_objective(net, batch, TonalityConfig())["total"].backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    batch.side_present.zero_()
    assert chen_objective(net, batch, TonalityConfig())["total"].item() == 0


def test_the_augmentation_changes_the_images_it_shows():
    batch, seen = batch_of(), []

    class Spy(Chen):
        def forward(self, image, side):
            seen.append(image)
            return super().forward(image, side)

    mask = torch.zeros(4, 32, 32, dtype=torch.bool)
    mask[:, 8:24, 8:24] = True
    before = batch.image.clone()
    chen_objective(Spy(SLIM), batch, TonalityConfig(), lambda b: mask, seed=0)
    changed = (seen[0] != palm_hands(batch).image).flatten(1).any(1)
    assert changed.sum() == 4  # two of four crops, with two hands each
    assert torch.equal(batch.image, before)


def test_the_augmentation_depends_on_seed_and_batch_alone():
    """What a resumed training draws is what an uninterrupted one drew, whatever was drawn in between."""
    torch.manual_seed(0)
    batch, net = batch_of(), Chen(SLIM)
    mask = torch.zeros(4, 32, 32, dtype=torch.bool)
    mask[:, 8:24, 8:24] = True

    def total(seed, batch=batch):
        return chen_objective(net, batch, TonalityConfig(), lambda b: mask, seed)["total"].item()

    first = total(0)
    torch.rand(7)
    assert total(0) == first != total(1)
    assert total(0, replace(batch, index=batch.index + 100)) != first
