"""The study grid: which experiments a profile holds, the most wanted first."""

from __future__ import annotations

from msff.data.datasets import DATASETS
from msff.models.registry import method_of
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import TABLE1, Profile
from msff.study.store import Experiment

FLOORS = ("mean-pose", "oracle")  # know no chance: once each
HEADLINE = TABLE1


def ablation_dataset(profile: Profile) -> str:
    """The ablation is made on the RHD layout, where the paper's Table 1 is."""
    return profile.data.datasets[0]


def experiments(profile: Profile) -> list[Experiment]:
    """Every run of the profile's grid, in its order; what a dataset cannot give is left out."""
    found = [
        Experiment(profile.name, dataset, method, variant, seed)
        for block in profile.grid
        for seed in block.seeds
        for method, variant in map(_row, block.rows)
        for dataset in profile.data.datasets
        if DATASETS[dataset].layout in block.layouts and runs_on(method, variant, dataset)
    ]
    return list(dict.fromkeys(found))


def _row(row: str) -> tuple[str, str]:
    """ "method" or "method/variant" -> method and variant."""
    method, _, variant = row.partition("/")
    return method, variant or method_of(method).headline


def helpers(profile: Profile) -> list[Experiment]:
    """Networks that runs share and that are trained before them; no rows of any table of methods.

    Per dataset one RootNet, if track T2 takes its depth from a network, and one SideNet, if a run needs the handedness.
    """
    found = []
    for dataset in profile.data.datasets:
        runs = [e for e in experiments(profile) if e.dataset == dataset]
        methods = ("rootnet",) * (profile.root_depth.source == "network")
        methods += ("sidenet",) * any(procedure(e, profile).needs_side for e in runs)
        found += [helper(profile, dataset, method) for method in methods]
    return found


def helper(profile: Profile, dataset: str, method: str) -> Experiment:
    """A helper of a dataset: the first seed's, whatever the seed of the run that it serves."""
    return Experiment(profile.name, dataset, method, seed=profile.seeds[0])


def find(profile: Profile, run_id: str) -> Experiment:
    """The experiment or helper with that run id, whether it is in the grid or not; ValueError names what is unknown."""
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
