"""The book's tables about the methods: what each is and is given, how it is trained, what its papers leave open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pandas as pd
import torch

from msff.data.datasets import DATASETS
from msff.evaluation.tracks import PAPER_PROTOCOLS, TRACKS
from msff.models.backbone import STRIDES, build_backbone
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.models.building import build, count_macs, count_parameters, count_used_parameters
from msff.models.registry import AUXILIARY, METHODS, method_of, network_name
from msff.report.open_choices import COMPARED_CHOICES
from msff.report.rows import inputs_from_annotation
from msff.settings.networks import LITE0, BackboneConfig, NetworkConfig
from msff.settings.training import AugmentConfig, TrainingConfig
from msff.study.experiment import Experiment
from msff.study.predict import test_time_inputs
from msff.study.profiles import PROFILES, Profile
from msff.study.recipes import INTERNET_NATIVE, HandRecipes
from msff.study.recipes import NATIVE as NATIVE_RECIPES

PUBLISHED_LAYERS = {"posenet": (21.4, 30.3), "chen": (21.4, 30.3), "spurr": (12.4, 2.37), "internet": (47.3, 11.9),
    "rootnet": (34.0, 7.2)}  # fmt: skip
"""Parameters in millions and GMAC at 256 px, counted by hand from the layers that the authors' code lists."""

_OWN_MODULE = {"mean-pose": MeanPose.__module__, "oracle": HeatMapOracle.__module__}  # rows without a network


def trunks_table() -> pd.DataFrame:
    """Return a row per trunk and crop: parameters, multiply-adds and the four maps, counted without data."""
    rows = []
    for label, config, crop in (
        ("ResNet-50, 256 px, the paper's", BackboneConfig(), 256), ("EfficientNet-Lite0, 256 px", LITE0, 256),
        ("EfficientNet-Lite0, 96 px, `cpu-long`", LITE0, 96), ("EfficientNet-Lite0, 64 px, `cpu`", LITE0, 64),
    ):  # fmt: skip
        with torch.device("meta"):
            trunk = build_backbone(dataclasses.replace(config, pretrained=False))
        maps = [f"{c}x{crop // s}x{crop // s}" for c, s in zip(config.channels, STRIDES, strict=True)]
        rows.append((label, f"{count_parameters(trunk) / 1e6:.2f}", f"{count_macs(trunk, crop) / 1e9:.3f}", *maps))
    columns = ["trunk and crop", "parameters, M", "GMAC", *(f"map at 1/{s}" for s in STRIDES)]
    return pd.DataFrame(rows, columns=columns)


def methods_table() -> pd.DataFrame:
    """Return a row per method and auxiliary network: module, cost at the paper's size, own metric."""
    rows, network = [], NetworkConfig()
    for name, method in (METHODS | AUXILIARY).items():
        module, parameters, gmac = _OWN_MODULE.get(name), "none", "none"
        if method.has_network:
            with torch.device("meta"):  # no weights are made
                model = build(name, method.headline, network)
            module, parameters = type(model).__module__, f"{count_used_parameters(model, network.crop_size) / 1e6:.2f}"
            gmac = f"{count_macs(model, network.crop_size) / 1e9:.2f}"
        protocol = PAPER_PROTOCOLS.get(name)
        metric = (f"`{protocol.own_metric}`" if protocol.own_metric else "not known") if protocol else "none"
        layers = "; ".join(map(str, PUBLISHED_LAYERS.get(name, ())))
        rows.append((method.label, f"`{module.rpartition('.')[2]}.py`", parameters, gmac, layers, metric))
    columns = ["method", "in `msff/models`", "parameters, M", "GMAC", "by its layers", "own metric (T0)"]
    return pd.DataFrame(rows, columns=columns)


def variants_table() -> pd.DataFrame:
    """Return the variants of every method as commands and as tables name them; first the one that stands for it."""
    rows = [
        (f"`--method {name} --variant {variant}`", network_name(name, variant))
        for name, method in METHODS.items()
        for variant in dict.fromkeys((method.headline, *method.variants))
        if len(method.variants) > 1
    ]
    return pd.DataFrame(rows, columns=["in commands", "in tables and figures"])


def given_table() -> pd.DataFrame:
    """Return the annotated test-time inputs of each method by track, for images of one hand."""
    rows = []
    for name, method in METHODS.items():
        given = dict(TRACKS)
        if method.single_hand:  # whose inputs depend on the variant, here the headline one on RHD
            experiment = Experiment("paper", "rhd", name, method.headline)
            given = {track: test_time_inputs(PROFILES["paper"], experiment, track, "rhd") for track in TRACKS}
        if protocol := PAPER_PROTOCOLS.get(name):
            given["T0"] = protocol.inputs
        words = {t: inputs_from_annotation(dataclasses.asdict(inputs), name) for t, inputs in given.items()}
        rows.append((method.label, words.get("T0", "no such track"), *(words[track] for track in TRACKS)))
    return pd.DataFrame(rows, columns=["method", "T0, as published", *TRACKS])


# Training


def recipes_table(profiles: Iterable[Profile]) -> pd.DataFrame:
    """Return the schedule of every training, a column per profile; equal schedules share a row."""
    columns = {profile.name: trainings(profile) for profile in profiles}
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in {name: None for column in columns.values() for name in column}:
        cells = tuple(schedule(c[name]) if name in c else "not trained" for c in columns.values())
        rows.setdefault(cells, []).append(name)
    lines = [("; ".join(names), *cells) for cells, names in rows.items()]
    return pd.DataFrame(lines, columns=["training", *(f"`{name}`" for name in columns)])


def native_recipes_table() -> pd.DataFrame:
    """Return the papers' own schedules, where known: the variants "native"."""
    named = {f"{METHODS['internet'].label}, {DATASETS['rhd'].label}": INTERNET_NATIVE["rhd"]}
    named |= of_recipes(NATIVE_RECIPES, ("posenet", "chen", "spurr", "yang"))
    rows = [(name, schedule(training)) for name, training in named.items()]
    return pd.DataFrame(rows, columns=["training", "the paper's own recipe"])


def trainings(profile: Profile) -> dict[str, TrainingConfig]:
    """Return every training of a profile by the network that it trains; RootNet's only if it gives the depth."""
    labels = [METHODS[name].label for name in ("msff", "internet")]
    named = {", ".join(labels): profile.training}
    named |= of_recipes(profile.recipes, [f.name for f in dataclasses.fields(profile.recipes)])
    if profile.root_depth.source == "network":
        named[AUXILIARY["rootnet"].label] = profile.root_depth.training
    return named


def of_recipes(recipes: HandRecipes, names: Iterable[str]) -> dict[str, TrainingConfig]:
    """Return the trainings of these methods; names include the phase if there are several."""
    named = {}
    for name in names:
        recipe, label = getattr(recipes, name), method_of(name).label
        parts = {"": recipe} if isinstance(recipe, TrainingConfig) else vars(recipe)
        phases = {phase: part for phase, part in parts.items() if isinstance(part, TrainingConfig)}
        named |= {label if len(phases) == 1 else f"{label}, {phase}": t for phase, t in phases.items()}
    return named


def schedule(training: TrainingConfig) -> str:
    """Return one training in words; of the augmentation only differences from InterNet's."""
    size = "" if training.images_per_epoch is None else f" of {training.images_per_epoch} images"
    words = [
        f"{training.epochs} epoch{'s' if training.epochs > 1 else ''}{size}", f"batch {training.batch_size}",
        f"{training.optimizer} {training.learning_rate:g}",
    ]  # fmt: skip
    if training.decay_epochs:
        words.append(f"times {training.decay_factor:g} at {' and '.join(map(str, training.decay_epochs))}")
    if training.warmup_steps:
        words.append(f"{training.warmup_steps} steps of warm-up")
    if training.augment is None:
        changes = ["no augmentation"]
    else:
        usual = vars(AugmentConfig())
        changes = [f"{key} {value:g}" for key, value in vars(training.augment).items() if value != usual[key]]
    return "; ".join(filter(None, (", ".join(words), ", ".join(changes))))


# Choices


def choices_tables() -> dict[str, pd.DataFrame]:
    """Return label -> table of the method's values that no public source settles, with reasons."""
    columns = ["field", "value", "reason", "source"]
    return {
        METHODS[name].label: pd.DataFrame(
            [(f"`{c.name}`", _shown(c.value), c.reason, c.source) for c in choices], columns=columns
        )
        for name, choices in COMPARED_CHOICES.items()
    }


def _shown(value: object) -> str:
    """Return sentences as they are, other values as code, with at most four digits."""
    if isinstance(value, float):
        return f"`{value:.4g}`"
    return value if isinstance(value, str) and " " in value else f"`{value}`"
