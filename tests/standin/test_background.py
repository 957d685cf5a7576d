"""Backgrounds: statistics as declared, one image a function of its own numbers, the hands never lost in them."""

from dataclasses import fields

import pytest
import torch

from msff.standin import anatomy as an
from msff.standin import background as bg
from msff.standin import clutter
from msff.standin.background import Background, draw_background, paint_background
from msff.standin.draws import Draws

COUNT = 48


def drawn(count: int, studio: bool = False, seed: int = 0) -> tuple[Background, torch.Tensor]:
    """Backgrounds of ``count`` persons of all tones, and their skin."""
    skin = torch.tensor(an.SKIN_TONES_SRGB).repeat(-(-count // 8), 1)[:count]
    return draw_background(Draws.of_keys([(seed, i) for i in range(count)]), skin, studio), skin


def part(background: Background, which: slice) -> Background:
    return Background(*(getattr(background, f.name)[which] for f in fields(background)))


@pytest.fixture(scope="module")
def everyday() -> torch.Tensor:
    return paint_background(drawn(COUNT)[0], 96, 96)


@pytest.mark.parametrize("size", [(64, 64), (67, 101), (202, 133)])
def test_shape_and_range(size):
    images = paint_background(drawn(3)[0], *size)
    assert images.shape == (3, 3, *size) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.isfinite().all()


def test_the_same_draws_give_the_same_pixels_in_any_batch(everyday):
    background = drawn(COUNT)[0]
    assert torch.equal(paint_background(background, 96, 96), everyday)
    alone = torch.cat([paint_background(part(background, slice(i, i + 1)), 96, 96) for i in range(8)])
    assert (alone - everyday[:8]).abs().max() < 1 / 255
    assert (everyday[0] - everyday[8]).abs().mean() > 0.02  # the same skin, other numbers


def test_resolutions_show_the_same_picture():
    background = drawn(16)[0]
    small, large = paint_background(background, 120, 120), paint_background(background, 240, 240)
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    difference = (shrunk - small).abs().mean((1, 2, 3))
    assert difference.median() < 0.02 and difference.max() < 0.05
    assert difference.max() < 0.5 * (small - small.roll(1, 0)).abs().mean((1, 2, 3)).min()


def test_atlas_tiles_repeat_without_a_seam():
    row, side = torch.tensor(1.0), torch.tensor(256.0)
    for tile in range(14):
        column = torch.tensor(tile * 258.0 + 1)
        s = torch.tensor([[[0.5 / 256, 1 + 0.5 / 256, -1 + 0.5 / 256, 1 - 1e-6, 0.0]]])
        value = bg._sample(s, torch.full_like(s, 0.3), column, row, side, 3)[0, :, 0]  # (3, 5)
        assert torch.allclose(value[:, 0], value[:, 1], atol=1e-3) and torch.allclose(
            value[:, 0], value[:, 2], atol=1e-3
        )
        assert torch.allclose(value[:, 3], value[:, 4], atol=1e-3)


def test_box_distance_by_hand():
    u, v = torch.tensor([0.0, 2.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 2.0, 0.5])
    distance = clutter._box(u, v, torch.tensor(1.0), torch.tensor(1.0), 0.0)
    assert distance.tolist() == pytest.approx([-1, 1, 2**0.5, -0.5])
    round_ = clutter._box(u, v, torch.tensor(1.0), torch.tensor(1.0), 1.0)  # a circle
    assert round_.tolist() == pytest.approx([-1, 1, 8**0.5 - 1, -0.5])
