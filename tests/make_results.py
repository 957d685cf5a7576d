"""A small results store with known properties, for the tests of evaluation and report."""

from pathlib import Path

import numpy as np
import pandas as pd

from msff.evaluation.protocol import TRACKS, Predictions, Truth, evaluate
from msff.skeleton import WRIST
from msff.study.runs import Experiment, Store

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
    )


def add_run(store: Store, dataset: str, method: str, variant: str, seed: int, noise_mm: float, **record) -> None:
    truth = store.truth(dataset)
    heads = variant == "full" and method != "mean-pose"
    predictions = make_predictions(truth, noise_mm, seed=seed + 1, heads=heads)
    experiment = Experiment(store.profile, dataset, method, variant, seed)
    fields = {"parameters": 2_000_000, "macs": 3_000_000_000, "images_per_s": 50.0, "peak_mib": 800.0, "seconds": 30.0}
    if method == "mean-pose":
        fields |= {"parameters": 0, "macs": 0, "images_per_s": None}
    metrics = {track: evaluate(truth, predictions, track).summary() for track in TRACKS}
    history = pd.DataFrame({"epoch": [1, 2], "loss": [3.0, 2.0], "lr": [1e-3, 1e-4]})
    store.save_run(experiment, fields | {"hardware": "test", "metrics": metrics} | record, history, predictions)


def make_store(root: Path, seeds: tuple[int, ...] = (0,)) -> Store:
    """MS-FF better than InterNet, each module better than none, the floor far behind."""
    store = Store(root)
    for dataset in ("standin-rhd", "standin-interhand"):
        store.save_truth(make_truth(dataset), {"made": "up"})
        for seed in seeds:
            add_run(store, dataset, "msff", "full", seed, 6.0)
            add_run(store, dataset, "internet", "full", seed, 9.0)
        add_run(store, dataset, "mean-pose", "full", 0, 30.0)
    for variant, noise in (("backbone", 12.0), ("ccm", 10.0), ("ccm-grm", 8.0), ("ccm-grm-lom", 6.0)):
        for seed in seeds:
            add_run(store, "standin-rhd", "msff", variant, seed, noise)
    return store
