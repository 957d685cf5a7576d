"""Lifting (Eqs. 1-2) and the depth of the box."""

from types import SimpleNamespace

import pytest
import torch

from msff.camera import apply_affine, crop_affine, project, square_box
from msff.evaluation.lifting import BoxDepth, fit_box_depth, lift, track_depths
from msff.models.auxiliary.rootnet import box_k_mm
from msff.skeleton import LEFT, RIGHT, ROOTS

K = torch.tensor([[280.0, 0, 160], [0, 280.0, 160], [0, 0, 1]], dtype=torch.float64)


def scene(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cam = torch.randn(batch, 42, 3, generator=generator, dtype=torch.float64) * 40
    cam[..., 2] += 500
    box = torch.tensor([100.0, 90, 120, 100], dtype=torch.float64).repeat(batch, 1)
    affine = crop_affine(square_box(box), 64, rotation_rad=0.3)
    roots = cam[:, list(ROOTS.values()), 2]
    relative = cam[..., 2] - roots.repeat_interleave(21, 1)
    crop = apply_affine(affine, project(cam, K.expand(batch, 3, 3)))
    return cam, crop, relative, roots, affine, K.expand(batch, 3, 3), box


def depth_of(model, box, intrinsics):
    return model(SimpleNamespace(box=box, intrinsics=intrinsics))[:, 0]


def test_lift_inverts_projection_and_crop():
    cam, crop, relative, roots, affine, intrinsics, _ = scene()
    assert torch.allclose(lift(crop, relative, roots, affine, intrinsics), cam, atol=1e-6)


def test_lift_by_hand():
    # Identity crop, f = 280, c = 160: pixel (188, 132) at 400 + 20 mm is x = 28 / 280 * 420 = 42, y = -42.
    crop = torch.full((1, 42, 2), 160.0)
    crop[0, 0] = torch.tensor([188.0, 132.0])
    relative = torch.zeros(1, 42)
    relative[0, 0] = 20
    eye = torch.eye(2, 3)[None]
    out = lift(crop, relative, torch.tensor([[400.0, 900.0]]), eye, K.float()[None])
    assert out[0, 0].tolist() == pytest.approx([42, -42, 420], abs=1e-4)
    assert out[0, 41].tolist() == pytest.approx([0, 0, 900], abs=1e-4)  # the left hand hangs on its own root


def test_box_depth_by_hand():
    # Longer side 80 px x 1.25 = 100 px; sqrt(250 * 360 * 300^2 / 100^2) = 300 * 300 / 100 = 900 mm.
    box = torch.tensor([[10.0, 10, 80, 40]])
    intrinsics = torch.tensor([[[250.0, 0, 0], [0, 360.0, 0], [0, 0, 1]]])
    assert box_k_mm(box, intrinsics).item() == pytest.approx(900)
    assert depth_of(BoxDepth(500.0), box, intrinsics).item() == pytest.approx(450)


def test_depth_law_by_hand():
    # k = 900 / 4 = 225, 900 and 3600 mm for boxes of 320, 80 and 20 px; depth 800 sqrt(k / 1 m).
    box = torch.tensor([[0.0, 0, side, side] for side in (320, 80, 20)])
    intrinsics = torch.diag(torch.tensor([300.0, 300.0, 1.0])).repeat(3, 1, 1)
    depth = 800 * (torch.tensor([225.0, 900, 3600]) / 1000).sqrt()
    joints_mm, valid = torch.zeros(3, 42, 3), torch.zeros(3, 42, dtype=torch.bool)
    joints_mm[:, ROOTS["right"], 2], valid[:, ROOTS["right"]] = depth, True

    def truth(rows, valid=valid):
        arrays = {"box": box, "intrinsics": intrinsics, "joints_cam_mm": joints_mm, "joint_valid": valid}
        return SimpleNamespace(**{name: array[rows].numpy() for name, array in arrays.items()})

    law = fit_box_depth(truth(slice(3)))
    assert (law.scale_mm, law.exponent) == pytest.approx((800, 0.5), rel=1e-4)
    assert torch.allclose(depth_of(law, box, intrinsics), depth)
    # Boxes of one size carry no slope: the rule with exponent 1 stays.
    assert fit_box_depth(truth(slice(1, 2))).exponent == 1
    with pytest.raises(ValueError, match="no valid wrist"):
        fit_box_depth(truth(slice(3), valid & False))


def test_box_without_area_is_refused():
    with pytest.raises(ValueError, match="box 1 has no area"):
        box_k_mm(torch.tensor([[0.0, 0, 5, 5], [3, 3, 0, 0]]), K.repeat(2, 1, 1))


def test_tracks_differ_only_in_the_root_depth():
    cam, crop, relative, roots, affine, intrinsics, box = scene()
    roots = roots.clone()
    roots[0, 1] = 0  # left wrist of the first image not annotated
    estimated = depth_of(BoxDepth(700.0), box, intrinsics)[:, None].expand(-1, 2)
    depths = track_depths(roots, estimated)
    tracks = {track: lift(crop, relative, depth, affine, intrinsics) for track, depth in depths.items()}
    expected = 0.7 * box_k_mm(box, intrinsics)
    assert torch.allclose(tracks["T1"][:, RIGHT], cam[:, RIGHT], atol=1e-6)
    assert torch.allclose(tracks["T1"][1:], cam[1:], atol=1e-6)
    assert tracks["T1"][0, ROOTS["left"], 2].item() == pytest.approx(expected[0].item())
    for side in ROOTS.values():
        assert torch.allclose(tracks["T2"][:, side, 2], expected)
    assert torch.allclose(tracks["T1"][0, LEFT], tracks["T2"][0, LEFT])


def test_any_estimate_of_the_depth_can_take_the_boxs_place():
    """A network may place the two wrists at different depths; T2 follows it, T1 only where nothing is annotated."""
    _, crop, relative, roots, affine, intrinsics, _ = scene()
    estimated = torch.tensor([[300.0, 400.0]], dtype=torch.float64).expand(3, 2)
    depths = track_depths(roots.where(torch.tensor([True, False]), 0.0), estimated)
    assert torch.equal(depths["T2"], estimated)
    assert torch.equal(depths["T1"][:, 0], roots[:, 0]) and (depths["T1"][:, 1] == 400).all()
    joints = lift(crop, relative, depths["T2"], affine, intrinsics)
    assert torch.allclose(joints[:, ROOTS["left"], 2] - joints[:, ROOTS["right"], 2], torch.full((3,), 100.0).double())
    assert BoxDepth(1.0).source == "box"
