"""Volumes: encoding, the two losses against their direct forms, the decoders."""

import math

import pytest
import torch

from msff import heatmaps
from msff.heatmaps import (
    VolumeSpec,
    bins_to_crop,
    decode,
    decode_relative_root,
    encode_bins,
    encode_relative_root,
    gaussian_volume,
    in_volume,
    soft_argmax,
    volume_integral_l1,
    volume_mse,
)

SPEC = VolumeSpec(bins=8, crop_size=32, sigma_bin=1.3)


@pytest.fixture
def example():
    """Volume (2, 3, 8, 8, 8), bins (2, 3, 3), valid (2, 3) with an invalid joint whose position is NaN."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.randn(2, 3, 8, 8, 8, generator=generator) * 40
    bins = torch.rand(2, 3, 3, generator=generator) * 8
    valid = torch.tensor([[True, False, True], [True, True, True]])
    bins[0, 1] = math.nan
    return volume, bins, valid


def direct_mse(volume, bins, valid, spec):
    target = torch.where(valid[..., None, None, None], gaussian_volume(bins, spec), 0.0)
    return ((volume - target) ** 2 * valid[..., None, None, None]).mean()


def direct_soft_argmax(volume):
    probability = volume.flatten(2).softmax(-1)
    depth, height, width = volume.shape[2:]
    z, y, x = torch.meshgrid(*(torch.arange(n).to(volume) for n in (depth, height, width)), indexing="ij")
    return torch.stack([(probability * c.flatten()).sum(-1) for c in (x, y, z)], -1)


def test_encoding_of_internets_own_sizes():
    """Pixel 128 of 256 is bin 32; 200 mm each way: 50 mm behind the wrist is bin (0.25 + 1) / 2 * 64 = 40."""
    bins = encode_bins(torch.tensor([[[128.0, 10.0]]]), torch.tensor([[50.0]]), VolumeSpec())
    torch.testing.assert_close(bins, torch.tensor([[[32.0, 2.5, 40.0]]]))
    assert encode_relative_root(torch.tensor([-100.0]), VolumeSpec()).item() == pytest.approx(16.0)
    assert decode_relative_root(torch.tensor([48.0]), VolumeSpec()).item() == pytest.approx(100.0)


def test_decoding_inverts_encoding():
    pixels, depth = torch.rand(2, 42, 2) * 96, torch.rand(2, 42) * 400 - 200
    spec = VolumeSpec(bins=24, crop_size=96)
    again, depth_again = bins_to_crop(encode_bins(pixels, depth, spec), spec)
    torch.testing.assert_close(again, pixels)
    torch.testing.assert_close(depth_again, depth, atol=1e-4, rtol=1e-5)
    root = torch.tensor([-123.0, 0.0, 77.0])
    torch.testing.assert_close(decode_relative_root(encode_relative_root(root, spec), spec), root)


def test_in_volume_is_half_open_and_rejects_nan():
    rows = [[0.0, 0, 0], [7.99, 7.99, 7.99], [8.0, 1, 1], [1, -0.01, 1], [1, 1, 8.0], [math.nan, 1, 1]]
    assert in_volume(torch.tensor([rows]), SPEC).tolist() == [[True, True, False, False, False, False]]


def test_gaussian_by_hand():
    """At distance sqrt(1 + 4 + 4) = 3: 255 exp(-9 / (2 * 2.5^2)) = 124.12...; depth is the first axis."""
    spec = VolumeSpec(bins=16, crop_size=64)
    volume = gaussian_volume(torch.tensor([[[5.0, 6.0, 9.0]]]), spec)
    assert volume.shape == (1, 1, 16, 16, 16)
    assert volume[0, 0, 9, 6, 5].item() == pytest.approx(255.0)
    assert volume[0, 0, 10, 8, 7].item() == pytest.approx(124.1216, abs=1e-3)
    between = gaussian_volume(torch.tensor([[[5.5, 6.0, 9.0]]]), spec)  # the centre is not rounded to a voxel
    assert between[0, 0, 9, 6, 5].item() == pytest.approx(255 * math.exp(-0.02), rel=1e-5)


def test_mse_by_hand():
    """A target of amplitude 2 and almost no width, a volume of ones: (512 - 1) * 1 + (2 - 1)^2 over 2 joints of 512."""
    spec = VolumeSpec(bins=8, crop_size=32, sigma_bin=0.01, amplitude=2.0)
    bins, valid = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]]), torch.tensor([[True, False]])
    assert volume_mse(torch.ones(1, 2, 8, 8, 8), bins, valid, spec).item() == pytest.approx(0.5)
    volume = torch.zeros(1, 2, 8, 8, 8)
    volume[0, 0, 3, 2, 1] = 5.0  # (5 - 2)^2 / 1024
    assert volume_mse(volume, bins, valid, spec).item() == pytest.approx(9 / 1024)


@pytest.mark.parametrize("channels_last", [False, True])
def test_mse_equals_the_direct_loss_in_value_and_gradient(example, channels_last):
    volume, bins, valid = example
    if channels_last:  # as a convolution leaves it
        volume = volume.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 8))
    ours, direct = volume.clone().requires_grad_(), volume.double().requires_grad_()
    value = volume_mse(ours, bins, valid, SPEC)
    expected = direct_mse(direct, bins.double(), valid, SPEC)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (3 * value).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad.double(), direct.grad, rtol=1e-5, atol=1e-7)
    assert (ours.grad[0, 1] == 0).all()


def test_mse_stays_exact_near_convergence(example):
    """The expanded square H^2 - 2HG + G^2 would cancel here."""
    _, bins, valid = example
    close = torch.where(valid[..., None, None, None], gaussian_volume(bins, SPEC), 0.0) + 1e-2
    expected = direct_mse(close.double(), bins.double(), valid, SPEC)
    assert volume_mse(close, bins, valid, SPEC).item() == pytest.approx(expected.item(), rel=2e-3)


def direct_integral(volume, bins, valid, spec):
    error = (direct_soft_argmax(volume) - torch.where(valid[..., None], bins, 0)).abs()
    return (error * valid[..., None]).sum() / (3 * valid.sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss, direct", [(volume_mse, direct_mse), (volume_integral_l1, direct_integral)])
def test_losses_of_half_precision_are_those_of_the_same_values_in_single(example, loss, direct, dtype):
    """The value is not rounded to half precision; the gradient is, once, at the end."""
    volume, bins, valid = example
    half = (volume / 4).to(dtype).requires_grad_()
    single = half.detach().double().requires_grad_()
    value, expected = loss(half, bins, valid, SPEC), direct(single, bins.double(), valid, SPEC)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    assert half.grad.dtype == dtype and half.grad.stride() == half.stride()
    tiny = torch.finfo(dtype).smallest_normal
    torch.testing.assert_close(half.grad.double(), single.grad, rtol=torch.finfo(dtype).eps, atol=tiny)


def whole_batch(monkeypatch):
    monkeypatch.setitem(heatmaps._CHUNK_VOXELS, "cpu", 2**30)


def one_kernel(monkeypatch):
    """What is compiled on CUDA, without the compiler."""
    monkeypatch.setattr(heatmaps, "can_compile", lambda device: True)
    monkeypatch.setattr(heatmaps, "_fused", lambda function: function)


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

    monkeypatch.setitem(heatmaps._CHUNK_VOXELS, "cpu", 1)
    one_by_one = value_and_gradient()
    way(monkeypatch)
    torch.testing.assert_close(value_and_gradient(), one_by_one, rtol=1e-6, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: the compiled kernels")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss, direct", [(volume_mse, direct_mse), (volume_integral_l1, direct_integral)])
def test_losses_on_cuda_equal_the_direct_ones(example, loss, direct, dtype, channels_last):
    volume, bins, valid = (tensor.cuda() for tensor in example)
    if channels_last:
        volume = volume.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 8))
    ours = (volume / 4).to(dtype).requires_grad_()
    double = ours.detach().double().requires_grad_()
    value, expected = loss(ours, bins, valid, SPEC), direct(double, bins.double(), valid, SPEC)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    relative = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(ours.grad.double(), double.grad, rtol=relative, atol=1e-7)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and heatmaps.can_compile(torch.device("cuda"))),
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


def test_soft_argmax_equals_the_direct_expectation_in_value_and_gradient():
    volume = torch.randn(2, 3, 4, 5, 6, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(soft_argmax(volume), direct_soft_argmax(volume))
    weights = torch.randn(2, 3, 3, dtype=torch.double)
    (ours,) = torch.autograd.grad((soft_argmax(volume) * weights).sum(), volume)
    (direct,) = torch.autograd.grad((direct_soft_argmax(volume) * weights).sum(), volume)
    torch.testing.assert_close(ours, direct)
    assert torch.autograd.gradcheck(soft_argmax, (volume[:1, :1].detach().requires_grad_(),))


def test_soft_argmax_of_two_equal_peaks_lies_between_them():
    volume = torch.full((1, 1, 8, 8, 8), -50.0)
    volume[0, 0, 2, 3, 1] = volume[0, 0, 6, 3, 5] = 50.0
    torch.testing.assert_close(decode(volume, "expectation"), torch.tensor([[[3.0, 3.0, 4.0]]]))


def test_integral_loss_by_hand():
    """A uniform volume is expected at 3.5 on each axis; |3.5 - (1, 3.5, 7)| has the mean (2.5 + 0 + 3.5) / 3."""
    bins, valid = torch.tensor([[[1.0, 3.5, 7.0], [math.nan] * 3]]), torch.tensor([[True, False]])
    assert volume_integral_l1(torch.zeros(1, 2, 8, 8, 8), bins, valid, SPEC).item() == pytest.approx(2.0)


def test_losses_without_a_valid_joint_are_zero_with_a_zero_gradient(example):
    volume, bins, _ = example
    none = torch.zeros(2, 3, dtype=torch.bool)
    for loss in (volume_mse, volume_integral_l1):
        leaf = volume.clone().requires_grad_()
        value = loss(leaf, torch.full_like(bins, math.nan), none, SPEC)
        value.backward()
        assert value.item() == 0 and (leaf.grad == 0).all()


def test_losses_do_not_change_their_input(example):
    volume, bins, valid = example
    before = volume.clone()
    for loss in (volume_mse, volume_integral_l1):
        leaf = volume.requires_grad_()
        loss(leaf, bins, valid, SPEC).backward()
        assert torch.equal(leaf.detach(), before)


def test_argmax_gives_whole_bins_in_x_y_z_order():
    volume = torch.randn(2, 3, 8, 8, 8)
    volume[1, 2, 7, 0, 4] = 100.0
    peak = decode(volume, "argmax")
    assert peak.dtype == torch.float32 and peak.shape == (2, 3, 3)
    assert peak[1, 2].tolist() == [4.0, 0.0, 7.0]


@pytest.mark.parametrize("decoder", ["argmax", "subvoxel", "expectation"])
def test_decoders_take_any_precision_and_memory_layout(decoder):
    volume = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    half = volume.bfloat16()
    by_depth = half.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # depth innermost, as channels last
    expected = decode(half.float(), decoder)
    for other in (half, by_depth):
        assert decode(other, decoder).dtype == torch.float32
        torch.testing.assert_close(decode(other, decoder), expected)


def test_argmax_takes_the_first_of_equal_voxels():
    volume = torch.zeros(1, 1, 4, 4, 4)
    volume[0, 0, 3, 0, 0] = volume[0, 0, 1, 3, 0] = volume[0, 0, 1, 2, 3] = 1.0
    assert decode(volume, "argmax").tolist() == [[[3.0, 2.0, 1.0]]]


def test_subvoxel_recovers_a_gaussian_exactly_and_argmax_its_voxel():
    bins = torch.tensor([[[3.3, 4.75, 2.1], [5.45, 1.2, 3.0]]])
    volume = gaussian_volume(bins, SPEC)
    torch.testing.assert_close(decode(volume, "subvoxel"), bins, atol=1e-3, rtol=0)
    torch.testing.assert_close(decode(volume, "argmax"), bins.round())


def test_subvoxel_at_the_edge_and_on_negative_scores_stays_in_the_peaks_voxel():
    volume = gaussian_volume(torch.tensor([[[0.0, 7.0, 3.4]]]), SPEC) - 300.0
    torch.testing.assert_close(decode(volume, "subvoxel"), torch.tensor([[[0.0, 7.0, 3.0]]]))


def test_bad_arguments_are_named(example):
    volume, bins, valid = example
    with pytest.raises(ValueError, match="argmax, subvoxel, expectation"):
        decode(volume, "median")
    with pytest.raises(ValueError, match=r"network and VolumeSpec must agree on bins \(16\)"):
        volume_mse(volume, bins, valid, VolumeSpec(bins=16, crop_size=64))
    with pytest.raises(ValueError, match="sigma_bin must be positive"):
        VolumeSpec(sigma_bin=0.0)


def test_compilation_needs_cuda_and_a_compiler(monkeypatch):
    can_compile = heatmaps.can_compile.__wrapped__
    assert not can_compile(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(heatmaps, "find_spec", lambda _: "triton")
    monkeypatch.setenv("CC", "cc")
    assert can_compile(torch.device("cuda"))
    monkeypatch.delenv("CC")
    monkeypatch.setattr(heatmaps, "which", lambda _: None)
    assert not can_compile(torch.device("cuda"))
