"""Every network, objective, decoder and metric on CUDA without a GPU: no operation mixes devices (see fake_cuda)."""

from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from distinct_networks import DISTINCT
from fake_cuda import fake_cuda, fresh_constants, to_cuda
from make_official import write_rhd
from torch import nn

from msff import standin
from msff.data.batches import Batch, HandDataset
from msff.data.masks import crop_labels, hand_pixels
from msff.data.rhd import read_rhd
from msff.data.single_hand import SingleHands, single_hands
from msff.evaluation import metrics, song_refinement
from msff.evaluation.auxiliary_predictions import (
    depth_accuracy,
    depth_of,
    side_accuracy,
    sides_of,
)
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict, predict_mean_pose, predict_oracle
from msff.evaluation.predict_single_hand import predict_hands, relative_pose_estimator, segmented_boxes, song_estimator
from msff.evaluation.tracks import TRACKS
from msff.heatmaps import decode, gaussian_volume, volume_mse
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.models.baselines.pose_convention import MeanScale
from msff.models.building import build, takes_handedness
from msff.models.registry import AUXILIARY, METHODS
from msff.settings.losses import (
    JitterConfig,
    LossConfig,
    Pose2DConfig,
    RootLossConfig,
    SongLossConfig,
    SpurrLossConfig,
    TonalityConfig,
    YangLossConfig,
)
from msff.settings.networks import BackboneConfig, VolumeSpec
from msff.settings.training import AugmentConfig, SpeedConfig
from msff.skeleton import BONES, JOINTS
from msff.study.profiles import PROFILES
from msff.training.engine import Engine
from msff.training.objectives.auxiliary import root_objective, side_objective
from msff.training.objectives.chen import chen_objective
from msff.training.objectives.heatmap import HandObjective
from msff.training.objectives.posenet import lifting_objective, pose2d_objective, segmentation_objective
from msff.training.objectives.song_surrogate import song_objective
from msff.training.objectives.vae import spurr_objective, yang_objective

SMOKE = PROFILES["smoke"]
RESNET = replace(
    SMOKE.network,
    backbone=BackboneConfig("basic", 16, (1, 1, 1, 1)),
    backbone18=BackboneConfig("basic", 16, (1, 1, 1, 1)),
)
LITE = BackboneConfig(trunk="efficientnet_lite0", pretrained=False, normalise=True)
LITE0 = replace(RESNET, backbone=LITE, backbone18=LITE)
SIZE = RESNET.crop_size
BOX = BoxDepth(500.0)
SPEC = VolumeSpec(bins=RESNET.bins, crop_size=SIZE, sigma_bin=2.5 * RESNET.bins / 64)
NETWORKS = {name: method for name, method in (METHODS | AUXILIARY).items() if method.has_network}


def empty(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device="cuda")


def batch_of(count=3):
    """A batch without values on the GPU. What is made up of it, see fake_cuda: two hands in every crop."""
    truth, number = torch.bool, torch.long
    return Batch(
        image=empty(count, 3, SIZE, SIZE), affine=empty(count, 2, 3), intrinsics=empty(count, 3, 3),
        joints_cam_mm=empty(count, JOINTS, 3), joints_crop_px=empty(count, JOINTS, 2),
        relative_depth_mm=empty(count, JOINTS), joint_valid=empty(count, JOINTS, dtype=truth),
        joint_visible=empty(count, JOINTS, dtype=truth), side_present=empty(count, 2),
        side_valid=empty(count, dtype=truth), root_depth_mm=empty(count, 2), relative_root_depth_mm=empty(count),
        relative_root_valid=empty(count, dtype=truth), box=empty(count, 4), index=empty(count, dtype=number),
    )  # fmt: skip


class Crops(SimpleNamespace):
    """Stands in for a ``HandDataset`` on the GPU: one batch."""

    crop_size, device = SIZE, torch.device("cuda")

    def __len__(self):
        return len(self.batch)

    @property
    def samples(self):
        return [SimpleNamespace(sample_id=str(row)) for row in range(len(self))]

    def batches(self, *_, **__):
        yield self.batch

    in_order = batches


def tensors_of(output):
    """All tensors of a network's output."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, tuple):
        return [tensor for part in output for tensor in tensors_of(part)]
    return [t for f in fields(output) for t in tensors_of(getattr(output, f.name)) if t is not None] if output else []


def inputs_of(network):
    side = [torch.zeros(3, dtype=torch.long, device="cuda")] if takes_handedness(network) else []
    return [empty(3, 3, SIZE, SIZE), *side]


# The method itself: what it must catch


class Planted(nn.Module):
    """A constant that does not move with the module, as one that is neither parameter nor buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.constant = torch.arange(3.0)

    def forward(self, x):
        return x * self.weight + self.constant


def test_a_planted_mixture_of_devices_is_caught():
    network = Planted()
    with fake_cuda():
        network = to_cuda(network)
        with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
            network(empty(5, 3))
        network.constant = network.constant.to("cuda")
        assert network(empty(5, 3)).device.type == "cuda"


# Networks


@pytest.mark.parametrize(("method", "variant"), [*DISTINCT, *((name, "full") for name in AUXILIARY)])
def test_every_network_computes_on_one_device(method, variant):
    network = build(method, variant, RESNET)
    with fake_cuda():
        network = to_cuda(network)
        found = tensors_of(network(*inputs_of(network)))
        assert found and all(t.device.type == "cuda" for t in found)


@pytest.mark.parametrize("sizes", [RESNET, LITE0], ids=["resnet", "efficientnet_lite0"])
@pytest.mark.parametrize("method", NETWORKS)
def test_every_network_computes_in_bf16_and_returns_what_losses_can_use(method, sizes):
    network = build(method, NETWORKS[method].headline, sizes)
    kinds = set()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(lambda layer, inputs, output: kinds.add(output.dtype))
    with fake_cuda():
        network = to_cuda(network)
        cast = Engine("cuda", SpeedConfig("bf16")).network(network)
        found = tensors_of(cast(*inputs_of(network)))
        assert torch.bfloat16 in kinds
        assert found and {t.device.type for t in found} == {"cuda"}
        assert {t.dtype for t in found} <= {torch.bfloat16, torch.float32}


# Objectives


def masks(batch):
    return empty(len(batch), SIZE, SIZE, dtype=torch.bool)


def labels(batch):
    return empty(len(batch), SIZE // 4, SIZE // 4, dtype=torch.uint8)


OBJECTIVES = {
    "gaussian": ("msff", "full", HandObjective(SPEC)),
    "integral": ("msff", "full", HandObjective(SPEC, LossConfig(volume="integral"))),
    "internet": ("internet", "full", HandObjective(SPEC)),
    "rootnet": ("rootnet", "full", partial(root_objective, config=RootLossConfig())),
    "sidenet": ("sidenet", "full", side_objective),
    "song": ("song", "full", partial(song_objective, config=SongLossConfig(), masks=labels)),
    "segmentation": ("posenet", "segmented", partial(segmentation_objective, masks=masks)),
    "pose2d": ("posenet", "full", partial(pose2d_objective, config=Pose2DConfig(), seed=0)),
    "lifting": ("posenet", "full", partial(lifting_objective, jitter=JitterConfig(), sigma_px=25.0, seed=0)),
    "chen": ("chen", "full", partial(chen_objective, tonality=TonalityConfig(), masks=masks)),
    "chen-plain": ("chen", "plain", partial(chen_objective, tonality=TonalityConfig())),
    "spurr": ("spurr", "scale-side", partial(spurr_objective, config=SpurrLossConfig())),
    "yang": ("yang", "full", partial(yang_objective, paths=("labels", "image"), config=YangLossConfig())),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_loss_of_a_network_in_bf16_is_float32_on_the_gpu(name):
    method, variant, objective = OBJECTIVES[name]
    network = build(method, variant, RESNET)
    with fake_cuda():
        cast = Engine("cuda", SpeedConfig("bf16")).network(to_cuda(network))
        losses = objective(cast, batch_of(4))
        assert {(t.device.type, t.dtype) for t in losses.values()} == {("cuda", torch.float32)}


def test_every_method_that_learns_has_an_objective_here():
    assert {method for method, _, _ in OBJECTIVES.values()} == set(NETWORKS)


# Heat maps, predictions, metrics


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("decoder", ["argmax", "subvoxel", "expectation"])
def test_every_decoder_reads_a_volume_on_the_gpu(decoder, kind):
    with fake_cuda():
        bins = decode(empty(2, JOINTS, *[SPEC.bins] * 3, dtype=kind), decoder)
        assert (bins.device.type, bins.dtype, tuple(bins.shape)) == ("cuda", torch.float32, (2, JOINTS, 3))


def test_target_and_loss_of_a_volume_are_on_the_gpu():
    with fake_cuda():
        bins, valid = empty(2, JOINTS, 3), empty(2, JOINTS, dtype=torch.bool)
        volume = gaussian_volume(bins, SPEC)
        loss = volume_mse(volume, bins, valid, SPEC)
        assert volume.device.type == loss.device.type == "cuda"


@pytest.mark.parametrize("method", ["msff", "internet"])
def test_predictions_of_a_heat_map_network_come_to_the_host(method):
    network, root = build(method, "full", RESNET), build("rootnet", "full", RESNET)
    with fake_cuda():
        cast = Engine("cuda", SpeedConfig("bf16")).network(to_cuda(network))
        found = predict(cast, Crops(batch=batch_of()), SPEC, "argmax", BOX)
        assert found.joints["T2"].shape == (3, JOINTS, 3)
        assert depth_accuracy(depth_of(to_cuda(root)), Crops(batch=batch_of()))["wrists"] > 0


@pytest.mark.parametrize("decoder", ["argmax", "subvoxel", "expectation"])
def test_predictions_of_the_baselines_come_to_the_host(decoder):
    with fake_cuda():
        crops = Crops(batch=batch_of())
        mean = MeanPose(torch.zeros(JOINTS, 3))
        for found in (
            predict_oracle(HeatMapOracle(SPEC, decoder), crops, BOX),
            predict_mean_pose(mean, crops, BOX),
        ):
            assert isinstance(found.joints["T1"], np.ndarray)


@pytest.mark.parametrize("method", ["posenet", "chen", "spurr", "yang"])
def test_predictions_of_a_relative_pose_come_to_the_host(method):
    variant = "scale-side" if method == "spurr" else "full"
    network, side = build(method, variant, RESNET), build("sidenet", "full", RESNET)
    sided = takes_handedness(network)
    with fake_cuda():
        network, sides = to_cuda(network), sides_of(to_cuda(side))
        found = hand_predictions(relative_pose_estimator(network, network.config.convention, sided), sides)
        assert found.joints["T2"].shape == (3, JOINTS, 3)
        assert side_accuracy(sides, Crops(batch=batch_of()))["hands"] == 1


def hand_predictions(estimator, sides=None, depth=BOX):
    batch, owner, side = batch_of(6), np.arange(6) // 2, np.arange(6) % 2
    images = Crops(batch=batch_of()).samples
    scale = MeanScale(30.0, 30.0)
    with mock.patch("msff.evaluation.predict_single_hand.single_hands", lambda batch: one_each(batch)):
        return predict_hands(
            estimator,
            Crops(batch=batch),
            owner,
            side,
            images,
            depth,
            classifier=sides,
            mean_scale=scale,
            inputs=dict(TRACKS),
        )


def one_each(batch):
    """The right hands of a batch alone, since every hand of it counts as present (see fake_cuda)."""
    both = single_hands(batch)
    return SingleHands(*(getattr(both, f.name)[: len(batch)] for f in fields(both)))


def test_the_surrogate_is_placed_on_the_gpu_and_its_energy_is_there():
    network, recipe = build("song", "full", RESNET), SMOKE.recipes.song.refine
    ratio = torch.full((len(BONES),), 1 / len(BONES))
    without_check = mock.patch.object(song_refinement, "box_k_mm", lambda box, _: box[:, 0])  # it would find no area
    with without_check, fake_cuda(condition=False):  # no crop is mirrored
        network = to_cuda(network)
        found = hand_predictions(
            song_estimator(network, recipe, ratio, refined=False), depth=lambda b: empty(len(b), 2)
        )
        assert found.joints["T2"].shape == (3, JOINTS, 3)
        batch = batch_of()
        output = network(batch.image)
        evidence = song_refinement.collect_evidence(
            output, batch.affine, batch.intrinsics, batch.box, SIZE, ratio, recipe
        )
        energy = song_refinement.energy(evidence.relative_dm, evidence.root_depth_dm, evidence, recipe)
        assert energy.device.type == "cuda"


def test_boxes_that_are_found_come_to_the_host():
    network = build("posenet", "segmented", RESNET)
    with fake_cuda():
        boxes = segmented_boxes(to_cuda(network), Crops(batch=batch_of()))
        assert boxes.device.type == "cpu" and boxes.shape == (3, 4)


def test_every_metric_works_on_the_gpu():
    with fake_cuda():
        hand, valid = (empty(4, 21, 3), empty(4, 21, 3)), empty(4, 21, dtype=torch.bool)
        for metric in (
            metrics.wrist21, metrics.wrist20, metrics.wrist20_scaled, metrics.palm21, metrics.palm21_scaled,
            metrics.palm21_true_root, metrics.pa21,
        ):  # fmt: skip
            assert metric(*hand, valid).value.device.type == "cuda", metric.__name__
        for metric in (metrics.wrist20_vis, metrics.palm21_vis):
            assert metric(*hand, valid, valid).value.device.type == "cuda", metric.__name__
        both, known = (empty(4, JOINTS, 3), empty(4, JOINTS, 3)), empty(4, JOINTS, dtype=torch.bool)
        assert metrics.own_wrist42(*both, known).value.device.type == "cuda"
        wrists, depth = empty(4, 2, 3), empty(4, 2)
        offset = metrics.own_offset(wrists, depth)
        assert metrics.relative_root_error(wrists, empty(4), both[0], known, offset).value.device.type == "cuda"


# Data


def test_crops_are_cut_on_the_gpu(tmp_path):
    write_rhd(tmp_path, "training")
    samples = read_rhd(tmp_path, "training")
    with fresh_constants(), fake_cuda():
        dataset = HandDataset(samples, SIZE, device="cuda", supersample=2)
        batches = dataset.batches(2, augment=AugmentConfig(), shuffle=True, generator=torch.Generator())
        for batch in batches:
            assert {getattr(batch, f.name).device.type for f in fields(batch)} == {"cuda"}
            found = crop_labels(empty(2, 320, 320, dtype=torch.uint8), batch.affine, SIZE, SIZE // 4)
            assert hand_pixels(found).device.type == "cuda"


def test_hands_are_rendered_on_the_gpu():
    with fresh_constants(), fake_cuda():
        batch = standin.render(torch.Generator().manual_seed(0), count=2, size=64, device="cuda")
        assert batch.images.device.type == batch.depth_mm.device.type == "cuda"
