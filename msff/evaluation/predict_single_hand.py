"""From methods that know one hand per crop to predictions: what each may use on a track, and where its hands go.

On T1 a method that uses them gets a hand's annotated side, the true length of its scale bone and its wrist's true
depth; on T2 none of these. Most of the methods say how a hand looks from its wrist and not where it is: their hands are
placed in the camera frame so that they can be drawn and stored like all others, and no metric of the pose sees where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from msff.camera import unproject
from msff.data.batches import Batch, HandDataset
from msff.data.sample import HandSample
from msff.data.single_hand import one_hand
from msff.evaluation.lifting import RootDepth
from msff.evaluation.predictions import Predictions
from msff.evaluation.song_refinement import RefineConfig, evidence, placed_dm, refine
from msff.evaluation.tracks import NATIVE_TRACK, TRACKS, Given
from msff.models.baselines.pose_convention import MeanScale, PoseConvention
from msff.models.baselines.posenet import PoseNetOutput
from msff.models.baselines.song_surrogate import MM_PER_DM, SongSurrogate
from msff.skeleton import JOINTS_PER_HAND, SCALE_BONE, SIDES, WRIST


@dataclass(frozen=True, eq=False)
class Clues:
    """What a method may use of M hands on a track, beside their crops, boxes and cameras."""

    side: Tensor  # (M,) int64 0 right, 1 left; all 0 where nobody says
    scale_mm: Tensor  # (M,) length of the scale bone
    root_depth_mm: Tensor | None  # (M,) of the wrist where it is given; None: the method has to find it


@dataclass(frozen=True, eq=False)
class HandEstimate:
    """What a method says of M hands."""

    from_wrist_mm: Tensor  # (M, 21, 3) camera axes, row WRIST is 0
    wrist_mm: Tensor | None = None  # (M, 3) camera frame; None: the method does not say where a hand is
    side_probability: Tensor | None = None  # (M, 2) right, left; None: nor which hand it is


Estimator = Callable[[Batch, Clues], HandEstimate]
"""M crops of one hand each and what is given of them -> an estimate. It reads of the batch only what every track gives:
``image``, ``affine``, ``intrinsics`` and ``box``."""
Sides = Callable[[Batch], Tensor]
"""Probabilities of right and left (M, 2) from the crops, where a method must be told the side."""

_Output = TypeVar("_Output")


# Methods


def relative(model: nn.Module, convention: PoseConvention, needs_side: bool) -> Estimator:
    """PoseNet, Chen, Spurr or Yang: a pose of no place, in the units of ``convention``."""
    network = _once(lambda image, side: model.eval()(image, side) if needs_side else model.eval()(image))

    def estimate(batch: Batch, clues: Clues) -> HandEstimate:
        output = network(batch.image, clues.side if needs_side else None)
        pose = output.joints if isinstance(output, PoseNetOutput) else output.pose
        return HandEstimate(convention.from_wrist_mm(pose, clues.scale_mm))

    return estimate


def surrogate(model: SongSurrogate, config: RefineConfig, bone_ratio: Tensor, refined: bool) -> Estimator:
    """Song-S before the optimisation or, with ``refined``, after it. It uses neither side nor scale.

    A given wrist depth is kept as it is; without one the optimisation starts from the network's own and may move it.
    """
    network = _once(lambda image, _: model.eval()(image))

    def estimate(batch: Batch, clues: Clues) -> HandEstimate:
        output, given = network(batch.image, None), clues.root_depth_mm
        own = replace(config, free_depth=config.free_depth and given is None)
        size = batch.image.shape[-1]
        known = evidence(output, batch.affine, batch.intrinsics, batch.box, size, bone_ratio, own, given)
        if refined:
            hands_mm = refine(known, own).after_mm
        else:
            hands_mm = placed_dm(known.relative_dm, known.root_depth_dm, known) * MM_PER_DM
        wrist = hands_mm[:, WRIST]
        sides = torch.stack([-output.side_logit, output.side_logit], 1).sigmoid()  # (M, 2)
        return HandEstimate(hands_mm - wrist[:, None], wrist, sides)

    return estimate


def _once(network: Callable[[Tensor, Tensor | None], _Output]) -> Callable[[Tensor, Tensor | None], _Output]:
    """The network, which remembers its last answer: the tracks ask in turn about the same crops."""
    last: tuple[Tensor, Tensor | None, _Output] | None = None

    def ask(image: Tensor, side: Tensor | None) -> _Output:
        nonlocal last
        if last is None or last[0] is not image or not (side is None or torch.equal(side, last[1])):
            last = image, side, network(image, side)
        return last[2]

    return ask


# Predictions


@torch.no_grad()
def predict_hands(
    estimator: Estimator,
    hands: HandDataset | None,
    owner: np.ndarray | Tensor,
    side: np.ndarray | Tensor,
    samples: Sequence[HandSample],
    depth: RootDepth,
    *,
    sides: Sides | None,
    mean_scale: MeanScale,
    given: dict[str, Given],
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predictions for N images from M crops of one hand each, under every track; each hand in the slot of its crop.

    ``hands`` are the M crops, ``owner`` (M,) their images' positions among ``samples`` (N) and ``side`` (M,) which hand
    each shows, see ``hands_apart``; ``hands`` None if no image shows any. ``sides`` is None for a method that needs no
    side. ``given``: track -> what the method uses there. ``depth`` places hands that come without a place.

    The only hand of an image stands in either slot: the method has no second one, whichever it takes it for.
    """
    owner, side = (torch.as_tensor(rows, dtype=torch.int64) for rows in (owner, side))
    count = len(samples)
    alone = torch.bincount(owner, minlength=count)[owner] == 1  # (M,)
    joints = {track: torch.zeros(count, len(SIDES), JOINTS_PER_HAND, 3) for track in TRACKS}
    told = torch.full((count, len(SIDES)), torch.nan)
    seen = 0
    for batch in _in_order(hands, batch_size) if len(owner) else ():
        rows = slice(seen, seen + len(batch))
        image, slot, single = owner[rows], side[rows], alone[rows]  # (B,) each
        probability, depth_mm = None if sides is None else sides(batch), depth(batch)  # (B, 2), (B, 2)
        for track, clues in _clues(batch, slot, probability, depth_mm, mean_scale).items():
            estimate = estimator(batch, clues)
            place_mm = _of_side(depth_mm, probability) if clues.root_depth_mm is None else clues.root_depth_mm
            placed = _placed(estimate, batch, place_mm).float().cpu()  # (B, 21, 3)
            joints[track][image, slot] = placed
            joints[track][image[single], 1 - slot[single]] = placed[single]
            own = estimate.side_probability
        said = probability if own is None else own
        if said is not None:  # of two hands the boxes tell
            told[image[single]] = said.float().cpu()[single]
        seen += len(batch)
        if progress:
            progress(seen, len(owner))
    return Predictions(
        sample_id=[sample.sample_id for sample in samples],
        joints={track: hands_mm.flatten(1, 2).numpy() for track, hands_mm in joints.items()},
        side_probability=told.numpy(),
        relative_root_depth_mm=np.full(count, np.nan, np.float32),
        given=dict(given),
    )


def _in_order(dataset: HandDataset, batch_size: int) -> Iterator[Batch]:
    return dataset.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator())


def _clues(
    batch: Batch, slot: Tensor, probability: Tensor | None, depth_mm: Tensor, mean_scale: MeanScale
) -> dict[str, Clues]:
    """Track -> what may be used of a batch. slot (B,) annotated sides, probability and estimated depth (B, 2)."""
    return {"T1": _from_truth(batch, slot, depth_mm, mean_scale), "T2": _without_truth(batch, probability, mean_scale)}


def _from_truth(batch: Batch, slot: Tensor, depth_mm: Tensor, mean_scale: MeanScale) -> Clues:
    """The annotation; where there is none, the training hands' scale and the estimated depth."""
    hands = one_hand(batch)
    if not torch.equal(hands.side.cpu(), slot):
        raise ValueError("the crops must show one hand each, of the sides given: take them from `hands_apart`")
    row = torch.arange(len(batch), device=hands.side.device)
    measured = hands.valid[:, list(SCALE_BONE)].all(1) & (hands.scale_mm > 0)
    scale_mm = torch.where(measured, hands.scale_mm, mean_scale.of(hands.side))
    true_mm = batch.root_depth_mm[row, hands.side]
    return Clues(hands.side, scale_mm, torch.where(true_mm > 0, true_mm, depth_mm[row, hands.side]))


def _without_truth(batch: Batch, probability: Tensor | None, mean_scale: MeanScale) -> Clues:
    """The side that is found, and the mean scale of the training hands of that side; of both where none is asked."""
    if probability is None:
        nobody = torch.zeros(len(batch), dtype=torch.int64, device=batch.image.device)
        both_mm = mean_scale.of(torch.arange(len(SIDES), device=batch.image.device))  # (2,)
        return Clues(nobody, both_mm.mean().expand(len(batch)), None)
    side = probability.argmax(1)
    return Clues(side, mean_scale.of(side), None)


def _of_side(depth_mm: Tensor, probability: Tensor | None) -> Tensor:
    """Wrist depth of the hand that is likelier, or of both in the mean where nobody says. (B, 2), (B, 2) -> (B,)."""
    if probability is None:
        return depth_mm.mean(1)
    return depth_mm.gather(1, probability.argmax(1, keepdim=True))[:, 0]


def _placed(estimate: HandEstimate, batch: Batch, depth_mm: Tensor) -> Tensor:
    """The hands in the camera frame. (B,) mm of the wrists that have no place -> (B, 21, 3) mm.

    Weak perspective: the extents of x and y are centred on the ray through the centre of the tight box.
    """
    hands_mm = estimate.from_wrist_mm
    if estimate.wrist_mm is not None:
        return hands_mm + estimate.wrist_mm[:, None]
    centre_px = batch.box[:, None, :2] + batch.box[:, None, 2:] / 2  # (B, 1, 2)
    centre_mm = unproject(centre_px, depth_mm[:, None], batch.intrinsics)[..., :2]  # (B, 1, 2)
    middle_mm = (hands_mm[..., :2].amin(1, keepdim=True) + hands_mm[..., :2].amax(1, keepdim=True)) / 2
    return hands_mm + torch.cat([centre_mm - middle_mm, depth_mm[:, None, None]], -1)


def native(predictions: Predictions, track: str, given: Given) -> Predictions:
    """One track's joints as track T0, the others left out: for a run of a paper's own recipe."""
    depths = predictions.root_depth_mm
    return replace(
        predictions,
        joints={NATIVE_TRACK: predictions.joints[track]},
        given={NATIVE_TRACK: given},
        root_depth_mm={NATIVE_TRACK: depths[track]} if track in depths else {},
    )
