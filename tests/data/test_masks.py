"""RHD's masks on crops, against OpenCV; with and without a cache, and their errors."""

import cv2
import numpy as np
import pytest
import torch
from make_official import write_rhd
from PIL import Image

from msff.data import images
from msff.data.batches import HandDataset
from msff.data.images import decode_image
from msff.data.masks import MaskStore, crop_labels, hand_pixels
from msff.data.rhd import read_rhd
from msff.data.sample import DataError
from msff.data.single_hand import keypoint_crops
from msff.settings.training import AugmentConfig


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Seven images whose masks have every label, in blocks."""
    made = write_rhd(tmp_path_factory.mktemp("rhd"), "training", 7)
    rng = np.random.default_rng(1)
    for i in range(7):
        made.masks[i] = rng.integers(0, 34, (40, 40), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(made.masks[i]).save(made.folder / "mask" / f"{i:05d}.png")
    return made


@pytest.fixture(scope="module")
def rhd(official):
    return read_rhd(official.folder.parent, "training")


def batches(samples, augment=None, size=64, batch_size=3, shuffle=False):
    generator = torch.Generator().manual_seed(5)
    dataset = HandDataset(samples, size)
    return list(dataset.batches(batch_size, augment=augment, shuffle=shuffle, generator=generator))


def exchanged(labels: np.ndarray) -> np.ndarray:
    """2..17 become 18..33 and the other way round."""
    return np.array([0, 1, *range(18, 34), *range(2, 18)], np.uint8)[labels]


def check_labels(found: torch.Tensor, mask: np.ndarray, affine: torch.Tensor, crop_size: int) -> bool:
    """Equal to cv2.warpAffine's nearest pixel but where a bin's centre lies between two; whether it is mirrored."""
    bins = len(found)
    matrix = affine.double().numpy() * bins / crop_size
    flipped = bool(np.linalg.det(matrix[:, :2]) < 0)
    mask = exchanged(mask) if flipped else mask
    expected = cv2.warpAffine(mask, matrix, (bins, bins), flags=cv2.INTER_NEAREST)
    rows, columns = np.mgrid[:bins, :bins]
    places = np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ [columns.ravel(), rows.ravel(), np.ones(bins**2)]
    clear = (np.abs(places[:2] % 1 - 0.5) > 0.01).all(0).reshape(bins, bins)  # OpenCV's rounding of coordinates
    assert clear.mean() > 0.8 and np.array_equal(found.numpy()[clear], expected[clear])
    return flipped


@pytest.mark.parametrize("share, mirrored", [(0, {False}), (1, {True}), (0.5, {False, True})])
@pytest.mark.parametrize("cache", [True, False])
def test_labels_equal_opencvs_nearest(official, rhd, share, mirrored, cache):
    store = MaskStore(rhd, cache=cache)
    flips = []
    for batch in batches(rhd, AugmentConfig(flip_probability=share), shuffle=True):
        found = store.on_crops(batch, 32)
        assert found.dtype == torch.uint8 and found.shape == (len(batch), 32, 32)
        for i, position in enumerate(batch.index.tolist()):
            flips.append(check_labels(found[i], official.masks[position], batch.affine[i], 64))
    assert len(flips) == 6 and {*flips} == mirrored


def test_masks_go_with_the_crop_of_another_view(official, rhd):
    (batch,) = batches(keypoint_crops(rhd), batch_size=7)
    found = MaskStore(rhd).on_crops(batch, 64)
    for i in range(7):
        check_labels(found[i], official.masks[i], batch.affine[i], 64)


def test_masks_are_decoded_once_with_a_cache(rhd, monkeypatch):
    made = batches(rhd, AugmentConfig())
    calls = []
    monkeypatch.setattr(
        "msff.data.rhd.decode_image", lambda path, mode="RGB": calls.append(path) or decode_image(path, mode)
    )
    cached, direct = MaskStore(rhd), MaskStore(rhd, cache=False)
    assert not calls
    first = [cached.on_crops(b, 16) for b in made]
    assert len(calls) == len({*calls}) == 7 and all(p.parent.name == "mask" for p in calls)
    again = [cached.on_crops(b, 16) for b in made]
    assert len(calls) == 7
    direct_again = [direct.on_crops(b, 16) for _ in range(2) for b in made]
    assert len(calls) == 21
    assert all(torch.equal(a, b) for a, b in zip(first * 2, again + direct_again[:3], strict=True))


def test_smaller_images_are_background_outside(tmp_path):
    """Two sizes in one store: beyond the smaller one's edge there is nothing, not its neighbour's mask."""
    root = tmp_path / "small"
    samples = []
    for size, folder in ((320, tmp_path / "large"), (160, root)):
        official = write_rhd(folder, "training", 1, size=size)
        Image.fromarray(np.full((size, size), 33, np.uint8)).save(official.folder / "mask" / "00000.png")
        samples += read_rhd(folder, "training")
    store = MaskStore(samples)
    index, identity = torch.tensor([0, 1]), torch.eye(2, 3).expand(2, 2, 3)
    labels = crop_labels(store._labels(index), identity, 400, 400)
    assert labels[0, :320, :320].eq(33).all() and labels[0, 320:].eq(0).all()
    assert labels[1, :160, :160].eq(33).all() and labels[1, 160:].eq(0).all() and labels[1, :, 160:].eq(0).all()


def test_hand_pixels():
    labels = torch.tensor([[0, 1, 2], [17, 18, 33]], dtype=torch.uint8)
    assert hand_pixels(labels).tolist() == [[False, False, True], [True, True, True]]
    assert not hand_pixels(torch.tensor([255], dtype=torch.uint8)).any()  # nothing known


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    "mask, message",
    [
        (np.zeros((32, 64), np.uint8), r"00001\.png: expected 320x320 px as its colour image has, found 64x32"),
        (np.full((320, 320), 34, np.uint8), r"00001\.png: expected one channel of labels 0\.\.33, found .* 34"),
        (np.zeros((320, 320, 3), np.uint8), r"00001\.png: expected one channel of labels 0\.\.33"),
    ],
)
def test_masks_that_changed_since_reading(tmp_path, cache, mask, message):
    official = write_rhd(tmp_path, "training", 2)
    samples = read_rhd(tmp_path, "training")
    (batch,) = batches(samples)
    Image.fromarray(mask).save(official.folder / "mask" / "00001.png")
    with pytest.raises(DataError, match=message):
        MaskStore(samples, cache=cache).on_crops(batch, 16)


def test_masks_larger_than_memory_say_so(rhd, monkeypatch):
    (batch,) = batches(rhd, batch_size=7)
    store, zeros = MaskStore(rhd), torch.zeros

    def too_large(shape, **options):
        if isinstance(shape, tuple):
            raise RuntimeError("out of memory")
        return zeros(shape, **options)

    monkeypatch.setattr(images.torch, "zeros", too_large)
    with pytest.raises(DataError, match=r"7 masks need 0\.0 GiB on cpu, which has less free; .*cache=False"):
        store.on_crops(batch, 16)
