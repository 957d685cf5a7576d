"""Other ways to look at the same images, for methods that know a single hand: hands apart, and other crops.

Each function takes samples and returns samples, and leaves those it was given as they are: a list for a list, and for
``LazySamples`` again samples that are made when asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from msff.camera import CROP_FACTOR
from msff.data.sample import HAND_TYPES, DataError, HandSample, LazySamples
from msff.skeleton import HAND_SLICE, JOINTS, MIDDLE_MCP, SIDES, WRIST

BOX_MARGIN = 0.06  # of the joints' larger extent: the official boxes hold the hand, not only its joints
FEWEST_JOINTS = 3  # valid ones; a box about fewer says nothing of the hand
SMALLEST_BOX_PX = 1.0  # per side, inside the image

# Zimmermann & Brox's crop, in px of their images of 320 px
ZB_IMAGE_PX = 320
ZB_CROP_PX = 256
ZB_EXTENT_PX = (50.0, 500.0)
ZB_UNSEEN_PX = 200.0  # extent where no joint is visible
ZB_MAGNIFICATION = (1.0, 10.0)


@dataclass(frozen=True, eq=False)
class HandsApart:
    """M hands of N images, each hand a sample of its own."""

    samples: Sequence[HandSample]  # M, in the order of the images, right before left
    owner: np.ndarray  # (M,) int64 position of the image among the N
    side: np.ndarray  # (M,) int64 0 right, 1 left

    def __len__(self) -> int:
        return len(self.owner)


def hands_apart(samples: Sequence[HandSample]) -> HandsApart:
    """One sample per hand that ``hand_type`` says is present.

    A sample of one hand stays as it is. An interacting one becomes two, <id>#right and <id>#left, each with the joints
    of its hand alone, a box about them (``hand_box``) and ``meta["hand_of"]``, the id that both came from.
    """
    types = _hand_types(samples)
    present = types[:, None] != [HAND_TYPES.index("left"), HAND_TYPES.index("right")]  # (N, 2)
    owner, side = np.nonzero(present)  # by image, right before left
    if isinstance(samples, LazySamples):
        return HandsApart(_HandsApartSamples(samples, owner, side), owner, side)
    return HandsApart([_hand_of(samples[i], SIDES[s]) for i, s in zip(owner, side, strict=True)], owner, side)


def keypoint_crops(samples: Sequence[HandSample]) -> Sequence[HandSample]:
    """Samples of one hand whose crop is the one that Zimmermann & Brox make from the annotated joints.

    Square about the middle finger's base, twice the largest distance per axis to the visible joints' extent; sizes are
    in 320ths of the image's width. DataError for two hands in a sample: the crop of ``hands_apart`` is meant.
    """
    both = np.flatnonzero(_hand_types(samples) == HAND_TYPES.index("interacting"))
    if len(both):
        raise DataError(
            f"{samples[int(both[0])].image_path}: expected samples of one hand, found {len(both):,} with both, this "
            "one first; take them apart with hands_apart"
        )
    return _changed(samples, lambda _, sample: replace(sample, box=_of_crop(*keypoint_square(sample))))


def whole_frames(samples: Sequence[HandSample]) -> Sequence[HandSample]:
    """Samples whose crop is the whole image, centred, with zeros beyond its shorter side.

    As in every crop the box's corner goes to crop px 0 and its width to the crop's: image px x of the longer side goes
    to x * S / side.
    """

    def whole(_: int, sample: HandSample) -> HandSample:
        return replace(sample, box=_of_crop(np.array(sample.image_size) / 2, float(max(sample.image_size))))

    return _changed(samples, whole)


def with_boxes(samples: Sequence[HandSample], boxes: np.ndarray) -> Sequence[HandSample]:
    """Samples with ``boxes`` (N, 4) x, y, w, h px in place of the annotated ones, cropped 1.25 times as large."""
    boxes = np.asarray(boxes, dtype=np.float64).copy() if len(boxes) else np.zeros((0, 4))
    if boxes.shape != (len(samples), 4):
        raise ValueError(f"boxes must be ({len(samples)}, 4), one per sample, got {boxes.shape}")
    bad = np.flatnonzero(~(np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)))
    if len(bad):
        path = samples[int(bad[0])].image_path
        raise ValueError(f"{path}: a box x, y, w, h must be finite and of positive size, got {boxes[bad[0]].tolist()}")
    return _changed(samples, lambda i, sample: replace(sample, box=boxes[i]))


def hand_box(sample: HandSample, side: str) -> np.ndarray:
    """(4,) x, y, w, h px of one hand of a sample: its valid joints, 6 % of their larger extent about them, clipped to
    the image. That is the rule of the stand-in's annotated boxes. The sample's own box where it cannot be told: fewer
    than 3 valid joints, or less than 1 px of the box inside the image.
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


def keypoint_square(sample: HandSample) -> tuple[np.ndarray, float]:
    """Centre (2,) px and side px of Zimmermann & Brox's crop of a sample of one hand (their BinaryDbReader).

    The palm's centre stands in the wrist's place; it is visible if the wrist or the middle finger's base is. RHD gives
    every joint. Elsewhere, where the middle finger's base is not valid, the centre is that of the sample's box: theirs
    would be the corner of the image. Without visibility in the dataset all valid joints are visible.
    """
    own = sample.hand_slices[0]
    valid, joints_px = sample.joint_valid[own], sample.joints_image_px[own]
    visible = valid if sample.joint_visible is None else valid & sample.joint_visible[own]
    if valid[[WRIST, MIDDLE_MCP]].all():
        joints_px, visible = joints_px.copy(), visible.copy()
        joints_px[WRIST] = joints_px[[WRIST, MIDDLE_MCP]].mean(0)
        visible[WRIST] |= visible[MIDDLE_MCP]
    width, height = sample.image_size
    unit = width / ZB_IMAGE_PX
    centre = joints_px[MIDDLE_MCP] if valid[MIDDLE_MCP] else sample.box[:2] + sample.box[2:] / 2
    extent = ZB_UNSEEN_PX
    if visible.any():
        low = np.maximum(joints_px[visible].min(0), 0)
        high = np.minimum(joints_px[visible].max(0), [width, height])
        extent = np.clip(2 * np.abs([high - centre, centre - low]).max() / unit, *ZB_EXTENT_PX)
    return centre, float(ZB_CROP_PX / np.clip(ZB_CROP_PX / extent, *ZB_MAGNIFICATION) * unit)


def _of_crop(centre: np.ndarray, side: float) -> np.ndarray:
    """(4,) the box whose crop (``square_box``) has this centre (2,) px and side px."""
    box_side = side / CROP_FACTOR
    return np.array([*(centre - box_side / 2), box_side, box_side])


def _hand_of(sample: HandSample, side: str) -> HandSample:
    """One hand of an interacting sample; a sample of one hand is returned itself."""
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
        box=hand_box(sample, side),
        hand_type=side,
        meta={**sample.meta, "hand_of": sample.sample_id},
    )


def _hand_types(samples: Sequence[HandSample]) -> np.ndarray:
    """(N,) positions in ``HAND_TYPES``."""
    if isinstance(samples, LazySamples):
        return samples.hand_types()
    return np.array([HAND_TYPES.index(s.hand_type) for s in samples], np.uint8)


Change = Callable[[int, HandSample], HandSample]
"""Position and sample -> what stands there instead: another box, the same image and hands."""


def _changed(samples: Sequence[HandSample], change: Change) -> Sequence[HandSample]:
    if isinstance(samples, LazySamples):
        return _ChangedSamples(samples, change)
    return [change(i, sample) for i, sample in enumerate(samples)]


class _ChangedSamples(LazySamples):
    """``change`` of each of the samples; it keeps ids, images and hands."""

    def __init__(self, samples: LazySamples, change: Change):
        self._samples, self._change = samples, change

    def __len__(self) -> int:
        return len(self._samples)

    def make(self, position: int) -> HandSample:
        return self._change(position, self._samples.make(position))

    def frame_size(self) -> tuple[int, int]:
        return self._samples.frame_size()

    def count_distinct_ids(self) -> int:
        return self._samples.count_distinct_ids()

    def count_hand_types(self) -> dict[str, int]:
        return self._samples.count_hand_types()

    def hand_types(self) -> np.ndarray:
        return self._samples.hand_types()

    def image_numbers(self) -> np.ndarray:
        return self._samples.image_numbers()


class _HandsApartSamples(LazySamples):
    """The hands of ``samples``; ``owner`` and ``side`` (M,) as in ``HandsApart``."""

    def __init__(self, samples: LazySamples, owner: np.ndarray, side: np.ndarray):
        self._samples, self._owner, self._side = samples, owner, side

    def __len__(self) -> int:
        return len(self._owner)

    def make(self, position: int) -> HandSample:
        return _hand_of(self._samples.make(int(self._owner[position])), SIDES[self._side[position]])

    def frame_size(self) -> tuple[int, int]:
        return self._samples.frame_size()

    def count_distinct_ids(self) -> int:
        if self._samples.count_distinct_ids() == len(self._samples):
            return len(self)
        return len({s.sample_id for s in self})

    def count_hand_types(self) -> dict[str, int]:
        counts = Counter(self._side.tolist())
        return {name: counts[code] for code, name in enumerate(SIDES) if counts[code]}

    def hand_types(self) -> np.ndarray:
        return np.array([HAND_TYPES.index(s) for s in SIDES], np.uint8)[self._side]

    def image_numbers(self) -> np.ndarray:
        return self._samples.image_numbers()[self._owner]
