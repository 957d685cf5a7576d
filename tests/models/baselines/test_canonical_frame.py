"""The canonical frame: by hand, its invariances, and back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msff.models.baselines.canonical_frame import (
    canonical_rotation,
    flip_right,
    from_canonical,
    palm_flags,
    palm_relative,
    replace_palm_by_wrist,
    replace_wrist_by_palm,
    rotation_from_axis_angle,
    rotation_x,
    rotation_y,
    rotation_z,
    to_canonical,
    turn_with_crop,
)
from msff.skeleton import LITTLE_MCP, MIDDLE_MCP, MIDDLE_PIP, WRIST

RIGHT, LEFT = torch.tensor(0), torch.tensor(1)


def random_hands(count, seed=0):
    return torch.randn(count, 21, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 40


def random_rotations(count, seed=0):
    axis_angle = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    return exponential(axis_angle)


def exponential(axis_angle):
    """The rotation of columns by an axis-angle vector, from its definition: exp of v -> u x v."""
    rows = torch.linalg.cross(axis_angle[:, None].expand(-1, 3, -1), torch.eye(3).double()[None])  # u x e_i
    return torch.linalg.matrix_exp(rows.mT)


def relative(hands):
    """Palm-relative, in units of the bone from middle MCP to PIP."""
    scale = (hands[:, MIDDLE_MCP] - hands[:, MIDDLE_PIP]).norm(dim=-1)
    return palm_relative(hands) / scale[:, None, None]


def test_palm_by_hand():
    """Wrist (10, 0, 0), MCP (10, 80, 0): palm (10, 40, 0). In units of 50 mm the MCP lies 0.8 from the palm."""
    hand = torch.zeros(21, 3)
    hand[WRIST], hand[MIDDLE_MCP], hand[MIDDLE_PIP] = torch.tensor([[10.0, 0, 0], [10, 80, 0], [10, 110, 40]])
    assert replace_wrist_by_palm(hand)[WRIST].tolist() == [10, 40, 0]
    result = palm_relative(hand) / 50
    assert result[WRIST].tolist() == [0, 0, 0]
    assert result[MIDDLE_MCP].tolist() == pytest.approx([0, 0.8, 0])
    assert result[MIDDLE_PIP].tolist() == pytest.approx([0, 1.4, 0.8])
    assert hand[WRIST].tolist() == [10, 0, 0]  # the input stays


def test_wrist_and_palm_are_inverse():
    hands = random_hands(3)
    torch.testing.assert_close(replace_palm_by_wrist(replace_wrist_by_palm(hands)), hands)


def test_flags_of_the_palm():
    flags = torch.zeros(3, 21, dtype=torch.bool)
    flags[1, MIDDLE_MCP] = flags[2, MIDDLE_MCP] = flags[2, WRIST] = True
    assert palm_flags(flags, both=False)[:, WRIST].tolist() == [False, True, True]
    assert palm_flags(flags, both=True)[:, WRIST].tolist() == [False, False, True]
    assert torch.equal(palm_flags(flags, both=True)[:, :WRIST], flags[:, :WRIST])


def test_quarter_turns_by_hand():
    quarter, row = torch.tensor(math.pi / 2), torch.tensor([1.0, 2.0, 3.0])
    assert (row @ rotation_x(quarter)).tolist() == pytest.approx([1, -3, 2])
    assert (row @ rotation_y(quarter)).tolist() == pytest.approx([3, 2, -1])
    assert (row @ rotation_z(quarter)).tolist() == pytest.approx([-2, 1, 3])


def test_canonical_hand_by_hand():
    """MCP on +x, little MCP beside it towards -z: a_z = 90 deg, a_x = 180 deg, a_y = 90 deg.

    (1, 0, 0) Rz = (0, 1, 0), Rx turns it to (0, -1, 0). (1, 0, -1) Rz = (0, 1, -1), Rx (0, -1, 1), Ry by
    atan2(1, 0) = 90 deg: (1, -1, 0). A point (0, 0, 5) goes to (0, 0, -5) by Rx, then to (-5, 0, 0).
    """
    hand = torch.zeros(21, 3, dtype=torch.float64)
    hand[MIDDLE_MCP], hand[LITTLE_MCP], hand[0] = torch.tensor([[1.0, 0, 0], [1, 0, -1], [0, 0, 5]]).double()
    canonical = hand @ canonical_rotation(hand)
    assert canonical[MIDDLE_MCP].tolist() == pytest.approx([0, -1, 0], abs=1e-12)
    assert canonical[LITTLE_MCP].tolist() == pytest.approx([1, -1, 0], abs=1e-12)
    assert canonical[0].tolist() == pytest.approx([-5, 0, 0], abs=1e-12)


def test_it_is_canonical_and_a_rotation():
    hands = relative(random_hands(50))
    rotation = canonical_rotation(hands)
    canonical = hands @ rotation
    middle, little = canonical[:, MIDDLE_MCP], canonical[:, LITTLE_MCP]
    assert middle[:, [0, 2]].abs().max() < 1e-10 and (middle[:, 1] < 0).all()
    assert little[:, 2].abs().max() < 1e-10 and (little[:, 0] > 0).all()
    eye = torch.eye(3).double().expand(50, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, eye)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50).double())


def test_right_hands_are_mirrored_and_left_hands_only_turned():
    hand = relative(random_hands(1)).expand(2, -1, -1)
    canonical, viewpoint = to_canonical(hand, torch.stack([RIGHT, LEFT]))
    turned = hand @ viewpoint.mT
    torch.testing.assert_close(canonical[1], turned[1])
    torch.testing.assert_close(canonical[0], turned[0] * torch.tensor([1.0, 1.0, -1.0]).double())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3))
def test_moving_and_scaling_the_hand_changes_nothing(seed, size):
    hands = random_hands(4, seed)
    moved = size * hands @ random_rotations(4, seed) + 300
    side = torch.tensor([0, 1, 0, 1])
    first, _ = to_canonical(relative(hands), side)
    second, _ = to_canonical(relative(moved), side)
    torch.testing.assert_close(first, second, atol=1e-7, rtol=1e-7)


def test_a_hand_and_its_mirror_image_are_one_canonical_hand():
    left = random_hands(9)
    right = left * torch.tensor([-1.0, 1, 1])
    ours, there = to_canonical(relative(left), LEFT.expand(9))
    theirs, back = to_canonical(relative(right), RIGHT.expand(9))
    torch.testing.assert_close(ours, theirs)
    flip_x, flip_z = torch.diag_embed(torch.tensor([[-1.0, 1, 1], [1, 1, -1]]).double())
    torch.testing.assert_close(back, flip_z @ there @ flip_x)


def test_there_and_back():
    hands, side = relative(random_hands(6)), torch.tensor([0, 1, 1, 0, 0, 1])
    canonical, viewpoint = to_canonical(hands, side)
    torch.testing.assert_close(from_canonical(canonical, viewpoint, side), hands)
    assert torch.equal(flip_right(flip_right(hands, side), side), hands)


def test_no_hand():
    canonical, viewpoint = to_canonical(torch.zeros(0, 21, 3), torch.zeros(0, dtype=torch.int64))
    assert canonical.shape == (0, 21, 3) and viewpoint.shape == (0, 3, 3)
    assert rotation_from_axis_angle(torch.zeros(0, 3)).shape == (0, 3, 3)


def test_rodrigues_is_the_matrix_exponential():
    axis_angle = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(rotation_from_axis_angle(axis_angle), exponential(axis_angle), atol=1e-6, rtol=0)


def test_no_rotation_has_a_gradient():
    axis_angle = torch.zeros(1, 3, requires_grad=True)
    rotation = rotation_from_axis_angle(axis_angle)
    torch.testing.assert_close(rotation[0], torch.eye(3), atol=1e-6, rtol=0)
    rotation[0, 1, 0].backward()
    assert axis_angle.grad[0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)


def test_a_turned_crop_turns_the_hand():
    """A picture turned by 90 degrees clockwise: x points down. Mirrored first, the turn is still the turn."""
    affine = torch.tensor([[[0.0, -2, 5], [2, 0, 7]], [[0.0, -2, 5], [-2, 0, 7]]])
    hand = torch.tensor([1.0, 2, 3]).expand(2, 21, 3)
    turned = turn_with_crop(hand, affine)
    torch.testing.assert_close(turned[:, 0], torch.tensor([[-2.0, 1, 3], [-2, 1, 3]]))
    torch.testing.assert_close(turn_with_crop(turned, affine, back=True), hand)
