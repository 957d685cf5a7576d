"""Single hands of a batch, split hands and other crops: geometry by independent loops, and through HandDataset."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tiny_study import tiny_study, with_images

from msff.camera import apply_affine
from msff.data.batches import Batch, HandDataset
from msff.data.interhand import InterHandSamples
from msff.data.sample import DataError, HandSample, LazySamples, count_hand_types
from msff.data.single_hand import joint_box, keypoint_crops, single_hands, split_hands, whole_images, with_boxes
from msff.data.synthetic import synthetic_batch


@pytest.fixture(scope="module")
def standin_interhand(tmp_path_factory):
    return with_images(tiny_study(tmp_path_factory.mktemp("project"))).read("standin-interhand", "train")


class Counted(LazySamples):
    """Counts how often it makes a sample; has only the abstract methods of LazySamples."""

    def __init__(self, samples):
        self.kept, self.made = list(samples), 0

    def __len__(self):
        return len(self.kept)

    def make(self, position):
        self.made += 1
        return self.kept[position]

    def largest_size(self):
        return tuple(np.max([s.image_size for s in self.kept], 0).tolist())


def snapshot(samples) -> list[list]:
    return [[np.copy(v) if isinstance(v := getattr(s, f.name), np.ndarray) else repr(v) for f in fields(s)]
            for s in samples]  # fmt: skip


def same(first: HandSample, second: HandSample) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(*snapshot([first, second]), strict=True))


def plain_batch(samples, size=64, cache=True) -> Batch:
    dataset = HandDataset(samples, size, cache=cache)
    return next(dataset.in_order(len(samples)))


def moved(sample: HandSample, **changes) -> HandSample:
    """A sample with some entries of its arrays changed: {field: (where, value)}."""
    arrays = {}
    for name, (where, value) in changes.items():
        arrays[name] = getattr(sample, name).copy()
        arrays[name][where] = value
    return replace(sample, **arrays)


# single hands of a batch


@pytest.fixture
def batch():
    made = synthetic_batch(3, 32, "cpu", torch.Generator().manual_seed(0))
    made.side_present[0, 1] = 0  # crop 0: right, crop 1: both, crop 2: left
    made.side_present[2, 0] = 0
    return made


def test_every_present_hand_once(batch):
    hands = single_hands(batch)
    assert hands.owner.tolist() == [0, 1, 1, 2] and hands.side.tolist() == [0, 0, 1, 1]
    assert torch.equal(hands.joints_cam_mm[2], batch.joints_cam_mm[1, 21:])
    assert torch.equal(hands.joints_crop_px[0], batch.joints_crop_px[0, :21])
    assert torch.equal(hands.image[3], batch.image[2])
    assert hands.from_wrist_mm[:, 20].abs().max() == 0
    bone = (batch.joints_cam_mm[2, 21 + 11] - batch.joints_cam_mm[2, 21 + 10]).norm()
    assert hands.scale_mm[3] == pytest.approx(bone.item())


def test_no_hand_gives_no_row(batch):
    batch.side_present.zero_()
    assert len(single_hands(batch)) == 0 and single_hands(batch).image.shape == (0, 3, 32, 32)


# split hands


def test_split_hands_in_order_right_before_left(interhand):
    apart = split_hands(list(interhand))
    assert apart.owner.tolist() == [0, 1, 2, 3, 4, 4, 5, 5] and apart.side.tolist() == [0, 0, 1, 1, 0, 1, 0, 1]
    assert apart.owner.dtype == apart.side.dtype == np.int64 and len(apart) == len(apart.samples) == 8
    assert [s.hand_type for s in apart.samples] == ["right"] * 2 + ["left"] * 2 + ["right", "left"] * 2
    first = interhand[4].sample_id
    assert [s.sample_id for s in apart.samples[4:6]] == [f"{first}#right", f"{first}#left"]
    assert len({s.sample_id for s in apart.samples}) == 8


def test_a_sample_of_one_hand_stays_the_same_object(interhand, rhd):
    samples = list(interhand)
    assert all(a is b for a, b in zip(split_hands(samples).samples[:4], samples, strict=False))
    apart = split_hands(rhd)
    assert all(a is b for a, b in zip(apart.samples, rhd, strict=True)) and apart.owner.tolist() == [*range(7)]
    assert apart.side.tolist() == [int(s.hand_type == "left") for s in rhd] and {*apart.side.tolist()} == {0, 1}


def test_each_hand_keeps_its_own_joints_and_nothing_else(interhand):
    seen = np.arange(42) % 3 > 0
    whole = replace(interhand[5], joint_visible=seen, hand_type_valid=False)
    before = snapshot([whole])
    right, left = split_hands([whole]).samples
    for hand, own, other in ((right, slice(0, 21), slice(21, 42)), (left, slice(21, 42), slice(0, 21))):
        for name in ("joints_cam_mm", "joints_image_px", "joint_valid", "joint_visible"):
            assert np.array_equal(getattr(hand, name)[own], getattr(whole, name)[own])
            assert not getattr(hand, name)[other].any()
        assert hand.image_path == whole.image_path and not hand.hand_type_valid
    assert all(np.array_equal(a, b) for a, b in zip(before[0], snapshot([whole])[0], strict=True))
    assert split_hands([interhand[4]]).samples[0].joint_visible is None


def test_the_box_of_a_hand_by_hand(interhand):
    """Right hand's joints span x 100..200, y 50..100: 6 px about them. The left hand's reach over the corner."""
    right, left = np.full((21, 2), [100.0, 50.0]), np.full((21, 2), [480.0, 300.0])
    right[4], left[7] = [200.0, 100.0], [680.0, 310.0]
    whole = replace(interhand[4], joints_image_px=np.concatenate([right, left]))
    assert whole.image_size == (512, 334)
    boxes = [s.box.tolist() for s in split_hands([whole]).samples]
    assert boxes[0] == pytest.approx([94, 44, 112, 62])
    assert boxes[1] == pytest.approx([468, 288, 511 - 468, 322 - 288])  # 12 px about them, to the last pixel
    assert joint_box(moved(whole, joint_valid=(4, False)), "right").tolist() == whole.box.tolist()  # a single point


@pytest.mark.parametrize(
    "changes",
    [
        {"joint_valid": (slice(2, 21), False)},  # two joints left
        {"joints_image_px": (slice(0, 21), -40.0)},  # outside
        {"joints_image_px": (slice(0, 21), [600.0, 100.0])},
    ],
)
def test_where_a_hands_box_cannot_be_told_the_images_stays(interhand, changes):
    right, left = split_hands([moved(interhand[4], **changes)]).samples
    assert np.array_equal(right.box, interhand[4].box) and not np.array_equal(left.box, interhand[4].box)


def test_boxes_are_as_loose_as_the_annotated_ones(standin_interhand):
    """For the stand-in's single hands the rule gives the annotated box itself, to the digits in the file."""
    alone = [s for s in standin_interhand if s.hand_type != "interacting"]
    whole = [s for s in alone if s.joint_valid.sum() == 21]
    assert len(whole) >= 3
    for sample in whole:
        np.testing.assert_allclose(joint_box(sample, sample.hand_type), sample.box, atol=0.01)
    both = [s for s in standin_interhand if s.hand_type == "interacting" and s.joint_valid.all()]
    assert both
    for sample, hands in ((s, split_hands([s]).samples) for s in both):
        low = np.min([h.box[:2] for h in hands], 0)
        assert (low >= sample.box[:2] - 0.01).all()  # the margin of the larger extent is the larger one
        for hand in hands:
            inside = hand.joints_image_px[hand.joint_valid]
            assert (inside >= hand.box[:2] - 1e-9).all() and (inside <= hand.box[:2] + hand.box[2:] + 1e-9).all()


# lazy sequences


def test_lazy_hands_are_those_of_the_list(interhand):
    assert isinstance(interhand, InterHandSamples)
    lazy, listed = split_hands(interhand), split_hands(list(interhand))
    assert isinstance(lazy.samples, LazySamples) and isinstance(listed.samples, list)
    assert np.array_equal(lazy.owner, listed.owner) and np.array_equal(lazy.side, listed.side)
    assert len(lazy.samples) == 8 and all(same(a, b) for a, b in zip(lazy.samples, listed.samples, strict=True))
    assert same(lazy.samples[-1], listed.samples[-1]) and isinstance(lazy.samples[2:4], list)
    assert lazy.samples.largest_size() == interhand.largest_size() == (512, 512)
    assert count_hand_types(lazy.samples) == count_hand_types(listed.samples) == {"right": 4, "left": 4}
    assert [("right", "left")[t] for t in lazy.samples.hand_types()] == [s.hand_type for s in listed.samples]
    assert lazy.samples.image_numbers().tolist() == lazy.owner.tolist()


@pytest.mark.parametrize("view", [whole_images, keypoint_crops, lambda s: with_boxes(s, np.full((len(s), 4), 7.0))])
def test_lazy_views_are_those_of_the_list_and_hold_nothing(interhand, view):
    counted = Counted(split_hands(list(interhand)).samples)
    lazy, listed = view(counted), view(counted.kept)
    made = counted.made
    assert made <= len(counted)  # at most once each, for the hand types
    assert isinstance(lazy, LazySamples) and isinstance(listed, list) and len(lazy) == len(listed) == 8
    assert same(lazy[3], listed[3]) and counted.made == made + 1
    assert all(same(a, b) for a, b in zip(lazy, listed, strict=True)) and counted.made == made + 9
    assert lazy.largest_size() == counted.largest_size()
    assert lazy.hand_types().tolist() == [0, 0, 1, 1, 0, 1, 0, 1] and len(lazy.image_numbers()) == 8


def test_views_of_a_lazy_split_make_no_sample(interhand, monkeypatch):
    monkeypatch.setattr(InterHandSamples, "make", lambda *_: pytest.fail("made a sample"))
    hands = split_hands(interhand).samples
    views = (hands, keypoint_crops(hands), whole_images(interhand), with_boxes(interhand, np.ones((6, 4))))
    assert [len(v) for v in views] == [8, 8, 6, 6]


# crops


def zimmermann_brox(uv, visible, image_px=320.0):
    """The crop of methods of RHD's authors, written out joint by joint: centre px, side px, in an image of 320 px."""
    cx, cy = uv[11]  # middle MCP
    uv, visible = [*uv[:20], [(uv[20][0] + cx) / 2, (uv[20][1] + cy) / 2]], [*visible[:20], visible[20] or visible[11]]
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for (u, v), seen in zip(uv, visible, strict=True):
        if seen:
            left, right, top, bottom = min(left, u), max(right, u), min(top, v), max(bottom, v)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, image_px), min(bottom, image_px)
    size = 2 * max(right - cx, cx - left, bottom - cy, cy - top)
    size = min(max(size, 50.0), 500.0) if np.isfinite(size) else 200.0
    scale = min(max(256 / size, 1.0), 10.0)
    return (cx, cy), 256 / scale


def rhd_variants(rhd):
    """RHD samples, and such with tiny, huge, unseen and partly outside hands."""
    made = list(rhd)
    for factor in (0.01, 0.15, 0.5, 3.0):
        for sample in rhd[:3]:
            px = sample.joints_image_px
            made.append(replace(sample, joints_image_px=px[sample.hand_slices[0]][11] * (1 - factor) + px * factor))
    made.append(replace(rhd[0], joint_visible=np.zeros(42, bool)))
    made.append(replace(rhd[1], joint_visible=rhd[1].joint_valid & (np.arange(42) % 21 == 3)))
    return made


def test_keypoint_crops_are_zimmermann_and_broxs(rhd):
    samples = rhd_variants(rhd)
    before = snapshot(samples)
    sides = []
    for sample, view in zip(samples, keypoint_crops(samples), strict=True):
        own = sample.hand_slices[0]
        (cx, cy), side = zimmermann_brox(sample.joints_image_px[own], sample.joint_visible[own])
        x, y, w, h = view.box
        assert (x + w / 2, y + h / 2) == pytest.approx((cx, cy)) and w == h
        assert 1.25 * w == pytest.approx(side)
        assert same(replace(view, box=sample.box), sample)
        sides.append(side)
    assert min(sides) == pytest.approx(50) and max(sides) == 256 and 200 in np.round(sides, 9)  # every clamp is met
    assert len({*np.round(sides, 3).tolist()}) > 6
    for a, b in zip(before, snapshot(samples), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_keypoint_crops_scale_with_the_image(rhd, scale):
    resized = [
        replace(s, image_size=(int(320 * scale),) * 2, joints_image_px=s.joints_image_px * scale)
        for s in rhd_variants(rhd)
    ]
    for small, large in zip(keypoint_crops(rhd_variants(rhd)), keypoint_crops(resized), strict=True):
        np.testing.assert_allclose(large.box, small.box * scale)


def test_keypoint_crops_where_the_dataset_says_less(interhand):
    """All valid joints count as visible; without a valid middle MCP the box gives the centre."""
    hands = split_hands(interhand).samples
    sample = hands[5]
    own = sample.hand_slices[0]
    (view,) = keypoint_crops([sample])
    unit = sample.image_size[0] / 320
    far = np.abs(sample.joints_image_px[own] - sample.joints_image_px[own][11]).max()
    assert sample.joint_valid[own].all() and 1.25 * view.box[2] == pytest.approx(min(2 * far, 256 * unit), rel=0.2)
    (view,) = keypoint_crops([moved(sample, joint_valid=(own.start + 11, False))])
    np.testing.assert_allclose(view.box[:2] + view.box[2:] / 2, sample.box[:2] + sample.box[2:] / 2)


def test_keypoint_crops_of_two_hands(interhand):
    for samples in (interhand, list(interhand)):
        with pytest.raises(DataError, match=r"image112\.jpg: expected samples of one hand, found 2 .*split_hands"):
            keypoint_crops(samples)


def test_whole_images_through_the_dataset(interhand, rhd):
    """The longer side fills the crop from edge to edge, the shorter one is centred."""
    for samples in (interhand, rhd):
        batch = plain_batch(whole_images(samples), 64)
        for affine, sample in zip(batch.affine, samples, strict=True):
            width, height = sample.image_size
            scale = 64 / max(width, height)
            found = apply_affine(affine, torch.tensor([[0.0, 0], [width, height], [width / 2, height / 2]]))
            expected = 32 + scale * np.array([[-width, -height], [width, height], [0, 0]]) / 2
            np.testing.assert_allclose(found, expected, atol=1e-3)
            assert found.min().item() == pytest.approx(0, abs=1e-3) and found.max().item() == pytest.approx(64)


def test_boxes_given(rhd):
    boxes = np.arange(28.0).reshape(7, 4) + 1
    views = with_boxes(rhd, boxes)
    boxes += 100  # theirs is a copy
    np.testing.assert_array_equal([v.box for v in views], np.arange(28.0).reshape(7, 4) + 1)
    assert all(same(replace(v, box=s.box), s) for v, s in zip(views, rhd, strict=True))
    assert all(v.box[0] == 1 + 4 * i for i, v in enumerate(with_boxes(rhd, torch.arange(28).reshape(7, 4) + 1)))


def test_boxes_that_make_no_sense(rhd):
    with pytest.raises(ValueError, match=r"boxes must be \(7, 4\), one per sample, got \(5, 4\)"):
        with_boxes(rhd, np.ones((5, 4)))
    for wrong in (0.0, -3.0, np.nan, np.inf):
        boxes = np.ones((7, 4))
        boxes[2, 3] = wrong
        with pytest.raises(ValueError, match=r"00002\.png: a box .* finite and of positive size, got \[1\.0, 1\.0"):
            with_boxes(rhd, boxes)
    with pytest.raises(ValueError, match=r"boxes must be \(7, 4\).*got \(0, 4\)"):
        with_boxes(rhd, [])


def test_nothing_gives_nothing():
    apart = split_hands([])
    assert apart.samples == [] and apart.owner.shape == apart.side.shape == (0,) and len(apart) == 0
    assert keypoint_crops([]) == whole_images([]) == with_boxes([], []) == with_boxes([], np.zeros((0, 4))) == []
    assert len(split_hands(Counted([])).samples) == 0
