"""Choosing the small profiles' rates without a look at the test part: by training images that are held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from msff.data.datasets import DATASETS
from msff.data.sample import HandSample
from msff.evaluation.protocol import HEADLINE
from msff.models.registry import method_of
from msff.study.experiment import Study
from msff.study.profiles import Profile
from msff.study.runs import Experiment, Store, atomic_file
from msff.training.loop import TrainingConfig
from msff.training.vae_loss import SpurrLossConfig

SHARE = 0.15
"""Of the training images, the last ones, that are held out."""
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates of every phase of a method, tried for all alike; Chen's optimiser is another and has its own."""
CHEN_RATES = (3e-5, 1e-4, 3e-4)
BETAS = (1e-3, 1e-2)
"""Spurr's weights of the KL term, each tried at every rate; no published text gives it."""
TRACK = "T1"
"""It tells a method what it cannot know, so that no helper's error takes part in the choice."""
SHARING = ("msff", "internet")
METHODS = (*SHARING, "posenet", "chen", "spurr", "yang", "song")  # Chen starts from PoseNet's weights


class HoldOut(Study):
    """The study of a profile's training part alone: its last images stand where the test part was."""

    def __init__(self, profile: Profile, root: Path, device: str | None = None):
        super().__init__(profile.name, root, device)
        self.profile = profile
        self.store = Store(self.root / "data" / "tuning" / profile.name)

    def data_config(self, dataset: str) -> dict:
        return super().data_config(dataset) | {"held_out": SHARE}

    def checkpoint_path(self, experiment: Experiment) -> Path:
        return self.store.root / "checkpoints" / f"{self.config_hash(experiment)}.pt"

    def names_data(self, dataset: str) -> bool:
        return False  # what is tried here predicts no photograph

    def _read(self, dataset: str, part: str) -> Sequence[HandSample]:
        whole = super()._read(dataset, "train")
        count = round(len(whole) * (1 - SHARE))
        return whole[:count] if part == "train" else whole[count:]


@dataclass(frozen=True)
class Candidate:
    """A profile with other settings of one method."""

    setting: str  # in words
    profile: Profile


def candidates(profile: Profile, method: str) -> Iterator[Candidate]:
    """The settings that are tried for a method; ValueError for an unknown one."""
    if method not in METHODS:
        raise ValueError(f"nothing to choose for {method!r}: choose one of {', '.join(METHODS)}")
    return _candidates(profile, method)


def _candidates(profile: Profile, method: str) -> Iterator[Candidate]:
    for rate in CHEN_RATES if method == "chen" else RATES:
        name = f"rate {rate:g}"
        if method == "spurr":
            for beta in BETAS:
                recipe = replace(_at_rate(profile.recipes.spurr, rate), loss=SpurrLossConfig(beta=beta))
                changed = replace(profile, recipes=replace(profile.recipes, spurr=recipe))
                yield Candidate(f"{name}, beta {beta:g}", changed)
        elif method_of(method).one_hand:
            recipe = _at_rate(getattr(profile.recipes, method), rate)
            yield Candidate(name, replace(profile, recipes=replace(profile.recipes, **{method: recipe})))
        else:
            yield Candidate(name, replace(profile, training=_at_rate(profile.training, rate)))


def _at_rate(recipe, rate: float):
    """The same recipe with that learning rate in every phase."""
    if isinstance(recipe, TrainingConfig):
        return replace(recipe, learning_rate=rate)
    changes = {
        field.name: _at_rate(value, rate)
        for field in dataclasses.fields(recipe)
        if isinstance(value := getattr(recipe, field.name), TrainingConfig)
    }
    return replace(recipe, **changes)


def best(table: pd.DataFrame) -> dict[str, str]:
    """Method -> config hash of its best setting. MS-FF and InterNet share a profile's training: the best on average."""
    table = table.assign(shared=table.method.where(~table.method.isin(SHARING), "shared"))
    mean = table.groupby(["shared", "setting"]).error_mm.transform("mean")
    found = table.loc[mean.groupby(table.method).idxmin()]
    return dict(zip(found.method, found.config_hash, strict=True))


def tuning_path(store: Store) -> Path:
    """Where a profile's table of held-out errors lies."""
    return store.root / "tuning.csv"


def tune(study: Study, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Train and measure what the table lacks, on the profile's first dataset; the whole table, one row per setting.

    Columns: method, setting, error_mm (the layout's headline metric on track T1 over the held-out images),
    train_seconds, images, config_hash. Written after each row, so that a killed call goes on from there; rows of
    settings that the profile no longer leads to are dropped.
    """
    dataset, path = study.profile.data.datasets[0], tuning_path(study.store)
    tried = {method: list(candidates(study.profile, method)) for method in methods}  # first: says what is unknown
    stored = pd.read_csv(path).to_dict("records") if path.exists() else []
    rows = {row["config_hash"]: row for row in stored}
    wanted = {row["config_hash"] for row in stored if row["method"] not in tried}
    for method, settings in tried.items():
        experiment = Experiment(study.profile.name, dataset, method, method_of(method).headline)
        for candidate in settings:
            hold_out = HoldOut(candidate.profile, study.root, study.device)
            config_hash = hold_out.config_hash(experiment)
            wanted.add(config_hash)
            row = rows.pop(config_hash, None) or _measured(hold_out, experiment)
            rows[config_hash] = row | {"setting": candidate.setting}
            _write(rows.values(), path)
    return _write([row for config_hash, row in rows.items() if config_hash in wanted], path)


def _measured(hold_out: HoldOut, experiment: Experiment) -> dict:
    record = hold_out.run(experiment).record
    return {
        "method": experiment.method,
        "setting": "",
        "error_mm": record["metrics"][TRACK][HEADLINE[DATASETS[experiment.dataset].layout]],
        "train_seconds": record["train_seconds"],
        "images": record["test_images"],
        "config_hash": record["config_hash"],
    }


def _write(rows: Iterable[dict], path: Path) -> pd.DataFrame:
    """The rows as a table in the order of the methods, as it is now on the disk."""
    order = {method: number for number, method in enumerate(METHODS)}
    table = pd.DataFrame(rows).sort_values("method", key=lambda names: names.map(order), kind="stable")
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g")
    return table.reset_index(drop=True)
