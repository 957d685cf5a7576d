"""The auxiliary networks: stored predictions, looked up bit by bit the same by sample, box and camera; the depth of
RootNet and the handedness of SideNet, with their accuracy, by hand."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from make_official import write_rhd
from torch import nn

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.auxiliary_predictions import (
    AuxiliaryPredictions,
    depth_accuracy,
    depth_of,
    side_accuracy,
    sides_of,
)
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predictions import ResultError
from msff.models.auxiliary.rootnet import RootOutput, box_k_mm
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.settings.networks import BackboneConfig
from msff.skeleton import ROOTS


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Right, left, right, left, right."""
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "evaluation", 5)
    found = list(read_rhd(root, "evaluation"))
    assert [s.hand_type for s in found] == ["right", "left", "right", "left", "right"]
    return found


def by_pixel(batch):
    """Mean and spread of each crop: numbers that no float can hold shorter. -> (B, 2)"""
    pixels = batch.image.flatten(1)
    return torch.stack([pixels.mean(1), pixels.std(1)], 1)


def crops(samples):
    return HandDataset(samples, 32)


@pytest.fixture(scope="module")
def predictions(samples):
    return AuxiliaryPredictions.of(by_pixel, crops(samples), batch_size=2)


def looked_up(table, dataset, size=2):
    values = table.on(dataset)
    return torch.cat([values(batch) for batch in dataset.in_order(size)])


def test_stored_values_are_those_of_the_network(samples, predictions, tmp_path):
    predictions.save(tmp_path / "predictions.npz")
    again = AuxiliaryPredictions.load(tmp_path / "predictions.npz")
    dataset = crops(samples)
    expected = torch.cat([by_pixel(batch) for batch in dataset.in_order(2)])
    assert len(again) == 5 and expected.unique().numel() == 10
    for size in (2, 5):
        assert torch.equal(looked_up(again, dataset, size), expected)
    assert torch.equal(looked_up(again, crops(samples[::-1])), expected.flip(0))
    assert torch.equal(looked_up(again, dataset.at([3, 1])), expected[[3, 1]])


def test_another_crop_of_the_same_name_has_no_prediction(samples, predictions):
    sample = samples[2]
    moved = [replace(sample, box=sample.box + [0, 0.5, 0, 0]), replace(sample, sample_id="another")]
    moved += [replace(sample, intrinsics=sample.intrinsics * [[1.01], [1], [1]])]
    assert predictions.rows([sample, *moved]).tolist() == [2, -1, -1, -1]
    rendered_elsewhere = replace(sample, box=sample.box + 0.005, intrinsics=sample.intrinsics + 0.005)
    assert predictions.rows([rendered_elsewhere]).tolist() == [2]
    assert predictions.covers(samples) and not predictions.covers([*samples, moved[0]])


def test_several_crops_of_one_name_lie_side_by_side(samples, predictions):
    """Another view of the same images, or other images with the same numbers."""
    wider = [replace(s, box=s.box * [1, 1, 1.5, 1.5]) for s in samples]
    both = AuxiliaryPredictions.joined([predictions, AuxiliaryPredictions.of(by_pixel, crops(wider))])
    assert len(both) == 10 and both.rows([*wider, *samples]).tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    for view in (samples, wider):
        expected = torch.cat([by_pixel(batch) for batch in crops(view).in_order(2)])
        assert torch.allclose(looked_up(both, crops(view)), expected)


def test_a_crop_without_a_prediction_is_named(samples, predictions):
    new = replace(samples[0], sample_id="new")
    with pytest.raises(ResultError, match="lack this crop, the first of 1 out of 6.*--force") as error:
        predictions.on(crops([*samples, new]))
    assert str(new.image_path) in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "version", "lacks", "shape"])
def test_a_damaged_file_is_named_with_the_remedy(predictions, tmp_path, damage):
    path = tmp_path / "seed0" / "predictions.npz"
    path.parent.mkdir()
    predictions.save(path)
    data = path.read_bytes()
    at = data.index(b"value.npy") + 60
    arrays = {"sample_id": predictions.sample_id, "box": predictions.box, "intrinsics": predictions.intrinsics}
    if damage in ("lacks", "shape"):
        np.savez(path, **arrays, **({"value": predictions.value[:3]} if damage == "shape" else {}))
    else:
        flipped = data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]
        unknown = re.sub(rb"(PK\x01\x02..).", b"\\1\xff", data, flags=re.DOTALL)  # a version of zip that nobody has
        path.write_bytes(
            {"cut": data[: len(data) // 2], "flipped": flipped, "text": b"hello", "version": unknown}[damage]
        )
    messages = {"lacks": "lacks value", "shape": r"value must be float32 \(5, 2\), found float32 \(3, 2\)"}
    with pytest.raises(ResultError, match=messages.get(damage, "is truncated or not an npz file")) as error:
        AuxiliaryPredictions.load(path)
    assert str(path) in str(error.value)
    assert f"Delete the folder {path.parent}: the study then trains the auxiliary network again" in str(error.value)


# RootNet


class Fixed(nn.Module):
    """Says the same gamma of every crop."""

    def __init__(self, right=0.5, left=2.0):
        super().__init__()
        self.values = right, left

    def forward(self, image):
        assert not self.training
        return RootOutput(torch.zeros(len(image), 2, 4, 4), torch.tensor([self.values] * len(image)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "training", count=6)
    return HandDataset(read_rhd(root, "training"), 64)


def whole(dataset):
    return next(iter(dataset.in_order(len(dataset))))


def test_depth_by_hand():
    """f = 500 px, a 100 px box shown as 125 px: k = 1200 mm."""
    batch = SimpleNamespace(
        image=torch.zeros(1, 3, 64, 64),
        box=torch.tensor([[3.0, 4.0, 100.0, 50.0]]),
        intrinsics=torch.diag(torch.tensor([500.0, 500.0, 1.0]))[None],
    )
    torch.testing.assert_close(depth_of(Fixed())(batch), torch.tensor([[600.0, 2400.0]]))


def test_errors_by_hand(dataset):
    """Right wrists at k / 2, left ones at 2 k, each against its own annotation."""
    batch = whole(dataset)
    k = box_k_mm(batch.box, batch.intrinsics)
    true, valid = batch.root_depth_mm, batch.joint_valid[:, list(ROOTS.values())]
    expected = ((torch.stack([0.5 * k, 2 * k], 1) - true).abs() / true)[valid]
    assert valid.sum() < valid.numel()
    accuracy = depth_accuracy(depth_of(Fixed()), dataset, batch_size=4)
    assert accuracy["mean_percent"] == pytest.approx(100 * expected.mean().item())
    ordered = expected.sort().values
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    assert accuracy["median_percent"] == pytest.approx(100 * middle.item()) and accuracy["wrists"] == len(expected)


def test_the_law_of_the_box_is_measured_alike(dataset):
    as_network = depth_of(Fixed(0.7, 0.7))
    assert depth_accuracy(as_network, dataset) == pytest.approx(depth_accuracy(BoxDepth(700.0), dataset))


# SideNet


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


def test_probabilities_are_the_softmax_of_the_logits(samples):
    logits = [[2.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]
    p = sides_of(Says(*logits))(whole(crops(samples)))
    assert p[0].tolist() == pytest.approx([0.880797, 0.119203]) and p[1, 1].item() == pytest.approx(0.731059)
    assert p[3].tolist() == [0.5, 0.5] and torch.allclose(p.sum(1), torch.ones(5))


def test_a_real_network_is_asked_in_evaluation_and_without_gradients(samples):
    model = SideNet(SideNetConfig(BackboneConfig("basic", 8, (1, 1, 1, 1)))).train()
    sides, batch = sides_of(model), whole(crops(samples))
    p = sides(batch)
    assert p.shape == (5, 2) and not p.requires_grad and torch.equal(p, sides(batch))


@pytest.mark.parametrize("batch_size", [2, 64])
def test_accuracy_counted_by_hand(samples, batch_size):
    """Truth R L R L R; told R L L R R: three of five."""
    right, left = [4.0, -4.0], [-1.0, 1.0]
    sides = sides_of(Says(right, left, left, right, right))
    assert side_accuracy(sides, crops(samples), batch_size) == {"accuracy_percent": pytest.approx(60.0), "hands": 5}


def test_hands_of_unknown_side_do_not_count(samples):
    """The last is told right, but nobody knows its side: two of four."""
    unknown = [replace(s, hand_type_valid=i != 4) for i, s in enumerate(samples)]
    right, left = [1.0, 0.0], [0.0, 1.0]
    result = side_accuracy(sides_of(Says(right, left, left, right, right)), crops(unknown), 2)
    assert result == {"accuracy_percent": pytest.approx(50.0), "hands": 4}
    with pytest.raises(ValueError, match="no hand of annotated side"):
        nobody = [replace(s, hand_type_valid=False) for s in samples]
        side_accuracy(sides_of(Says(*[right] * 5)), crops(nobody))
