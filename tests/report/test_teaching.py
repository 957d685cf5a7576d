"""What the module pages draw and count is what the network computes."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig
from msff.models.registry import count_macs
from msff.report import teaching


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Alone(torch.nn.Module):
    """The pyramid behind an image of one channel, which all levels repeat."""

    def __init__(self, pyramid, channels):
        super().__init__()
        self.pyramid, self.channels = pyramid, channels

    def forward(self, image):
        size = image.shape[-1]
        return self.pyramid([image[:, :1, : size >> k, : size >> k].repeat(1, c, 1, 1) for k, c in self.channels])


def test_maps_of_different_sizes_are_drawn_as_the_mean_over_channels_under_their_shape():
    fine, coarse = torch.arange(32.0).view(1, 2, 4, 4), torch.ones(1, 3, 2, 2)
    figure = teaching.named_maps({"V_1": fine, "V_2": coarse}, "Maps", "rendered")
    first, second = figure.axes
    np.testing.assert_allclose(first.images[0].get_array(), fine[0].mean(0).numpy())
    assert second.images[0].get_array().shape == (4, 4)
    assert first.get_title().startswith("V_1, 4 x 4") and second.get_title().startswith("V_2, 2 x 2")


def test_the_curve_has_a_point_for_every_step():
    (line,) = teaching.loss_curve([3.0, 2.0, 1.5], "rendered").axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 2] and list(line.get_ydata()) == [3.0, 2.0, 1.5]


def test_the_levels_costs_add_up_to_the_modules():
    channels = tuple(enumerate((3, 5, 6)))
    pyramid = GlobalRegression(tuple(c for _, c in channels), GlobalRegressionConfig(channels=4))
    maps = [torch.randn(1, c, 16 >> k, 16 >> k) for k, c in channels]
    table = teaching.lateral_costs(pyramid, maps)
    assert table["parameters"].sum() == sum(p.numel() for p in pyramid.parameters())
    total = table["million multiply-adds"].sum() * 1e6
    assert total == pytest.approx(count_macs(Alone(pyramid, channels), 16))
    assert list(table["size"]) == ["16 x 16", "8 x 8", "4 x 4"]
