"""The pinhole camera of Eqs. (1)-(2): worked by hand with a skewed camera whose axes and centres all differ."""

import pytest
import torch

from msff.camera import project, square_box, unproject

# x = 100 X / Z + 20 Y / Z + 30, y = 50 Y / Z + 70
INTRINSICS = torch.tensor([[100.0, 20.0, 30.0], [0.0, 50.0, 70.0], [0.0, 0.0, 1.0]])
POINTS_MM = torch.tensor([[2.0, 4.0, 2.0], [-3.0, 1.0, 10.0]])
PIXELS = torch.tensor([[170.0, 170.0], [2.0, 75.0]])


def test_projection_by_hand():
    torch.testing.assert_close(project(POINTS_MM, INTRINSICS), PIXELS)
    torch.testing.assert_close(project(POINTS_MM[None], INTRINSICS[None]), PIXELS[None])


def test_a_pixel_and_its_depth_are_the_point():
    torch.testing.assert_close(unproject(PIXELS, POINTS_MM[:, 2], INTRINSICS), POINTS_MM)


def test_a_point_behind_the_camera_has_no_pixel():
    assert project(torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, 0.0]]), INTRINSICS).isnan().all()


def test_the_square_box_keeps_the_centre_and_covers_the_longer_side():
    box = torch.tensor([10.0, 20.0, 40.0, 80.0])  # centre (30, 60)
    torch.testing.assert_close(square_box(box, 1.25), torch.tensor([-20.0, 10.0, 100.0, 100.0]))
    torch.testing.assert_close(box, torch.tensor([10.0, 20.0, 40.0, 80.0]))


def test_intrinsics_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"intrinsics must be \(..., 3, 3\), got \(3,\)"):
        project(POINTS_MM, INTRINSICS[0])
