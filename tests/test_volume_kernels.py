"""The fused losses and soft-arg-max against the plain formulas, in value, gradient and memory."""

import math

import pytest
import torch

from msff import volume_kernels
from msff.device import can_compile
from msff.heatmaps import (
    decode,
    gaussian_volume,
    plain_integral_l1,
    plain_soft_argmax,
    plain_volume_mse,
    volume_integral_l1,
    volume_mse,
)
from msff.settings.networks import VolumeSpec
from msff.volume_kernels import soft_argmax

SPEC = VolumeSpec(bins=8, crop_size=32, sigma_bin=1.3)
PAIRS = [(volume_mse, plain_volume_mse), (volume_integral_l1, plain_integral_l1)]


@pytest.fixture
def example():
    """Volume (2, 3, 8, 8, 8), bins (2, 3, 3), valid (2, 3) with an invalid joint whose position is NaN."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.randn(2, 3, 8, 8, 8, generator=generator) * 40
    bins = torch.rand(2, 3, 3, generator=generator) * 8
    valid = torch.tensor([[True, False, True], [True, True, True]])
    bins[0, 1] = math.nan
    return volume, bins, valid


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("loss, plain", PAIRS)
def test_a_loss_equals_its_plain_form_in_value_and_gradient(example, loss, plain, channels_last):
    volume, bins, valid = example
    if channels_last:  # as a convolution leaves it
        volume = volume.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 8))
    ours, direct = volume.clone().requires_grad_(), volume.double().requires_grad_()
    value = loss(ours, bins, valid, SPEC)
    expected = plain(direct, bins.double(), valid, SPEC)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (3 * value).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad.double(), direct.grad, rtol=1e-5, atol=1e-7)
    assert (ours.grad[0, 1] == 0).all()


def test_mse_stays_exact_near_convergence(example):
    """The expanded square H^2 - 2HG + G^2 would cancel here."""
    _, bins, valid = example
    close = torch.where(valid[..., None, None, None], gaussian_volume(bins, SPEC), 0.0) + 1e-2
    expected = plain_volume_mse(close.double(), bins.double(), valid, SPEC)
    assert volume_mse(close, bins, valid, SPEC).item() == pytest.approx(expected.item(), rel=2e-3)


def whole_batch(monkeypatch):
    monkeypatch.setitem(volume_kernels._CHUNK_VOXELS, "cpu", 2**30)


def one_kernel(monkeypatch):
    """What is compiled on CUDA, without the compiler."""
    monkeypatch.setattr(volume_kernels, "can_compile", lambda device: True)
    monkeypatch.setattr(volume_kernels, "_fused", lambda function: function)


@pytest.mark.parametrize("way", [whole_batch, one_kernel])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss", [volume_mse, volume_integral_l1])
def test_how_a_batch_is_divided_changes_nothing(example, monkeypatch, way, dtype, loss):
    volume, bins, valid = example

    def value_and_gradient():
        leaf = volume.to(dtype, copy=True).requires_grad_()
        value = loss(leaf, bins, valid, SPEC)
        value.backward()
        return value.detach(), leaf.grad

    monkeypatch.setitem(volume_kernels._CHUNK_VOXELS, "cpu", 1)
    one_by_one = value_and_gradient()
    way(monkeypatch)
    torch.testing.assert_close(value_and_gradient(), one_by_one, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss, plain", PAIRS)
def test_losses_of_half_precision_are_those_of_the_same_values_in_single(example, loss, plain, dtype):
    """The value is not rounded to half precision; the gradient is, once, at the end."""
    volume, bins, valid = example
    half = (volume / 4).to(dtype).requires_grad_()
    single = half.detach().double().requires_grad_()
    value, expected = loss(half, bins, valid, SPEC), plain(single, bins.double(), valid, SPEC)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    assert half.grad.dtype == dtype and half.grad.stride() == half.stride()
    tiny = torch.finfo(dtype).smallest_normal
    torch.testing.assert_close(half.grad.double(), single.grad, rtol=torch.finfo(dtype).eps, atol=tiny)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: the compiled kernels")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss, plain", PAIRS)
def test_losses_on_cuda_equal_the_plain_ones(example, loss, plain, dtype, channels_last):
    volume, bins, valid = (tensor.cuda() for tensor in example)
    if channels_last:
        volume = volume.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 8))
    ours = (volume / 4).to(dtype).requires_grad_()
    double = ours.detach().double().requires_grad_()
    value, expected = loss(ours, bins, valid, SPEC), plain(double, bins.double(), valid, SPEC)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    relative = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(ours.grad.double(), double.grad, rtol=relative, atol=1e-7)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and can_compile(torch.device("cuda"))),
    reason="needs CUDA and a C compiler: the memory of the compiled kernels",
)
def test_neither_loss_nor_decoder_makes_a_second_volume_on_cuda():
    spec = VolumeSpec(bins=32, crop_size=128)
    volume = torch.randn(8, 42 * 32, 32, 32, device="cuda", dtype=torch.bfloat16)
    volume = volume.to(memory_format=torch.channels_last).unflatten(1, (42, 32)).requires_grad_()
    bins, valid = torch.rand(8, 42, 3, device="cuda") * 32, torch.ones(8, 42, dtype=torch.bool, device="cuda")
    size = volume.numel() * volume.element_size()
    for loss in (volume_mse, volume_integral_l1):
        loss(volume, bins, valid, spec).backward()  # compiles
        volume.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss(volume, bins, valid, spec).backward()
        assert torch.cuda.max_memory_allocated() - before < 1.2 * size  # the gradient itself
        volume.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for decoder in ("argmax", "subvoxel", "expectation"):
        decode(volume.detach(), decoder)
    assert torch.cuda.max_memory_allocated() - before < 0.2 * size


def test_soft_argmax_equals_its_plain_form_in_value_and_gradient():
    volume = torch.randn(2, 3, 4, 5, 6, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(soft_argmax(volume), plain_soft_argmax(volume))
    weights = torch.randn(2, 3, 3, dtype=torch.double)
    (ours,) = torch.autograd.grad((soft_argmax(volume) * weights).sum(), volume)
    (direct,) = torch.autograd.grad((plain_soft_argmax(volume) * weights).sum(), volume)
    torch.testing.assert_close(ours, direct)
    assert torch.autograd.gradcheck(soft_argmax, (volume[:1, :1].detach().requires_grad_(),))


def test_losses_do_not_change_their_input(example):
    volume, bins, valid = example
    before = volume.clone()
    for loss in (volume_mse, volume_integral_l1):
        leaf = volume.requires_grad_()
        loss(leaf, bins, valid, SPEC).backward()
        assert torch.equal(leaf.detach(), before)
