"""The demonstration network's making: MS-FF trained on both stand-ins of a profile together, stored, measured.

All errors are those of the weights as stored, in half precision: on the test parts of the stand-ins and, where they are
at hand, on real photographs.
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
from torch import nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.demo.network import FORMAT, INDEX, Demo, demo_folder, load_demo
from msff.evaluation.bootstrap import estimate
from msff.evaluation.evaluate import TRACKS, Evaluation, Predictions, Truth, evaluate
from msff.evaluation.metrics import pooled_mean
from msff.evaluation.predict_heatmaps import predict, predict_mean_pose
from msff.models.baselines.mean_pose import MeanPose
from msff.models.registry import count_parameters, method_of
from msff.standin import GENERATOR_VERSION
from msff.study.data import box_depth
from msff.study.experiment import Study
from msff.study.machine import progress_file, provenance
from msff.study.photos import PHOTOS, measured, photo_source
from msff.study.photos import TRACK as PHOTO_TRACK
from msff.study.store import Experiment, alone, atomic_folder, write_json
from msff.training.checkpoint import discard_stale
from msff.training.loop import Phase, Progress, count_epochs, fit
from msff.training.shards import count_bytes, write_shards

METHOD, VARIANT, SEED = "msff", "full", 0
TOTAL_BYTES = 60 * 2**20  # of the weights, for they are kept in the repository
ERRORS = {
    "rhd": ("wrist20", "wrist20_pred_side", "pa21"),
    "interhand": ("mpjpe_all", "mpjpe_single", "mpjpe_interacting"),
}
"""The metrics that the index states of the stand-ins, by layout; of photographs it states those of a run."""
PHOTOS_NOTE = (
    "One hand each, taken for a left one, in the published crop; the camera's focal length is known. No training "
    "looked at a photo, but photos of this set were looked at while the stand-in was made."
)


def train_demo(study: Study, progress: Progress | None = None) -> Path:
    """Train, or go on with a killed training; store the network with its errors and return its folder.

    What lay in the folder before stays until all of this is done.
    """
    experiment = _experiment(study)
    parts = {name: _part(study, name, "train") for name in study.profile.data.datasets}
    tests = {name: _part(study, name, "test") for name in _test_sets(study)}  # now: says if something is missing
    truths = [Truth.from_samples(part.samples, name) for name, part in parts.items()]
    both = study.dataset([sample for part in parts.values() for sample in part.samples], real=False)
    phases = study.procedure(experiment).phases(both)
    network = _train(study, experiment, both, phases, progress)
    record = _record(study, network) | {
        "root_depth": dataclasses.asdict(box_depth(*truths, exponent=1.0)),
        "trained_on": _trained_on(study, parts, both, phases),
    }
    folder = demo_folder(study.root)
    with atomic_folder(folder) as partial:
        record |= {"shards": write_shards(partial, network.state_dict()), "measured": {}}
        write_json(partial / INDEX, record)
        demo = load_demo(partial, study.device)
        mean = _mean_pose(truths)
        errors = {name: _measure(demo, name, test, mean) for name, test in tests.items()}
        write_json(partial / INDEX, record | {"measured": errors})
    return folder


def _experiment(study: Study) -> Experiment:
    """The training as an experiment of the first dataset; its recipe is the same for both. ValueError if unfit."""
    profile = study.profile
    if not all(DATASETS[name].is_standin for name in profile.data.datasets):
        labels = " and ".join(DATASETS[name].label for name in profile.data.datasets)
        raise ValueError(
            f"profile {profile.name} trains on {labels}, the demonstration network on the stand-ins: choose a profile "
            "that has them, such as gpu or cpu"
        )
    experiment = Experiment(profile.name, profile.data.datasets[0], METHOD, VARIANT, SEED)
    size = count_bytes(study.network(experiment).state_dict())
    if size > TOTAL_BYTES:
        raise ValueError(
            f"profile {profile.name}: the network takes {size / 2**20:.1f} MiB in half precision, expected at most "
            f"{TOTAL_BYTES / 2**20:.0f}; choose a profile with a smaller one"
        )
    return experiment


def _part(study: Study, name: str, part: str) -> HandDataset:
    study.make_data(name)
    return study.samples(name, part)


def _test_sets(study: Study) -> tuple[str, ...]:
    """The stand-ins, and the real photographs where somebody has put them, or says so."""
    return (*study.profile.data.datasets, *([PHOTOS] if study.names_data(PHOTOS) else []))


def _train(study: Study, experiment: Experiment, both: HandDataset, phases: Sequence[Phase], progress) -> nn.Module:
    """The trained network; another process that trains the same one waits."""
    checkpoint = study.root / "data" / "checkpoints" / study.profile.name / "demo.pt"
    config_hash = _config_hash(study, experiment)
    with alone(checkpoint.with_suffix(".lock")):
        discard_stale(checkpoint, config_hash)
        network = study.network(experiment)
        fit(
            network, both, phases, seed=SEED, checkpoint=checkpoint, config_hash=config_hash,
            progress=progress or progress_file("demo"), engine=study.engine,
        )  # fmt: skip
    return network


def _config_hash(study: Study, experiment: Experiment) -> str:
    """Changes with everything that shapes the weights."""
    config = study.config(experiment)
    config.pop("root_depth")  # a run's own; this network goes by the law of the box
    config |= {"dataset": "both", "data": {name: study.data_config(name) for name in study.profile.data.datasets}}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def _record(study: Study, network: nn.Module) -> dict:
    """How to build the network and read what it puts out, and whence it comes."""
    profile, method = study.profile, method_of(METHOD)
    sizes = dataclasses.asdict(profile.network)
    sizes["backbone"]["pretrained"] = False  # the weights are here
    return {
        "format": FORMAT, "method": METHOD, "variant": VARIANT, "seed": SEED, "precision": "float16",
        "network": {key: sizes[key] for key in method.sizes}, "parameters": count_parameters(network),
        "volume": dataclasses.asdict(profile.volume), "decoder": profile.decoder, "supersample": profile.supersample,
        "commit": provenance(study.root, study.device)["commit"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip


def _trained_on(study: Study, parts: dict[str, HandDataset], both: HandDataset, phases: Sequence[Phase]) -> dict:
    steps = sum(phase.training.epochs * _images_per_epoch(both, phase) for phase in phases)
    return {
        "profile": study.profile.name, "generator_version": GENERATOR_VERSION, "image_steps": steps,
        "epochs": count_epochs(phases),
        "datasets": [{"name": n, "label": DATASETS[n].label, "images": len(part)} for n, part in parts.items()],
    }  # fmt: skip


def _images_per_epoch(data: HandDataset, phase: Phase) -> int:
    size, limit = phase.training.batch_size, phase.training.images_per_epoch
    return min(size * data.count_batches(size, shuffle=True, limit=limit), limit or len(data), len(data))


# Errors


def _mean_pose(truths: Sequence[Truth]) -> MeanPose:
    """Of all training images together."""
    return MeanPose.fit(
        *(np.concatenate([getattr(t, name) for t in truths]) for name in ("joints_cam_mm", "joint_valid"))
    )


def _measure(demo: Demo, name: str, test: HandDataset, mean: MeanPose) -> dict:
    """Errors in mm with their intervals over one test set, and those of the mean pose, by track.

    Photographs are measured on T2 alone: what T1 would tell of them is in part assumed.
    """
    truth = Truth.from_samples(test.samples, name)
    predictions = predict(demo.network, test, demo.volume, demo.decoder, demo.depth)
    floor = predict_mean_pose(mean, test, demo.depth)
    photos = name == PHOTOS
    tracks = (PHOTO_TRACK,) if photos else tuple(TRACKS)
    about = {"photos": photo_source(truth), "note": PHOTOS_NOTE} if photos else {}
    return about | {
        "label": DATASETS[name].label, "images": len(truth),
        "tracks": {track: _on_track(truth, predictions, floor, track) for track in tracks},
    }  # fmt: skip


def _on_track(truth: Truth, predictions: Predictions, floor: Predictions, track: str) -> dict:
    own = evaluate(truth, predictions, track)
    return {
        "given": dataclasses.asdict(own.given),
        "network": _errors(own),
        "mean_pose": _errors(evaluate(truth, floor, track)),
        "handedness_accuracy": pooled_mean(own.side_share),
    }


def _errors(evaluation: Evaluation) -> dict:
    """Metric -> value, low and high, of errors in mm; metrics without any image are left out, and unknown bounds."""
    if evaluation.dataset == PHOTOS:
        return {metric: number for metric, number in measured(evaluation).items() if number is not None}
    found = {metric: estimate([evaluation.errors[metric]]) for metric in ERRORS[evaluation.layout]}
    numbers = {m: {"value": e.value, "low": e.low, "high": e.high} for m, e in found.items() if e is not None}
    return {m: {key: v for key, v in number.items() if not math.isnan(v)} for m, number in numbers.items()}
