"""Predictions of the methods that know one hand at a time: what a track tells them, and where from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.data.views import HandsApart, with_boxes
from msff.evaluation.lifting import DepthSource
from msff.evaluation.predict_single_hand import (
    Estimator,
    predict_hands,
    relative_pose_estimator,
    segmented_boxes,
    song_estimator,
)
from msff.evaluation.predictions import Predictions
from msff.evaluation.song_refinement import fit_bone_ratios
from msff.evaluation.tracks import TRACKS, TestTimeInputs, single_hand_inputs
from msff.models.baselines.pose_convention import MeanScale
from msff.models.baselines.posenet import POSENET_CONVENTION
from msff.models.registry import method_of
from msff.skeleton import HAND_SLICE, JOINTS_PER_HAND, SCALE_BONE, SIDES
from msff.study.store import Experiment

if TYPE_CHECKING:
    from msff.study.experiment import Study


_OWN_CROPS = {"segmented": "found", "native": "true joints"}  # variant -> ``TestTimeInputs.crop``
_BATCH = {"cpu": 32, "cuda": 512}  # hands; Song-S optimises a batch at once, in steps that are too small for a GPU


@dataclass(frozen=True)
class TrainingHands:
    """What the methods are told of the training part's hands at test time."""

    mean_scale: MeanScale
    bone_ratio: Tensor | None  # (20,) see ``fit_bone_ratios``; None where no hand is annotated whole

    @classmethod
    def of(cls, hands: HandsApart) -> TrainingHands:
        """One pass over all hands, 252 bytes of memory for each."""
        joints = torch.empty(len(hands), JOINTS_PER_HAND, 3)  # mm, camera frame
        valid = torch.empty(len(hands), JOINTS_PER_HAND, dtype=torch.bool)
        for row, (sample, side) in enumerate(zip(hands.samples, hands.side, strict=True)):
            own = HAND_SLICE[SIDES[side]]
            joints[row] = torch.from_numpy(sample.joints_cam_mm[own].astype(np.float32))
            valid[row] = torch.from_numpy(sample.joint_valid[own].copy())
        ratio = fit_bone_ratios(joints, valid) if valid.all(1).any() else None
        return cls(fit_mean_scale(joints, valid, hands.side), ratio)


def sees_own_crops(experiment: Experiment) -> bool:
    """Whether it sees other test crops than those about the true boxes: where it finds the hand, or as its paper has
    them."""
    return method_of(experiment.method).single_hand and experiment.variant in _OWN_CROPS


def predict_one_hand(
    study: Study, experiment: Experiment, model: nn.Module, depth: DepthSource, dataset: str
) -> Predictions:
    """Every hand of the test part of ``dataset`` on every track, put together by image.

    What is estimated in place of the truth comes from the experiment's own training part, whatever the test part. Of
    several processes each sees a share of the images.
    """
    hands = study.hands(dataset, "test")
    training = study.training_hands(experiment.dataset)
    sided = study.procedure(experiment).needs_side
    network = study.engine.network(model)
    samples = study.samples(dataset, "test").samples
    estimator, crops = (
        _estimator(study, experiment, network, training),
        _test_crops(study, experiment, network, dataset),
    )
    sides = study.sides(experiment) if sided else None

    def share(own: range) -> Predictions:
        rows = np.flatnonzero((hands.owner >= own.start) & (hands.owner < own.stop))
        seen = crops if len(rows) == len(hands) else crops.at(rows) if len(rows) else None
        told = [None if seen is None or source is None else source.on(seen) for source in (depth, sides)]
        return predict_hands(
            estimator,
            seen,
            hands.owner[rows] - own.start,
            hands.side[rows],
            samples if len(own) == len(samples) else samples[own.start : own.stop],
            told[0],
            classifier=told[1],
            mean_scale=training.mean_scale,
            inputs={track: _given(study, experiment, track, dataset) for track in TRACKS},
            batch_size=_BATCH[study.device.split(":")[0]],
        )

    return study.as_native(experiment, study.shared(len(samples), share), dataset)


def _test_crops(study: Study, experiment: Experiment, model: nn.Module, dataset: str) -> HandDataset:
    """The crops that the method sees: about the true box, as its own recipe has them, or where it finds the hand."""
    how = study.procedure(experiment)
    if experiment.variant != "segmented":
        view = how.test_view or how.view if _own_crops(experiment, dataset) else "hands"
        return study.samples(dataset, "test", view)
    frames = study.samples(dataset, "test", "frames")
    hands = study.hands(dataset, "test").samples
    boxes = segmented_boxes(model, frames)
    return study.dataset(with_boxes(hands, boxes.numpy()), real=not DATASETS[dataset].is_standin)


def _own_crops(experiment: Experiment, dataset: str) -> bool:
    """False for a paper's own recipe on other data than its own: its crops would need the true joints there."""
    return experiment.variant != "native" or dataset == experiment.dataset


def _given(study: Study, experiment: Experiment, track: str, dataset: str) -> TestTimeInputs:
    how = study.procedure(experiment)
    per_hand = DATASETS[dataset].layout == "interhand"
    own = experiment.variant in _OWN_CROPS and _own_crops(experiment, dataset)
    changes = {"crop": _OWN_CROPS[experiment.variant]} if own else {}
    if experiment.method == "song":  # its own depth is a part of what it optimises
        changes["root_depth"] = {"T1": "true", "T2": "own"}[track]
    return single_hand_inputs(
        track, needs_handedness=how.needs_side, needs_scale=how.needs_scale, per_hand_box=per_hand, **changes
    )


def _estimator(study: Study, experiment: Experiment, model: nn.Module, training: TrainingHands) -> Estimator:
    if experiment.method == "song":
        if training.bone_ratio is None:
            raise ValueError(f"{experiment.run_id} needs at least one training hand whose 21 joints are all annotated")
        refined = experiment.variant != "regressed"
        return song_estimator(model, study.profile.recipes.song.refine, training.bone_ratio, refined)
    sided = study.procedure(experiment).needs_side
    convention = POSENET_CONVENTION if experiment.method in ("posenet", "chen") else model.config.convention
    return relative_pose_estimator(model, convention, sided)


def fit_mean_scale(joints_mm: Tensor, valid: Tensor, side: np.ndarray) -> MeanScale:
    """The mean length of the scale bone by side, over the hands of which it is annotated."""
    a, b = SCALE_BONE
    length = (joints_mm[:, a] - joints_mm[:, b]).norm(dim=-1)  # (M,)
    known = valid[:, [a, b]].all(1) & (length > 0)
    return MeanScale.fit(length[known], torch.as_tensor(side)[known])
