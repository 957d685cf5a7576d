"""The networks against the naive transcriptions of the printed equations."""

import numpy as np
import pytest
import torch

from msff.evaluation.lifting import lift
from msff.heatmaps import gaussian_volume
from msff.models.heads import VolumeHead
from msff.models.msff import equations as eq
from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig, upsample2
from msff.models.msff.local_optimization import LocalOptimization, LocalOptimizationConfig, LocalOptimizationPyramid
from msff.settings.networks import VolumeSpec


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def array(tensor):
    return tensor.detach().numpy()


def assert_same(ours, transcribed):
    np.testing.assert_allclose(array(ours), transcribed, atol=1e-10)


@pytest.mark.parametrize("form, equation", [("se", eq.eq4_se), ("printed", eq.eq4_printed)])
def test_eqs_3_to_5(form, equation):
    module = ChannelConversion(6, ChannelConversionConfig(form=form, reduction=2, min_hidden=1))
    f = torch.randn(2, 6, 3, 4)
    for b in range(2):
        a = eq.eq3_aggregate(array(f[b]))
        assert_same(module.aggregate(f)[b], a)
        weights = equation(a, array(module.w1.weight), array(module.w2.weight))
        assert_same(module.weights(module.aggregate(f))[b], weights)
        assert_same(module(f)[b], eq.eq5_recalibrate(array(f[b]), weights))


def test_eqs_6_to_11():
    channels = (2, 3, 4, 5)
    module = GlobalRegression(channels, GlobalRegressionConfig(channels=3))
    with torch.no_grad():
        for conv in module.lateral:
            conv.bias.normal_()
    maps = [torch.randn(1, c, 8 >> k, 8 >> k) for k, c in enumerate(channels)]  # down to a single pixel
    v = [
        eq.eq6_reduce(array(f[0]), array(conv.weight)[:, :, 0, 0], array(conv.bias))
        for f, conv in zip(maps, module.lateral, strict=True)
    ]
    for ours, transcribed in zip(module(maps), eq.eq11_fuse(v), strict=True):
        assert_same(ours[0], transcribed)


def test_eqs_8_to_10_by_hand():
    """Unit square with values 1, 3 above 5, 11; at (0.25, 0.5): 1.5 on top, 6.5 below, 4 between."""
    image = np.array([[1.0, 3.0], [5.0, 11.0]])
    assert eq.eq8_to_10_bilinear(image, 0.25, 0.5) == 4.0
    assert eq.eq8_to_10_bilinear(image, 1.0, 1.0) == 11.0
    assert eq.eq8_to_10_bilinear(image, -0.25, 0.0) == 1.0  # the edge repeats
    assert_same(upsample2(torch.tensor(image)[None, None])[0], eq.eq7_upsample(image[None]))


def test_eqs_12_and_13():
    config = LocalOptimizationConfig()
    pyramid = LocalOptimizationPyramid(config, lambda: LocalOptimization(8, config))
    for module in pyramid.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.normal_()
            module.running_var.uniform_(0.5, 2)
    pyramid.eval()
    g = torch.randn(1, 8, 2, 2)
    for level in range(4):
        transcribed = eq.eq13_level(array(g[0]), [as_equation(p) for p in pyramid.levels[level]])
        assert transcribed.shape == (8, 2 * 2**level, 2 * 2**level)
        assert_same(pyramid.level(level, g)[0], transcribed)


def as_equation(module: LocalOptimization):
    convolutions = [array(m.weight).squeeze() for m in module.branch if isinstance(m, torch.nn.Conv2d)]
    norms = [
        tuple(array(t) for t in (m.running_mean, m.running_var, m.weight, m.bias))
        for m in module.branch
        if isinstance(m, torch.nn.BatchNorm2d)
    ]
    weights = array(module.conversion.w1.weight), array(module.conversion.w2.weight)
    return lambda g: eq.eq12_pass(g, convolutions, norms, *weights)


def test_eqs_14_and_15():
    levels = [torch.randn(1, 2, 3, 3) for _ in range(4)]
    head = VolumeHead(8, bins=4, joints=3)
    with torch.no_grad():
        head.conv.bias.normal_()
    fused = eq.eq14_concatenate([array(level[0]) for level in levels])
    assert_same(torch.cat(levels, 1)[0], fused)
    weight, bias = array(head.conv.weight)[:, :, 0, 0], array(head.conv.bias)
    assert_same(head(torch.cat(levels, 1))[0], eq.eq15_volume(fused, weight, bias, bins=4))


def test_the_gaussian_target():
    spec = VolumeSpec(bins=6, crop_size=24, sigma_bin=1.1)
    bins = torch.rand(1, 2, 3) * 6
    target = gaussian_volume(bins, spec)
    assert_same(target[0, 1] / spec.amplitude, eq.gaussian(array(bins[0, 1]), 6, 1.1))


def test_eqs_1_and_2():
    crop_px, relative = torch.rand(42, 2) * 256, torch.randn(42) * 50
    root = torch.tensor([600.0, 750.0])
    affine = torch.tensor([[1.7, -0.4, 30.0], [0.4, 1.6, -55.0]])
    intrinsics = torch.tensor([[500.0, 2.0, 160.0], [0.0, 480.0, 150.0], [0.0, 0.0, 1.0]])
    transcribed = eq.eq1_2_lift(*(array(t) for t in (crop_px, relative, root, affine, intrinsics)))
    ours = lift(*(t[None] for t in (crop_px, relative, root, affine, intrinsics)))[0]
    assert_same(ours, transcribed)


def test_lifting_by_hand():
    """Crop (20, 10) at scale 2 is image (10, 5); f = 100, c = 0; a left joint 30 mm behind its wrist at 470."""
    crop_px = np.zeros((42, 2))
    crop_px[30] = 20, 10
    relative = np.zeros(42)
    relative[30] = 30.0
    affine, intrinsics = np.array([[2.0, 0, 0], [0, 2, 0]]), np.diag([100.0, 100, 1])
    lifted = eq.eq1_2_lift(crop_px, relative, np.array([111.0, 470.0]), affine, intrinsics)
    np.testing.assert_allclose(lifted[30], [50.0, 25.0, 500.0])
    np.testing.assert_allclose(lifted[0], [0.0, 0.0, 111.0])
