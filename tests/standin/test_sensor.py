"""Exposures: blur, noise, grey and JPEG, each against what its parameters say."""

import math
from dataclasses import fields, replace

import pytest
import torch

from msff.standin import sensor as se
from msff.standin.draws import Draws
from msff.standin.sensor import Sensor, blur_kernel, compress, draw_sensor, expose


def plain(count: int = 1) -> Sensor:
    """A perfect camera, but for the smallest lens blur."""
    zero, pair = torch.zeros(count), torch.zeros(count, 2)
    return Sensor(zero + 0.05, zero, pair, torch.ones(count, 3), zero, pair, pair, zero, zero)


def part(sensor: Sensor, which: slice) -> Sensor:
    return Sensor(*(getattr(sensor, f.name)[which] for f in fields(sensor)))


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """Smooth coloured pictures with edges, (B, 3, H, W) in [0, 1]."""
    x, y = torch.arange(width) / width, torch.arange(height)[:, None] / height
    phase = torch.arange(count * 3).view(count, 3, 1, 1) * 0.7
    return (0.5 + 0.3 * torch.sin(5 * x + phase) * torch.cos(4 * y) + 0.15 * (x + y > 1)).clamp(0, 1)


def drawn(count: int, still: bool = False, grey: bool = False) -> Sensor:
    return draw_sensor(Draws.of_keys([(3, i) for i in range(count)]), torch.full((count,), grey), still)


@pytest.mark.parametrize("size", [(64, 64), (45, 83), (334, 512)])
def test_shape_and_type_of_any_size(size):
    images = pictures(2, *size)
    before = images.clone()
    out = expose(images, drawn(2))
    assert out.shape == (2, 3, *size) and out.dtype == torch.uint8
    assert torch.equal(images, before)


def test_a_perfect_camera_rounds_to_8_bits():
    images = pictures(2, 40, 56)
    assert torch.equal(expose(images, plain(2)), (images * 255).round().to(torch.uint8))


def test_the_same_draws_give_the_same_pixels_in_any_batch():
    images, sensor = pictures(24, 72, 90), drawn(24)
    together = expose(images, sensor)
    assert torch.equal(together, expose(images, drawn(24)))
    alone = torch.cat([expose(images[i : i + 1], part(sensor, slice(i, i + 1))) for i in range(24)])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert not torch.equal(together[0], expose(images[:1], part(sensor, slice(1, 2)))[0])


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_motion_blur_has_unit_sum_length_and_direction(angle):
    way = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    size, length = 256, 7.0
    sensor = replace(plain(), lens_px=torch.tensor([0.7]), motion=(way * length / size)[None])
    kernel = blur_kernel(sensor, size, size)[0].double()
    assert kernel.sum().item() == pytest.approx(1)
    i = torch.arange(len(kernel)) - len(kernel) // 2
    x, y = i.expand(len(i), -1), i[:, None].expand(-1, len(i))
    along, across = way[0] * x + way[1] * y, way[0] * y - way[1] * x
    assert (kernel * along).sum().item() == pytest.approx(0, abs=1e-6)
    # a uniform segment of that length and the lens' Gaussian: variances add
    assert (kernel * along**2).sum().item() == pytest.approx(length**2 / 12 + 0.49, rel=0.06)
    assert (kernel * across**2).sum().item() == pytest.approx(0.49, rel=0.05)
    impulse = torch.zeros(1, 3, 41, 41)
    impulse[:, :, 20, 20] = 1
    shorter = replace(sensor, motion=(way * length / 41)[None])
    spread = se._blur(impulse, shorter)
    assert spread.sum().item() == pytest.approx(3, rel=1e-5)


def test_a_still_lens_blurs_as_its_gaussian():
    sensor = replace(plain(2), lens_px=torch.tensor([0.7, 0.4]), defocus=torch.tensor([0.0, 1.0 / 128]))
    kernel = blur_kernel(sensor, 128, 64).double()
    i = (torch.arange(kernel.shape[1]) - kernel.shape[1] // 2).double()
    for axis in (1, 2):
        variance = (kernel.sum(axis) * i**2).sum(1)
        assert variance.tolist() == pytest.approx([0.49, 0.16 + 1.0], rel=0.05)


def test_blur_keeps_the_border_of_a_flat_picture():
    flat = torch.full((1, 3, 30, 30), 0.6)
    out = expose(flat, replace(plain(), lens_px=torch.tensor([1.5]), motion=torch.tensor([[0.02, 0.01]])))
    assert (out == 153).all()


def test_gain_white_balance_and_vignette():
    flat = torch.full((1, 3, 33, 33), 0.5)
    out = expose(flat, replace(plain(), gain=torch.tensor([[1.2, 1.0, 0.8]])))[0, :, 16, 16]
    assert out.tolist() == [153, 128, 102]
    dark = expose(flat, replace(plain(), vignette=torch.tensor([0.2])))[0, 0].float() / 255
    assert dark[16, 16].item() == pytest.approx(0.5, abs=0.003) and dark[0, 0].item() == pytest.approx(0.4, abs=0.015)
    assert dark[0, 16] > dark[0, 0]


def test_noise_grows_with_the_signal_as_declared():
    read, shot = 0.01, 0.04
    sensor = replace(plain(), noise=torch.tensor([[read, shot]]), noise_at=torch.tensor([[100.0, 450.0]]))
    for level in (0.1, 0.4, 0.7):
        flat = torch.full((1, 3, 128, 128), level)
        values = expose(flat, sensor)[0].float() / 255
        assert values.mean().item() == pytest.approx(level, abs=0.002)
        assert values.std().item() == pytest.approx(math.sqrt(read**2 + shot**2 * level), rel=0.04)
        neighbours = torch.corrcoef(torch.stack([values[:, :, 1:].flatten(), values[:, :, :-1].flatten()]))
        assert abs(neighbours[0, 1]) < 0.03  # white
    colours = torch.corrcoef(values.flatten(1))
    assert colours.fill_diagonal_(0).abs().max() < 0.03  # independent channels


def test_a_grey_camera_has_three_equal_channels():
    images = pictures(16, 50, 70)
    out = expose(images, drawn(16, grey=True))
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])
    colour = expose(images, drawn(16))
    assert (colour[:, 0] != colour[:, 2]).float().mean() > 0.5
    one = expose(
        torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1).expand(1, 3, 16, 16), replace(plain(), grey=torch.ones(1))
    )
    assert (one == round(255 * (0.299 + 0.5 * 0.587 + 0.2 * 0.114))).all()


def test_the_cosine_transform_is_orthonormal():
    matrix = se._cosines(torch.device("cpu"))
    assert torch.allclose(matrix @ matrix.T, torch.eye(8), atol=1e-6)
    assert torch.allclose(matrix[0], torch.full((8,), 8**-0.5))


def test_quantisation_matches_pillow():
    import io

    import numpy as np
    from PIL import Image

    rng = torch.Generator().manual_seed(5)
    images = (pictures(1, 96, 96) + 0.03 * torch.randn(1, 3, 96, 96, generator=rng)).clamp(0, 1)
    pixels = (images[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    for quality in (30, 75):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        real = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        ours = compress(images, torch.tensor([float(quality)]))[0]
        assert (ours - real).square().mean() < 0.35 * (images[0] - real).square().mean()


def test_chroma_is_halved_and_luma_is_not():
    stripes = (torch.arange(32) % 2).float().expand(32, 32)
    red = torch.stack([stripes, 1 - 0.299 / 0.587 * stripes, torch.ones(32, 32)])[None] * 0.6  # equal brightness
    out = compress(red, torch.tensor([95.0]))
    assert (out[0, 0, :, 0::2] - out[0, 0, :, 1::2]).abs().mean() < 0.25 * 0.6
    grey = (0.2 + 0.6 * stripes).expand(1, 3, 32, 32)
    out = compress(grey, torch.tensor([95.0]))
    assert (out[0, 0, :, 0::2] - out[0, 0, :, 1::2]).abs().mean() > 0.5
