"""SideNet's word on the side of a hand, and its accuracy counted by hand."""

from dataclasses import replace

import pytest
import torch
from make_official import write_rhd
from torch import nn

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.sides import SideProbabilities, side_accuracy
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.models.backbone import BackboneConfig

CROP = 64


class Says(nn.Module):
    """Logits of right and left from a list, whatever the crops show."""

    def __init__(self, *logits):
        super().__init__()
        self.logits, self.seen = torch.tensor(logits, dtype=torch.float32), 0

    def forward(self, image):
        assert not self.training
        rows = self.logits[self.seen : self.seen + len(image)]
        self.seen += len(image)
        return rows


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Right, left, right, left, right."""
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "evaluation", 5)
    found = list(read_rhd(root, "evaluation"))
    assert [s.hand_type for s in found] == ["right", "left", "right", "left", "right"]
    return found


def batch_of(samples):
    dataset = HandDataset(samples, CROP)
    return next(iter(dataset.batches(8, augment=None, shuffle=False, generator=torch.Generator())))


def test_probabilities_are_the_softmax_of_the_logits(samples):
    logits = [[2.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]
    p = SideProbabilities(Says(*logits))(batch_of(samples))
    assert p[0].tolist() == pytest.approx([0.880797, 0.119203]) and p[1, 1].item() == pytest.approx(0.731059)
    assert p[3].tolist() == [0.5, 0.5] and torch.allclose(p.sum(1), torch.ones(5))


def test_a_real_network_is_asked_in_evaluation_and_without_gradients(samples):
    model = SideNet(SideNetConfig(BackboneConfig("basic", 8, (1, 1, 1, 1)))).train()
    sides, batch = SideProbabilities(model), batch_of(samples)
    p = sides(batch)
    assert p.shape == (5, 2) and not p.requires_grad and torch.equal(p, sides(batch))


@pytest.mark.parametrize("batch_size", [2, 64])
def test_accuracy_counted_by_hand(samples, batch_size):
    """Truth R L R L R; told R L L R R: three of five."""
    right, left = [4.0, -4.0], [-1.0, 1.0]
    sides = SideProbabilities(Says(right, left, left, right, right))
    dataset = HandDataset(samples, CROP)
    assert side_accuracy(sides, dataset, batch_size) == {"accuracy_percent": pytest.approx(60.0), "hands": 5}


def test_hands_of_unknown_side_do_not_count(samples):
    """The last is told right, but nobody knows its side: two of four."""
    unknown = [replace(s, hand_type_valid=i != 4) for i, s in enumerate(samples)]
    right, left = [1.0, 0.0], [0.0, 1.0]
    result = side_accuracy(SideProbabilities(Says(right, left, left, right, right)), HandDataset(unknown, CROP), 2)
    assert result == {"accuracy_percent": pytest.approx(50.0), "hands": 4}
    with pytest.raises(ValueError, match="no hand of annotated side"):
        nobody = [replace(s, hand_type_valid=False) for s in samples]
        side_accuracy(SideProbabilities(Says(*[right] * 5)), HandDataset(nobody, CROP))
