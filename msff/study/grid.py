"""The study grid: which experiments a profile holds, in the order of their worth."""

from __future__ import annotations

from msff.models.registry import method_of
from msff.study.profiles import Profile
from msff.study.runs import Experiment

HEADLINE = (("mean-pose", "full"), ("msff", "full"), ("internet", "full"))
CUMULATIVE = ("backbone", "ccm", "ccm-grm", "ccm-grm-lom")  # then "full", which is in HEADLINE
LEAVE_ONE_OUT = ("no-ccm", "no-grm", "no-lom", "printed")


def ablation_dataset(profile: Profile) -> str:
    """The ablation is made on the RHD layout, where the paper's Table 1 is."""
    return profile.data.datasets[0]


def experiments(profile: Profile) -> list[Experiment]:
    """Every run of the profile: the headline methods at the first seed, the ablation, then the other seeds."""

    def headline(seed):
        return [
            Experiment(profile.name, dataset, method, variant, seed)
            for method, variant in HEADLINE
            for dataset in profile.data.datasets
            if seed == profile.seeds[0] or method != "mean-pose"  # the mean pose knows no chance
        ]

    variants = CUMULATIVE + (LEAVE_ONE_OUT if profile.leave_one_out else ())
    ablation = [
        Experiment(profile.name, ablation_dataset(profile), "msff", variant, seed)
        for seed in profile.ablation_seeds
        for variant in variants
    ]
    first, *others = profile.seeds
    return headline(first) + ablation + [e for seed in others for e in headline(seed)]


def helpers(profile: Profile) -> list[Experiment]:
    """Networks that all runs share and that are trained before them; no rows of any table of methods.

    One RootNet per dataset if track T2 takes its depth from a network.
    """
    return [helper(profile, dataset) for dataset in profile.data.datasets if profile.root_depth.source == "network"]


def helper(profile: Profile, dataset: str) -> Experiment:
    """The RootNet of a dataset: the first seed's, whatever the seed of the run that it serves."""
    return Experiment(profile.name, dataset, "rootnet", seed=profile.seeds[0])


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
    return experiment
