"""Trains the demonstration network, MS-FF on both stand-ins of a profile together, stores it and measures its errors.

Errors are those of the stored half-precision weights, on the stand-ins' test parts and, if present, real photographs.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.demo.examples import EXAMPLES, example_sheet
from msff.demo.network import FORMAT, INDEX, demo_folder, load_demo, write_weights
from msff.demo.predictor import ANY_DEPTH_MM
from msff.evaluation.bootstrap import estimate
from msff.evaluation.evaluate import Evaluation, evaluate
from msff.evaluation.hand_size import hand_size, with_hand_size
from msff.evaluation.joint_errors import pooled_mean
from msff.evaluation.lifting import BoxDepth
from msff.evaluation.predict_heatmaps import predict, predict_mean_pose
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.tracks import RANKING_TRACK, TRACKS
from msff.files import atomic_folder, locked, write_json
from msff.models.baselines.mean_pose import MeanPose
from msff.models.building import count_parameters
from msff.models.registry import method_of
from msff.report.drawing import SHARPNESS, save
from msff.skeleton import JOINTS_PER_HAND
from msff.standin import GENERATOR_VERSION
from msff.study.configuration import config
from msff.study.experiment import Experiment
from msff.study.machine import commit
from msff.study.phases import phases
from msff.study.photos import PHOTOS, measured, photo_source
from msff.study.train import untrained_network
from msff.study.workspace import Workspace
from msff.training.checkpoint import discard_stale
from msff.training.loop import Progress, fit

METHOD, VARIANT, SEED = "msff", "grm-norm", 0  # the variant with the lowest error in results/cpu-long
TOTAL_BYTES = 60 * 2**20  # of the weights, which are kept in the repository
ERRORS = {
    "rhd": ("wrist20", "wrist20_pred_side", "pa21"),
    "interhand": ("mpjpe_all", "mpjpe_single", "mpjpe_interacting"),
}
"""The stand-ins' metrics in the index, by layout; photographs have the metrics of a run's."""
PHOTOS_NOTE = (
    "One hand each, scored as a left hand, in the published crop; the focal length is given. No training used a photo, "
    "but the stand-in was improved while looking at photos of this set."
)


_ANYWHERE = BoxDepth(ANY_DEPTH_MM)


def train_demo(workspace: Workspace, progress: Progress | None = None) -> Path:
    """Train, or resume an interrupted training; store the network with its errors and return its folder.

    An epoch takes as many images of either stand-in as a run takes of its one. An earlier network in that folder is
    replaced at the very end.
    """
    workspace = _for_both(workspace)
    experiment = _experiment(workspace)
    parts = {name: workspace.samples(name, "train") for name in workspace.profile.data.datasets}
    tested = [*parts, *([PHOTOS] if workspace.names_data(PHOTOS) else [])]
    tests = {name: workspace.samples(name, "test") for name in tested}  # raises if data is missing
    truths = [Truth.from_samples(part.samples, name) for name, part in parts.items()]
    both = workspace.dataset([sample for part in parts.values() for sample in part.samples], real=False)
    network, history = _train(workspace, experiment, both, progress)
    record = _record(workspace, network) | {
        "hand_mm": _mean_hand_size(truths),
        "trained_on": {
            "profile": workspace.profile.name,
            "generator_version": GENERATOR_VERSION,
            "epochs": len(history),
            "image_steps": round((history.images_per_s * history.seconds).sum()),
            "datasets": [{"name": n, "label": DATASETS[n].label, "images": len(part)} for n, part in parts.items()],
        },
    }
    folder = demo_folder(workspace.root)
    with atomic_folder(folder) as partial:
        record |= {"shards": write_weights(partial, network.state_dict()), "measured": {}}
        write_json(partial / INDEX, record)
        demo = load_demo(partial, workspace.device)
        poses = (np.concatenate([getattr(t, name) for t in truths]) for name in ("joints_cam_mm", "joint_valid"))
        mean = MeanPose.fit(*poses)  # of all training images together
        predictions = {
            name: with_hand_size(predict(demo.network, test, demo.volume, demo.decoder, _ANYWHERE), demo.hand_mm)
            for name, test in tests.items()
        }
        errors = {name: _measure(predictions[name], name, test, mean) for name, test in tests.items()}
        write_json(partial / INDEX, record | {"measured": errors})
        save(example_sheet(tests, {name: predictions[name] for name in parts}), partial / EXAMPLES, SHARPNESS)
    return folder


def _for_both(workspace: Workspace) -> Workspace:
    """Return the workspace with epochs of as many images as two runs take, one on each stand-in."""
    profile, count = workspace.profile, workspace.profile.training.images_per_epoch
    if count is None:  # each takes all of its images
        return workspace
    longer = dataclasses.replace(profile.training, images_per_epoch=len(profile.data.datasets) * count)
    return Workspace(dataclasses.replace(profile, training=longer), workspace.root, workspace.device)


def _experiment(workspace: Workspace) -> Experiment:
    """Return the experiment on the first dataset, whose recipe is that of both; ValueError if the profile is unfit."""
    profile = workspace.profile
    if not all(DATASETS[name].is_standin for name in profile.data.datasets):
        labels = " and ".join(DATASETS[name].label for name in profile.data.datasets)
        raise ValueError(
            f"profile {profile.name} trains on {labels}, the demonstration network on the stand-ins: choose a profile "
            "of stand-ins, such as gpu or cpu"
        )
    experiment = Experiment(profile.name, profile.data.datasets[0], METHOD, VARIANT, SEED)
    size = 2 * count_parameters(untrained_network(workspace, experiment))  # bytes in half precision
    if size > TOTAL_BYTES:
        raise ValueError(
            f"profile {profile.name}: the network takes {size / 2**20:.1f} MiB in half precision, expected at most "
            f"{TOTAL_BYTES / 2**20:.0f}; choose a profile with a smaller one"
        )
    return experiment


def _train(workspace: Workspace, experiment: Experiment, both: HandDataset, progress) -> tuple[nn.Module, pd.DataFrame]:
    """Return the trained network and its history; a second process that trains it waits."""
    checkpoint = workspace.checkpoints / "demo.pt"
    config_hash = _config_hash(workspace, experiment)
    with locked(checkpoint.with_suffix(".lock")):
        discard_stale(checkpoint, config_hash)
        network = untrained_network(workspace, experiment)
        history = fit(
            network, both, phases(experiment, workspace.profile, both), seed=SEED, checkpoint=checkpoint,
            config_hash=config_hash, progress=progress, engine=workspace.engine,
        )  # fmt: skip
    return network, history


def _config_hash(workspace: Workspace, experiment: Experiment) -> str:
    """Return a hash of everything that determines the weights."""
    both = config(workspace, experiment)
    both.pop("root_depth")  # of a run; these hands get the average size instead
    data = {name: workspace.data_config(name) for name in workspace.profile.data.datasets}
    both |= {"dataset": "both", "data": data}
    return hashlib.sha256(json.dumps(both, sort_keys=True).encode()).hexdigest()[:12]


def _record(workspace: Workspace, network: nn.Module) -> dict:
    """Return how to build the network and read its output, and its provenance."""
    profile, method = workspace.profile, method_of(METHOD)
    sizes = dataclasses.asdict(profile.network)
    sizes["backbone"]["pretrained"] = False  # the stored weights replace them
    return {
        "format": FORMAT, "method": METHOD, "variant": VARIANT, "seed": SEED, "precision": "float16",
        "network": {key: sizes[key] for key in method.sizes}, "parameters": count_parameters(network),
        "volume": dataclasses.asdict(profile.volume), "decoder": profile.decoder, "supersample": profile.supersample,
        "commit": commit(workspace.root),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip


# Errors


def _mean_hand_size(truths: Sequence[Truth]) -> float:
    """Return the mean size of all completely annotated training hands, mm."""
    sizes = []
    for truth in truths:
        joints, valid = (x.reshape(-1, JOINTS_PER_HAND, *x.shape[2:]) for x in (truth.joints_cam_mm, truth.joint_valid))
        sizes.append(hand_size(torch.from_numpy(joints[valid.all(1)])))
    return round(float(torch.cat(sizes).mean()), 1)


def _measure(predictions: Predictions, name: str, test: HandDataset, mean: MeanPose) -> dict:
    """Return errors in mm with intervals over one test set, of the network and the mean pose, by track.

    Photographs are measured on T2 alone: T1's handedness would be an assumption there.
    """
    truth = Truth.from_samples(test.samples, name)
    baseline = predict_mean_pose(mean, test, _ANYWHERE)
    photos, tracks = name == PHOTOS, {}
    for track in (RANKING_TRACK,) if photos else TRACKS:
        own = evaluate(truth, predictions, track)
        tracks[track] = {
            "given": dataclasses.asdict(own.inputs),
            "network": _errors(own),
            "mean_pose": _errors(evaluate(truth, baseline, track)),
            "handedness_accuracy": pooled_mean(own.handedness),
        }
    about = {"photos": photo_source(truth), "note": PHOTOS_NOTE} if photos else {}
    return about | {"label": DATASETS[name].label, "images": len(truth), "tracks": tracks}


def _errors(evaluation: Evaluation) -> dict:
    """Return metric -> value, low and high in mm, without metrics that no image has and without unknown bounds."""
    if evaluation.dataset == PHOTOS:
        return {metric: number for metric, number in measured(evaluation).items() if number is not None}
    found = {metric: estimate([evaluation.errors[metric]]) for metric in ERRORS[evaluation.layout]}
    numbers = {m: {"value": e.value, "low": e.low, "high": e.high} for m, e in found.items() if e is not None}
    return {m: {key: v for key, v in number.items() if not math.isnan(v)} for m, number in numbers.items()}
