"""Tables of the chapters for those who reproduce: answers from stored runs, their cost, the stand-in's data card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from msff.data.datasets import spec
from msff.models.registry import METHODS, method_of
from msff.report.published import DATASET_FACTS, INTERNET_INTERHAND
from msff.skeleton import JOINTS_PER_HAND
from msff.standin import GENERATOR_VERSION, layouts
from msff.standin.anatomy import ANGLE_LIMITS_DEG, SKIN_TONES_SRGB
from msff.study.profiles import PROFILES
from msff.study.store import Run, Store

NETWORKS = ("msff", "internet")


def retrainings_table() -> pd.DataFrame:
    """Return InterNet's published errors and those of its retrainings on InterHand2.6M, in mm, with their sources."""
    first = INTERNET_INTERHAND[0]
    rows = [
        (r.source, _mm(r.single), _mm(r.interacting), _mm(r.all), _mm(r.mrrpe) + "*" * (r is first))
        for r in INTERNET_INTERHAND
    ]
    return pd.DataFrame(rows, columns=["InterNet", "single", "interacting", "all", "MRRPE"])


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def that_learn(stores: Iterable[Store]) -> list[Store]:
    """Return the stores whose trainings say something about networks: ``smoke`` only tests that the study runs."""
    return [store for store in stores if store.profile != "smoke"]


def _headline_runs(stores: Iterable[Store]) -> Iterator[tuple[str, str, str, list[Run]]]:
    """Yield profile, network, data and stored runs of the headline variants of MS-FF and InterNet."""
    for store in that_learn(stores):
        for dataset, name in product(PROFILES[store.profile].data.datasets, NETWORKS):
            if runs := store.select(dataset=dataset, method=name, variant=method_of(name).headline):
                yield f"`{store.profile}`", METHODS[name].label, dataset, runs


def paper_scale_table(folder: Path) -> pd.DataFrame:
    """Return the days of the paper's schedule on a CPU: measured images per second at 256 px times published counts.

    ``folder`` holds the reports of ``msff bench train ... --json`` at the paper's size, see `msff.report.benchmarks`.
    """
    rows = []
    for name in NETWORKS:
        path = folder / f"train-{name}-256.json"
        if not path.exists():
            continue
        report, training = json.loads(path.read_text(encoding="utf-8")), PROFILES["paper"].training
        for layout in ("rhd", "interhand"):
            images = training_images(layout)
            shown = images * training.epochs
            seconds = shown / report["images_per_s"]
            rows.append((
                METHODS[name].label, DATASET_FACTS[layout].name, f"{shown / training.batch_size:,.0f}",
                f"{report['images_per_s']:.1f}", f"{seconds / 86400:,.0f}",
            ))  # fmt: skip
    columns = ["network", "real training set", "steps", "measured images/s", "days, extrapolated"]
    return pd.DataFrame(rows, columns=columns)


def training_images(layout: str) -> int:
    """Return the published number of training images of a real dataset, "rhd" or "interhand"."""
    return int(DATASET_FACTS[layout].facts["images"].value.partition(" / ")[0].replace(",", ""))


def losses_table(stores: Iterable[Store]) -> pd.DataFrame:
    """Return the training loss and its terms in the first and last epoch, means over the stored seeds of a network."""
    terms = [f"loss{term}" for term in ("", "_volume", "_side", "_root")]
    rows = []
    for *named, runs in _headline_runs(stores):
        if histories := [run.history for run in runs if len(run.history)]:
            rows.append((*named, *(_course(histories, term) for term in terms)))
    columns = ["profile", "network", "data", "loss", "heat maps", "handedness", "relative depth"]
    return pd.DataFrame(rows, columns=columns)


def _course(histories: list[pd.DataFrame], column: str) -> str:
    """Return the means of a column over trainings in their first and last epoch; "" if it does not exist."""
    if any(column not in history for history in histories):
        return ""
    first, last = (np.mean([history[column].iloc[at] for history in histories]) for at in (0, -1))
    return f"{first:.2f} → {last:.2f}"


def root_depth_table(stores: Iterable[Store]) -> pd.DataFrame:
    """Return the error of the wrist's depth, percent of its true value: RootNet beside the box-size depth model."""
    rows = []
    for store in stores:
        for run in store.auxiliary():
            if run.experiment.method == "rootnet":
                for source, errors in run.record.metrics.items():
                    label = {"network": "RootNet", "box": "box-size model"}[source]
                    shown = [f"{errors[key]:.1f}" for key in ("mean_percent", "median_percent")]
                    rows.append((f"`{store.profile}`", run.experiment.dataset, label, *shown, f"{errors['wrists']:,}"))
    columns = ["profile", "data", "depth from", "mean error, %", "median error, %", "wrists"]
    return pd.DataFrame(rows, columns=columns)


def data_card_table(stores: Iterable[Store]) -> pd.DataFrame:
    """Return what the rendered test part of each stored profile contains, from the ground truth in the store."""
    rows = []
    for store in stores:
        data = PROFILES[store.profile].data
        for dataset in data.datasets:
            if store.truth_source(dataset) is None or not spec(dataset).is_standin:
                continue
            truth = store.truth(dataset)
            present = truth.side_present
            hands = np.repeat(present, JOINTS_PER_HAND, axis=1)  # (N, 42)
            visible = truth.joint_visible
            depth = truth.joints_cam_mm[:, :, 2][truth.joint_valid]
            rows.append((
                f"`{store.profile}`", dataset, f"{data.train:,}; {len(truth.sample_id):,}",
                "; ".join(f"{100 * share:.0f}" for share in _shares(present)),
                f"{100 * truth.joint_valid[hands].mean():.1f}",
                "not annotated" if visible is None else f"{100 * visible[truth.joint_valid].mean():.0f}",
                f"{np.median(depth):.0f}",
            ))  # fmt: skip
    columns = [
        "profile", "data", "images: training; test", "hands: right; left; both, %", "joints annotated, %",
        "joints visible, %", "depth of a joint, median, mm",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _shares(present: np.ndarray) -> list[float]:
    """Return the shares of images with a right hand alone, a left hand alone and both; (N, 2) bool."""
    right, left = present.T
    return [float((right & ~left).mean()), float((left & ~right).mean()), float((right & left).mean())]


def generator_table() -> pd.DataFrame:
    """Return the fixed properties of the renderer, read from its code."""
    people = layouts.PEOPLE
    rows = [
        ("version of the generator", GENERATOR_VERSION),
        ("image size", f"{layouts.RHD_SIZE}x{layouts.RHD_SIZE} px (RHD layout), "
         f"{layouts.INTERHAND_WIDTH}x{layouts.INTERHAND_HEIGHT} px (InterHand2.6M layout)"),
        ("persons, RHD layout", f"up to {people[0]} in training, up to {people[1]} others in test"),
        ("skin tones", len(SKIN_TONES_SRGB)),
        ("limited joint angles per hand", len(ANGLE_LIMITS_DEG)),
        ("cameras, InterHand2.6M layout", f"{layouts.CAMERAS} in the rig, {layouts.CAMERAS_PER_FRAME} per frame, "
         f"{len(layouts.GREY_CAMERAS)} of them grey-scale"),
        ("frames per sequence, InterHand2.6M layout", layouts.FRAMES_PER_SEQUENCE),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["property", "value"])
