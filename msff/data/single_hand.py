"""Images as crops of single hands, for methods whose network sees one hand: split hands, other crops, rows of a batch.

The functions of samples return new samples and leave their input unchanged: a list for a list and lazy samples for
``LazySamples``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from torch import Tensor

from msff.camera import CROP_FACTOR
from msff.data.batches import Batch
from msff.data.sample import HAND_TYPES, DataError, HandSample, LazySamples, hand_type_codes
from msff.skeleton import HAND_SLICE, JOINTS, JOINTS_PER_HAND, MIDDLE_MCP, SCALE_BONE, SIDES, WRIST

BOX_MARGIN = 0.06  # of the joints' larger extent: annotated boxes hold the whole hand, not only its joints
FEWEST_JOINTS = 3  # valid ones that a box of a hand needs
SMALLEST_BOX_PX = 1.0  # per side, inside the image

# Zimmermann & Brox's crop, in px of their images of 320 px
ZB_IMAGE_PX = 320
ZB_CROP_PX = 256
ZB_EXTENT_PX = (50.0, 500.0)
ZB_UNSEEN_PX = 200.0  # extent if no joint is visible
ZB_MAGNIFICATION = (1.0, 10.0)


@dataclass(frozen=True)
class SingleHands:
    """M hands of the B crops of a batch in hand-local canonical order (21 joints, wrist last).

    Both hands of an interacting crop are rows of their own.
    """

    image: Tensor  # (M, 3, S, S) float32 in [0, 1], the crop that shows the hand
    owner: Tensor  # (M,) int64 row of the batch
    side: Tensor  # (M,) int64 0 right, 1 left: annotated
    joints_crop_px: Tensor  # (M, 21, 2)
    joints_cam_mm: Tensor  # (M, 21, 3)
    valid: Tensor  # (M, 21) bool
    visible: Tensor  # (M, 21) bool

    def __len__(self) -> int:
        return len(self.owner)

    def at(self, rows: Tensor) -> SingleHands:
        """Select hands by index or mask."""
        return SingleHands(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def from_wrist_mm(self) -> Tensor:
        """(M, 21, 3) relative to the hand's wrist."""
        return self.joints_cam_mm - self.joints_cam_mm[:, WRIST : WRIST + 1]

    @property
    def scale_mm(self) -> Tensor:
        """(M,) length of the bone from middle MCP to PIP, by which Zimmermann & Brox normalise a hand."""
        a, b = SCALE_BONE
        return (self.joints_cam_mm[:, a] - self.joints_cam_mm[:, b]).norm(dim=-1)


def single_hands(batch: Batch) -> SingleHands:
    """Return the hands annotated as present, ordered by crop, right before left."""
    owner, side = (batch.side_present > 0.5).nonzero(as_tuple=True)

    def of_side(values: Tensor) -> Tensor:  # (B, 42, ...) -> (M, 21, ...)
        return values.unflatten(1, (len(SIDES), JOINTS_PER_HAND))[owner, side]

    return SingleHands(
        image=batch.image[owner], owner=owner, side=side, joints_crop_px=of_side(batch.joints_crop_px),
        joints_cam_mm=of_side(batch.joints_cam_mm), valid=of_side(batch.joint_valid),
        visible=of_side(batch.joint_visible),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SplitHands:
    """M hands of N images, each hand a sample of its own."""

    samples: Sequence[HandSample]  # M, in the order of the images, right before left
    owner: np.ndarray  # (M,) int64 position of the image among the N
    side: np.ndarray  # (M,) int64 0 right, 1 left

    def __len__(self) -> int:
        return len(self.owner)


def split_hands(samples: Sequence[HandSample]) -> SplitHands:
    """Return one sample per hand that ``hand_type`` marks as present.

    A sample of one hand stays as it is. An interacting one becomes two, <id>#right and <id>#left, each with the joints
    of one hand and a box about them (``joint_box``).
    """
    types = hand_type_codes(samples)
    present = types[:, None] != [HAND_TYPES.index("left"), HAND_TYPES.index("right")]  # (N, 2)
    owner, side = np.nonzero(present)  # by image, right before left
    if isinstance(samples, LazySamples):
        codes = np.array([HAND_TYPES.index(s) for s in SIDES], np.uint8)[side]
        hands = _LazyView(samples, owner, codes, lambda i, sample: _hand_of(sample, SIDES[side[i]]))
    else:
        hands = [_hand_of(samples[i], SIDES[s]) for i, s in zip(owner, side, strict=True)]
    return SplitHands(hands, owner, side)


def _hand_of(sample: HandSample, side: str) -> HandSample:
    """Return one hand of an interacting sample; a sample of one hand is returned itself."""
    if sample.hand_type != "interacting":
        return sample
    own = np.zeros(JOINTS, dtype=bool)
    own[HAND_SLICE[side]] = True
    return replace(
        sample,
        sample_id=f"{sample.sample_id}#{side}",
        joints_cam_mm=np.where(own[:, None], sample.joints_cam_mm, 0.0),
        joints_image_px=np.where(own[:, None], sample.joints_image_px, 0.0),
        joint_valid=sample.joint_valid & own,
        joint_visible=None if sample.joint_visible is None else sample.joint_visible & own,
        box=joint_box(sample, side),
        hand_type=side,
    )


def joint_box(sample: HandSample, side: str) -> np.ndarray:
    """Return the box (4,) x, y, w, h px of one hand's valid joints, with a margin of 6 % of their larger extent.

    It is clipped to the image; the stand-in's annotated boxes follow the same rule. With fewer than 3 valid joints, or
    less than 1 px of the box inside the image, the sample's own box is returned.
    """
    own = HAND_SLICE[side]
    points = sample.joints_image_px[own][sample.joint_valid[own]]  # (n, 2)
    if len(points) < FEWEST_JOINTS:
        return sample.box
    low, high = points.min(0), points.max(0)
    margin = BOX_MARGIN * (high - low).max()
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, np.array(sample.image_size) - 1)
    if (high - low).min() < SMALLEST_BOX_PX:
        return sample.box
    return np.concatenate([low, high - low])


def keypoint_crops(samples: Sequence[HandSample]) -> Sequence[HandSample]:
    """Return samples whose crop is the one that Zimmermann & Brox make from the annotated joints (`keypoint_square`).

    DataError if a sample shows two hands.
    """
    both = np.flatnonzero(hand_type_codes(samples) == HAND_TYPES.index("interacting"))
    if len(both):
        raise DataError(
            f"{samples[int(both[0])].image_path}: expected samples of one hand, found {len(both):,} with two, of which "
            "this is the first; split them with split_hands"
        )
    return _changed(samples, lambda _, sample: replace(sample, box=_box_of_crop(*keypoint_square(sample))))


def keypoint_square(sample: HandSample) -> tuple[np.ndarray, float]:
    """Return centre (2,) px and side px of Zimmermann & Brox's crop of a sample of one hand (their BinaryDbReader).

    The square lies about the middle finger's base; its side is twice the largest distance per axis to the extent of the
    visible joints, and limits are in 320ths of the image's width. The palm's centre replaces the wrist; it is visible
    if the wrist or the middle finger's base is. RHD annotates every joint; in other datasets the box's centre stands in
    for a middle finger's base that is not valid (their code would take the image's corner), and all valid joints are
    visible if visibility is not annotated.
    """
    own = sample.hand_slices[0]
    valid, joints_px = sample.joint_valid[own], sample.joints_image_px[own]
    visible = valid if sample.joint_visible is None else valid & sample.joint_visible[own]
    if valid[[WRIST, MIDDLE_MCP]].all():
        joints_px, visible = joints_px.copy(), visible.copy()
        joints_px[WRIST] = joints_px[[WRIST, MIDDLE_MCP]].mean(0)
        visible[WRIST] |= visible[MIDDLE_MCP]
    width, height = sample.image_size
    px = width / ZB_IMAGE_PX  # of this image per px of theirs
    centre = joints_px[MIDDLE_MCP] if valid[MIDDLE_MCP] else sample.box[:2] + sample.box[2:] / 2
    extent = ZB_UNSEEN_PX
    if visible.any():
        low = np.maximum(joints_px[visible].min(0), 0)
        high = np.minimum(joints_px[visible].max(0), [width, height])
        extent = np.clip(2 * np.abs([high - centre, centre - low]).max() / px, *ZB_EXTENT_PX)
    return centre, float(ZB_CROP_PX / np.clip(ZB_CROP_PX / extent, *ZB_MAGNIFICATION) * px)


def whole_images(samples: Sequence[HandSample]) -> Sequence[HandSample]:
    """Return samples whose crop is the whole image, centred, with zeros beyond its shorter side.

    As in every crop, the box's left edge goes to crop px 0 and its width to the crop's: image px x of the longer side
    goes to x * S / side.
    """

    def whole(_: int, sample: HandSample) -> HandSample:
        return replace(sample, box=_box_of_crop(np.array(sample.image_size) / 2, float(max(sample.image_size))))

    return _changed(samples, whole)


def with_boxes(samples: Sequence[HandSample], boxes: np.ndarray) -> Sequence[HandSample]:
    """Return samples with ``boxes`` (N, 4) x, y, w, h px in place of the annotated ones; their crops are 1.25 times
    as large.
    """
    boxes = np.asarray(boxes, dtype=np.float64).copy() if len(boxes) else np.zeros((0, 4))
    if boxes.shape != (len(samples), 4):
        raise ValueError(f"boxes must be ({len(samples)}, 4), one per sample, got {boxes.shape}")
    bad = np.flatnonzero(~(np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)))
    if len(bad):
        path = samples[int(bad[0])].image_path
        raise ValueError(f"{path}: a box x, y, w, h must be finite and of positive size, got {boxes[bad[0]].tolist()}")
    return _changed(samples, lambda i, sample: replace(sample, box=boxes[i]))


def _box_of_crop(centre: np.ndarray, side: float) -> np.ndarray:
    """Return the box (4,) whose crop (``square_box``) has this centre (2,) px and side px."""
    box_side = side / CROP_FACTOR
    return np.array([*(centre - box_side / 2), box_side, box_side])


Change = Callable[[int, HandSample], HandSample]
"""Position in the view and original sample -> sample of the view."""


def _changed(samples: Sequence[HandSample], change: Change) -> Sequence[HandSample]:
    """Replace every sample by ``change`` of it, which keeps image and hands."""
    if isinstance(samples, LazySamples):
        return _LazyView(samples, np.arange(len(samples)), None, change)
    return [change(i, sample) for i, sample in enumerate(samples)]


class _LazyView(LazySamples):
    """Makes sample i when it is read: ``change(i, samples[rows[i]])``; ``types`` (M,) if it changes hand types."""

    def __init__(self, samples: LazySamples, rows: np.ndarray, types: np.ndarray | None, change: Change):
        self._samples, self._rows, self._types, self._change = samples, rows, types, change

    def __len__(self) -> int:
        return len(self._rows)

    def make(self, position: int) -> HandSample:
        return self._change(position, self._samples.make(int(self._rows[position])))

    def largest_size(self) -> tuple[int, int]:
        return self._samples.largest_size()

    def hand_types(self) -> np.ndarray:
        return self._samples.hand_types()[self._rows] if self._types is None else self._types

    def image_numbers(self) -> np.ndarray:
        return self._samples.image_numbers()[self._rows]
