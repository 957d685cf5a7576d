"""Pictures of a module's maps: the channels chosen, and the values drawn."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from msff.report.module_figures import channel_bars, extreme_channels, loss_curves, maps_before_and_after

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_strongest_channels_come_first_and_the_weakest_last():
    assert extreme_channels(torch.tensor([[0.4, 0.9, 0.1, 0.6, 0.2, 0.8]]), 2) == [1, 5, 4, 2]


def test_bars_are_the_first_image_and_show_close_weights_apart():
    (ax,) = channel_bars(torch.tensor([[0.50, 0.52], [9.0, 9.0]]), "W", "made up").axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.50, 0.52])
    assert 0.49 < ax.get_ylim()[0] < 0.5


def test_maps_are_drawn_before_above_after():
    x = torch.rand(1, 4, 3, 3)
    axes = maps_before_and_after(x, 2 * x, [3, 1], "made up").axes
    drawn = [np.asarray(ax.images[0].get_array()) for ax in axes]
    assert np.allclose(drawn, np.concatenate([x[0, [3, 1]], 2 * x[0, [3, 1]]]))


def test_each_form_has_its_own_curve():
    (ax,) = loss_curves({"se": [2.0, 1.0], "printed": [3.0, 2.0]}, "made up").axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.0, 1.0], [3.0, 2.0]]
    assert len({line.get_linestyle() for line in ax.lines}) == 2
