"""The objective of SideNet: cross-entropy by hand, batches without a usable hand; and it can be learnt."""

import pytest
import torch
import torch.nn.functional as F

from msff.data.synthetic import synthetic_batch
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.models.baselines.posenet import PoseNetConfig
from msff.models.building import count_parameters
from msff.settings.networks import BackboneConfig
from msff.training.loop import train_step
from msff.training.objectives.auxiliary import side_objective

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)
SLIM_SIDE = SideNetConfig(BackboneConfig("basic", 8, (1, 1, 1, 1)))
SIDES = torch.tensor([0, 1])


def batch_of(count=3, size=32, seed=0):
    return synthetic_batch(count, size, "cpu", torch.Generator().manual_seed(seed))


def test_the_side_of_single_hands():
    """Crops 0 and 2 show a left and a right hand, crop 1 both: the mean of their cross-entropies."""
    batch, torch_side = batch_of(size=64), torch.tensor([[0.0, 1], [1, 1], [1, 0]])
    torch.manual_seed(0)
    net = SideNet(SLIM_SIDE).eval()
    assert count_parameters(SideNet()) == pytest.approx(11.2e6, rel=0.01)
    batch.side_present[:] = torch_side
    expected = F.cross_entropy(net(batch.image[[0, 2]]), torch.tensor([1, 0]))
    assert side_objective(net, batch)["total"].item() == pytest.approx(expected.item())
    batch.side_valid[0] = False
    expected = F.cross_entropy(net(batch.image[[2]]), torch.tensor([0]))
    assert side_objective(net, batch)["total"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("why", ["both hands", "no hand", "unknown"])
def test_no_single_hand_of_known_side_is_no_loss(why):
    batch, net = batch_of(size=64), SideNet(SLIM_SIDE)
    batch.side_present[:] = {"both hands": 1.0, "no hand": 0.0, "unknown": torch.tensor([1.0, 0.0])}[why]
    batch.side_valid[:] = why != "unknown"
    before = {name: value.clone() for name, value in net.state_dict().items()}
    losses = train_step(net, torch.optim.Adam(net.parameters()), batch, side_objective, 0.1)
    assert losses["total"].item() == 0 and all(not p.grad.any() for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
