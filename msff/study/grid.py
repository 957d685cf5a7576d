"""The study grid: which experiments a profile holds, in order of priority."""

from __future__ import annotations

from msff.data.datasets import DATASETS
from msff.models.registry import AUXILIARY, method_of
from msff.study.experiment import Experiment
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import Profile

BASELINES = ("mean-pose", "oracle")
"""Without a network: the mean pose as baseline, the heat-map oracle as lower bound."""


def ablation_dataset(profile: Profile) -> str:
    """Return the dataset of the ablation: the RHD layout, as in the paper's Table 1."""
    return profile.data.datasets[0]


def experiments(profile: Profile) -> list[Experiment]:
    """Return every run of the profile's grid in its order, without those that a dataset does not support."""
    found = [
        Experiment(profile.name, dataset, method, variant, seed)
        for block in profile.grid
        for seed in block.seeds
        for method, variant in map(method_and_variant, block.rows)
        for dataset in profile.data.datasets
        if DATASETS[dataset].layout in block.layouts and runs_on(method, variant, dataset)
    ]
    return list(dict.fromkeys(found))


def method_and_variant(row: str) -> tuple[str, str]:
    """Split "method" or "method/variant" into method and variant."""
    method, _, variant = row.partition("/")
    return method, variant or method_of(method).headline


def auxiliary_of(profile: Profile, dataset: str, method: str) -> Experiment:
    """Return a dataset's auxiliary network ("rootnet", "sidenet"); its seed is the first, whichever run needs it."""
    return Experiment(profile.name, dataset, method, seed=profile.seeds[0])


def needed_by(profile: Profile, experiment: Experiment) -> list[Experiment]:
    """Return what has to be stored before the experiment: its auxiliary networks and the run that it starts from."""
    start = procedure(experiment, profile).start_from
    return [*auxiliary_needed_by(profile, experiment), *([start] if start else [])]


def auxiliary_needed_by(profile: Profile, experiment: Experiment) -> list[Experiment]:
    """Return the auxiliary networks that the experiment's predictions rest on."""
    if experiment.method in AUXILIARY:
        return []
    methods = ["rootnet"] * (profile.root_depth.source == "network")
    methods += ["sidenet"] * procedure(experiment, profile).needs_handedness
    return [auxiliary_of(profile, experiment.dataset, method) for method in methods]


def in_order(profile: Profile) -> list[Experiment]:
    """Return every training of the grid, an auxiliary network just before the first run that needs it."""
    order: list[Experiment] = []
    for experiment in experiments(profile):
        order += [e for e in auxiliary_needed_by(profile, experiment) if e not in order]
        order.append(experiment)
    return order


def find(profile: Profile, run_id: str) -> Experiment:
    """Return the experiment with that run id, in the grid or not; ValueError names what is unknown."""
    experiment = Experiment.parse(profile.name, run_id)
    if experiment.dataset not in profile.data.datasets:
        raise ValueError(
            f"profile {profile.name} has no dataset {experiment.dataset!r}: "
            f"choose one of {', '.join(profile.data.datasets)}"
        )
    variants = method_of(experiment.method).variants
    if experiment.variant not in variants:
        raise ValueError(
            f"{experiment.method} has no variant {experiment.variant!r}: choose one of {', '.join(variants)}"
        )
    if not runs_on(experiment.method, experiment.variant, experiment.dataset):
        raise ValueError(
            f"{experiment.run_id} needs masks of the hands, which {DATASETS[experiment.dataset].label} does not have: "
            "choose a dataset of RHD's layout"
        )
    return experiment
