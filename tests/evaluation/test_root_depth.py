"""The depth network as track T2's estimate, and the measure of its accuracy, by hand."""

from types import SimpleNamespace

import pytest
import torch
from make_official import write_rhd
from torch import nn

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict_mean_pose
from msff.evaluation.root_depth import NetworkDepth, depth_accuracy, relative_depth_error
from msff.models.auxiliary.rootnet import RootOutput, box_k_mm
from msff.models.baselines.mean_pose import MeanPose
from msff.skeleton import ROOTS


class Fixed(nn.Module):
    """Says the same gamma of every crop."""

    def __init__(self, right=0.5, left=2.0, roots=2):
        super().__init__()
        self.config = SimpleNamespace(roots=roots)
        self.values = right, left

    def forward(self, image):
        assert not self.training
        return RootOutput(torch.zeros(len(image), 2, 4, 4), torch.tensor([self.values] * len(image)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("rhd")
    write_rhd(root, "training", count=6)
    return HandDataset(read_rhd(root, "training"), 64)


def whole(dataset):
    return next(iter(dataset.batches(6, augment=None, shuffle=False, generator=torch.Generator())))


def test_depth_by_hand():
    """f = 500 px, a 100 px box shown as 125 px: k = 1200 mm."""
    batch = SimpleNamespace(
        image=torch.zeros(1, 3, 64, 64),
        box=torch.tensor([[3.0, 4.0, 100.0, 50.0]]),
        intrinsics=torch.diag(torch.tensor([500.0, 500.0, 1.0]))[None],
    )
    depth = NetworkDepth(Fixed())
    assert depth.source == "network"
    torch.testing.assert_close(depth(batch), torch.tensor([[600.0, 2400.0]]))


def test_errors_by_hand(dataset):
    """Right wrists at k / 2, left ones at 2 k, each against its own annotation."""
    batch = whole(dataset)
    k = box_k_mm(batch.box, batch.intrinsics)
    true, valid = batch.root_depth_mm, batch.joint_valid[:, list(ROOTS.values())]
    expected = ((torch.stack([0.5 * k, 2 * k], 1) - true).abs() / true)[valid]
    error = relative_depth_error(NetworkDepth(Fixed()), dataset, batch_size=4)
    assert len(error) == valid.sum() < valid.numel() and error.min() > 0
    torch.testing.assert_close(error, expected)
    accuracy = depth_accuracy(NetworkDepth(Fixed()), dataset)
    assert accuracy["mean_percent"] == pytest.approx(100 * expected.mean().item())
    ordered = expected.sort().values
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    assert accuracy["median_percent"] == pytest.approx(100 * middle.item()) and accuracy["wrists"] == len(expected)


def test_the_law_of_the_box_is_measured_alike(dataset):
    as_network = NetworkDepth(Fixed(0.7, 0.7))
    assert depth_accuracy(as_network, dataset) == pytest.approx(depth_accuracy(BoxDepth(700.0), dataset))


def test_predictions_say_that_the_depth_is_a_networks(dataset):
    batch = whole(dataset)
    mean = MeanPose.fit(batch.joints_cam_mm, batch.joint_valid)
    predictions = predict_mean_pose(mean, dataset, NetworkDepth(Fixed()))
    assert predictions.inputs["T2"].root_depth == "network" and predictions.inputs["T1"].root_depth == "true"
    k = box_k_mm(batch.box, batch.intrinsics)
    torch.testing.assert_close(torch.tensor(predictions.root_depth_mm["T2"]), torch.stack([0.5 * k, 2 * k], 1))


def test_a_network_of_one_wrist_is_refused():
    with pytest.raises(ValueError, match="2 wrists is needed, this one has 1"):
        NetworkDepth(Fixed(roots=1))
