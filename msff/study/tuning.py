"""Learning rates of the CPU profiles, chosen on held-out training images and never on the test part.

Every network is tuned by the same rule: the same rates, schedule, images and seed; the lowest held-out error wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from msff.data.datasets import DATASETS
from msff.evaluation.evaluate import PRIMARY_METRIC
from msff.files import atomic_file, locked
from msff.models.registry import FACTORIAL, READINGS, method_of
from msff.settings.losses import SpurrLossConfig
from msff.settings.training import TrainingConfig
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.grid import method_and_variant
from msff.study.profiles import Profile, RootDepthSpec
from msff.study.runner import run
from msff.study.store import Store
from msff.study.workspace import Workspace

SHARE = 0.15
"""Share of the training images, the last ones, that is held out."""
RATES = (2e-4, 5e-4, 1e-3, 2e-3)
"""Learning rates tried in every phase of every method but Chen's, whose optimiser differs."""
GAUSSIAN_RATES = (*RATES, 4e-3)
"""The same of the networks that learn Gaussian volumes; the errors of both were lowest at the end of ``RATES``."""
CHEN_RATES = (1e-5, 3e-5, 1e-4, 3e-4)
BETAS = (1e-3, 1e-2)
"""Weights of Spurr's KL term, tried at every rate; no published text states it."""
HELD_OUT_TRACK = "T1"
"""Its inputs are annotated, so that the errors of auxiliary networks do not affect the choice."""
ROWS = ("msff", "msff/bare", "internet", "posenet", "chen", "spurr", "yang", "song")
"""What is tuned without a choice: "method" for its headline variant, or "method/variant".

Chen starts from PoseNet's weights.
"""
VARIANTS = (
    *(f"msff/{variant}" for variant in (*FACTORIAL, *READINGS) if variant not in ("full", "bare")),
    "msff/gaussian", "msff/gaussian-bare", "internet/gaussian",
)  # fmt: skip
"""What can also be tuned: does an effect depend on the rate, and is it the same rate for another target?"""


def candidates(profile: Profile, row: str) -> Iterator[tuple[str, float, Profile]]:
    """Yield the settings to try for a row: in words, learning rate, and the profile with it.

    The profile has the schedule of the tuning and no RootNet, which track T1 does not need.
    """
    profile = replace(profile, training=profile.pilot or profile.training, rates={}, root_depth=RootDepthSpec("box"))
    method, variant = method_and_variant(row)
    for rate in CHEN_RATES if method == "chen" else GAUSSIAN_RATES if variant.startswith("gaussian") else RATES:
        name = f"rate {rate:g}"
        if method == "spurr":
            for beta in BETAS:
                recipe = replace(_at_rate(profile.recipes.spurr, rate), loss=SpurrLossConfig(beta=beta))
                yield f"{name}, beta {beta:g}", rate, replace(profile, recipes=replace(profile.recipes, spurr=recipe))
        elif method_of(method).single_hand:
            recipe = _at_rate(getattr(profile.recipes, method), rate)
            yield name, rate, replace(profile, recipes=replace(profile.recipes, **{method: recipe}))
        else:
            yield name, rate, replace(profile, training=_at_rate(profile.training, rate))


def _at_rate(recipe, rate: float):
    """Return the recipe with that learning rate in every phase."""
    if isinstance(recipe, TrainingConfig):
        return replace(recipe, learning_rate=rate)
    changes = {
        field.name: _at_rate(value, rate)
        for field in dataclasses.fields(recipe)
        if isinstance(value := getattr(recipe, field.name), TrainingConfig)
    }
    return replace(recipe, **changes)


def best(table: pd.DataFrame) -> dict[str, str]:
    """Return row -> config hash of the setting with the lowest held-out error."""
    found = table.loc[table.groupby("row").error_mm.idxmin()]
    return dict(zip(found.row, found.config_hash, strict=True))


def described(profile: Profile) -> str:
    """Return profile and schedule of its tuning, for titles."""
    schedule = profile.pilot or profile.training
    images = schedule.images_per_epoch or profile.data.train
    return f"profile {profile.name}, rendered hands, {schedule.epochs} epochs of {images:,} images"


def tune(workspace: Workspace, rows: Sequence[str] = ROWS) -> pd.DataFrame:
    """Train and measure what the table lacks, on the profile's first dataset; return the table, a line per setting.

    Columns: row, setting, rate, error_mm (the layout's headline metric on track T1 over the held-out images),
    train_seconds, images_per_s, images, config_hash. Written after each setting, so that a killed call resumes and
    several may run side by side on different rows; settings that the profile no longer has are dropped.
    """
    dataset, path = workspace.profile.data.datasets[0], workspace.store.tuning
    if unknown := set(rows) - set(ROWS + VARIANTS):
        raise ValueError(f"nothing to choose for {min(unknown)!r}: choose one of {', '.join(ROWS + VARIANTS)}")
    wanted = set()
    for row in rows:
        experiment = Experiment(workspace.profile.name, dataset, *method_and_variant(row))
        for setting, rate, profile in candidates(workspace.profile, row):
            hold_out = _hold_out(workspace, profile, experiment)
            wanted.add(config_hash(hold_out, experiment))
            if config_hash(hold_out, experiment) not in set(tuned(path).config_hash):
                line = {"row": row, "setting": setting, "rate": rate} | _measured(hold_out, experiment)
                _update(path, lambda table, line=line: pd.DataFrame([*table.to_dict("records"), line]))
    return _update(path, lambda table: table[~table.row.isin(rows) | table.config_hash.isin(wanted)])


def _hold_out(workspace: Workspace, profile: Profile, experiment: Experiment) -> Workspace:
    """Return a workspace of the profile's training part alone: its last images take the place of the test part."""
    profile = replace(profile, data=replace(profile.data, held_out=SHARE))
    hold_out = Workspace(profile, workspace.root, workspace.device)
    folder = workspace.root / "data" / "tuning" / workspace.profile.name
    hold_out.store = Store(folder)
    hold_out.checkpoints = folder / "checkpoints" / config_hash(hold_out, experiment)
    hold_out.allows_photos = False
    return hold_out


def _measured(hold_out: Workspace, experiment: Experiment) -> dict:
    record = run(hold_out, experiment).record
    return {
        "error_mm": record.metrics[HELD_OUT_TRACK][PRIMARY_METRIC[DATASETS[experiment.dataset].layout]],
        "train_seconds": record.train_seconds,
        "images_per_s": record.images_per_s,
        "images": record.test_images,
        "config_hash": record.config_hash,
    }


def tuned(path: Path) -> pd.DataFrame:
    """Return the table that `tune` has written, without a row if there is none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["row", "rate", "error_mm", "config_hash"])


def _update(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Change the table on disk, one process at a time, and return it in the order of ``ROWS`` and ``VARIANTS``."""
    with locked(path.with_name(f".{path.name}.lock")):
        order = {row: number for number, row in enumerate(ROWS + VARIANTS)}
        table = change(tuned(path)).sort_values(["row", "rate"], key=lambda c: c.map(order) if c.name == "row" else c)
        with atomic_file(path) as partial:
            table.to_csv(partial, index=False, float_format="%.6g")
    return table.reset_index(drop=True)
