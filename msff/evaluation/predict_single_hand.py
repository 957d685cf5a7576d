"""Predictions of the methods whose crops show one hand: their inputs by track, and the placement of their hands.

On T1 a method gets the annotated handedness, the true length of the hand's scale bone and the true depth of its wrist,
if it uses them; on T2 none of these. Most of these methods predict a pose relative to the wrist but no position. Their
hands are placed in the camera frame so that they can be drawn and stored like all others; no pose metric depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from msff.camera import CROP_FACTOR, invert_affine, unproject
from msff.data.batches import Batch, HandDataset
from msff.data.sample import HandSample
from msff.data.single_hand import ZB_CROP_PX, ZB_IMAGE_PX, single_hands
from msff.evaluation.lifting import RootDepth
from msff.evaluation.predictions import Predictions
from msff.evaluation.song_refinement import collect_evidence, placed_dm, refine
from msff.evaluation.tracks import TRACKS, TestTimeInputs
from msff.models.baselines.pose_convention import MeanScale, PoseConvention
from msff.models.baselines.posenet_segmentation import FoundHand, box_of_mask
from msff.models.baselines.song_surrogate import MM_PER_DM, SongSurrogate
from msff.settings.losses import RefineConfig
from msff.skeleton import JOINTS_PER_HAND, SCALE_BONE, SIDES, WRIST


@dataclass(frozen=True, eq=False)
class HandInputs:
    """Inputs of a method for M hands on one track, beyond their crops, boxes and cameras."""

    handedness: Tensor  # (M,) int64 0 right, 1 left; all zeros if the handedness is not used
    scale_mm: Tensor  # (M,) length of the scale bone
    root_depth_mm: Tensor | None  # (M,) depth of the wrist; None: not given


@dataclass(frozen=True, eq=False)
class HandEstimate:
    """Predictions of a method for M hands."""

    from_wrist_mm: Tensor  # (M, 21, 3) camera axes, row WRIST is 0
    wrist_mm: Tensor | None = None  # (M, 3) camera frame; None: the position is not predicted
    side_probability: Tensor | None = None  # (M, 2) right, left; None: the handedness is not predicted


Estimator = Callable[[Batch, HandInputs], HandEstimate]
"""Maps M crops of one hand each, with their inputs on a track, to an estimate. It reads only what every track gives of
the batch: ``image``, ``affine``, ``intrinsics`` and ``box``."""
HandednessClassifier = Callable[[Batch], Tensor]
"""Maps M crops of one hand each to the probabilities of right and left (M, 2)."""

_Output = TypeVar("_Output")


# Methods


def relative_pose_estimator(model: nn.Module, convention: PoseConvention, needs_handedness: bool) -> Estimator:
    """Return the estimator of PoseNet, Chen, Spurr or Yang: a pose without position in the units of ``convention``."""
    network = _cached(lambda image, hand: model.eval()(image, hand) if needs_handedness else model.eval()(image))

    def estimate(batch: Batch, inputs: HandInputs) -> HandEstimate:
        output = network(batch.image, inputs.handedness if needs_handedness else None)
        return HandEstimate(convention.from_wrist_mm(output.pose, inputs.scale_mm))

    return estimate


def song_estimator(model: SongSurrogate, config: RefineConfig, bone_ratio: Tensor, refined: bool) -> Estimator:
    """Return the estimator of Song-S, with ``refined`` after the test-time optimisation. Uses no handedness or scale.

    A given wrist depth is held fixed; otherwise the optimisation starts from the network's own depth and may change it.
    """
    network = _cached(lambda image, _: model.eval()(image))

    def estimate(batch: Batch, inputs: HandInputs) -> HandEstimate:
        output, depth_mm = network(batch.image, None), inputs.root_depth_mm
        settings = replace(config, free_depth=config.free_depth and depth_mm is None)
        size = batch.image.shape[-1]
        evidence = collect_evidence(
            output, batch.affine, batch.intrinsics, batch.box, size, bone_ratio, settings, depth_mm
        )
        found = refine(evidence, settings) if refined else (evidence.relative_dm, evidence.root_depth_dm)
        hands_mm = placed_dm(*found, evidence) * MM_PER_DM
        wrist_mm = hands_mm[:, WRIST]
        probability = torch.stack([-output.side_logit, output.side_logit], 1).sigmoid()  # (M, 2)
        return HandEstimate(hands_mm - wrist_mm[:, None], wrist_mm, probability)

    return estimate


def _cached(network: Callable[[Tensor, Tensor | None], _Output]) -> Callable[[Tensor, Tensor | None], _Output]:
    """Reuse the last output for equal inputs: the tracks evaluate the network on the same crops in turn."""
    last: tuple[Tensor, Tensor | None, _Output] | None = None

    def forward(image: Tensor, handedness: Tensor | None) -> _Output:
        nonlocal last
        if last is None or last[0] is not image or not (handedness is None or torch.equal(handedness, last[1])):
            last = image, handedness, network(image, handedness)
        return last[2]

    return forward


# Predictions


@torch.no_grad()
def predict_hands(
    estimator: Estimator, hands: HandDataset, owner: np.ndarray | Tensor, handedness: np.ndarray | Tensor,
    samples: Sequence[HandSample], depth: RootDepth, *, classifier: HandednessClassifier | None,
    mean_scale: MeanScale, inputs: dict[str, TestTimeInputs], batch_size: int = 32,
) -> Predictions:  # fmt: skip
    """Return predictions for N images from M crops of one hand each, under every track.

    ``hands`` are the M crops, ``owner`` (M,) their images' positions among ``samples``
    (N) and ``handedness`` (M,) the hands annotated in them, see ``split_hands``. ``classifier`` predicts the handedness
    on T2; None for a method that does not use it. ``inputs`` (track -> inputs) are recorded with the predictions.
    ``depth`` places hands whose position is not predicted.

    Each hand fills the slot of its crop. The only hand of an image fills both slots, since the method predicts no
    second one.
    """
    owner, handedness = (torch.as_tensor(rows, dtype=torch.int64) for rows in (owner, handedness))
    count = len(samples)
    alone = torch.bincount(owner, minlength=count)[owner] == 1  # (M,)
    joints = {track: torch.zeros(count, len(SIDES), JOINTS_PER_HAND, 3) for track in TRACKS}
    probability = torch.full((count, len(SIDES)), torch.nan)
    done = 0
    for batch in hands.in_order(batch_size):
        rows = slice(done, done + len(batch))
        image, slot, single = owner[rows], handedness[rows], alone[rows]  # (B,) each
        classified, depth_mm = classifier and classifier(batch), depth(batch)  # (B, 2) each
        if classified is None:
            likelier_mm = depth_mm.mean(1)  # (B,)
        else:
            likelier_mm = depth_mm.gather(1, classified.argmax(1, keepdim=True))[:, 0]
        by_track = {
            "T1": _true_inputs(batch, slot, depth_mm, mean_scale),
            "T2": _estimated_inputs(batch, classified, mean_scale),
        }
        for track, given in by_track.items():
            estimate = estimator(batch, given)
            place_mm = likelier_mm if given.root_depth_mm is None else given.root_depth_mm
            placed = _placed(estimate, batch, place_mm).float().cpu()  # (B, 21, 3)
            joints[track][image, slot] = placed
            joints[track][image[single], 1 - slot[single]] = placed[single]
        predicted = classified if estimate.side_probability is None else estimate.side_probability
        if predicted is not None:  # for single hands only: the boxes of two hands determine which is which
            probability[image[single]] = predicted.float().cpu()[single]
        done += len(batch)
    return Predictions(
        sample_id=[sample.sample_id for sample in samples],
        joints={track: hands_mm.flatten(1, 2).numpy() for track, hands_mm in joints.items()},
        side_probability=probability.numpy(),
        relative_root_depth_mm=np.full(count, np.nan, np.float32),
        inputs=dict(inputs),
    )


def _true_inputs(batch: Batch, slot: Tensor, depth_mm: Tensor, mean_scale: MeanScale) -> HandInputs:
    """Return T1's inputs: the annotation, or the mean scale and the estimated depth where it is missing.

    slot (B,) annotated handedness, depth_mm (B, 2) estimated.
    """
    hands = single_hands(batch)
    if not torch.equal(hands.side.cpu(), slot):
        raise ValueError("each crop must show one hand, the one in `handedness`: make both with `split_hands`")
    row = torch.arange(len(batch), device=hands.side.device)
    measured = hands.valid[:, list(SCALE_BONE)].all(1) & (hands.scale_mm > 0)
    scale_mm = torch.where(measured, hands.scale_mm, mean_scale.of(hands.side))
    true_mm = batch.root_depth_mm[row, hands.side]
    return HandInputs(hands.side, scale_mm, torch.where(true_mm > 0, true_mm, depth_mm[row, hands.side]))


def _estimated_inputs(batch: Batch, probability: Tensor | None, mean_scale: MeanScale) -> HandInputs:
    """Return T2's inputs: the classified handedness and its mean scale; without a classifier the mean of both."""
    if probability is None:
        unused = torch.zeros(len(batch), dtype=torch.int64, device=batch.image.device)
        both_mm = mean_scale.of(torch.arange(len(SIDES), device=batch.image.device))  # (2,)
        return HandInputs(unused, both_mm.mean().expand(len(batch)), None)
    handedness = probability.argmax(1)
    return HandInputs(handedness, mean_scale.of(handedness), None)


def _placed(estimate: HandEstimate, batch: Batch, depth_mm: Tensor) -> Tensor:
    """Place the hands in the camera frame, those without a position at depth_mm (B,). -> (B, 21, 3) mm

    Weak perspective: the extents of x and y are centred on the ray through the centre of the tight box.
    """
    hands_mm = estimate.from_wrist_mm
    if estimate.wrist_mm is not None:
        return hands_mm + estimate.wrist_mm[:, None]
    centre_px = batch.box[:, None, :2] + batch.box[:, None, 2:] / 2  # (B, 1, 2)
    centre_mm = unproject(centre_px, depth_mm[:, None], batch.intrinsics)[..., :2]  # (B, 1, 2)
    middle_mm = (hands_mm[..., :2].amin(1, keepdim=True) + hands_mm[..., :2].amax(1, keepdim=True)) / 2
    return hands_mm + torch.cat([centre_mm - middle_mm, depth_mm[:, None, None]], -1)


# Boxes


@torch.no_grad()
def segmented_boxes(model: FoundHand, frames: HandDataset, batch_size: int = 32) -> Tensor:
    """Return the boxes that HandSegNet finds in whole images: the pipeline of Zimmermann & Brox without given boxes.

    ``frames`` shows the whole image in each crop (``whole_images``). Boxes are x, y, w, h px of the original images,
    such that the study's crop about them is the crop of the mask. The authors' lengths in px are scaled to ``frames``.
    -> (N, 4) on the host
    """
    model.eval()
    size = frames.crop_size
    dilation = 2 * round(21 / 2 * size / ZB_IMAGE_PX - 0.5) + 1  # odd
    crop = round(ZB_CROP_PX * size / ZB_IMAGE_PX)
    boxes = []
    for batch in frames.in_order(batch_size):
        probability = model.segmentation(batch.image).float().softmax(1)[:, 1]  # (B, S, S)
        square = box_of_mask(probability, max(3, dilation), crop)  # (B, 4) crop px
        image_per_crop = invert_affine(batch.affine)  # (B, 2, 3), neither turned nor mirrored
        scale = image_per_crop[:, 0, :1]  # (B, 1) image px per crop px
        length = square[:, 2:] * scale / CROP_FACTOR  # (B, 2) of the tight box, which cropping enlarges by CROP_FACTOR
        centre = (square[:, :2] + square[:, 2:] / 2) * scale + image_per_crop[:, :, 2]  # (B, 2)
        boxes.append(torch.cat([centre - length / 2, length], 1).cpu())
    return torch.cat(boxes)
