"""From crops to predictions on both tracks, with their test-time inputs and the depth that lifted them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from make_official import write_rhd
from torch import nn

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.evaluate import evaluate
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict, predict_mean_pose, predict_oracle
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.tracks import TRACKS
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.models.output import HandOutput
from msff.settings.networks import VolumeSpec
from msff.skeleton import JOINTS, ROOTS

COUNT, SPEC, WRISTS = 5, VolumeSpec(bins=8, crop_size=32), list(ROOTS.values())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "evaluation", COUNT)
    return HandDataset(read_rhd(root, "evaluation"), SPEC.crop_size)


class Peak(nn.Module):
    """A network that puts every joint at one voxel, three bins behind the middle of the depth range."""

    def forward(self, image):
        volume = torch.zeros(len(image), JOINTS, *(SPEC.bins,) * 3)
        volume[:, :, 7, 4, 4] = 1.0
        return HandOutput(volume, torch.tensor([[3.0, -3.0]]).expand(len(image), 2), torch.full((len(image),), 5.0))


class Normed(Peak):
    """Its relative wrist depth is a batch norm of the image: in training mode it depends on the other images."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        return replace(super().forward(image), relative_root_bin=self.norm(image).mean((1, 2, 3)))


@dataclass(frozen=True)
class Network:
    """Stands in for a depth network: a different depth for each wrist."""

    source: str = "network"

    def __call__(self, batch):
        return torch.tensor([[450.0, 550.0]]).expand(len(batch), 2)


def test_a_network_is_lifted_with_either_depth(dataset):
    law = BoxDepth(700.0, 0.8)
    p = predict(Peak(), dataset, SPEC, "argmax", law, batch_size=2)
    assert list(p.joints) == ["T1", "T2"] and p.sample_id == [s.sample_id for s in dataset.samples]
    batch = next(iter(dataset.in_order(COUNT)))
    from_box = law(batch)[:, 0].numpy()
    assert np.allclose(p.root_depth_mm["T2"], from_box[:, None])
    annotated = batch.root_depth_mm.numpy()
    assert np.allclose(p.root_depth_mm["T1"][annotated > 0], annotated[annotated > 0])
    # Every joint, the wrists too, lies three of eight bins of the 400 mm range behind: 150 mm.
    for track, depth in p.root_depth_mm.items():
        assert np.allclose(p.joints[track][..., 2], np.repeat(depth, 21, 1) + 150, atol=1e-2)
    assert p.inputs == dict(TRACKS)
    assert p.side_probability[0].tolist() == pytest.approx([0.9526, 0.0474], abs=1e-4)
    assert np.allclose(p.relative_root_depth_mm, 50)  # bin 5 of 8 over 400 mm


def test_a_network_predicts_each_image_by_itself(dataset):
    network = Normed().train()
    one, all_at_once = (
        predict(network, dataset, SPEC, "argmax", BoxDepth(700.0), batch_size=size).relative_root_depth_mm
        for size in (1, COUNT)
    )
    np.testing.assert_allclose(one, all_at_once, rtol=1e-5)
    assert np.ptp(one) > 0.01


def test_a_depth_network_replaces_the_box(dataset, tmp_path):
    p = predict(Peak(), dataset, SPEC, "argmax", Network())
    assert p.inputs["T2"].root_depth == "network" and p.inputs["T1"].root_depth == "true"
    assert (p.root_depth_mm["T2"] == [450, 550]).all()
    p.save(tmp_path / "p.npz")
    truth = Truth.from_samples(dataset.samples, "standin-rhd")
    back = Predictions.load(tmp_path / "p.npz")
    assert evaluate(truth, back, "T2").inputs.root_depth == "network"
    expected = np.abs(p.joints["T2"][:, WRISTS, 2] - truth.joints_cam_mm[:, WRISTS, 2])
    errors = evaluate(truth, back, "T2").root_depth_error_mm
    assert np.allclose(errors.error_mm.numpy()[errors.valid], expected[errors.valid.numpy()], atol=1e-2)


def test_the_mean_pose_is_placed_at_the_centre_of_the_box(dataset):
    relative = torch.zeros(JOINTS, 3)
    relative[:, 0] = torch.arange(JOINTS)
    p = predict_mean_pose(MeanPose(relative), dataset, BoxDepth(700.0), batch_size=2)
    for track in TRACKS:
        joints = p.joints[track]
        assert np.allclose(joints[:, 5, 0] - joints[:, 2, 0], 3, atol=1e-3)
        assert np.allclose(joints[:, 0, 2], p.root_depth_mm[track][:, 0], atol=1e-2)
    assert np.isnan(p.side_probability).all() and len(p) == COUNT


def test_the_oracle_stays_within_half_a_bin(dataset):
    """Half a bin is 2 px of the crop and 37.5 mm, which also moves a joint along its ray."""
    spec = VolumeSpec(bins=8, crop_size=SPEC.crop_size, depth_range_mm=600.0)
    truth = Truth.from_samples(dataset.samples, "standin-rhd")
    batch = next(iter(dataset.in_order(COUNT)))
    p = predict_oracle(HeatMapOracle(spec), dataset, BoxDepth(700.0, 0.8), batch_size=2)
    assert np.isnan(p.side_probability).all() and np.isnan(p.relative_root_depth_mm).all()
    assert p.inputs == dict(TRACKS)
    valid = truth.joint_valid
    half_mm = spec.depth_range_mm / spec.bins / 2
    off = np.abs(p.joints["T1"] - truth.joints_cam_mm)
    assert 0.5 * half_mm < off[..., 2][valid].max() <= half_mm + 1e-2
    inside = ((batch.joints_crop_px >= 0) & (batch.joints_crop_px <= 28)).all(-1).numpy() & valid  # up to the last bin
    image_per_crop = (1 / batch.affine[:, 0, 0]).numpy()[:, None, None]
    depth = truth.joints_cam_mm[..., 2:] + half_mm
    ray = np.abs(truth.joints_cam_mm[..., :2] / np.maximum(truth.joints_cam_mm[..., 2:], 1.0))
    focal = truth.intrinsics[:, None, [0, 1], [0, 1]]
    bound = 2.0 * image_per_crop / focal * depth + half_mm * ray  # (N, 42, 2)
    assert inside.sum() > 20 and (off[..., :2] <= bound + 1e-2)[inside].all()
    assert off[..., :2][inside].max() > 0.4 * bound[inside].max()
    numbers = [evaluate(truth, p, track).summary()["wrist20"] for track in TRACKS]
    assert 1 < numbers[0] < numbers[1]


def test_the_oracle_accepts_joints_without_annotation(dataset):
    samples = [replace(s, joint_valid=np.zeros(JOINTS, bool)) for s in dataset.samples]
    bare = HandDataset(samples, SPEC.crop_size)
    p = predict_oracle(HeatMapOracle(SPEC, "subvoxel"), bare, BoxDepth(700.0))
    assert all(np.isfinite(joints).all() for joints in p.joints.values())
    assert evaluate(Truth.from_samples(samples, "standin-rhd"), p, "T1").summary()["wrist20"] is None


def test_truth_is_read_in_one_pass(dataset):
    """A large split makes its samples on demand: an iterator of them must do."""

    class Once(list):
        passes = 0

        def __iter__(self):
            Once.passes += 1
            return super().__iter__()

    truth = Truth.from_samples(Once(dataset.samples), "standin-rhd")
    assert Once.passes == 1 and len(truth) == COUNT
    assert truth.joints_cam_mm.dtype == np.float32 and truth.joint_visible.dtype == bool
    assert truth.side_valid.all()
