"""Methods with one hand per crop: their inputs by track, and that each hand fills its own slot."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from make_official import write_interhand, write_rhd
from torch import nn

from msff.data.batches import HandDataset
from msff.data.interhand import read_interhand
from msff.data.rhd import read_rhd
from msff.data.single_hand import single_hands, split_hands
from msff.evaluation.evaluate import PRIMARY_METRIC, evaluate
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_single_hand import (
    HandEstimate,
    HandInputs,
    predict_hands,
    relative_pose_estimator,
    song_estimator,
)
from msff.evaluation.predictions import Truth
from msff.evaluation.song_refinement import collect_evidence, placed_dm, refine
from msff.evaluation.tracks import TRACKS, TestTimeInputs
from msff.models.auxiliary.rootnet import box_k_mm
from msff.models.baselines.pose_convention import MeanScale, PoseConvention
from msff.models.baselines.posenet import PoseNet, PoseNetConfig
from msff.models.baselines.song_surrogate import SongConfig, SongSurrogate
from msff.models.baselines.spurr import Spurr, SpurrConfig
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import Yang, YangConfig
from msff.settings.losses import RefineConfig
from msff.settings.networks import BackboneConfig
from msff.skeleton import HAND_SLICE, JOINTS_PER_HAND, LEFT, RIGHT, ROOTS, SIDES, WRIST

CROP = 64
MEAN = MeanScale(right_mm=40.0, left_mm=30.0)
BOX = BoxDepth(700.0)
THREE_STEPS = RefineConfig(steps=3)
TINY = BackboneConfig("basic", 8, (1, 1, 1, 1))
VAE = VaeSize(crop_size=CROP, backbone=TINY, hidden=8, encoder_layers=1, decoder_layers=1)
POSENET = PoseNetConfig().slim(CROP, 0.0625)
LAYOUTS = {"standin-rhd": (write_rhd, read_rhd, 5), "standin-interhand": (write_interhand, read_interhand, 6)}
INPUTS = {
    "T1": TestTimeInputs("true box per hand", "none", "none", "true bone", "true", "true"),
    "T2": TestTimeInputs("true box per hand", "none", "none", "training mean", "predicted", "true"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Name of a data set -> samples with one or two hands: 5 of RHD; 12 of InterHand2.6M, four of them interacting."""
    found = {}
    for name, (write, read, count) in LAYOUTS.items():
        root = tmp_path_factory.mktemp(name)
        split = "evaluation" if name == "standin-rhd" else "test"
        write(root, split, count)
        found[name] = list(read(root, split))
    return found


@pytest.fixture(params=list(LAYOUTS))
def layout(request, images):
    return request.param, images[request.param]


@pytest.fixture
def interacting(images):
    return images["standin-interhand"]


@pytest.fixture
def single(images):
    return images["standin-rhd"]


def predictions_of(estimator, samples, classifier=None, depth=BOX, batch_size=2, **changes):
    apart = split_hands(samples)
    dataset = HandDataset(apart.samples, CROP)
    settings = dict(classifier=classifier, mean_scale=MEAN, inputs=INPUTS, batch_size=batch_size) | changes
    return predict_hands(estimator, dataset, apart.owner, apart.side, samples, depth, **settings)


def perfect(batch, inputs):
    return HandEstimate(single_hands(batch).from_wrist_mm)


def always(right):
    """A classifier with this probability of a right hand for every crop."""
    return lambda batch: torch.tensor([[right, 1 - right]]).expand(len(batch), 2)


def wrong_hand(batch):
    return 1 - batch.side_present


@dataclass
class Recorder:
    """Records its inputs and estimates every hand as a point."""

    inputs: list

    def __call__(self, batch, inputs):
        self.inputs.append(inputs)
        return HandEstimate(torch.zeros(len(batch), JOINTS_PER_HAND, 3))

    def of(self, track):
        """All inputs of a track; the estimator is called for T1 and T2 in turn."""
        parts = self.inputs[list(TRACKS).index(track) :: 2]
        depths = [part.root_depth_mm for part in parts]
        depth = None if depths[0] is None else torch.cat(depths)
        return HandInputs(torch.cat([p.handedness for p in parts]), torch.cat([p.scale_mm for p in parts]), depth)


def recorded(samples, **changes):
    recorder = Recorder([])
    predictions_of(recorder, samples, **changes)
    return recorder


# Slots and positions


def test_a_perfect_method_has_no_error(layout):
    dataset, samples = layout
    p = predictions_of(perfect, samples, classifier=wrong_hand, batch_size=4)
    truth = Truth.from_samples(samples, dataset)
    for track in TRACKS:
        evaluation = evaluate(truth, p, track)
        assert evaluation.summary()[PRIMARY_METRIC[evaluation.layout]] == pytest.approx(0, abs=1e-3), track
        assert evaluation.errors[PRIMARY_METRIC[evaluation.layout]].valid.sum() >= len(samples) * 20
    assert p.sample_id == truth.sample_id and p.inputs == INPUTS


def test_each_hand_of_two_fills_the_slot_of_its_crop(interacting):
    """Independent of the predicted handedness: the estimate encodes the place of its crop in the order of all hands."""

    def numbered(batch, inputs):
        hands = torch.arange(JOINTS_PER_HAND)[:, None] * torch.tensor([1.0, 0, 0]) * (batch.index + 1)[:, None, None]
        return HandEstimate(hands - hands[:, WRIST, None])

    p = predictions_of(numbered, interacting, classifier=always(1.0))
    apart = split_hands(interacting)
    both = np.array([s.hand_type == "interacting" for s in interacting])
    assert both.sum() == 4 and len(apart) == 16
    for track in TRACKS:
        step = np.diff(p.joints[track][:, :, 0].reshape(-1, 2, JOINTS_PER_HAND), axis=2)  # (N, 2, 20)
        for place, (image, side) in enumerate(zip(apart.owner, apart.side, strict=True)):
            assert step[image, side] == pytest.approx(place + 1, abs=1e-3)
    assert np.isnan(p.side_probability[both]).all() and (p.side_probability[~both] == [1, 0]).all()


def test_the_only_hand_of_an_image_fills_both_slots(single):
    p = predictions_of(perfect, single, classifier=wrong_hand)
    assert np.array_equal(p.joints["T2"][:, RIGHT], p.joints["T2"][:, LEFT]) and np.abs(p.joints["T2"]).min(1).max() > 0
    numbers = evaluate(Truth.from_samples(single, "standin-rhd"), p, "T2").summary()
    assert numbers["handedness_accuracy"] == 0 and numbers["wrist20_pred_side"] == pytest.approx(0, abs=1e-3)


def test_other_crops_than_the_owners_are_refused(single):
    apart = split_hands(single)
    with pytest.raises(ValueError, match="split_hands"):
        predict_hands(
            perfect, HandDataset(apart.samples, CROP), apart.owner, 1 - apart.side, single, BOX, classifier=None,
            mean_scale=MEAN, inputs=INPUTS,
        )  # fmt: skip


def test_hands_without_a_position_are_placed_at_the_centre_of_their_box(interacting):
    """At the depth of the track the middle of the extents, in weak perspective, is the middle of the box."""
    p = predictions_of(perfect, interacting)
    apart = split_hands(interacting)
    batch = next(iter(HandDataset(apart.samples, CROP).in_order(len(apart))))
    depth = {
        "T1": batch.root_depth_mm.numpy()[np.arange(len(apart)), apart.side],
        "T2": BOX(batch)[:, 0].numpy(),
    }
    centre = (batch.box[:, :2] + batch.box[:, 2:] / 2).numpy()
    k = batch.intrinsics.numpy()
    for track, at in depth.items():
        hands = p.joints[track].reshape(-1, 2, JOINTS_PER_HAND, 3)[apart.owner, apart.side]  # (M, 21, 3)
        assert hands[:, WRIST, 2] == pytest.approx(at, rel=1e-5)
        projected = hands[..., :2] * (k[:, None, [0, 1], [0, 1]] / at[:, None, None]) + k[:, None, :2, 2]  # (M, 21, 2)
        assert (projected.max(1) + projected.min(1)) / 2 == pytest.approx(centre, abs=0.05)


# Inputs


def test_the_first_track_gives_the_truth(layout):
    _, samples = layout
    inputs = recorded(samples).of("T1")
    apart = split_hands(samples)
    assert inputs.handedness.tolist() == apart.side.tolist() and {0, 1} == set(apart.side.tolist())
    for i, (sample, side) in enumerate(zip(apart.samples, apart.side, strict=True)):
        own = sample.joints_cam_mm[HAND_SLICE[SIDES[side]]]
        assert inputs.scale_mm[i].item() == pytest.approx(np.linalg.norm(own[11] - own[10]), rel=1e-4)
        assert inputs.root_depth_mm[i].item() == pytest.approx(own[WRIST, 2], rel=1e-5)


def test_what_is_not_annotated_is_estimated_on_the_first_track(single):
    """Sample 0 without its scale bone, sample 1 without its wrist: then nothing of that hand is valid."""
    valid = [s.joint_valid.copy() for s in single]
    for place, joint in ((0, 10), (1, WRIST)):
        valid[place][single[place].hand_slices[0].start + joint] = False
    samples = [replace(s, joint_valid=v) for s, v in zip(single, valid, strict=True)]
    inputs, whole = recorded(samples).of("T1"), recorded(single).of("T1")
    expected = [MEAN.left_mm if s.hand_type == "left" else MEAN.right_mm for s in single[:2]]
    assert inputs.scale_mm[:2].tolist() == expected and torch.equal(inputs.scale_mm[2:], whole.scale_mm[2:])
    estimate = 700.0 * box_k_mm(torch.tensor(single[1].box)[None].float(), torch.tensor(single[1].intrinsics)[None])
    assert inputs.root_depth_mm[1].item() == pytest.approx(estimate.item() / 1000, rel=1e-4)
    assert inputs.root_depth_mm[0] == whole.root_depth_mm[0]


def test_the_second_track_gives_estimates(single):
    for right, side, scale in ((0.8, 0, 40.0), (0.1, 1, 30.0)):
        inputs = recorded(single, classifier=always(right)).of("T2")
        assert (inputs.handedness == side).all() and (inputs.scale_mm == scale).all() and inputs.root_depth_mm is None
    inputs = recorded(single).of("T2")
    assert (inputs.handedness == 0).all() and (inputs.scale_mm == 35.0).all()


@dataclass(frozen=True)
class TwoDepths:
    """Stands in for a depth network: a different depth for each wrist."""

    source: str = "network"

    def __call__(self, batch):
        return torch.tensor([[450.0, 550.0]]).expand(len(batch), 2)


@pytest.mark.parametrize("right, depth_mm", [(0.8, 450.0), (0.1, 550.0), (None, 500.0)])
def test_a_hand_is_placed_at_the_depth_of_its_predicted_handedness(single, right, depth_mm):
    p = predictions_of(perfect, single, classifier=None if right is None else always(right), depth=TwoDepths())
    assert p.joints["T2"][:, list(ROOTS.values()), 2] == pytest.approx(depth_mm)


def test_the_second_track_never_uses_the_truth(single):
    """Other poses of the other hand on the same crops: T2 does not change at all, and T1 does."""

    def swapped(sample):
        other = {"right": "left", "left": "right"}[sample.hand_type]
        parts = {
            name: np.roll(getattr(sample, name), JOINTS_PER_HAND, 0)
            for name in ("joints_cam_mm", "joints_image_px", "joint_valid", "joint_visible")
        }
        parts["joints_cam_mm"] = parts["joints_cam_mm"] * [1.3, 1.1, 1.2]
        return replace(sample, hand_type=other, **parts)

    def looking(batch, inputs):
        scale = inputs.scale_mm * (1 + inputs.handedness) * (1 + batch.image.mean((1, 2, 3)))
        hands = torch.arange(63.0).view(21, 3).sin() * scale[:, None, None]
        return HandEstimate(hands - hands[:, WRIST, None])

    def by_pixel(batch):
        return torch.stack([batch.image[:, 0].mean((1, 2)) > 0.45, batch.image[:, 0].mean((1, 2)) <= 0.45], 1).float()

    for classifier in (by_pixel, None):
        a, b = (
            predictions_of(looking, samples, classifier=classifier, depth=TwoDepths())
            for samples in (single, [swapped(s) for s in single])
        )
        assert np.array_equal(a.joints["T2"], b.joints["T2"])
        assert np.array_equal(a.side_probability, b.side_probability, equal_nan=True)
        assert np.abs(a.joints["T1"] - b.joints["T1"]).min(1).max() > 0


# Networks


class Counted(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, *inputs):
        self.calls += 1
        return self.network(*inputs)


NETWORKS = {
    "posenet": (lambda: PoseNet(POSENET), POSENET.convention, True),
    "spurr": (lambda: Spurr(SpurrConfig(VAE, latent=4)), SpurrConfig().convention, False),
    "spurr-scale-side": (
        lambda: Spurr(SpurrConfig(VAE, latent=4, scale_invariant=True, hand_side=True)),
        SpurrConfig(scale_invariant=True).convention, True,
    ),
    "yang": (lambda: Yang(YangConfig(VAE, 4, 4)), YangConfig().convention, True),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_hands(name, layout):
    _, samples = layout
    make, convention, needs_handedness = NETWORKS[name]
    torch.manual_seed(0)
    network = Counted(make())
    estimator = relative_pose_estimator(network, convention, needs_handedness)
    p = predictions_of(estimator, samples, classifier=always(0.3) if needs_handedness else None, batch_size=4)
    assert all(np.isfinite(joints).all() for joints in p.joints.values())
    assert np.isnan(p.side_probability).all(1).tolist() == [
        not needs_handedness or s.hand_type == "interacting" for s in samples
    ]
    first = next(iter(HandDataset(split_hands(samples).samples, CROP).in_order(4)))
    if not needs_handedness:
        assert network.calls == -(-len(split_hands(samples)) // 4)  # once for both tracks
    with torch.no_grad():
        output = network.network(first.image, torch.ones(4, dtype=torch.int64))
    scale = torch.full((4,), MEAN.left_mm if needs_handedness else 35.0)
    expected = convention.from_wrist_mm(output.pose, scale)[0].numpy()
    slot = HAND_SLICE[SIDES[split_hands(samples).side[0]]]
    hand = p.joints["T2"][0, slot]
    assert hand - hand[WRIST] == pytest.approx(expected, abs=2e-3)


def test_the_scale_reaches_only_those_that_use_it():
    """The same pose at 40 and at 20 mm per scale bone; in fixed units it does not change."""

    class Pose(nn.Module):
        def forward(self, image):
            return type("Output", (), {"pose": torch.ones(len(image), 21, 3).cumsum(1)})

    batch = type("Batch", (), {"image": torch.zeros(1, 3, 4, 4)})
    for convention, factor in ((PoseConvention(scale_invariant=True), 2.0), (PoseConvention(), 1.0)):
        estimate = relative_pose_estimator(Pose(), convention, needs_handedness=False)
        large, small = (
            estimate(batch, HandInputs(torch.zeros(1, dtype=torch.int64), torch.tensor([mm]), None)).from_wrist_mm
            for mm in (40.0, 20.0)
        )
        torch.testing.assert_close(large, factor * small)
        assert (large[:, WRIST] == 0).all() and large.abs().max() > 100


# Song-S


@pytest.fixture(scope="module")
def song():
    torch.manual_seed(0)
    return SongSurrogate(SongConfig(TINY, 16, 32)).eval()


def song_predictions(song, samples, refined, config=THREE_STEPS, **changes):
    ratio = torch.full((20,), 0.05)
    return predictions_of(song_estimator(song, config, ratio, refined), samples, **changes)


def test_song_before_and_after(song, layout):
    """The whole path gives what ``refine`` gives on the same crops: depth fixed on T1, predicted and free on T2."""
    _, samples = layout
    apart = split_hands(samples)
    config, ratio = THREE_STEPS, torch.full((20,), 0.05)
    before, after = (song_predictions(song, samples, refined, batch_size=len(apart)) for refined in (False, True))
    batch = next(iter(HandDataset(apart.samples, CROP).in_order(len(apart))))
    true_mm = batch.root_depth_mm[torch.arange(len(apart)), torch.as_tensor(apart.side)]
    with torch.no_grad():
        output = song(batch.image)
    own_mm = output.gamma * box_k_mm(batch.box, batch.intrinsics)
    for track, depth_mm, free in (("T1", true_mm, False), ("T2", None, True)):
        own = replace(config, free_depth=free)
        evidence = collect_evidence(output, batch.affine, batch.intrinsics, batch.box, CROP, ratio, own, depth_mm)
        start_dm = evidence.relative_dm, evidence.root_depth_dm
        for p, expected in ((before, start_dm), (after, refine(evidence, own))):
            hands_mm = placed_dm(*expected, evidence) * 100
            found = p.joints[track].reshape(-1, 2, JOINTS_PER_HAND, 3)[apart.owner, apart.side]
            assert found == pytest.approx(hands_mm.numpy(), abs=1e-2)
        start = before.joints[track].reshape(-1, 2, JOINTS_PER_HAND, 3)[apart.owner, apart.side]
        assert start[:, WRIST, 2] == pytest.approx((own_mm if free else true_mm).numpy(), rel=1e-4)
        assert np.abs(after.joints[track] - before.joints[track]).max() > 1
    left = output.side_logit.sigmoid().numpy()
    alone = np.array([s.hand_type != "interacting" for s in samples])
    one = np.array([alone[i] for i in apart.owner])
    assert before.side_probability[alone] == pytest.approx(np.stack([1 - left, left], 1)[one], abs=1e-6)
    assert np.isnan(before.side_probability[~alone]).all()


def test_song_runs_its_network_once_for_both_tracks(song, single):
    network = Counted(song)
    song_predictions(network, single, True, batch_size=5)
    assert network.calls == 1


def test_song_uses_neither_handedness_nor_scale(song, single):
    a = song_predictions(song, single, True)
    b = song_predictions(song, single, True, classifier=always(0.9), mean_scale=MeanScale(1.0, 2.0))
    assert all(np.array_equal(a.joints[t], b.joints[t]) for t in TRACKS)
    assert np.array_equal(a.side_probability, b.side_probability)


# Metrics of the position


def test_a_hand_without_a_position_has_no_depth_error(layout):
    dataset, samples = layout
    truth, p = Truth.from_samples(samples, dataset), predictions_of(perfect, samples)
    for track in TRACKS:
        evaluation = evaluate(truth, p, track)
        assert not evaluation.root_depth_error_mm.valid.any() and evaluation.summary()["root_depth"] is None
        assert evaluation.summary().get("mrrpe") is None
    placed = {t: replace(inputs, root_depth="network") for t, inputs in INPUTS.items()}
    errors = evaluate(truth, replace(p, inputs=placed), "T2").root_depth_error_mm
    assert errors.valid.sum() == len(split_hands(samples))
    wrists = list(ROOTS.values())
    expected = np.abs(p.joints["T2"][:, wrists, 2] - truth.joints_cam_mm[:, wrists, 2])
    assert errors.error_mm.numpy()[errors.valid] == pytest.approx(expected[errors.valid.numpy()], abs=1e-3)
