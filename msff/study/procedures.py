"""How each method is trained: its view of the images, its schedules and the weights it starts from. Imports no torch.

The heat-map networks (MS-FF, InterNet) see whole images; the other methods see one hand per crop.
`msff.study.phases` adds the losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from msff.data.datasets import DATASETS
from msff.models.registry import SPURR_VARIANTS, method_of
from msff.settings.training import TrainingConfig
from msff.study.experiment import Experiment
from msff.study.profiles import Profile
from msff.study.recipes import INTERNET_NATIVE, NATIVE, SCHEDULES, HandRecipes


@dataclass(frozen=True)
class Procedure:
    """How one experiment is trained."""

    recipe: dict  # what affects its numbers beside network and data, for the hash of its configuration
    schedules: Mapping[str, TrainingConfig] = field(default_factory=dict)  # by phase, in order; empty: no training
    view: str = "images"  # of the training images, see `msff.study.workspace.VIEWS`
    test_view: str = ""  # of the test images, if another
    start_from: Experiment | None = None  # the run whose trained weights it starts from
    needs_handedness: bool = False  # as an input of the network
    needs_scale: bool = False  # the predicted pose has no size
    paper_track: str | None = None  # of a paper's own recipe: the track whose predictions are its T0

    @property
    def epochs(self) -> int:
        """Return the number of epochs of all phases."""
        return sum(schedule.epochs for schedule in self.schedules.values())


def recipes_of(experiment: Experiment, profile: Profile) -> HandRecipes:
    """Return the recipes of the single-hand methods: the papers' own for the variant "native", else the profile's."""
    return NATIVE if experiment.variant == "native" else profile.recipes


def procedure(experiment: Experiment, profile: Profile) -> Procedure:
    """Return how the experiment is trained in that profile."""
    recipes = recipes_of(experiment, profile)
    whole = replace(experiment, variant="full")
    match experiment.method, experiment.variant:
        case "mean-pose" | "oracle", _:
            return Procedure({"decoder": profile.decoder})
        case "rootnet", _:
            spec = profile.root_depth
            return Procedure({"training": asdict(spec.training), "loss": asdict(spec.loss)}, {"all": spec.training})
        case "sidenet", _:
            return Procedure({"training": asdict(recipes.sidenet)}, {"all": recipes.sidenet}, "hands")
        case "posenet", "segmented":
            segmentation = recipes.posenet.segmentation
            return Procedure(
                {"segmentation": asdict(segmentation)}, {"segmentation": segmentation}, "frames", "hands",
                start_from=whole, needs_handedness=True, needs_scale=True,
            )  # fmt: skip
        case "posenet", _:
            schedules = {"pose2d": recipes.posenet.pose2d, "lifting": recipes.posenet.lifting}
            return _single_hand(experiment, _without(recipes.posenet, "segmentation"), schedules)
        case "chen", variant:
            posenet = replace(experiment if variant == "native" else whole, method="posenet")
            settings = _without(recipes.chen, "tonality") if variant == "plain" else asdict(recipes.chen)
            return _single_hand(experiment, settings, {"all": recipes.chen.training}, start_from=posenet)
        case "spurr", variant:
            flags = SPURR_VARIANTS["plain" if variant == "native" else variant]
            needs = {"needs_handedness": flags["hand_side"], "needs_scale": flags["scale_invariant"]}
            return _single_hand(experiment, asdict(recipes.spurr), {"all": recipes.spurr.training}, "T2", **needs)
        case "yang", _:
            schedules = {name: getattr(recipes.yang, name) for name in ("labels", "image", "joint")}
            return _single_hand(experiment, asdict(recipes.yang), {name: s for name, s in schedules.items() if s})
        case "song", "regressed":  # the same network before its optimisation
            return Procedure(_without(recipes.song, "refine"), {}, "hands", start_from=whole)
        case "song", _:
            return Procedure(asdict(recipes.song), {"all": recipes.song.training}, "hands")
    return _heat_map(experiment, profile)


def _without(recipe, field: str) -> dict:
    """Return a recipe for the hash of a variant that does without one of its fields."""
    return {name: value for name, value in asdict(recipe).items() if name != field}


def _single_hand(experiment: Experiment, settings: dict, schedules: dict, track: str = "T1", **how) -> Procedure:
    """Return a procedure on crops of the study, or on those of the paper, whose own track then is ``track``."""
    how = {"needs_handedness": True, "needs_scale": True} | how
    # the papers' own crops are about the annotated joints, the study's about the box
    view, paper_track = ("keypoints", track) if experiment.variant == "native" else ("hands", None)
    return Procedure(settings, schedules, view, paper_track=paper_track, **how)


def _heat_map(experiment: Experiment, profile: Profile) -> Procedure:
    """Return the procedure of MS-FF and InterNet."""
    native = experiment.variant == "native"
    training = replace(profile.training, learning_rate=profile.rate(experiment.method, experiment.variant))
    if native:
        training = INTERNET_NATIVE[DATASETS[experiment.dataset].layout]
    elif experiment.variant in SCHEDULES:
        training = SCHEDULES[experiment.variant](training)
    loss, decoder = profile.target(experiment.variant)
    recipe = {"training": asdict(training), "loss": asdict(loss), "decoder": decoder}
    return Procedure(recipe, {"all": training}, paper_track="T2" if native else None)


def runs_on(method: str, variant: str, dataset: str) -> bool:
    """Return whether a dataset supports a variant: some need hand masks, which only the RHD layout has."""
    needs_masks = (method, variant) in (("posenet", "segmented"), ("chen", "full"), ("chen", "native"))
    method_of(method)  # ValueError for an unknown one
    return DATASETS[dataset].has_masks or not needs_masks
