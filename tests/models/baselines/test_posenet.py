"""PoseNet (2017): published sizes, padding, targets and losses by hand, phases, boxes, scale; and that it learns."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from standin_hands import learn_by_heart, standin_batch
from torch.utils.flop_counter import FlopCounterMode

from msff.data.single_hand import one_hand
from msff.data.synthetic import synthetic_batch
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.models.backbone import BackboneConfig
from msff.models.baselines.canonical_frame import from_canonical, to_canonical
from msff.models.baselines.pose_convention import MeanScale
from msff.models.baselines.posenet import POSENET_CONVENTION, LiftedHand, PoseNet, PoseNet2D, PoseNetConfig
from msff.models.baselines.posenet_layers import LayerConfig, SameConv
from msff.models.baselines.posenet_segmentation import FoundHand, HandSegNet, MaskBoxConfig, box_of_mask, grown_region
from msff.models.baselines.posenet_targets import (
    JitterConfig,
    canonical_targets,
    jittered,
    palm_hands,
    pooled,
    score_map_profiles,
    score_map_targets,
    truncated_normal,
)
from msff.models.registry import count_macs, count_parameters
from msff.skeleton import MIDDLE_MCP, WRIST
from msff.training.loop import TrainingConfig, train_step
from msff.training.objectives.posenet import (
    POSENET_NATIVE,
    LiftingObjective,
    Pose2DConfig,
    Pose2DObjective,
    SegmentationObjective,
    lifting_loss,
    mean_square_of_enlarged,
    posenet_phases,
    score_map_loss,
    segmentation_loss,
    segmentation_phase,
)
from msff.training.objectives.sidenet import SideObjective

SLIM = PoseNetConfig().slim(crop_size=32, width=0.0625)
SLIM_SIDE = SideNetConfig(BackboneConfig("basic", 8, (1, 1, 1, 1)))
SIDES = torch.tensor([0, 1])


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
        image, side = torch.empty(1, 3, 256, 256), torch.empty(1, dtype=torch.int64)
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
    output = net(torch.rand(2, 3, size, size), SIDES)
    assert output.joints.shape == output.canonical.shape == (2, 21, 3) and output.rotation.shape == (2, 3, 3)
    assert [m.shape for m in output.score_maps] == 3 * [(2, 21, size // 8, size // 8)]


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(count):
    net, segmentation = slim(), HandSegNet(LayerConfig(width=0.0625))
    image, side = torch.rand(count, 3, 32, 32), torch.ones(count, dtype=torch.int64)
    assert net(image, side).joints.shape == (count, 21, 3)
    logits = segmentation(image)
    assert logits.shape == (count, 2, 32, 32)
    assert box_of_mask(logits.softmax(1)[:, 1]).shape == (count, 4)
    mask = torch.zeros(count, 32, 32, dtype=torch.bool)
    assert torch.isfinite(segmentation_loss(logits, mask))


def test_one_output_whatever_the_mode_and_dropout_only_in_training():
    net, image, side = slim(), torch.rand(2, 3, 32, 32), SIDES
    first, second = net(image, side), net(image, side)
    assert not torch.equal(first.canonical, second.canonical)
    net.eval()
    assert torch.equal(net(image, side).joints, net(image, side).joints)
    torch.testing.assert_close(net(image[:1], side[:1]).joints[0], net(image, side).joints[0], atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    net = slim(replace(SLIM, prior_dropout=0.0, viewpoint_dropout=0.0))
    joints = net(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])).joints
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


def test_the_gain_keeps_the_signal():
    """Through the encoder's fifteen layers the deviation stays within a factor of ten; with gain 1 little is left."""
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64) - 0.5

    def kept(layers):
        with torch.no_grad():
            return (PoseNet2D(PoseNetConfig(64, layers)).encoder(image).std() / image.std()).item()

    assert LayerConfig().gain == pytest.approx(math.sqrt(2))
    assert kept(LayerConfig(width=0.25)) > 0.1 and kept(LayerConfig(width=0.25, gain=1.0)) < 0.02


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


@pytest.mark.parametrize("cells, size", [(8, 64), (4, 32), (12, 96)])
def test_the_loss_without_large_maps_is_the_loss_with_them(cells, size):
    """Value and gradient against the maps enlarged and compared pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.rand(3, 21, 2, generator=generator, dtype=torch.float64) * size
    visible = torch.rand(3, 21, generator=generator) < 0.7
    maps = torch.randn(3, 21, cells, cells, generator=generator, dtype=torch.float64, requires_grad=True)
    short = mean_square_of_enlarged(maps, score_map_profiles(joints, visible, size))
    wide = torch.nn.functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
    long = (wide - score_map_targets(joints, visible, size)).square().mean((2, 3))
    torch.testing.assert_close(short, long, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(value.sqrt().sum(), maps)[0] for value in (short, long)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


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


def test_each_phase_trains_its_part():
    batch, net = batch_of(), slim()
    brief = TrainingConfig(8, 1)
    phases = posenet_phases(brief, brief)
    assert {module for phase in phases for module in phase.modules} == {name for name, _ in net.named_children()}
    for phase in phases:
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with phase.learning(net):
            train_step(net, torch.optim.Adam(net.parameters()), batch, phase.objective, 1e-3)
        moved = {n.split(".")[0] for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
        assert moved == {phase.name} == set(phase.modules)


def test_the_phases_hand_on_their_settings():
    maps, jitter = Pose2DConfig(sigma_px=60.0), JitterConfig(joint_px=1.0)
    first, second = posenet_phases(POSENET_NATIVE["pose2d"], POSENET_NATIVE["lifting"], maps, jitter, seed=7)
    assert first.objective == Pose2DObjective(maps, 7) and second.objective == LiftingObjective(jitter, 60.0, 7)
    assert (first.training, second.training) == (POSENET_NATIVE["pose2d"], POSENET_NATIVE["lifting"])


def test_the_authors_schedules():
    """40,000, 30,000 and 80,000 iterations; divided by 10 after 20,000 and 30,000, 10,000 and 20,000, and 60,000."""
    rates = {
        "segmentation": {0: 1e-5, 19: 1e-5, 20: 1e-6, 30: 1e-7, 39: 1e-7},
        "pose2d": {0: 1e-4, 9: 1e-4, 10: 1e-5, 20: 1e-6, 29: 1e-6},
        "lifting": {0: 1e-5, 59: 1e-5, 60: 1e-6, 79: 1e-6},
    }
    assert list(POSENET_NATIVE) == list(rates)
    for name, training in POSENET_NATIVE.items():
        assert training.images_per_epoch / training.batch_size == 1000 and training.batch_size == 8
        assert training.epochs == max(rates[name]) + 1
        assert {epoch: training.rate(epoch, 0) for epoch in rates[name]} == pytest.approx(rates[name])
        augment = training.augment
        assert augment is None or not (augment.flip_probability or augment.rotation_deg or augment.scale)


def test_the_segmentation_alone_learns_for_the_found_hand():
    """Untrained, with the authors' gain, it costs ln 2."""
    torch.manual_seed(0)
    config = replace(SLIM, layers=replace(SLIM.layers, gain=1.0))
    batch, net, trained = batch_of(), FoundHand(config).eval(), slim(config, seed=1).eval()
    net.start_from(trained)
    image, side = torch.rand(2, 3, 32, 32), SIDES
    assert torch.equal(net(image, side).joints, trained(image, side).joints)
    phase = segmentation_phase(POSENET_NATIVE["segmentation"], lambda b: torch.zeros(len(b), 32, 32, dtype=torch.bool))
    assert isinstance(phase.objective, SegmentationObjective)
    assert phase.objective(net, batch)["total"].item() == pytest.approx(math.log(2), abs=0.05)
    optimizer = torch.optim.Adam(net.parameters())
    with phase.learning(net):
        for _ in range(10):
            train_step(net, optimizer, batch, phase.objective, 1e-2)
    assert phase.objective(net, batch)["total"].item() < 0.3
    learnt = net.posenet.state_dict()
    assert all(torch.equal(learnt[name], value) for name, value in trained.state_dict().items())
    with pytest.raises(ValueError, match="the weights are of"):
        net.start_from(PoseNet(SLIM.slim(64, 0.0625)))


def test_a_batch_without_a_hand_is_no_loss():
    batch, net = batch_of(), slim()
    batch.side_present.zero_()
    for objective in (Pose2DObjective(seed=0), LiftingObjective(seed=0)):
        total = objective(net, batch)["total"]
        total.backward()
        assert total.item() == 0


@pytest.mark.parametrize("objective", [Pose2DObjective, LiftingObjective])
def test_noise_depends_on_seed_and_batch_alone(objective):
    """What a resumed training draws is what an uninterrupted one drew, whatever was drawn in between."""
    batch, net = batch_of(), slim().eval()

    def total(seed, batch=batch):
        return objective(seed=seed)(net, batch)["total"].item()

    first = total(0)
    torch.rand(7)
    assert total(0) == first != total(1) and total(None) != first
    assert total(0, replace(batch, index=batch.index + 100)) != first
    assert total(None, replace(batch, index=batch.index + 100)) == total(None)


# side


def test_the_side_of_single_hands():
    """Crops 0 and 2 show a left and a right hand, crop 1 both: the mean of their cross-entropies."""
    batch, torch_side = batch_of(size=64), torch.tensor([[0.0, 1], [1, 1], [1, 0]])
    torch.manual_seed(0)
    net = SideNet(SLIM_SIDE).eval()
    assert count_parameters(SideNet()) == pytest.approx(11.2e6, rel=0.01)
    batch.side_present[:] = torch_side
    expected = F.cross_entropy(net(batch.image[[0, 2]]), torch.tensor([1, 0]))
    assert SideObjective()(net, batch)["total"].item() == pytest.approx(expected.item())
    batch.side_valid[0] = False
    expected = F.cross_entropy(net(batch.image[[2]]), torch.tensor([0]))
    assert SideObjective()(net, batch)["total"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("why", ["both hands", "no hand", "unknown"])
def test_no_single_hand_of_known_side_is_no_loss(why):
    batch, net = batch_of(size=64), SideNet(SLIM_SIDE)
    batch.side_present[:] = {"both hands": 1.0, "no hand": 0.0, "unknown": torch.tensor([1.0, 0.0])}[why]
    batch.side_valid[:] = why != "unknown"
    before = {name: value.clone() for name, value in net.state_dict().items()}
    losses = train_step(net, torch.optim.Adam(net.parameters()), batch, SideObjective(), 0.1)
    assert losses["total"].item() == 0 and all(not p.grad.any() for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_side_is_learnt():
    """Sixteen crops of noise, the left ones brighter."""
    generator = torch.Generator().manual_seed(0)
    batch = synthetic_batch(16, 64, "cpu", generator)
    batch.side_present[:] = torch.eye(2).repeat(8, 1)
    batch = replace(batch, image=0.8 * batch.image + 0.2 * batch.side_present[:, 1, None, None, None])
    torch.manual_seed(0)
    net = SideNet(SLIM_SIDE)
    learn_by_heart(net, SideObjective(), batch, net.parameters(), 1e-2, 40)
    with torch.no_grad():
        assert torch.equal(net(batch.image).argmax(1), batch.side_present.argmax(1))


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


# scale and root


def test_back_to_the_wrist_by_hand():
    """Palm at 0, MCP at (0, -2, 0): the wrist lies at (0, 2, 0). A tip at (1, -4, 0) is then (1, -6, 0) from it."""
    joints = torch.zeros(1, 21, 3)
    joints[0, MIDDLE_MCP], joints[0, 0] = torch.tensor([[0.0, -2, 0], [1, -4, 0]])
    hand = POSENET_CONVENTION.from_wrist_mm(joints, torch.tensor([30.0]))[0]
    assert hand[WRIST].tolist() == [0, 0, 0] and hand[MIDDLE_MCP].tolist() == [0, -120, 0]
    assert hand[0].tolist() == [30, -180, 0]


def test_the_truth_makes_no_error():
    hands = palm_hands(batch_of())
    found = POSENET_CONVENTION.from_wrist_mm(hands.relative, hands.scale_mm)
    torch.testing.assert_close(found, one_hand(batch_of()).from_wrist_mm, atol=1e-3, rtol=1e-4)


def test_mean_scale():
    fitted = MeanScale.fit(torch.tensor([20.0, 30, 50]), torch.tensor([0, 1, 1]))
    assert fitted == MeanScale(20.0, 40.0)
    assert fitted.of(torch.tensor([1, 0, 1])).tolist() == [40, 20, 40]
    assert MeanScale.fit(torch.tensor([20.0]), torch.tensor([0])) == MeanScale(20.0, 20.0)
    with pytest.raises(ValueError, match="at least one hand"):
        MeanScale.fit(torch.zeros(0), torch.zeros(0))


@pytest.mark.parametrize(
    "wrong", [{"crop_size": 40}, {"stages": 0}, {"prior_dropout": 1.0}, {"viewpoint_dropout": -0.1}]
)
def test_wrong_configuration(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PoseNetConfig(**wrong)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 32, 32\)"):
        slim()(torch.rand(1, 3, 64, 64), SIDES[:1])
    for wrong in (torch.eye(2, dtype=torch.int64)[:1], torch.ones(1), SIDES):
        with pytest.raises(ValueError, match=r"side must be int64 \(1,\), 0 right and 1 left, got torch\."):
            slim()(torch.rand(1, 3, 32, 32), wrong)


def test_the_side_enters_as_one_of_two():
    """The trunk appends (1, 0) for a right and (0, 1) for a left hand."""
    trunk = slim().lifting.prior.trunk
    assert trunk(torch.rand(2, 21, 4, 4), SIDES)[:, -2:].tolist() == [[1, 0], [0, 1]]


def test_lifting_learns_sixteen_hands_by_heart():
    """From the annotated joints' score maps to millimetres; no dropout, which is there to prevent just this."""
    batch = standin_batch(16, 32)
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(32, LayerConfig(width=0.25), prior_dropout=0.0, viewpoint_dropout=0.0))
    learn_by_heart(net, LiftingObjective(), batch, net.lifting.parameters(), 3e-3, 400)
    hands = palm_hands(batch)
    score_map = pooled(score_map_targets(hands.joints_crop_px, hands.visible, 32))
    with torch.no_grad():
        found = POSENET_CONVENTION.from_wrist_mm(net.lifting(score_map, hands.side).joints, hands.scale_mm)
    assert (found - one_hand(batch).from_wrist_mm).norm(dim=-1).mean() < 3


def test_pose2d_learns_sixteen_images():
    """From scratch the loss falls to less than a third, which the mean map cannot do."""
    batch = standin_batch(16, 32)
    torch.manual_seed(0)
    net = PoseNet(PoseNetConfig(32, LayerConfig(width=0.25), stages=1))
    objective = Pose2DObjective(Pose2DConfig(sigma_px=60.0))
    before = objective(net, batch)["total"].item()
    learn_by_heart(net, objective, batch, net.pose2d.parameters(), 5e-4, 200)
    assert objective(net, batch)["total"].item() < before / 3


def test_phases_without_pixels_learn_the_same_from_black_images():
    """The objectives of the phases that say so give the same loss and gradient whatever the crop shows."""
    batch, black = batch_of(), replace(batch_of(), image=torch.zeros(()).expand_as(batch_of().image))
    net = slim().eval()
    for phase in posenet_phases(TrainingConfig(), TrainingConfig()):
        losses = [phase.objective(net, b)["total"].item() for b in (batch, black)]
        assert (losses[0] == losses[1]) != phase.pixels
