"""Tables of the chapters for those who reproduce: answers from stored runs, their cost, the stand-in's data card."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from msff.models.registry import METHODS
from msff.report.formatting import with_digits
from msff.report.published import DATASET_FACTS, DATASET_NAMES, INTERNET_INTERHAND
from msff.standin import GENERATOR_VERSION, layouts
from msff.standin.anatomy import ANGLE_LIMITS_DEG, SKIN_TONES_SRGB
from msff.study.profiles import PROFILES
from msff.study.store import Store

NETWORKS = ("msff", "internet")
TERMS = {"loss": "loss", "heat maps": "loss_volume", "handedness": "loss_side"}
"""Loss and its terms, as columns of the table of trainings -> of the history."""


def retrainings_table() -> pd.DataFrame:
    """Return InterNet's published errors and those of its retrainings on InterHand2.6M, in mm, with their sources."""
    table = pd.DataFrame(map(vars, INTERNET_INTERHAND))
    table = with_digits(table, dict.fromkeys(("single", "interacting", "all", "mrrpe"), 2))
    table.loc[0, "mrrpe"] += "*"  # from memory
    return table.rename(columns={"source": "InterNet", "mrrpe": "MRRPE"})


def trainings_table(stores: Iterable[Store]) -> pd.DataFrame:
    """Return time, speed and losses of the stored trainings of MS-FF and InterNet, means over the seeds.

    A loss is that of the first and of the last epoch; its terms are in bins, the handedness in nats.
    """
    rows = []
    for store, name in product(stores, NETWORKS):
        for dataset in PROFILES[store.profile].data.datasets:
            runs = store.select(dataset=dataset, method=name, variant=METHODS[name].headline)
            if not runs:
                continue
            seconds, speed = (np.mean([getattr(r.record, f) for r in runs]) for f in ("train_seconds", "images_per_s"))
            terms = [_first_and_last([run.history for run in runs], term) for term in TERMS.values()]
            time = f"{seconds / 60:.0f}; {speed:.0f}"
            rows.append((f"`{store.profile}`", METHODS[name].label, dataset, time, *terms))
    return pd.DataFrame(rows, columns=["profile", "network", "data", "minutes; images/s", *TERMS])


def _first_and_last(histories: list[pd.DataFrame], column: str) -> str:
    if any(column not in history for history in histories):
        return ""
    first, last = (np.mean([history[column].iloc[at] for history in histories]) for at in (0, -1))
    return f"{first:.2f} → {last:.2f}"


def paper_scale_table(folder: Path) -> pd.DataFrame:
    """Return the days of the paper's schedule on a CPU: measured images per second at 256 px times published counts.

    ``folder`` holds the reports of ``msff bench train ... --json`` at the paper's size, see `msff.report.benchmarks`.
    """
    rows, training = [], PROFILES["paper"].training
    paths = {name: folder / f"train-{name}-256.json" for name in NETWORKS}
    for name, path in paths.items():
        if not path.exists():
            continue
        speed = json.loads(path.read_text(encoding="utf-8"))["images_per_s"]
        for layout in ("rhd", "interhand"):
            shown = training_images(layout) * training.epochs
            steps, days = f"{shown / training.batch_size:,.0f}", f"{shown / speed / 86400:,.0f}"
            rows.append((METHODS[name].label, DATASET_NAMES[layout], steps, f"{speed:.1f}", days))
    columns = ["network", "real training set", "steps", "measured images/s", "days, extrapolated"]
    return pd.DataFrame(rows, columns=columns)


def training_images(layout: str) -> int:
    """Return the published number of training images of a real dataset, "rhd" or "interhand"."""
    return int(DATASET_FACTS[layout]["images"][0].partition(" / ")[0].replace(",", ""))


def root_depth_table(stores: Iterable[Store]) -> pd.DataFrame:
    """Return the error of the wrist's depth, percent of its true value: RootNet beside the box-size depth model."""
    rows = [
        (f"`{store.profile}`", run.experiment.dataset, {"network": "RootNet", "box": "box-size model"}[source],
         f"{errors['mean_percent']:.1f}", f"{errors['median_percent']:.1f}", f"{errors['wrists']:,}")
        for store in stores for run in store.auxiliary() if run.experiment.method == "rootnet"
        for source, errors in run.record.metrics.items()
    ]  # fmt: skip
    columns = ["profile", "data", "depth from", "mean error, %", "median error, %", "wrists"]
    return pd.DataFrame(rows, columns=columns)


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
        ("cameras, InterHand2.6M layout", f"{layouts.CAMERAS} in the rig, {len(layouts.GREY_CAMERAS)} of them "
         f"grey-scale; {layouts.CAMERAS_PER_FRAME} per frame"),
        ("frames per sequence, InterHand2.6M layout", layouts.FRAMES_PER_SEQUENCE),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["property", "value"])
