"""Channel conversion, global regression, local optimisation and the heads: values by hand, switches, errors."""

import pytest
import torch

from msff.models.heads import HandednessHead, RelativeDepthHead, VolumeHead
from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig, upsample2
from msff.models.msff.local_optimization import (
    LocalOptimization,
    LocalOptimizationConfig,
    LocalOptimizationPyramid,
    channel_shuffle,
)


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


def test_none_is_the_identity_without_parameters():
    module = ChannelConversion(8, ChannelConversionConfig(form="none"))
    f = torch.randn(1, 8, 2, 2)
    assert module(f) is f and not list(module.parameters())


def test_every_channel_and_weight_receives_a_gradient():
    module = ChannelConversion(32, ChannelConversionConfig())
    f = torch.randn(3, 32, 4, 4, requires_grad=True)
    module(f).square().sum().backward()
    assert (f.grad.abs().sum((0, 2, 3)) > 0).all() and module.w1.weight.grad.abs().sum() > 0


# global regression


def test_information_flows_from_coarse_to_fine_only_with_top_down():
    maps = pyramid_maps()
    for top_down in (True, False):
        torch.manual_seed(0)
        module = GlobalRegression((4, 6, 8, 10), GlobalRegressionConfig(channels=5), top_down)
        before = module(maps)
        after = module([*maps[:3], maps[3] + 10])
        assert [tuple(m.shape) for m in before] == [(2, 5, 16 >> k, 16 >> k) for k in range(4)]
        assert torch.equal(before[0], after[0]) != top_down


def test_ablation_keeps_width_and_parameters():
    config = GlobalRegressionConfig(channels=5)
    count = [sum(p.numel() for p in GlobalRegression((4, 6, 8, 10), config, t).parameters()) for t in (True, False)]
    assert count[0] == count[1] == (4 + 6 + 8 + 10 + 4) * 5


@pytest.mark.parametrize("relu", ["lateral", "sum", "none"])
@pytest.mark.parametrize("top_down", [True, False])
def test_the_relu_sits_where_the_config_says(relu, top_down):
    torch.manual_seed(0)
    module = GlobalRegression((4, 6, 8, 10), GlobalRegressionConfig(channels=5, relu=relu), top_down)
    maps = pyramid_maps()
    laterals = [conv(f) for conv, f in zip(module.lateral, maps, strict=True)]
    if relu == "lateral":
        laterals = [v.relu() for v in laterals]
    finish = torch.relu if relu == "sum" else (lambda t: t)
    coarse = finish(laterals[3])
    second = finish(laterals[2] + upsample2(coarse)) if top_down else finish(laterals[2])
    torch.testing.assert_close(module(maps)[3], coarse)
    torch.testing.assert_close(module(maps)[2], second)


def test_batch_norm_of_the_laterals_replaces_their_bias():
    module = GlobalRegression((4, 6, 8, 10), GlobalRegressionConfig(channels=5, norm=True, relu="none"), top_down=False)
    assert module.lateral[0][0].bias is None
    v = module(pyramid_maps())[0]  # in training: each channel has mean 0 and variance 1
    torch.testing.assert_close(v.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(v.var((0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_aligned_corners_reach_both_modules():
    maps, config = pyramid_maps((8, 8, 8, 8)), LocalOptimizationConfig(align_corners=True)
    level = LocalOptimizationPyramid(8, config, enabled=False)(maps)[1]
    torch.testing.assert_close(level, upsample2(maps[1], align_corners=True))
    torch.manual_seed(0)
    corners = GlobalRegression((8,) * 4, GlobalRegressionConfig(channels=5, align_corners=True))(maps)
    torch.manual_seed(0)
    squares = GlobalRegression((8,) * 4, GlobalRegressionConfig(channels=5))(maps)
    assert not torch.allclose(corners[0], squares[0])


def test_bilinear_by_hand():
    """Between 0 and 4 with square pixels: 0, 1, 3, 4; with aligned corners: 0, 4/3, 8/3, 4."""
    x = torch.tensor([[[[0.0, 4.0]]]])
    torch.testing.assert_close(upsample2(x)[0, 0, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]))
    torch.testing.assert_close(upsample2(x, align_corners=True)[0, 0, 0], torch.tensor([0.0, 4 / 3, 8 / 3, 4.0]))


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
    g = torch.randn(2, 16, 4, 4)
    outputs = {}
    for residual in ("half", "whole", "none"):
        torch.manual_seed(0)
        outputs[residual] = LocalOptimization(16, LocalOptimizationConfig(residual=residual))(g)
    torch.testing.assert_close(outputs["half"][:, 1::2] - outputs["none"][:, 1::2], g[:, 8:])
    torch.testing.assert_close(outputs["whole"] - outputs["none"], g)


def test_every_level_ends_at_a_quarter_scale():
    maps = pyramid_maps((8, 8, 8, 8))
    for enabled in (True, False):
        levels = LocalOptimizationPyramid(8, LocalOptimizationConfig(), enabled)(maps)
        assert [tuple(m.shape) for m in levels] == [(2, 8, 16, 16)] * 4
        assert levels[0] is maps[0]  # no pass at 1/4


def test_passes_count_0_1_2_3_and_sharing_leaves_one_set_per_level():
    passes = LocalOptimizationPyramid(8, LocalOptimizationConfig())
    shared = LocalOptimizationPyramid(8, LocalOptimizationConfig(share_weights=True))
    assert [len(level) for level in passes.levels] == [0, 1, 2, 3]
    assert [len(level) for level in shared.levels] == [0, 1, 1, 1]
    assert shared(pyramid_maps((8, 8, 8, 8)))[3].shape == (2, 8, 16, 16)


def test_switched_off_it_is_plain_bilinear_upsampling():
    maps = pyramid_maps((8, 8, 8, 8))
    module = LocalOptimizationPyramid(8, LocalOptimizationConfig(), enabled=False)
    assert not list(module.parameters())
    torch.testing.assert_close(module(maps)[2], upsample2(upsample2(maps[2])))


def test_config_variants_build_and_run():
    g = torch.randn(2, 12, 4, 4)
    for change in ({"depthwise": True}, {"norm": False}, {"last_relu": False}, {"split": 0.25}, {"shuffle_groups": 3}):
        assert LocalOptimization(12, LocalOptimizationConfig(**change))(g).shape == g.shape
    depthwise = LocalOptimization(12, LocalOptimizationConfig(depthwise=True)).branch[3]
    assert depthwise.weight.shape == (6, 1, 3, 3)


def test_bad_configs_are_named():
    with pytest.raises(ValueError, match="form must be"):
        ChannelConversionConfig(form="sigmoid")
    with pytest.raises(ValueError, match="reduction and min_hidden"):
        ChannelConversionConfig(reduction=0)
    with pytest.raises(ValueError, match="relu must be"):
        GlobalRegressionConfig(relu="top")
    with pytest.raises(ValueError, match="meet at 1/4"):
        LocalOptimizationConfig(passes=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="shuffled in 2 groups"):
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
