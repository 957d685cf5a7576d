"""PoseNet (2017): published sizes, padding, targets and losses by hand, boxes, both tracks; and that it learns."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from standin_hands import learn_by_heart, standin_batch
from torch.utils.flop_counter import FlopCounterMode

from msff.data.one_hand import one_hand
from msff.models.backbone import BackboneConfig
from msff.models.canonical_frame import from_canonical, to_canonical
from msff.models.posenet import LiftedHand, PoseNet, PoseNetConfig
from msff.models.posenet_layers import LayerConfig, SameConv
from msff.models.posenet_segmentation import HandSegNet, MaskBoxConfig, box_of_mask, grown_region
from msff.models.posenet_targets import (
    JitterConfig,
    canonical_targets,
    jittered,
    palm_hands,
    pooled,
    score_map_targets,
    truncated_normal,
)
from msff.models.posenet_tracks import (
    MeanScale,
    SideNet,
    SideNetConfig,
    from_wrist_mm,
    one_hot,
    predict_with_truth,
    predict_without_truth,
)
from msff.models.registry import count_macs, count_parameters
from msff.skeleton import MIDDLE_MCP, WRIST
from msff.study.bench import synthetic_batch
from msff.training.posenet_loss import (
    RECIPES,
    LiftingObjective,
    Pose2DConfig,
    Pose2DObjective,
    SegmentationObjective,
    SideObjective,
    lifting_loss,
    score_map_loss,
    segmentation_loss,
)

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)
SLIM_SIDE = SideNetConfig(BackboneConfig("basic", 8, (1, 1, 1, 1)))


def slim(config=SLIM, seed=0):
    torch.manual_seed(seed)
    return PoseNet(config)


def batch_of(count=3, size=32, seed=0):
    return synthetic_batch(count, size, "cpu", torch.Generator().manual_seed(seed))


def macs(module, *inputs):
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


# size


def test_published_sizes():
    """17.52, 1.64, 2.24 and 13.60 M parameters; 30.2 and 26.2 G multiply-adds at 256 px; 21.4 M and 30.3 G in all."""
    with torch.device("meta"):
        net, segmentation = PoseNet(PoseNetConfig()), HandSegNet()
        image, side = torch.empty(1, 3, 256, 256), torch.empty(1, 2)
        assert macs(net.pose2d, image) / 1e9 == pytest.approx(30.2, abs=0.05)
        assert macs(net, image, side) / 1e9 == pytest.approx(30.3, abs=0.05)
    assert count_macs(segmentation, 256) / 1e9 == pytest.approx(26.2, abs=0.05)
    assert count_parameters(net.pose2d) == 17_518_847
    assert count_parameters(net.lifting.prior) == 1_637_279
    assert count_parameters(net.lifting.viewpoint) == 2_238_403
    assert count_parameters(segmentation) == 13_601_986
    assert count_parameters(net) / 1e6 == pytest.approx(21.4, abs=0.05)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_shapes_at_every_size(size):
    net = slim(SLIM.slim(size, 0.0625))
    output = net(torch.rand(2, 3, size, size), one_hot(torch.tensor([0, 1])))
    assert output.joints.shape == output.canonical.shape == (2, 21, 3) and output.rotation.shape == (2, 3, 3)
    assert [m.shape for m in output.score_maps] == 3 * [(2, 21, size // 8, size // 8)]


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(count):
    net, segmentation = slim(), HandSegNet(LayerConfig(width=0.0625))
    image, side = torch.rand(count, 3, 32, 32), one_hot(torch.ones(count, dtype=torch.int64))
    assert net(image, side).joints.shape == (count, 21, 3)
    logits = segmentation(image)
    assert logits.shape == (count, 2, 32, 32)
    assert box_of_mask(logits.softmax(1)[:, 1]).shape == (count, 4)
    mask = torch.zeros(count, 32, 32, dtype=torch.bool)
    assert torch.isfinite(segmentation_loss(logits, mask))


def test_one_output_whatever_the_mode_and_dropout_only_in_training():
    net, image, side = slim(), torch.rand(2, 3, 32, 32), one_hot(torch.tensor([0, 1]))
    first, second = net(image, side), net(image, side)
    assert not torch.equal(first.canonical, second.canonical)
    net.eval()
    assert torch.equal(net(image, side).joints, net(image, side).joints)
    torch.testing.assert_close(net(image[:1], side[:1]).joints[0], net(image, side).joints[0], atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    net = slim(replace(SLIM, prior_dropout=0.0, viewpoint_dropout=0.0))
    joints = net(torch.rand(4, 3, 32, 32), one_hot(torch.tensor([0, 1, 1, 0]))).joints
    (joints * torch.randn(21, 3)).sum().backward()  # a length alone would not see the rotation
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    segmentation = HandSegNet(LayerConfig(width=0.0625))
    segmentation_loss(segmentation(torch.rand(2, 3, 32, 32)), torch.rand(2, 32, 32) > 0.5).backward()
    assert [n for n, p in segmentation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("size, kernel, stride, before, after", [
    (8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (1, 3, 2, 1, 1), (8, 7, 1, 3, 3), (8, 1, 1, 0, 0),
])  # fmt: skip
def test_same_padding(size, kernel, stride, before, after):
    """TensorFlow's rule; for stride 2 on even maps only the right and the bottom edge are padded."""
    conv = SameConv(2, 3, kernel, LayerConfig(), stride)
    x = torch.rand(1, 2, size, size)
    expected = F.leaky_relu(conv.conv(F.pad(x, (before, after, before, after))), 0.01)
    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape[-1] == -(-size // stride)


def test_sides_mirror_the_hand():
    """The same canonical hand as left and as right hand, the viewpoint mirrored too, is a hand and its mirror image."""
    generator = torch.Generator().manual_seed(0)
    canonical, left, right = torch.randn(5, 21, 3, generator=generator), torch.ones(5), torch.zeros(5)
    _, viewpoint = to_canonical(torch.randn(5, 21, 3, generator=generator), left)
    flip_x, flip_z = torch.diag_embed(torch.tensor([[-1.0, 1, 1], [1, 1, -1]]))
    mirrored = from_canonical(canonical, flip_z @ viewpoint @ flip_x, right)
    torch.testing.assert_close(mirrored, from_canonical(canonical, viewpoint, left) @ flip_x)


# targets


def test_score_maps_by_hand():
    """At 64 px sigma is 25 / 4 = 6.25 px; the centre (20.9, 30.2) counts as (20, 30)."""
    joints = torch.zeros(1, 21, 2)
    joints[0, 3], joints[0, 4], joints[0, 5], joints[0, 6] = torch.tensor(
        [[20.9, 30.2], [20, 30], [63.2, 30], [0.5, 9]]
    )
    visible = torch.zeros(1, 21, dtype=torch.bool)
    visible[0, [3, 5, 6]] = True  # 4 is not visible, 5 and 6 lie on the border
    maps = score_map_targets(joints, visible, 64)
    assert maps.shape == (1, 21, 64, 64) and maps[0, 3, 30, 20] == 1
    assert maps[0, 3, 33, 24].item() == pytest.approx(2.718281828 ** (-25 / 6.25**2))
    assert maps[0, [0, 4, 5, 6]].abs().max() == 0
    assert pooled(maps).shape == (1, 21, 8, 8)
    assert pooled(maps)[0, 3, 3, 2].item() == pytest.approx(maps[0, 3, 24:32, 16:24].mean().item())


def test_palm_hands():
    batch = batch_of()
    batch.joint_valid[1, 21 + MIDDLE_MCP] = False  # the left hand of crop 1 has no frame
    hands = palm_hands(batch)
    plain = one_hand(batch)
    assert len(plain) == 6 and len(hands) == 5 and hands.side.tolist() == [0, 1, 0, 0, 1]
    palm = (plain.joints_cam_mm[0, WRIST] + plain.joints_cam_mm[0, MIDDLE_MCP]) / 2
    expected = (plain.joints_cam_mm[0, 5] - palm) / plain.scale_mm[0]
    torch.testing.assert_close(hands.relative[0, 5], expected)
    canonical, rotation = canonical_targets(hands)
    torch.testing.assert_close(from_canonical(canonical, rotation, hands.side), hands.relative, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hands.zoom, torch.ones(5))


def test_truncated_normal_has_the_deviation_of_its_law():
    """Cut at two deviations the normal keeps a deviation of 0.8796."""
    values = truncated_normal((200_000,), torch.Generator().manual_seed(0))
    assert values.abs().max() <= 2 and values.mean().abs() < 0.01
    assert values.std().item() == pytest.approx(0.8796, abs=0.005)


def test_jitter():
    generator, joints = torch.Generator().manual_seed(0), torch.rand(500, 21, 2) * 64
    still = JitterConfig(joint_px=0, centre_px=0, offset_px=0, zoom=(1.0, 1.0))
    torch.testing.assert_close(jittered(joints, torch.ones(500), 64, still, generator), joints)
    wide = jittered(joints, torch.ones(500), 64, replace(still, centre_px=20.0), generator)
    assert wide.min() > -1e-3 and wide.max() < 64 + 1e-3  # the crop grows: what was inside stays inside
    assert jittered(joints, torch.ones(500), 64, replace(still, offset_px=20.0), generator).min() < -20
    larger = jittered(joints, torch.ones(500), 64, replace(still, zoom=(1.2, 1.2)), generator)
    torch.testing.assert_close(larger - 32, (joints - 32) * 1.2, atol=1e-4, rtol=1e-4)
    shaken = jittered(joints, torch.full((500,), 2.0), 64, replace(still, joint_px=2.5), generator) - joints
    assert shaken.std().item() == pytest.approx(5 * 0.8796, rel=0.02) and shaken.abs().max() <= 10 + 1e-3


# losses


def test_score_map_loss_by_hand():
    """Zero maps against one visible joint: its root mean square, divided by 1.001; likewise ones."""
    joints, visible = torch.full((1, 21, 2), 30.0), torch.zeros(1, 21, dtype=torch.bool)
    visible[0, 7] = True
    target = score_map_targets(joints, visible, 64)[0, 7]
    maps = (torch.zeros(1, 21, 8, 8), torch.ones(1, 21, 8, 8))
    losses = score_map_loss(maps, joints, visible, 64, Pose2DConfig())
    first, second = target.square().mean().sqrt() / 1.001, (1 - target).square().mean().sqrt() / 1.001
    assert losses["stage1"].item() == pytest.approx(first.item()) and losses["stage2"].item() == pytest.approx(
        second.item()
    )
    assert losses["total"].item() == pytest.approx((first + second).item())


def test_a_perfect_map_has_a_gradient():
    maps = torch.zeros(1, 21, 4, 4, requires_grad=True)
    nothing = torch.zeros(1, 21, dtype=torch.bool)
    score_map_loss((maps,), torch.zeros(1, 21, 2), ~nothing, 32, Pose2DConfig())["total"].backward()
    assert torch.isfinite(maps.grad).all()


def test_lifting_loss_by_hand():
    """All coordinates off by 0.5: 0.25. The identity off by 1 in one of nine entries of each of five hands: 1 / 9."""
    batch = batch_of()
    batch.joint_valid[1, 21 + MIDDLE_MCP] = False
    batch.joint_valid[0, 5] = False
    hands = palm_hands(batch)
    canonical, rotation = canonical_targets(hands)
    canonical = canonical + 0.5
    canonical[0, 5] = 99.0  # not annotated
    rotation = rotation.clone()
    rotation[:, 0, 1] += 1
    losses = lifting_loss(LiftedHand(canonical, canonical, rotation), hands)
    values = {name: value.item() for name, value in losses.items()}
    assert values == pytest.approx({"canonical": 0.25, "rotation": 1 / 9, "total": 0.25 + 1 / 9}, rel=1e-4)


def test_segmentation_loss_by_hand():
    """Logits (0, ln 3): hand with 3/4. Half of the pixels show a hand: -(ln 3/4 + ln 1/4) / 2 = 0.8370."""
    logits = torch.tensor([0.0, 1.0986123]).view(1, 2, 1, 1)
    mask = torch.tensor([[[True, False], [False, True]]])
    assert segmentation_loss(logits.expand(1, 2, 2, 2), mask).item() == pytest.approx(0.83699, abs=1e-4)
    with pytest.raises(ValueError, match="mask must be"):
        segmentation_loss(logits, mask)


def test_each_stage_trains_its_part():
    batch, net = batch_of(), slim()
    parts = {
        "pose2d": Pose2DObjective(generator=torch.Generator()),
        "lifting": LiftingObjective(generator=torch.Generator()),
    }
    for part, objective in parts.items():
        net.zero_grad(set_to_none=True)
        objective(net, batch)["total"].backward()
        touched = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
        assert touched == {part}
    assert set(RECIPES) == {"segmentation", *parts}
    segmentation = HandSegNet(LayerConfig(width=0.0625))
    objective = SegmentationObjective(masks=lambda b: torch.zeros(b.image[:, 0].shape, dtype=torch.bool))
    assert objective(segmentation, batch)["total"].item() == pytest.approx(0.6931, abs=0.05)  # untrained: ln 2


def test_a_batch_without_a_hand_is_no_loss():
    batch, net = batch_of(), slim()
    batch.side_present.zero_()
    for objective in (Pose2DObjective(), LiftingObjective()):
        total = objective(net, batch)["total"]
        total.backward()
        assert total.item() == 0
    with pytest.raises(ValueError, match="crops of one hand"):
        SideObjective()(SideNet(SLIM_SIDE), batch)


def test_noise_comes_from_the_generator_alone():
    batch, net = batch_of(), slim().eval()

    def total(objective, seed):
        return objective(generator=torch.Generator().manual_seed(seed))(net, batch)["total"].item()

    for objective in (Pose2DObjective, LiftingObjective):
        assert total(objective, 0) == total(objective, 0) != total(objective, 1)


# boxes


def test_the_region_jumps_small_gaps_only():
    probability = torch.zeros(1, 64, 64)
    probability[0, 10:20, 10:20], probability[0, 15, 15] = 0.8, 0.9
    probability[0, 10:20, 28:30] = 0.7  # 8 columns further: within half of 21
    probability[0, 50:60, 50:60] = 0.8  # too far
    region = grown_region(probability)
    assert region[0, 10:20, 10:20].all() and region[0, 10:20, 28:30].all()
    assert region.sum() == 120


def test_box_by_hand():
    """Columns 10..29, rows 10..19: centre (19.5, 14.5), side 1.25 * 19 = 23.75 px, magnified at most 5 times: 51.2."""
    probability = torch.zeros(3, 64, 96)
    probability[0, 10:20, 10:30] = 0.8
    probability[1, 5:60, 8:88] = 0.8
    box = box_of_mask(probability)
    assert box[0].tolist() == pytest.approx([19.5 - 25.6, 14.5 - 25.6, 51.2, 51.2])
    assert box[1].tolist() == pytest.approx([47.5 - 49.375, 32 - 49.375, 98.75, 98.75])
    assert box[2].tolist() == pytest.approx([48 - 25.6, 48 - 25.6, 51.2, 51.2])  # nothing found: 30 px at the centre
    free = box_of_mask(probability, MaskBoxConfig(zoom=(0.1, 50.0)))
    assert free[0].tolist() == pytest.approx([19.5 - 11.875, 14.5 - 11.875, 23.75, 23.75])


# tracks


def test_back_to_the_wrist_by_hand():
    """Palm at 0, MCP at (0, -2, 0): the wrist lies at (0, 2, 0). A tip at (1, -4, 0) is then (1, -6, 0) from it."""
    joints = torch.zeros(1, 21, 3)
    joints[0, MIDDLE_MCP], joints[0, 0] = torch.tensor([[0.0, -2, 0], [1, -4, 0]])
    hand = from_wrist_mm(joints, torch.tensor([30.0]))[0]
    assert hand[WRIST].tolist() == [0, 0, 0] and hand[MIDDLE_MCP].tolist() == [0, -120, 0]
    assert hand[0].tolist() == [30, -180, 0]


def test_the_truth_makes_no_error():
    hands = palm_hands(batch_of())
    torch.testing.assert_close(
        from_wrist_mm(hands.relative, hands.scale_mm), one_hand(batch_of()).from_wrist_mm, atol=1e-3, rtol=1e-4
    )


def test_mean_scale():
    fitted = MeanScale.fit(torch.tensor([20.0, 30, 50]), torch.tensor([0, 1, 1]))
    assert fitted == MeanScale(20.0, 40.0)
    assert fitted.of(torch.tensor([1, 0, 1])).tolist() == [40, 20, 40]
    assert MeanScale.fit(torch.tensor([20.0]), torch.tensor([0])) == MeanScale(20.0, 20.0)
    with pytest.raises(ValueError, match="at least one hand"):
        MeanScale.fit(torch.zeros(0), torch.zeros(0))


def test_both_tracks():
    batch, net = batch_of(), slim().eval()
    hands = one_hand(batch)
    assert predict_with_truth(net, hands).shape == (6, 21, 3)
    side_net = SideNet(SLIM_SIDE).eval()
    assert count_parameters(SideNet()) == pytest.approx(11.2e6, rel=0.01)
    torch.nn.init.zeros_(side_net.out.weight)
    side_net.out.bias.data = torch.tensor([0.0, 1.0])
    found, side = predict_without_truth(net, side_net, MeanScale(10.0, 30.0), batch.image)
    expected = from_wrist_mm(net(batch.image, one_hot(side)).joints, torch.full((3,), 30.0))
    assert side.tolist() == [1, 1, 1] and torch.equal(found, expected)


@pytest.mark.parametrize(
    "wrong", [{"crop_size": 40}, {"stages": 0}, {"prior_dropout": 1.0}, {"viewpoint_dropout": -0.1}]
)
def test_wrong_configuration(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PoseNetConfig(**wrong)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 32, 32\)"):
        slim()(torch.rand(1, 3, 64, 64), torch.eye(2)[:1])
    with pytest.raises(ValueError, match=r"side must be one-hot \(1, 2\), got \(1,\)"):
        slim()(torch.rand(1, 3, 32, 32), torch.ones(1))


def test_lifting_learns_sixteen_hands_by_heart():
    """From the annotated joints' score maps to millimetres; no dropout, which is there to prevent just this."""
    batch = standin_batch(16, 32)
    torch.manual_seed(0)
    layers = LayerConfig(gain=2**0.5, width=0.25)
    net = PoseNet(PoseNetConfig(32, layers, prior_dropout=0.0, viewpoint_dropout=0.0))
    learn_by_heart(net, LiftingObjective(), batch, net.lifting.parameters(), 3e-3, 400)
    hands = palm_hands(batch)
    score_map = pooled(score_map_targets(hands.joints_crop_px, hands.visible, 32))
    with torch.no_grad():
        found = from_wrist_mm(net.lifting(score_map, one_hot(hands.side)).joints, hands.scale_mm)
    assert (found - one_hand(batch).from_wrist_mm).norm(dim=-1).mean() < 3


def test_pose2d_learns_sixteen_images():
    """The larger initial gain, from scratch: the loss falls to less than a third, which the mean map cannot do."""
    batch = standin_batch(16, 32)
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(32, LayerConfig(gain=2**0.5, width=0.25), stages=1))
    objective = Pose2DObjective(Pose2DConfig(sigma_px=60.0))
    before = objective(net, batch)["total"].item()
    learn_by_heart(net, objective, batch, net.pose2d.parameters(), 5e-4, 200)
    assert objective(net, batch)["total"].item() < before / 3
