"""Stored predictions of auxiliary networks: looked up by sample, box and camera, bit by bit the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from make_official import write_rhd

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.auxiliary_predictions import AuxiliaryPredictions
from msff.evaluation.predictions import ResultError


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "evaluation", 5)
    return list(read_rhd(root, "evaluation"))


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


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "lacks", "shape"])
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
        path.write_bytes({"cut": data[: len(data) // 2], "flipped": flipped, "text": b"hello"}[damage])
    messages = {"lacks": "lacks value", "shape": r"value must be float32 \(5, 2\), found float32 \(3, 2\)"}
    with pytest.raises(ResultError, match=messages.get(damage, "is truncated or not an npz file")) as error:
        AuxiliaryPredictions.load(path)
    assert str(path) in str(error.value)
    assert f"Delete the folder {path.parent}: the study then trains the auxiliary network again" in str(error.value)
