"""A small results store with known properties, for the tests of evaluation and report."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from made_once import copy_made_once

from msff.evaluation.auxiliary_predictions import AuxiliaryPredictions
from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.tracks import PAPER_PROTOCOLS, TRACKS, TestTimeInputs
from msff.models.registry import METHODS
from msff.skeleton import WRIST
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.photos import measured_photos
from msff.study.project import Project
from msff.study.store import Run, RunRecord, Store

TIP_TO_BASE = np.array([1.5, 1.2, 1.0, 0.8] * 5 + [0.0])  # noise by joint: tips worst, wrist exact


def make_truth(dataset: str, count: int = 40, seed: int = 0) -> Truth:
    """Random hands; in the InterHand layout the even samples interact, in the RHD layout sides alternate."""
    rng = np.random.default_rng(seed)
    side = np.zeros((count, 2), bool)
    side[np.arange(count), np.arange(count) // 2 % 2] = True
    if dataset.endswith("interhand"):
        side[::2] = True
    joints = rng.normal(0, 40, (count, 42, 3)) + [0, 0, 500]
    return Truth(
        sample_id=[f"s{i:03d}" for i in range(count)],
        joints_cam_mm=joints.astype(np.float32),
        joint_valid=side.repeat(21, 1),
        joint_visible=None if dataset.endswith("interhand") else rng.random((count, 42)) < 0.7,
        side_present=side,
        intrinsics=np.tile(np.diag([280.0, 280.0, 1.0]).astype(np.float32), (count, 1, 1)),
        box=np.tile(np.array([0, 0, 100, 80], np.float32), (count, 1)),
        dataset=dataset,
        side_valid=np.ones(count, bool),
    )


def make_predictions(truth: Truth, noise_mm: float, seed: int = 0, heads: bool = True) -> Predictions:
    """The truth plus Gaussian noise that grows towards the fingertips; sides and relative depth exact if ``heads``."""
    rng = np.random.default_rng(seed)
    profile = np.tile(TIP_TO_BASE, 2)[:, None] * noise_mm
    count = len(truth)
    wrists = truth.joints_cam_mm[:, [WRIST + 21, WRIST], 2]
    return Predictions(
        sample_id=list(truth.sample_id),
        joints={
            t: (truth.joints_cam_mm + rng.normal(0, 1, (count, 42, 3)) * profile).astype(np.float32) for t in TRACKS
        },
        side_probability=np.where(heads, truth.side_present, np.nan).astype(np.float32),
        relative_root_depth_mm=np.where(heads, wrists[:, 0] - wrists[:, 1], np.nan).astype(np.float32),
        inputs=dict(TRACKS),
    )


PHOTO_SET = {"count": 30, "sha256": "made up"}


def make_photos() -> Truth:
    """The annotation of 30 photos of a left hand; it is in no store."""
    left = np.tile([False, True], (PHOTO_SET["count"], 1))
    truth = make_truth("standin-rhd", len(left), seed=5)
    valid = left.repeat(21, axis=1)
    return replace(truth, dataset="realworld", joint_visible=None, side_present=left, joint_valid=valid)


def add_photos(store: Store, run: Run, noise_mm: float, photo_set: dict = PHOTO_SET) -> None:
    """What the run measured on photos that it predicts with that noise."""
    truth = make_photos()
    predictions = make_predictions(truth, noise_mm, seed=run.experiment.seed + 7, heads=False).only("T2")
    numbers = measured_photos(truth, predictions)
    given = run.record.test_time_inputs or {"T2": asdict(TRACKS["T2"])}
    record = {"uid": run.record.uid, "photos": photo_set, "given": given, "metrics": {"T2": numbers}}
    store.save_photos(run, record, predictions)


BASELINES = ("mean-pose", "oracle")
PHASES = {"posenet": ("pose2d", "lifting"), "yang": ("labels", "image")}
ONE_HAND = {"crop": "true box", "intrinsics": "none", "root_depth": "none", "side_slot": "true"}
GIVEN = {  # of the methods that use scale and side
    "T1": ONE_HAND | {"scale": "true bone", "side_input": "true"},
    "T2": ONE_HAND | {"scale": "training mean", "side_input": "predicted"},
}


def add_run(store: Store, dataset: str, method: str, variant: str, seed: int, noise_mm: float, **record) -> None:
    """A run with that noise; a "native" one holds track T0 alone."""
    truth = store.truth(dataset)
    heads = variant == METHODS[method].headline and method not in BASELINES
    predictions = make_predictions(truth, noise_mm, seed=seed + 1, heads=heads)
    given = {track: asdict(inputs) for track, inputs in TRACKS.items()}
    if method in ("posenet", "chen", "yang"):
        given = GIVEN
        predictions = replace(predictions, inputs={track: TestTimeInputs(**words) for track, words in GIVEN.items()})
    if variant == "native":
        words = {"T0": PAPER_PROTOCOLS[method].inputs}
        predictions = replace(predictions, joints={"T0": predictions.joints["T2"]}, inputs=words)
        given = {track: asdict(words[track]) for track in words}
    experiment = Experiment(store.profile, dataset, method, variant, seed)
    fields = {
        "parameters": 2_000_000, "macs": 3_000_000_000, "images_per_s": 50.0, "predict_images_per_s": 200.0,
        "peak_mib": 800.0, "seconds": 30.0, "test_time_inputs": given,
    }  # fmt: skip
    if method in BASELINES:
        fields |= {"parameters": 0, "macs": 0, "images_per_s": None, "predict_images_per_s": None}
    metrics = {track: evaluate(truth, predictions, track).summary() for track in predictions.joints}
    store.save_run(make_record(experiment, **fields | {"metrics": metrics} | record), make_history(method), predictions)


def make_record(experiment: Experiment, **fields) -> RunRecord:
    """The record of a made-up run."""
    own = {"run_id": experiment.run_id, "uid": f"made up {experiment.run_id}", "experiment": experiment, "config": {}}
    own |= {"config_hash": "made up", "metrics": {}, "seconds": 30.0, "finished": 0.0, "hardware": "test"}
    return RunRecord(**own | fields)


def store_made_up(study: Project, run_id: str, history: pd.DataFrame | None = None, **fields) -> Run:
    """Store a run of the study's configuration with made-up predictions of six images of RHD's layout, their truth."""
    experiment, truth = study.experiment(run_id), make_truth("standin-rhd", 6)
    study.store.save_truth(truth, study.data_config("standin-rhd", "test"))
    record = make_record(experiment, **{"config_hash": config_hash(study, experiment), "test_images": 6} | fields)
    history = pd.DataFrame() if history is None else history
    return study.store.save_run(record, history, make_predictions(truth, 5.0))


def make_history(method: str) -> pd.DataFrame:
    """Two epochs per phase, counted over all; empty for a floor."""
    phases = () if method in BASELINES else PHASES.get(method, ("all",))
    return pd.DataFrame(
        {"phase": phase, "epoch": 2 * i + e, "loss": (3.0 - e) * 10**i, "lr": 10.0 ** -(2 + e)}
        for i, phase in enumerate(phases)
        for e in (1, 2)
    )


def name_the_wrong_hand(store: Store, seed: int) -> None:
    """Let MS-FF's run on the RHD layout answer as well as before and name the other hand of every sixth image.

    Handedness stays plausible with that.
    """
    run = store.get(Experiment(store.profile, "standin-rhd", "msff", "full", seed))
    wrong = run.predictions.side_probability.copy()
    wrong[::6] = 1 - wrong[::6]
    store.save_run(run.record, run.history, replace(run.predictions, side_probability=wrong))


def add_auxiliary(
    store: Store, method: str = "rootnet", dataset: str = "standin-rhd", metrics: dict | None = None
) -> None:
    experiment = Experiment(store.profile, dataset, method)
    record = make_record(experiment, parameters=1_500_000, macs=2_500_000_000, metrics=metrics or {})
    predictions = AuxiliaryPredictions(
        np.array(["a"]), *(np.zeros((1, *shape), np.float32) for shape in ((4,), (3, 3), (2,)))
    )
    store.save_run(record, make_history(method), predictions)


EVERYWHERE = {"msff": 6.0, "internet": 9.0, "posenet": 14.0, "yang": 11.0, "spurr": 13.0, "song": 8.0}
ONLY_RHD = {
    ("chen", "full"): 11.5, ("chen", "plain"): 12.5, ("spurr", "side"): 12.0, ("spurr", "scale"): 11.8,
    ("spurr", "scale-side"): 10.5, ("song", "regressed"): 9.5, ("posenet", "segmented"): 16.0,
}  # fmt: skip


ABLATION = {"bare": 12.0, "ccm": 10.0, "grm": 10.2, "lom": 10.1, "no-lom": 8.0, "no-ccm": 8.2, "no-grm": 8.1}


def make_store(root: Path, seeds: tuple[int, ...] = (0,)) -> Store:
    """MS-FF better than all others, each module better than none, the mean pose far behind, the oracle far ahead."""
    name = "-".join(map(str, (root.name, *seeds)))
    copy_made_once(f"stores/{name}", lambda folder: _fill(Store(folder / root.name), seeds), root.parent)
    return Store(root)


def _fill(store: Store, seeds: tuple[int, ...]) -> None:
    for dataset in ("standin-rhd", "standin-interhand"):
        store.save_truth(make_truth(dataset), {"made": "up"})
        for method, noise in EVERYWHERE.items():
            for seed in seeds:
                add_run(store, dataset, method, METHODS[method].headline, seed, noise)
        add_run(store, dataset, "mean-pose", "full", 0, 30.0)
        add_run(store, dataset, "oracle", "full", 0, 1.5)
    for seed in seeds:
        for (method, variant), noise in ONLY_RHD.items():
            add_run(store, "standin-rhd", method, variant, seed, noise)
        for variant, noise in ABLATION.items():
            add_run(store, "standin-rhd", "msff", variant, seed, noise)
