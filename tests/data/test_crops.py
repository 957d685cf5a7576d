"""Augmentation and batched crops: worked values, agreement with independent warps, purity."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from msff.camera import apply_affine, crop_affine, square_box
from msff.data.crops import (
    Augmentation,
    _bilinear,
    apply_gain,
    augmented_affine,
    crop_grid,
    draw_augmentation,
    sample_crops,
    swap_hands,
)
from msff.settings.training import AugmentConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_images(count: int = 3, height: int = 60, width: int = 80) -> torch.Tensor:
    coarse = torch.rand(count, 3, 8, 10, generator=generator(1))
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (images * 255).round().to(torch.uint8)


def test_no_config_is_the_plain_crop():
    box = torch.tensor([[10.0, 20, 30, 40], [5, 5, 8, 2]])
    found = augmented_affine(box, torch.tensor([320.0, 512]), 64, draw_augmentation(None, 2, generator()))
    torch.testing.assert_close(found, crop_affine(square_box(box), 64))


def test_shift_scale_flip_and_rotation_worked_by_hand():
    """Box (90, 40, 80, 60): centre (130, 70), square side 100. Shift (.1, -.2): centre (140, 50). Scale .8: side 80.

    Mirror in 320 px: centre x = 179. A crop of 40 px halves lengths; a turn by 90 degrees takes +x to +y.
    """
    box, width = torch.tensor([[90.0, 40, 80, 60]]), torch.tensor([320.0])
    plain = Augmentation(
        torch.tensor([[0.1, -0.2]]), torch.tensor([0.8]), torch.zeros(1), torch.tensor([False]), torch.ones(1, 3)
    )
    centre, right_of_it = torch.tensor([[[140.0, 50]]]), torch.tensor([[[150.0, 50]]])
    affine = augmented_affine(box, width, 40, plain)
    torch.testing.assert_close(apply_affine(affine, centre), torch.tensor([[[20.0, 20]]]))
    torch.testing.assert_close(apply_affine(affine, right_of_it), torch.tensor([[[25.0, 20]]]))
    flipped = Augmentation(plain.shift, plain.scale, plain.rotation_rad, torch.tensor([True]), plain.gain)
    affine = augmented_affine(box, width, 40, flipped)
    torch.testing.assert_close(apply_affine(affine, centre), torch.tensor([[[20.0, 20]]]))
    torch.testing.assert_close(apply_affine(affine, right_of_it), torch.tensor([[[15.0, 20]]]))
    turned = Augmentation(plain.shift, plain.scale, torch.tensor([math.pi / 2]), flipped.flip, plain.gain)
    affine = augmented_affine(box, width, 40, turned)  # mirrored first, so +x goes to -x and then to -y
    torch.testing.assert_close(apply_affine(affine, right_of_it), torch.tensor([[[20.0, 15]]]))


def test_the_box_is_not_mutated():
    box = torch.tensor([[90.0, 40, 80, 60]]).expand(200, 4).contiguous()
    before = box.clone()
    for _ in range(3):
        augmented_affine(box, torch.full((200,), 320.0), 64, draw_augmentation(AugmentConfig(), 200, generator()))
    assert torch.equal(box, before)


def test_draws_follow_internet():
    drawn = draw_augmentation(AugmentConfig(), 20000, generator())
    assert drawn.shift.abs().max() <= 0.15 and drawn.shift.abs().max() > 0.149
    assert abs(drawn.shift.std() - 0.3 / math.sqrt(12)) < 0.002
    assert drawn.scale.min() == 0.75 and drawn.scale.max() == 1.25
    assert abs((drawn.scale == 1.25).float().mean() - 0.1587) < 0.01  # P(N > 1) piles up at the clip
    turned = drawn.rotation_rad != 0
    assert abs(turned.float().mean() - 0.6) < 0.01
    assert drawn.rotation_rad.abs().max() == pytest.approx(math.pi / 2)
    assert abs(torch.rad2deg(drawn.rotation_rad[turned]).abs().median() - 45 * 0.6745) < 1
    assert abs(drawn.flip.float().mean() - 0.5) < 0.01
    assert drawn.gain.min() >= 0.8 and drawn.gain.max() <= 1.2 and abs(drawn.gain.mean() - 1) < 0.003
    assert abs(np.corrcoef(drawn.gain.T.numpy())[0, 1]) < 0.03  # channels apart


def test_the_generator_decides_and_switched_off_parts_do_not_shift_the_rest():
    first, again = (draw_augmentation(AugmentConfig(), 5, generator(3)) for _ in range(2))
    other = draw_augmentation(AugmentConfig(rotation_deg=0, flip_probability=0, colour=0), 5, generator(3))
    assert all(torch.equal(getattr(first, n), getattr(again, n)) for n in vars(first))
    assert torch.equal(first.shift, other.shift) and torch.equal(first.scale, other.scale)
    assert not other.rotation_rad.any() and not other.flip.any() and (other.gain == 1).all()
    assert not torch.equal(first.shift, draw_augmentation(AugmentConfig(), 5, generator(4)).shift)


@pytest.mark.parametrize("seed", range(4))
def test_crops_equal_a_per_image_bilinear_warp(seed):
    """scipy's order-1 map_coordinates with zeros outside, within 1 grey level on each pixel."""
    images = smooth_images()
    box = torch.tensor([[10.0, 5, 40, 30], [-15, 20, 50, 70], [60, 0, 30, 30]])
    affine = augmented_affine(box, torch.full((3,), 80.0), 48, draw_augmentation(AugmentConfig(), 3, generator(seed)))
    crops = sample_crops(images, affine, 48)
    rows, columns = np.mgrid[:48, :48].astype(np.float64)
    for image, matrix, crop in zip(images.numpy(), affine.double().numpy(), crops.numpy(), strict=True):
        target = np.stack([columns, rows]).reshape(2, -1) - matrix[:, 2:]
        x, y = np.linalg.inv(matrix[:, :2]) @ target
        for channel in range(3):
            padded = np.pad(image[channel].astype(float), 1)  # zeros: mode="constant" alone does not blend at the edge
            expected = map_coordinates(padded, [y + 1, x + 1], order=1, mode="constant", cval=0.0)
            assert np.abs(crop[channel].ravel() * 255 - expected).max() < 1.0


def test_supersampling_averages_the_pixels_under_a_crop_pixel():
    """Shrinking by 2: a crop pixel covers 2 x 2 image pixels, of a one-pixel checkerboard exactly half are white."""
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255
    images = board.to(torch.uint8).expand(1, 3, 32, 32)
    halve = torch.tensor([[[0.5, 0, -0.25], [0, 0.5, -0.25]]])  # image 0.5 (between the first two) -> crop 0
    torch.testing.assert_close(sample_crops(images, halve, 16, 2), torch.full((1, 3, 16, 16), 0.5), atol=1e-4, rtol=0)
    off_centre = torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]])
    plain = sample_crops(images, off_centre, 16)
    assert plain.max() < 1e-4  # without it the board aliases to black


def test_only_uint8_images():
    with pytest.raises(TypeError, match="uint8"):
        sample_crops(torch.zeros(1, 3, 4, 4), torch.eye(2, 3)[None], 4)


def test_gain_multiplies_each_channel_and_clips():
    crops = torch.tensor([0.5, 0.9, 0.1]).view(1, 3, 1, 1)
    found = apply_gain(crops, torch.tensor([[1.2, 1.2, 0.8]])).flatten()
    torch.testing.assert_close(found, torch.tensor([0.6, 1.0, 0.08]))


def test_swap_hands_by_joint_and_by_side():
    joints = torch.arange(2 * 42.0).view(2, 42)
    found = swap_hands(joints, torch.tensor([True, False]))
    assert found[0, 0] == 21 and found[0, 41] == 20 and torch.equal(found[1], joints[1])
    sides = swap_hands(torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([True, False]))
    assert sides.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_the_window_of_a_frame_gives_what_the_whole_frame_gives(seed):
    """The CPU's path against the accelerator's, with crops inside, across and beyond the border."""
    images = smooth_images(4)
    box = torch.tensor([[10.0, 5, 40, 30], [-15, 20, 50, 70], [60, 0, 30, 30], [200, -90, 20, 20]])
    affine = augmented_affine(box, torch.full((4,), 80.0), 24, draw_augmentation(AugmentConfig(), 4, generator(seed)))
    whole = _bilinear(images, crop_grid(affine, 24)) / 255
    torch.testing.assert_close(sample_crops(images, affine, 24), whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(sample_crops(list(images), affine, 24), whole, atol=1e-4, rtol=0)
    assert not whole[3].any() and whole[0].any()


def test_grid_worked_by_hand():
    """Image = 2 * crop + (3, 5): with k = 2 the samples of crop pixel (x 1, y 0) lie at 1 -+ 1/4 and 0 -+ 1/4."""
    grid = crop_grid(torch.tensor([[[0.5, 0, -1.5], [0, 0.5, -2.5]]]), 2, 2)
    assert grid.shape == (1, 4, 4, 2)
    torch.testing.assert_close(grid[0, 0, 2], torch.tensor([2 * 0.75 + 3, 2 * -0.25 + 5]))
    torch.testing.assert_close(grid[0, 1, 3], torch.tensor([2 * 1.25 + 3, 2 * 0.25 + 5]))
