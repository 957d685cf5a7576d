"""Backgrounds: statistics as declared, one image a function of its own numbers, the hands never lost in them."""

from dataclasses import fields

import pytest
import torch

from msff.standin import anatomy as an
from msff.standin import background as bg
from msff.standin import clutter
from msff.standin.background import Background, draw_background, paint_background
from msff.standin.draws import ROW, Draws

COUNT = 48


def drawn(count: int, studio: bool = False, seed: int = 0) -> tuple[Background, torch.Tensor]:
    """Backgrounds of ``count`` persons of all tones, and their skin."""
    skin = torch.tensor(an.SKIN_TONES_SRGB).repeat(-(-count // 8), 1)[:count]
    return draw_background(Draws.of_keys([(seed, i) for i in range(count)]), skin, studio), skin


def part(background: Background, which: slice) -> Background:
    return Background(*(getattr(background, f.name)[which] for f in fields(background)))


def saturation(images: torch.Tensor) -> torch.Tensor:
    """(B,) mean chroma: largest minus smallest channel."""
    return (images.amax(1) - images.amin(1)).mean((1, 2))


@pytest.fixture(scope="module")
def everyday() -> torch.Tensor:
    return paint_background(drawn(COUNT)[0], 96, 96)


@pytest.fixture(scope="module")
def studio() -> torch.Tensor:
    return paint_background(drawn(COUNT, studio=True)[0], 64, 98)


@pytest.mark.parametrize("size", [(64, 64), (67, 101), (202, 133)])
def test_shape_and_range(size):
    images = paint_background(drawn(3)[0], *size)
    assert images.shape == (3, 3, *size) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.isfinite().all()


@pytest.mark.parametrize("studio", [False, True])
def test_fields_are_float32_and_few_numbers_are_used(studio):
    draws = Draws.of_generator(torch.Generator().manual_seed(3), 2, "cpu")
    background = draw_background(draws, torch.tensor(an.SKIN_TONES_SRGB[:2]), studio)
    assert all(getattr(background, f.name).dtype == torch.float32 for f in fields(background))
    assert all(len(getattr(background, f.name)) == 2 for f in fields(background))
    draws.take(ROW - 250)  # raises if more than 250 were used


def test_the_same_draws_give_the_same_pixels_in_any_batch(everyday):
    background = drawn(COUNT)[0]
    assert torch.equal(paint_background(background, 96, 96), everyday)
    alone = torch.cat([paint_background(part(background, slice(i, i + 1)), 96, 96) for i in range(8)])
    assert (alone - everyday[:8]).abs().max() < 1 / 255
    assert (everyday[0] - everyday[8]).abs().mean() > 0.02  # the same skin, other numbers


def test_painting_leaves_the_parameters_and_the_atlas_alone():
    background, sheet = drawn(2)[0], bg.atlas().clone()
    before = [getattr(background, f.name).clone() for f in fields(background)]
    paint_background(background, 40, 40)
    assert all(torch.equal(a, getattr(background, f.name)) for a, f in zip(before, fields(background), strict=True))
    assert torch.equal(sheet, bg.atlas())


def test_the_studio_is_dark_and_nearly_grey(everyday, studio):
    assert studio.mean() < 0.5 * everyday.mean()
    assert studio.mean((1, 2, 3)).max() < 0.4
    assert studio.std((2, 3)).mean() > 0.01  # but not empty
    assert saturation(studio).max() < 0.08


def test_colours_are_muted_mostly_and_vivid_sometimes(everyday):
    chroma = saturation(everyday)
    assert 0.05 < chroma.median() < 0.25
    vivid = ((everyday.amax(1) - everyday.amin(1)) > 0.5).float().mean((1, 2))  # share of vivid pixels
    assert vivid.mean() < 0.12 and (vivid > 0.01).float().mean() > 0.1
    assert 0.2 < everyday.mean() < 0.6


def test_spectrum_falls_as_that_of_photographs():
    images = paint_background(drawn(COUNT)[0], 128, 128).mean(1)
    images = (images - images.mean((1, 2), keepdim=True)) * torch.hann_window(128) * torch.hann_window(128)[:, None]
    power = torch.fft.fft2(images).abs().square().mean(0)
    f = torch.fft.fftfreq(128) * 128
    radius = (f[:, None] ** 2 + f**2).sqrt()
    low, high = (power[(radius >= a) & (radius < b)].mean().log2() for a, b in ((4, 6), (16, 24)))
    assert 1.5 < (low - high) / 2 < 3.5  # photographs: power falls as 1/f^2 or a little faster


def test_skin_coloured_distractors_are_there_as_often_as_declared():
    background = drawn(2000, seed=5)[0]
    assert background.skin_coloured.mean().item() == pytest.approx(clutter.SKIN_SHARE, abs=0.035)
    for blur, share in ((background.person[:, 13], clutter.PERSON_SHARE), (background.arm[:, 10], clutter.ARM_SHARE),
                        (background.hand[:, 10], clutter.HAND_SHARE)):  # fmt: skip
        assert (blur > 0).float().mean().item() == pytest.approx(share, abs=0.03)
        assert ((blur <= 0) | (background.skin_coloured > 0)).all()
    assert (drawn(200, studio=True)[0].skin_coloured == 0).all()


def test_a_distractor_shows_its_colour_of_skin():
    background, _ = drawn(64, seed=6)
    chosen = (background.arm[:, 10] > 0) & (background.hand[:, 10] <= 0)
    without = Background(*(getattr(background, f.name).clone() for f in fields(background)))
    without.arm[:, 10] = 0
    changed = (paint_background(background, 64, 64) - paint_background(without, 64, 64)).abs().amax(1) > 0.02
    share = changed.float().mean((1, 2))
    assert (share[~(background.arm[:, 10] > 0)] == 0).all()
    assert share[chosen].median() > 0.01  # of the image's area
    colour = background.arm[:, 7:10]
    assert (colour[:, 0] > colour[:, 1]).all() and (colour[:, 1] > colour[:, 2]).all()  # red over green over blue


def test_surfaces_keep_their_distance_from_the_skin():
    background, skin = drawn(800, seed=7)
    mean = (background.light + background.dark) / 2  # (B, 2, 3)
    distance = (mean - skin[:, None]).square().mean(-1).sqrt()
    assert (distance < 0.08).float().mean() < 0.02


def test_hands_stand_out_of_the_whole_frame(everyday):
    skin = drawn(COUNT)[1][:, :, None, None]
    alike = ((everyday - skin).square().mean(1).sqrt() < 0.07).float().mean((1, 2))  # share of pixels like the skin
    assert (alike > 0.6).float().mean() <= 0.02
    assert (alike > 0.02).float().mean() > 0.1  # and sometimes there is something like it


def test_sharp_and_blurred_pictures_both_occur():
    images = paint_background(drawn(COUNT)[0], 128, 128).mean(1)
    edges = (images[:, 1:] - images[:, :-1]).abs().flatten(1)
    strongest = edges.quantile(0.995, dim=1)
    assert (strongest > 0.08).float().mean() > 0.2 and (strongest < 0.05).float().mean() > 0.1


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
