"""Answers of a helper: known by sample, box and camera, the same to the last bit, and never of another crop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from make_official import write_rhd
from msff.evaluation.answers import Answers, Helped

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.predictions import ResultError

NAME = "standin-rhd/rootnet/full/seed0"


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
def answers(samples):
    return Answers.asked(by_pixel, crops(samples), batch_size=2)


def batches(dataset, size):
    return dataset.batches(size, augment=None, shuffle=False, generator=torch.Generator())


def told(source, dataset, size=2):
    estimate = source.on(dataset)
    return torch.cat([estimate(batch) for batch in batches(dataset, size)])


def unasked(batch):
    raise AssertionError("the network was asked")


def test_what_is_stored_is_what_was_said(samples, answers, tmp_path):
    answers.save(tmp_path / "answers.npz")
    again = Answers.load(tmp_path / "answers.npz")
    dataset = crops(samples)
    said = torch.cat([by_pixel(batch) for batch in batches(dataset, 2)])
    assert len(again) == 5 and said.unique().numel() == 10
    for size in (2, 5):  # whatever the batches
        assert torch.equal(told(Helped(NAME, again, unasked), dataset, size), said)
    turned = crops(samples[::-1])
    assert torch.equal(told(Helped(NAME, again, None), turned), said.flip(0))
    assert torch.equal(told(Helped(NAME, again, None), dataset.at([3, 1])), said[[3, 1]])


def test_no_answer_for_another_crop_of_the_same_name(samples, answers):
    sample = samples[2]
    moved = [replace(sample, box=sample.box + [0, 0.5, 0, 0]), replace(sample, sample_id="another")]
    moved += [replace(sample, intrinsics=sample.intrinsics * [[1.01], [1], [1]])]
    assert answers.rows([sample, *moved]).tolist() == [2, -1, -1, -1]
    rendered_elsewhere = replace(sample, box=sample.box + 0.005, intrinsics=sample.intrinsics + 0.005)
    assert answers.rows([rendered_elsewhere]).tolist() == [2]
    assert answers.hold(samples) and not answers.hold([*samples, moved[0]])


def test_several_crops_of_one_name_lie_side_by_side(samples, answers):
    """Another view of the same pictures, or other pictures that bear the same numbers."""
    wider = [replace(s, box=s.box * [1, 1, 1.5, 1.5]) for s in samples]
    both = Answers.joined([Answers.asked(by_pixel, None), answers, Answers.asked(by_pixel, crops(wider))])
    assert len(both) == 10 and both.rows([*wider, *samples]).tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    for view in (samples, wider):
        assert torch.allclose(
            told(Helped(NAME, both, None), crops(view)), told(Helped(NAME, None, by_pixel), crops(view))
        )


def test_the_network_is_asked_about_all_where_one_answer_is_missing(samples, answers):
    new = replace(samples[0], sample_id="new")
    dataset = crops([*samples, new])
    assert Helped(NAME, answers, by_pixel).on(dataset) is by_pixel
    with pytest.raises(
        ResultError, match=f"{NAME} has not seen this crop, the first of 1 such out of 6.*--force"
    ) as error:
        Helped(NAME, answers, None).on(dataset)
    assert str(new.image_path) in str(error.value)
    with pytest.raises(ResultError, match="first of 5 such out of 5"):
        Helped(NAME, None, None).on(crops(samples))


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "lacks", "shape"])
def test_a_damaged_file_is_named_with_the_remedy(answers, tmp_path, damage):
    path = tmp_path / "seed0" / "answers.npz"
    path.parent.mkdir()
    answers.save(path)
    data = path.read_bytes()
    at = data.index(b"value.npy") + 60
    arrays = {"sample_id": answers.sample_id, "box": answers.box, "intrinsics": answers.intrinsics}
    if damage in ("lacks", "shape"):
        np.savez(path, **arrays, **({"value": answers.value[:3]} if damage == "shape" else {}))
    else:
        flipped = data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]
        path.write_bytes({"cut": data[: len(data) // 2], "flipped": flipped, "text": b"hello"}[damage])
    said = {"lacks": "lacks value", "shape": r"value must be float32 \(5, 2\), found float32 \(3, 2\)"}
    with pytest.raises(ResultError, match=said.get(damage, "is truncated or not an npz file")) as error:
        Answers.load(path)
    assert str(path) in str(error.value)
    assert f"Delete the folder {path.parent}: its archive can be ingested again" in str(error.value)
