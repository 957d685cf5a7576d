"""HandDataset and Batch: order, targets, mirror, cache, determinism."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from make_official import write_rhd
from PIL import Image

from msff.camera import apply_affine, invert_affine, project
from msff.data import images
from msff.data.batches import Batch, HandDataset
from msff.data.images import decode_image, image_slots
from msff.data.rhd import read_rhd
from msff.data.sample import DataError
from msff.data.single_hand import split_hands
from msff.settings.training import AugmentConfig

FLIP_ONLY = AugmentConfig(shift=0, scale=0, rotation_deg=0, flip_probability=1, colour=0)


def passes(dataset, size=3, *, seed=0, augment=None, shuffle=False, **options) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return list(dataset.batches(size, augment=augment, shuffle=shuffle, generator=generator, **options))


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(Batch))


def test_evaluation_keeps_the_order_and_the_last_partial_batch(rhd):
    dataset = HandDataset(rhd, 32)
    batches = passes(dataset)
    assert [b.index.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert dataset.count_batches(3, shuffle=False) == 3 and len(batches[-1]) == 1


def test_training_shuffles_and_leaves_out_an_incomplete_batch_unless_it_is_alone(rhd):
    dataset = HandDataset(rhd, 32)
    orders = [torch.cat([b.index for b in passes(dataset, shuffle=True, seed=s)]).tolist() for s in range(4)]
    assert all(len(set(o)) == 6 for o in orders) and len({tuple(o) for o in orders}) > 1
    assert dataset.count_batches(3, shuffle=True) == 2
    assert [len(b) for b in passes(dataset, 16, shuffle=True)] == [7] and dataset.count_batches(16, shuffle=True) == 1


def test_limit_counts_samples(rhd):
    dataset = HandDataset(rhd, 32)
    assert [b.index.tolist() for b in passes(dataset, limit=4)] == [[0, 1, 2], [3]]
    assert dataset.count_batches(3, shuffle=False, limit=4) == 2
    assert sum(map(len, passes(dataset, limit=100))) == 7


def test_shapes_and_types(interhand):
    batch = passes(HandDataset(interhand, 24), 6)[0]
    shapes = {
        "image": (6, 3, 24, 24), "affine": (6, 2, 3), "intrinsics": (6, 3, 3), "joints_cam_mm": (6, 42, 3),
        "joints_crop_px": (6, 42, 2), "relative_depth_mm": (6, 42), "joint_valid": (6, 42), "joint_visible": (6, 42),
        "side_present": (6, 2), "side_valid": (6,), "root_depth_mm": (6, 2), "relative_root_depth_mm": (6,),
        "relative_root_valid": (6,), "box": (6, 4), "index": (6,),
    }  # fmt: skip
    assert {f.name: tuple(getattr(batch, f.name).shape) for f in fields(Batch)} == shapes
    for name in ("joint_valid", "joint_visible", "side_valid", "relative_root_valid"):
        assert getattr(batch, name).dtype == torch.bool
    assert batch.index.dtype == torch.int64 and batch.image.dtype == torch.float32
    assert batch.image.min() >= 0 and batch.image.max() <= 1


def test_targets_of_an_interacting_sample(interhand):
    sample = interhand[4]
    batch = passes(HandDataset(interhand, 64), 6)[0]
    z = sample.joints_cam_mm[:, 2]
    assert batch.relative_root_valid.tolist() == [False] * 4 + [True] * 2
    assert batch.relative_root_depth_mm[4].item() == pytest.approx(z[41] - z[20], abs=1e-3)
    assert batch.relative_root_depth_mm[:4].eq(0).all()
    np.testing.assert_allclose(batch.root_depth_mm[4], z[[20, 41]], rtol=1e-6)
    np.testing.assert_allclose(batch.relative_depth_mm[4, :21], z[:21] - z[20], atol=1e-3)
    np.testing.assert_allclose(batch.relative_depth_mm[4, 21:], z[21:] - z[41], atol=1e-3)
    assert batch.relative_depth_mm[4, [20, 41]].eq(0).all()
    assert torch.equal(batch.joint_visible, batch.joint_valid)  # the dataset does not say
    assert batch.side_present.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]]
    assert batch.root_depth_mm[0, 1] == 0 and batch.relative_depth_mm[0, 21:].eq(0).all()


def test_2d_and_3d_targets_agree_through_the_camera(interhand):
    """Eqs. (1)-(2): project the joints, apply the affine, and meet the crop joints."""
    batch = passes(HandDataset(interhand, 64), 6, augment=replace(AugmentConfig(), flip_probability=0))[0]
    crop = apply_affine(batch.affine, project(batch.joints_cam_mm, batch.intrinsics))
    assert (crop - batch.joints_crop_px)[batch.joint_valid].abs().max() < 1e-2


def test_the_mirror_exchanges_hands_in_every_field(interhand):
    dataset = HandDataset(interhand, 64)
    plain, mirrored = passes(dataset, 6)[0], passes(dataset, 6, augment=FLIP_ONLY)[0]
    # the crop's centre is at S / 2, so a mirrored pixel i comes from S - i
    torch.testing.assert_close(mirrored.image[..., 1:], plain.image.flip(-1)[..., :-1], atol=2e-3, rtol=0)
    swap = [*range(21, 42), *range(21)]
    assert torch.equal(mirrored.joint_valid, plain.joint_valid[:, swap])
    assert torch.equal(mirrored.side_present, plain.side_present.flip(-1))
    torch.testing.assert_close(mirrored.joints_cam_mm[..., 0], -plain.joints_cam_mm[:, swap, 0])
    torch.testing.assert_close(mirrored.joints_cam_mm[..., 1:], plain.joints_cam_mm[:, swap, 1:])
    torch.testing.assert_close(mirrored.relative_root_depth_mm, -plain.relative_root_depth_mm)
    torch.testing.assert_close(mirrored.root_depth_mm, plain.root_depth_mm.flip(-1))
    valid = mirrored.joint_valid
    torch.testing.assert_close(
        mirrored.joints_crop_px[..., 0][valid], (64 - plain.joints_crop_px[:, swap, 0])[valid], atol=1e-3, rtol=0
    )
    back = apply_affine(invert_affine(mirrored.affine), mirrored.joints_crop_px)  # image of the original, not mirrored
    stored = torch.from_numpy(np.stack([s.joints_image_px for s in interhand])).float()[:, swap]
    assert (back - stored)[valid].abs().max() < 1e-2
    assert torch.equal(mirrored.box, plain.box) and torch.equal(mirrored.intrinsics, plain.intrinsics)


def test_the_hand_is_where_the_annotation_says(tmp_path):
    """A white dot drawn at a joint's pixel is found in the crop at its crop coordinate, mirrored or not."""
    official = write_rhd(tmp_path, "training", 2)
    for i in range(2):
        uv = official.annotations[i]["uv_vis"][21 if i == 0 else 0, :2].round().astype(int)
        pixels = np.zeros((320, 320, 3), np.uint8)
        pixels[uv[1], uv[0]] = 255
        Image.fromarray(pixels).save(official.folder / "color" / f"{i:05d}.png")
    dataset = HandDataset(read_rhd(tmp_path, "training"), 256)
    for augment in (None, FLIP_ONLY, AugmentConfig(shift=0, scale=0.1, rotation_deg=30, rotation_probability=1)):
        batch = passes(dataset, 2, augment=augment)[0]
        for i in range(2):
            wrist = 20 if batch.side_present[i, 0] else 41
            brightness = batch.image[i].sum(0)
            rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
            found = torch.stack([(columns * brightness).sum(), (rows * brightness).sum()]) / brightness.sum()
            scale = batch.affine[i, :, 0].norm()
            assert (found - batch.joints_crop_px[i, wrist]).abs().max() < 0.6 * scale  # the dot was drawn to the pixel


def test_same_generator_same_batches_with_and_without_cache(rhd, interhand, monkeypatch):
    for samples in (rhd, interhand):
        cached = HandDataset(samples, 32, supersample=2)
        with monkeypatch.context() as patch:
            patch.setattr("msff.data.batches.KEPT_SAMPLES", 5)  # those of InterHand are made for every batch
            direct = HandDataset(samples, 32, supersample=2, cache=False)
        assert isinstance(cached.samples, list) and (direct.samples is samples) == (samples is interhand)
        first = passes(cached, augment=AugmentConfig(), shuffle=True, seed=5)
        again = passes(cached, augment=AugmentConfig(), shuffle=True, seed=5)
        uncached = passes(direct, augment=AugmentConfig(), shuffle=True, seed=5)
        other = passes(cached, augment=AugmentConfig(), shuffle=True, seed=6)
        assert all(equal(a, b) and equal(a, c) for a, b, c in zip(first, again, uncached, strict=True))
        assert not torch.equal(first[0].image, other[0].image)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("cache", [True, False])
def test_hands_of_one_image_share_its_pixels(interhand, monkeypatch, cache, lazy):
    """Six images, eight hands: the same crops as from eight images of their own, and each file decoded once."""
    hands = split_hands(interhand if lazy else list(interhand)).samples
    alone = [passes(HandDataset([s], 24), 1)[0].image for s in hands]
    calls = []
    monkeypatch.setattr(images, "decode_image", lambda path, mode="RGB": calls.append(path) or decode_image(path, mode))
    if lazy:
        monkeypatch.setattr("msff.data.batches.KEPT_SAMPLES", 5)
    dataset = HandDataset(hands, 24, cache=cache)
    assert (dataset.samples is hands) == lazy
    torch.testing.assert_close(passes(dataset, 8)[0].image, torch.cat(alone), atol=1e-5, rtol=0)
    assert len(calls) == len(set(calls)) == 6
    shuffled = passes(dataset, 4, shuffle=True)
    for batch in shuffled:
        torch.testing.assert_close(batch.image, torch.cat([alone[i] for i in batch.index]), atol=1e-5, rtol=0)
    if cache:
        assert len(calls) == 6 and dataset._images._cached.shape == (6, 3, 512, 512)
    else:
        assert 12 <= len(calls) <= 14  # both hands of at most two images fell into two batches


def test_each_distinct_image_has_a_slot(interhand):
    samples = [interhand[i] for i in (3, 1, 3, 0, 1)]
    slot, first = image_slots(samples)
    assert slot.tolist() == [0, 1, 0, 2, 1] and first.tolist() == [0, 1, 3]
    slot, first = image_slots(interhand)
    assert slot.tolist() == first.tolist() == [*range(6)]
    other = replace(samples[2], image_size=(1, 1))  # annotated differently: decoded again, and found wrong
    with pytest.raises(DataError, match="expected 1x1 px as annotated"):
        passes(HandDataset([samples[0], other], 16))


def test_a_large_uncached_split_is_never_walked_through(interhand, monkeypatch):
    monkeypatch.setattr("msff.data.batches.KEPT_SAMPLES", 5)
    monkeypatch.setattr(images, "image_slots", lambda _: pytest.fail("looked at every sample"))
    made, make = [], type(interhand).make
    monkeypatch.setattr(type(interhand), "make", lambda self, i: made.append(i) or make(self, i))
    dataset = HandDataset(split_hands(interhand).samples, 16, cache=False)
    assert not made
    passes(dataset, 2, limit=2)
    assert set(made) == {0, 1}


def test_no_samples():
    with pytest.raises(DataError, match="at least one sample, found none"):
        HandDataset([], 32)


def test_an_image_of_another_size_names_both_sizes(tmp_path):
    official = write_rhd(tmp_path, "training", 1)
    path = official.folder / "color" / "00000.png"
    samples = read_rhd(tmp_path, "training")
    Image.new("RGB", (64, 32)).save(path)
    with pytest.raises(DataError, match=r"00000\.png: expected 320x320 px as annotated, found 64x32"):
        passes(HandDataset(samples, 32))
    with pytest.raises(DataError, match=r"mask.00000\.png: expected 64x32 px as its colour image has, found 320x320"):
        read_rhd(tmp_path, "training")


def test_without_pixels_all_but_the_image_is_the_same(rhd):
    drawn = (passes(HandDataset(rhd, 64), augment=AugmentConfig(), shuffle=True, pixels=p) for p in (True, False))
    for seen, blind in zip(*drawn, strict=True):
        assert blind.image.shape == seen.image.shape and not blind.image.any() and seen.image.any()
        for f in fields(Batch):
            if f.name != "image":
                assert torch.equal(getattr(seen, f.name), getattr(blind, f.name)), f.name
