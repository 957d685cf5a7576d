"""The stand-in written to disk in both official layouts and read back: equal within what the formats store."""

import numpy as np
import pytest

from msff.data import load
from msff.data.images import decode_sample
from msff.data.rhd import dominant_side, read_depth_mm
from msff.standin import layouts
from msff.standin.writers import make

SIZE = 96


@pytest.fixture(scope="module")
def rhd(tmp_path_factory):
    return make("standin-rhd", tmp_path_factory.mktemp("sets") / "rhd", 4, 2, size=SIZE, progress=False)


@pytest.fixture(scope="module")
def interhand(tmp_path_factory):
    return make("standin-interhand", tmp_path_factory.mktemp("sets") / "ih", 6, 3, size=128, progress=False)


@pytest.mark.parametrize("part, split, count", [("train", "training", 4), ("test", "evaluation", 2)])
def test_rhd(rhd, part, split, count):
    """PNG keeps every level; the pickle keeps metres to 1e-7 and pixels to 1e-4."""
    batch = layouts.rhd_scenes(0, split, list(range(count)), SIZE)
    samples = load("standin-rhd", rhd, part)
    assert samples
    for sample in samples:
        i = int(sample.sample_id)
        own = sample.joint_valid
        assert sample.hand_type == dominant_side(batch.mask[i].numpy())
        np.testing.assert_allclose(sample.joints_cam_mm[own], batch.joints_cam_mm[i].numpy()[own], atol=1e-3)
        np.testing.assert_allclose(sample.joints_image_px[own], batch.joints_px[i].numpy()[own], atol=1e-3)
        np.testing.assert_array_equal(sample.joint_visible, batch.visible[i].numpy().astype(bool) & own)
        np.testing.assert_allclose(sample.intrinsics, batch.intrinsics[i].numpy(), atol=1e-4)
        levels = np.abs(decode_sample(sample).astype(int) - batch.images[i].permute(1, 2, 0).numpy())
        assert levels.max() <= 1
        hands = batch.depth_mm[i].numpy() > 0
        depth_mm = read_depth_mm(sample.image_path.parent.parent / "depth" / sample.image_path.name)
        assert np.abs(depth_mm - batch.depth_mm[i].numpy())[hands].max() < 0.05  # half a step is 0.038 mm


@pytest.mark.parametrize("part, count", [("train", 6), ("test", 3)])
def test_interhand(interhand, part, count):
    """JSON keeps the world's millimetres to 1e-5; JPEG smooths the sensor noise, some grey levels."""
    height = round(128 * 334 / 512)
    frames = layouts.interhand_frames(0, part, list(range(count)), 128, height)
    batch = frames.batch
    samples = load("standin-interhand", interhand, part)
    assert len(samples) == count and samples.description.startswith("msff stand-in")
    for i, sample in enumerate(samples):
        own = sample.joint_valid
        right, left = batch.side_present[i].tolist()
        assert sample.hand_type == ("interacting" if right and left else "right" if right else "left")
        np.testing.assert_allclose(sample.joints_image_px[own], batch.joints_px[i].numpy()[own], atol=0.01)
        np.testing.assert_allclose(sample.joints_cam_mm[own], batch.joints_cam_mm[i].numpy()[own], atol=0.01)
        assert np.abs(decode_sample(sample).astype(int) - batch.images[i].permute(1, 2, 0).numpy()).mean() < 8
