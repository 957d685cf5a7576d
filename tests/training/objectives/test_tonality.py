"""Tonality-aligned compositing: Lab against scikit-image, the transfer's statistics, who gets whose background."""

import math

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from msff.settings.losses import TonalityConfig
from msff.training.objectives.tonality import (
    align_tonality,
    augment_batch,
    compose,
    feathered,
    hand_free,
    lab_from_rgb,
    rgb_from_lab,
)


def noise(count, size=32, seed=0, low=0.3, high=0.7):
    return low + (high - low) * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def square(count, size=32, low=8, high=24):
    mask = torch.zeros(count, size, size, dtype=torch.bool)
    mask[:, low:high, low:high] = True
    return mask


def test_lab_is_that_of_scikit_image():
    rgb = torch.cat([noise(2, low=0.0, high=1.0), noise(1, low=0.0, high=0.05)])  # the dark one: the linear branches
    lab = lab_from_rgb(rgb)
    expected = rgb2lab(rgb.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(lab.permute(0, 2, 3, 1).numpy(), expected, atol=5e-3)
    back = lab2rgb(expected)
    np.testing.assert_allclose(rgb_from_lab(lab).permute(0, 2, 3, 1).numpy(), back, atol=1e-4)
    torch.testing.assert_close(rgb_from_lab(lab), rgb, atol=1e-4, rtol=0)


def test_lab_of_black_white_and_red():
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]])[:, :, None, None]
    expected = torch.tensor([[0.0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20]])
    torch.testing.assert_close(lab_from_rgb(colours)[:, :, 0, 0], expected, atol=0.02, rtol=0)


def statistics(image, region):
    values = lab_from_rgb(image)[0][:, region[0]]
    return values.mean(1), values.std(1, correction=0)


def test_full_transfer_gives_the_hand_the_statistics_of_the_background():
    hand, other, mask = noise(1), noise(1, seed=1, low=0.45, high=0.6), square(1)
    toned = align_tonality(hand, mask, other, ~mask, torch.ones(1), gain_limit=10.0)
    for found, wanted in zip(statistics(toned, mask), statistics(other, ~mask), strict=True):
        torch.testing.assert_close(found, wanted, atol=0.02, rtol=0.02)


def test_strength_moves_the_mean_in_proportion_and_zero_changes_nothing():
    hand, other, mask = noise(1), noise(1, seed=1, low=0.4, high=0.5), square(1)
    none = align_tonality(hand, mask, other, ~mask, torch.zeros(1), 3.0)
    torch.testing.assert_close(none, hand, atol=1e-4, rtol=0)
    half = align_tonality(hand, mask, other, ~mask, torch.full((1,), 0.5), 3.0)
    middle = (statistics(hand, mask)[0] + statistics(other, ~mask)[0]) / 2
    torch.testing.assert_close(statistics(half, mask)[0], middle, atol=0.02, rtol=0)


def test_a_flat_hand_gains_at_most_the_limit():
    hand, other, mask = noise(1, low=0.499, high=0.501), noise(1, seed=1), square(1)
    toned = align_tonality(hand, mask, other, ~mask, torch.ones(1), gain_limit=3.0)
    ratio = statistics(toned, mask)[1] / statistics(hand, mask)[1]
    torch.testing.assert_close(ratio, torch.full((3,), 3.0), atol=0.1, rtol=0)


def test_the_feather_by_hand():
    """Along a straight edge the blurred mask is the normal distribution function, sampled at half pixels."""
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, :, 8:] = True
    alpha = feathered(mask, width_px=4.0)[0, 5]
    assert alpha[:8].abs().max() == 0 and alpha[14:].min() > 0.998
    kernel = [math.exp(-0.5 * (k / 2) ** 2) for k in range(-6, 7)]
    for inside in range(4):
        blurred = sum(kernel[: 7 + inside]) / sum(kernel)
        assert alpha[8 + inside] == pytest.approx(2 * blurred - 1, abs=1e-5)


def test_holes_take_the_colour_around_them():
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :, :4], image[:, 1, :, 4:] = 0.8, 0.4  # red left, green right
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 2, 1], mask[0, 4:6, 6:8] = True, True  # one pixel; a whole block of 2 x 2
    painted = torch.where(mask[:, None], 1.0, image)
    torch.testing.assert_close(hand_free(painted, mask), image)
    assert hand_free(painted, torch.ones(1, 8, 8, dtype=torch.bool)).abs().max() == 0


@pytest.mark.parametrize("size", [7, 12, 33])
def test_holes_in_images_of_any_size(size):
    image = torch.full((2, 3, size, size), 0.25)
    mask = square(2, size, 1, size)
    torch.testing.assert_close(hand_free(torch.where(mask[:, None], 0.9, image), mask), image)


def test_composition_shows_the_other_background_and_no_other_hand():
    image, other = torch.full((1, 3, 32, 32), 0.9), torch.full((1, 3, 32, 32), 0.2)
    mask, other_mask = square(1), square(1, low=2, high=12)
    other = torch.where(other_mask[:, None], 1.0, other)
    made = compose(image, mask, other, other_mask, torch.zeros(1), TonalityConfig())
    expected = torch.where(mask[:, None], 0.9, torch.full_like(image, 0.2))
    torch.testing.assert_close(made, expected, atol=1e-3, rtol=0)  # the feather of 0.3 px is narrower than a pixel
    nothing = torch.zeros_like(mask)
    assert torch.equal(compose(image, nothing, other, other_mask, torch.ones(1), TonalityConfig()), image)
    assert torch.equal(compose(image, mask, other, ~nothing, torch.ones(1), TonalityConfig()), image)


def test_half_of_a_batch_is_changed_and_a_generator_decides():
    images = noise(8)
    before, mask = images.clone(), square(8)

    def augmented(seed):
        return augment_batch(images, mask, TonalityConfig(), torch.Generator().manual_seed(seed))

    made = augmented(0)
    assert torch.equal(images, before) and made.min() >= 0 and made.max() <= 1
    assert (made != images).flatten(1).any(1).sum() == 4
    assert torch.equal(made, augmented(0)) and not torch.equal(made, augmented(1))


def test_every_background_is_that_of_another_crop():
    shades = torch.linspace(0.1, 0.8, 6)
    images = shades[:, None, None, None].expand(6, 3, 32, 32).clone()
    for seed in range(20):
        config = TonalityConfig(share=1.0)
        made = augment_batch(images, square(6), config, torch.Generator().manual_seed(seed))
        corner = made[:, 0, 0, 0]
        assert (corner - shades).abs().min() > 0.05
        torch.testing.assert_close(corner.sort().values, shades)


@pytest.mark.parametrize("count", [0, 1])
def test_no_partner_no_change(count):
    images = noise(count)
    made = augment_batch(images, square(count), TonalityConfig(), torch.Generator())
    assert torch.equal(made, images)
