"""The study grid: which experiments a profile holds, in the order of their worth."""

from __future__ import annotations

from msff.data.datasets import DATASETS
from msff.models.registry import method_of
from msff.study.procedures import runs_on
from msff.study.profiles import Profile
from msff.study.runs import Experiment

FLOORS = ("mean-pose", "oracle")  # know no chance: once each
HEADLINE = ("msff", "internet", "posenet", "chen", "spurr", "yang", "song")  # the rows of Table 1, by worth
FIRST = 3  # so many of them are worth more than the ablation
CUMULATIVE = ("backbone", "ccm", "ccm-grm", "ccm-grm-lom")  # then "full", which is a headline
NATIVE = ("internet", "posenet", "chen", "spurr", "yang")  # the papers' own recipes, on real data of RHD's layout


def ablation_dataset(profile: Profile) -> str:
    """The ablation is made on the RHD layout, where the paper's Table 1 is."""
    return profile.data.datasets[0]


def experiments(profile: Profile) -> list[Experiment]:
    """Every run of the profile by worth: at the first seed the floors, the first methods, the ablation, the other
    methods and the methods' other variants; then methods and ablation at the other seeds."""
    datasets, (first, *others) = profile.data.datasets, profile.seeds

    def runs(rows, seed):
        return [
            Experiment(profile.name, dataset, method, variant, seed)
            for method, variant in rows
            for dataset in datasets
            if runs_on(method, variant, dataset)
        ]

    headline = [(method, method_of(method).headline) for method in HEADLINE]

    def ablation(seed):
        variants = CUMULATIVE + profile.leave_one_out
        return [Experiment(profile.name, ablation_dataset(profile), "msff", variant, seed) for variant in variants]

    extras = [Experiment(profile.name, ablation_dataset(profile), *extra.split("/"), first) for extra in profile.extras]
    native = [
        Experiment(profile.name, dataset, method, "native", seed)
        for seed in profile.seeds
        for method in NATIVE
        for dataset in datasets
        if not DATASETS[dataset].is_standin and DATASETS[dataset].layout == "rhd"
    ]
    floors = runs([(method, "full") for method in FLOORS], first)
    runs_at_first = floors + runs(headline[:FIRST], first) + ablation(first) + runs(headline[FIRST:], first) + extras
    if profile.seeds_of_all:
        repeated = [e for seed in others for e in runs(headline, seed) + ablation(seed)]
    else:
        repeated = [e for seed in others for e in runs(headline[:2], seed)]
    return runs_at_first + repeated + native


def helpers(profile: Profile) -> list[Experiment]:
    """Networks that all runs share and that are trained before them; no rows of any table of methods.

    Per dataset one RootNet, if track T2 takes its depth from a network, and one SideNet.
    """
    methods = ("rootnet",) * (profile.root_depth.source == "network") + ("sidenet",)
    return [helper(profile, dataset, method) for dataset in profile.data.datasets for method in methods]


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
