"""The whole of MS-FF against the printed equations, composed as in Fig. 1."""

from functools import partial

import numpy as np
import torch

from msff.models.msff import equations as eq
from msff.models.msff.channel_conversion import ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegressionConfig
from msff.models.msff.network import Msff, MsffConfig
from msff.report.notebook import pass_parameters
from msff.settings.networks import BackboneConfig


def small_network():
    """A network whose four levels and channels all differ, in evaluation mode and double precision."""
    torch.manual_seed(0)
    config = MsffConfig(
        backbone=BackboneConfig("basic", 4, (1, 1, 1, 1)),
        channel_conversion=ChannelConversionConfig(reduction=2, min_hidden=1),
        global_regression=GlobalRegressionConfig(channels=4),
        bins=3, head_hidden=4, volume_std=0.1,
    )  # fmt: skip
    network = Msff(config).double().eval()
    with torch.no_grad():
        for conv in network.global_regression.lateral:
            conv.bias.normal_()
        network.volume.conv.bias.normal_()
    return network


def array(tensor):
    return tensor.detach().numpy()


def kernel(conv):
    return array(conv.weight)[:, :, 0, 0], array(conv.bias)


def test_the_network_is_the_printed_equations_one_after_the_other():
    network = small_network()
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    output = network(image)
    f = []
    for level, module in zip(network.backbone(image), network.channel_conversion, strict=True):
        level = array(level[0])
        w = eq.eq4_se(eq.eq3_aggregate(level), array(module.w1.weight), array(module.w2.weight))
        f.append(eq.eq5_recalibrate(level, w))
    v = [eq.eq6_reduce(f_k, *kernel(conv)) for f_k, conv in zip(f, network.global_regression.lateral, strict=True)]
    g = eq.eq11_fuse(v)
    passes = [[_transcribed(one) for one in level] for level in network.local_optimization.levels]
    o = [eq.eq13_level(g_k, of_level) for g_k, of_level in zip(g, passes, strict=True)]
    volume = eq.eq15_volume(eq.eq14_concatenate(o), *kernel(network.volume.conv), bins=3)
    np.testing.assert_allclose(array(output.volume[0]), volume, atol=1e-10)
    mean = torch.from_numpy(eq.eq3_aggregate(f[-1]))[None]
    torch.testing.assert_close(output.side_logits, network.handedness.layers(mean), atol=1e-10, rtol=0)


def _transcribed(one_pass):
    convolutions, norms, w1, w2 = pass_parameters(one_pass)
    return partial(eq.eq12_pass, convolutions=convolutions, norms=norms, w1=w1, w2=w2)
