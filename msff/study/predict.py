"""From an experiment's network to predictions of a test part, on every track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.data.single_hand import SplitHands, with_boxes
from msff.evaluation import predict_heatmaps
from msff.evaluation.lifting import DepthSource
from msff.evaluation.predict_single_hand import (
    predict_hands,
    relative_pose_estimator,
    segmented_boxes,
    song_estimator,
)
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.song_refinement import fit_bone_ratios
from msff.evaluation.tracks import PAPER_TRACK, TRACKS, TestTimeInputs
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.models.baselines.pose_convention import MeanScale
from msff.models.registry import method_of
from msff.skeleton import HAND_SLICE, JOINTS_PER_HAND, SCALE_BONE, SIDES
from msff.study.auxiliary import depth_source, handedness
from msff.study.experiment import Experiment
from msff.study.procedures import procedure
from msff.study.profiles import Profile
from msff.study.workspace import Workspace

_OWN_CROPS = {"segmented": "found", "native": "true joints"}  # variant -> the word for its crops
_BATCH = {"cpu": 32, "cuda": 512}  # hands; Song-S optimises a batch at once, in steps that are too small for a GPU


def predict(
    workspace: Workspace, experiment: Experiment, network: nn.Module | None, dataset: str | None = None
) -> Predictions:
    """Predict every test image of ``dataset``, by default the experiment's own, on every track.

    ``network`` is None for the mean pose and the oracle. Track T2's wrist depth and handedness are those that the
    auxiliary networks of the experiment's dataset have stored. A paper's own recipe has track T0 on its own dataset and
    the unified tracks on others.
    """
    profile, dataset = workspace.profile, dataset or experiment.dataset
    model = None if network is None else workspace.engine.network(network)
    depth, _ = depth_source(workspace, experiment.dataset)
    if method_of(experiment.method).single_hand:
        found = _predict_single_hands(workspace, experiment, model, depth, dataset)
    else:
        test = workspace.samples(dataset, "test")
        if experiment.method == "mean-pose":
            mean = workspace.once(("mean pose", experiment.dataset), lambda: _mean_pose(workspace, experiment.dataset))
            return predict_heatmaps.predict_mean_pose(mean, test, depth.on(test))
        if experiment.method == "oracle":
            oracle = HeatMapOracle(profile.volume, profile.decoder)
            return predict_heatmaps.predict_oracle(oracle, test, depth.on(test))
        _, decoder = profile.target(experiment.variant)
        found = predict_heatmaps.predict(model, test, profile.volume, decoder, depth.on(test))
    track = procedure(experiment, profile).paper_track
    if track is None or dataset != experiment.dataset:
        return found
    return found.only(track, PAPER_TRACK)


def _mean_pose(workspace: Workspace, dataset: str) -> MeanPose:
    train = Truth.from_samples(workspace.read(dataset, "train"), dataset)
    return MeanPose.fit(train.joints_cam_mm, train.joint_valid)


# methods that see one hand per crop


@dataclass(frozen=True)
class TrainingHands:
    """Statistics of the training hands that replace ground truth at test time."""

    mean_scale: MeanScale
    bone_ratio: Tensor | None  # (20,) see ``fit_bone_ratios``; None if no hand is annotated completely

    @classmethod
    def of(cls, hands: SplitHands) -> TrainingHands:
        """Compute them in one pass over all hands, with 252 bytes of memory for each."""
        joints = torch.empty(len(hands), JOINTS_PER_HAND, 3)  # mm, camera frame
        valid = torch.empty(len(hands), JOINTS_PER_HAND, dtype=torch.bool)
        for row, (sample, side) in enumerate(zip(hands.samples, hands.side, strict=True)):
            own = HAND_SLICE[SIDES[side]]
            joints[row] = torch.from_numpy(sample.joints_cam_mm[own].astype(np.float32))
            valid[row] = torch.from_numpy(sample.joint_valid[own].copy())
        ratio = fit_bone_ratios(joints, valid) if valid.all(1).any() else None
        a, b = SCALE_BONE
        length_mm = (joints[:, a] - joints[:, b]).norm(dim=-1)  # (M,)
        known = valid[:, [a, b]].all(1) & (length_mm > 0)
        return cls(MeanScale.fit(length_mm[known], torch.as_tensor(hands.side)[known]), ratio)


def _predict_single_hands(
    workspace: Workspace, experiment: Experiment, model: nn.Module, depth: DepthSource, dataset: str
) -> Predictions:
    """Predict every hand of the test part and assemble the hands by image.

    Auxiliary predictions are those for the annotated box, also where the method makes other crops: PoseNet "segmented"
    finds its hands, a paper's own recipe crops about the annotated joints.
    """
    hands, annotated = workspace.hands(dataset, "test"), workspace.samples(dataset, "test", "hands")
    sidenet = handedness(workspace, experiment)
    training = workspace.once(
        ("training hands", experiment.dataset), lambda: TrainingHands.of(workspace.hands(experiment.dataset, "train"))
    )
    how = procedure(experiment, workspace.profile)
    if experiment.method == "song":
        if training.bone_ratio is None:
            raise ValueError(f"{experiment.run_id} needs at least one training hand whose 21 joints are all annotated")
        refined, settings = experiment.variant != "regressed", workspace.profile.recipes.song.refine
        estimator = song_estimator(model, settings, training.bone_ratio, refined)
    else:
        estimator = relative_pose_estimator(model, model.config.convention, how.needs_handedness)
    return predict_hands(
        estimator,
        _test_crops(workspace, experiment, model, dataset),
        hands.owner,
        hands.side,
        workspace.samples(dataset, "test").samples,
        depth.on(annotated),
        classifier=sidenet.auxiliary_predictions.on(annotated) if sidenet else None,
        mean_scale=training.mean_scale,
        inputs={track: test_time_inputs(workspace.profile, experiment, track, dataset) for track in TRACKS},
        batch_size=_BATCH[workspace.device.split(":")[0]],
    )


def _test_crops(workspace: Workspace, experiment: Experiment, model: nn.Module, dataset: str) -> HandDataset:
    """Return the crops of the method: about the annotated box, as its recipe makes them, or where it finds the hand."""
    how = procedure(experiment, workspace.profile)
    if experiment.variant != "segmented":
        view = how.test_view or how.view if _has_own_crops(experiment, dataset) else "hands"
        return workspace.samples(dataset, "test", view)
    boxes = segmented_boxes(model, workspace.samples(dataset, "test", "frames"))
    hands = with_boxes(workspace.hands(dataset, "test").samples, boxes.numpy())
    return workspace.dataset(hands, real=not DATASETS[dataset].is_standin)


def _has_own_crops(experiment: Experiment, dataset: str) -> bool:
    """Return False for a paper's own recipe on another dataset, where its crops would need the annotated joints."""
    return experiment.variant != "native" or dataset == experiment.dataset


def test_time_inputs(profile: Profile, experiment: Experiment, track: str, dataset: str) -> TestTimeInputs:
    """Return what a single-hand method is given on T1 or T2 of a dataset."""
    how = procedure(experiment, profile)
    scale, handedness, depth = {"T1": ("true bone", "true", "true"), "T2": ("training mean", "predicted", "own")}[track]
    crop = "true box per hand" if DATASETS[dataset].layout == "interhand" else "true box"
    if _has_own_crops(experiment, dataset):
        crop = _OWN_CROPS.get(experiment.variant, crop)
    absolute = experiment.method == "song"  # its own depth is part of what it optimises; other outputs are relative
    return TestTimeInputs(
        crop=crop,
        intrinsics="true" if absolute else "none",
        root_depth=depth if absolute else "none",
        scale=scale if how.needs_scale else "none",
        side_input=handedness if how.needs_handedness else "none",
        side_slot="true",
    )
