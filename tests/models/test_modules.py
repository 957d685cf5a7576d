"""Channel conversion, global regression, local optimisation and the heads: values by hand, switches, errors."""

import pytest
import torch
from torch import nn

from msff.models.heads import HandednessHead, RelativeDepthHead, VolumeHead
from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig, TopDown, upsample2
from msff.models.msff.local_optimization import (
    LocalOptimization,
    LocalOptimizationConfig,
    LocalOptimizationPyramid,
    channel_shuffle,
)
from msff.models.msff.network import MsffConfig


def pyramid_maps(channels=(4, 6, 8, 10), batch=2):
    return [torch.randn(batch, c, 16 >> k, 16 >> k) for k, c in enumerate(channels)]


# channel conversion


def test_squeeze_and_excitation_by_hand():
    """A = (1, -2); hidden = ReLU(1 - (-2), -2) = (3, 0); W = sigmoid(3 * 0.5, -3) -> 0.8176, 0.0474."""
    module = ChannelConversion(2, ChannelConversionConfig(reduction=1, min_hidden=2))
    with torch.no_grad():
        module.w1.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
        module.w2.weight.copy_(torch.tensor([[0.5, 9.0], [-1.0, 9.0]]))
    f = torch.tensor([[[[0.0, 2.0]], [[-2.0, -2.0]]]])  # (1, 2, 1, 2)
    expected = torch.tensor([[[[0.0, 1.635149]], [[-0.094852, -0.094852]]]])
    torch.testing.assert_close(module(f), expected, atol=1e-5, rtol=0)


def test_the_printed_form_is_one_linear_map_and_the_meant_one_is_not():
    """logit W(A1 + A2) = logit W(A1) + logit W(A2) iff the form is linear."""
    for form, linear in (("printed", True), ("se", False)):
        torch.manual_seed(0)
        module = ChannelConversion(8, ChannelConversionConfig(form=form, reduction=1))
        a, b = torch.randn(4, 8), torch.randn(4, 8)
        difference = module.weights(a + b).logit() - module.weights(a).logit() - module.weights(b).logit()
        assert (difference.abs().max() < 1e-4) == linear


def test_sizes_of_the_layers():
    config = ChannelConversionConfig()
    assert [config.hidden(c) for c in (2048, 256, 32)] == [128, 16, 8]
    printed = ChannelConversion(24, ChannelConversionConfig(form="printed"))
    assert printed.w1.weight.shape == printed.w2.weight.shape == (24, 24)


# global regression


@pytest.mark.parametrize("relu", ["lateral", "sum"])
def test_the_relu_sits_where_the_config_says(relu):
    module = GlobalRegression((4, 6, 8, 10), GlobalRegressionConfig(channels=5, relu=relu))
    maps = pyramid_maps()
    v = [conv(f) for conv, f in zip(module.lateral, maps, strict=True)]
    if relu == "lateral":
        coarse = v[3].relu()
        second = v[2].relu() + upsample2(coarse)
    else:
        coarse = v[3].relu()
        second = (v[2] + upsample2(coarse)).relu()
    torch.testing.assert_close(module(maps)[3], coarse)
    torch.testing.assert_close(module(maps)[2], second)


def test_by_the_other_reading_each_level_adds_only_the_next_coarser_map():
    top_down = TopDown(GlobalRegressionConfig(channels=5, enlarged="V"))
    v = [torch.rand(2, 5, 16 >> k, 16 >> k) for k in range(4)]
    for k, g_k in enumerate(top_down(v)):
        torch.testing.assert_close(g_k, v[k] + upsample2(v[k + 1]) if k < 3 else v[3])


def test_batch_norm_of_the_laterals_replaces_their_bias():
    module = GlobalRegression((4, 6, 8, 10), GlobalRegressionConfig(channels=5, norm=True))
    assert module.lateral[0][0].bias is None
    v = module.lateral[0](pyramid_maps()[0])  # in training: each channel has mean 0 and variance 1
    torch.testing.assert_close(v.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(v.var((0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_bilinear_by_hand():
    """Between 0 and 4 with square pixels: 0, 1, 3, 4."""
    torch.testing.assert_close(upsample2(torch.tensor([[[[0.0, 4.0]]]]))[0, 0, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]))


# local optimisation


def test_shuffle_by_hand_and_as_a_permutation():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    torch.testing.assert_close(channel_shuffle(channel_shuffle(x, 2), 3), x)


def test_one_half_passes_untouched_to_the_even_channels():
    module = LocalOptimization(16, LocalOptimizationConfig())
    g = torch.randn(2, 16, 4, 4)
    out = module(g)
    assert out.shape == g.shape
    assert torch.equal(out[:, ::2], g[:, :8])
    assert not torch.allclose(out[:, 1::2], g[:, 8:])


def test_residual_placements():
    g, outputs = torch.randn(2, 16, 4, 4), {}
    for residual in ("half", "whole"):
        torch.manual_seed(0)
        outputs[residual] = LocalOptimization(16, LocalOptimizationConfig(residual=residual))(g)
    without = outputs["whole"] - g
    torch.testing.assert_close(outputs["half"][:, 1::2] - without[:, 1::2], g[:, 8:])
    torch.testing.assert_close(outputs["half"][:, ::2], without[:, ::2])


@pytest.mark.parametrize("passes", [(0, 1, 2, 3), (1, 1, 2, 3)])
def test_every_level_ends_at_a_quarter_scale(passes):
    config = LocalOptimizationConfig(passes)
    module = LocalOptimizationPyramid(config, lambda: LocalOptimization(8, config))
    assert [len(level) for level in module.levels] == list(passes)
    levels = module(maps := pyramid_maps((8, 8, 8, 8)))
    assert [tuple(m.shape) for m in levels] == [(2, 8, 16, 16)] * 4
    assert (levels[0] is maps[0]) == (passes[0] == 0)


def test_ablated_it_is_plain_bilinear_upsampling():
    maps = pyramid_maps((8, 8, 8, 8))
    module = LocalOptimizationPyramid(LocalOptimizationConfig(), nn.Identity)
    assert not list(module.parameters())
    torch.testing.assert_close(module(maps)[2], upsample2(upsample2(maps[2])))


def test_bad_configs_are_named():
    with pytest.raises(ValueError, match="relu must be lateral"):
        MsffConfig(global_regression=GlobalRegressionConfig(relu="sum"), grm=False)
    with pytest.raises(ValueError, match="meet at 1/4"):
        LocalOptimizationConfig(passes=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="an even number"):
        LocalOptimization(7, LocalOptimizationConfig())


# heads


def test_volume_head_puts_depth_first_within_each_joint():
    head = VolumeHead(3, bins=4, joints=2)
    with torch.no_grad():
        head.conv.weight.zero_()
        head.conv.bias.copy_(torch.arange(8.0))
    volume = head(torch.rand(1, 3, 5, 6))
    assert volume.shape == (1, 2, 4, 5, 6)
    assert volume[0, :, :, 0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_relative_depth_is_the_expectation_under_a_softmax():
    """Logits log(1), log(1), log(2), log(4) over bins 0..3: (0 + 1 + 4 + 12) / 8."""
    head = RelativeDepthHead(5, hidden=6, bins=4)
    with torch.no_grad():
        head.layers[2].weight.zero_()
        head.layers[2].bias.copy_(torch.tensor([1.0, 1.0, 2.0, 4.0]).log())
    torch.testing.assert_close(head(torch.rand(2, 5, 3, 3)), torch.full((2,), 17 / 8))


def test_heads_see_only_the_mean_of_each_channel():
    head = HandednessHead(4, hidden=8)
    f = torch.randn(2, 4, 3, 3)
    assert head(f).shape == (2, 2)
    torch.testing.assert_close(head(f), head(f.flip(-1).transpose(-1, -2)))
