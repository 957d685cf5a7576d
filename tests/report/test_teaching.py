"""What the module pages draw and count is what the network computes."""

import numpy as np
import pytest
import torch

from msff.report import teaching


def test_maps_of_different_sizes_are_drawn_as_the_mean_over_channels_under_their_shape():
    fine, coarse = torch.arange(32.0).view(1, 2, 4, 4), torch.ones(1, 3, 2, 2)
    picture = teaching.named_maps({"V_1": fine, "V_2": coarse}, "Maps", "rendered")
    first, second = picture.figure.axes
    np.testing.assert_allclose(first.images[0].get_array(), fine[0].mean(0).numpy())
    assert second.images[0].get_array().shape == (4, 4)
    assert first.get_title().startswith("$V_1$, 4 × 4") and second.get_title().startswith("$V_2$, 2 × 2")


def test_the_picture_of_the_crop_is_the_first_image():
    images = torch.rand(2, 3, 4, 4)
    (ax,) = teaching.crop_picture(images, "rendered").figure.axes
    np.testing.assert_allclose(ax.images[0].get_array(), images[0].permute(1, 2, 0).numpy())
    assert "4 × 4" in ax.get_title()


def test_bars_are_the_first_image_and_show_close_weights_apart():
    (ax,) = teaching.channel_bars(torch.tensor([[0.50, 0.52], [9.0, 9.0]]), "W", "made up").figure.axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.50, 0.52])
    assert 0.49 < ax.get_ylim()[0] < 0.5


def test_maps_are_drawn_before_above_after():
    x = torch.rand(1, 4, 3, 3)
    axes = teaching.maps_before_and_after(x, 2 * x, [3, 1], "made up").figure.axes
    drawn = [np.asarray(ax.images[0].get_array()) for ax in axes]
    assert np.allclose(drawn, np.concatenate([x[0, [3, 1]], 2 * x[0, [3, 1]]]))


def test_each_form_has_its_own_curve():
    (ax,) = teaching.loss_curves({"se": [2.0, 1.0], "printed": [3.0, 2.0]}, "made up").figure.axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.0, 1.0], [3.0, 2.0]]
    assert len({line.get_linestyle() for line in ax.lines}) == 2
