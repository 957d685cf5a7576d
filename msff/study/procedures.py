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
    schedules: Mapping[str, TrainingConfig] = field(
        default_factory=dict
    )  # by phase, in order; none: nothing is trained
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


def procedure(experiment: Experiment, profile: Profile) -> Procedure:
    """Return how the experiment is trained in that profile."""
    make = _PROCEDURES.get(experiment.method, _heat_map)
    return make(experiment, profile)


def recipes_of(experiment: Experiment, profile: Profile) -> HandRecipes:
    """Return the recipes of the single-hand methods: the papers' own for the variant "native", else the profile's."""
    return NATIVE if experiment.variant == "native" else profile.recipes


def _heat_map(experiment: Experiment, profile: Profile) -> Procedure:
    """Return the procedure of MS-FF and InterNet; also of mean pose and oracle, which train nothing."""
    native = experiment.variant == "native"
    training = replace(profile.training, learning_rate=profile.rate(experiment.method, experiment.variant))
    if native:
        training = INTERNET_NATIVE[DATASETS[experiment.dataset].layout]
    elif experiment.variant in SCHEDULES:
        training = SCHEDULES[experiment.variant](training)
    if experiment.method in ("mean-pose", "oracle"):
        return Procedure({"decoder": profile.decoder})
    recipe = {"training": asdict(training), "loss": asdict(profile.loss), "decoder": profile.decoder}
    return Procedure(recipe, {"all": training}, paper_track="T2" if native else None)


def _rootnet(experiment: Experiment, profile: Profile) -> Procedure:
    spec = profile.root_depth
    return Procedure({"training": asdict(spec.training), "loss": asdict(spec.loss)}, {"all": spec.training})


def _sidenet(experiment: Experiment, profile: Profile) -> Procedure:
    training = profile.recipes.sidenet
    return Procedure({"training": asdict(training)}, {"all": training}, "hands")


def _single_hand(experiment: Experiment, settings: dict, schedules: dict, track: str = "T1", **how) -> Procedure:
    """Return a procedure on crops of the study, or on those of the paper, whose own track then is ``track``."""
    native = experiment.variant == "native"
    how = {"needs_handedness": True, "needs_scale": True} | how
    # the papers' own crops are about the annotated joints, the study's about the box
    view, paper_track = ("keypoints", track) if native else ("hands", None)
    return Procedure(settings, schedules, view, paper_track=paper_track, **how)


def _posenet(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = recipes_of(experiment, profile).posenet
    settings = asdict(recipe)
    segmentation = {"segmentation": settings.pop("segmentation")}  # of that variant alone
    if experiment.variant == "segmented":
        return Procedure(
            segmentation, {"segmentation": recipe.segmentation}, "frames", "hands",
            start_from=replace(experiment, variant="full"), needs_handedness=True, needs_scale=True,
        )  # fmt: skip
    return _single_hand(experiment, settings, {"pose2d": recipe.pose2d, "lifting": recipe.lifting})


def _chen(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = recipes_of(experiment, profile).chen
    settings = asdict(recipe)
    if experiment.variant == "plain":  # without the augmentation
        settings.pop("tonality")
    posenet = replace(experiment, method="posenet", variant="native" if experiment.variant == "native" else "full")
    return _single_hand(experiment, settings, {"all": recipe.training}, start_from=posenet)


def _spurr(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = recipes_of(experiment, profile).spurr
    flags = SPURR_VARIANTS["plain" if experiment.variant == "native" else experiment.variant]
    needs = {"needs_handedness": flags["hand_side"], "needs_scale": flags["scale_invariant"]}
    return _single_hand(experiment, asdict(recipe), {"all": recipe.training}, "T2", **needs)


def _yang(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = recipes_of(experiment, profile).yang
    schedules = {"labels": recipe.labels, "image": recipe.image} | ({"joint": recipe.joint} if recipe.joint else {})
    return _single_hand(experiment, asdict(recipe), schedules)


def _song(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = profile.recipes.song
    settings = asdict(recipe)
    if experiment.variant == "regressed":  # the same network before its optimisation
        settings.pop("refine")
        return Procedure(settings, {}, "hands", start_from=replace(experiment, variant="full"))
    return Procedure(settings, {"all": recipe.training}, "hands")


_PROCEDURES = {
    "rootnet": _rootnet, "sidenet": _sidenet, "posenet": _posenet, "chen": _chen, "spurr": _spurr, "yang": _yang,
    "song": _song,
}  # fmt: skip


def runs_on(method: str, variant: str, dataset: str) -> bool:
    """Return whether a dataset supports a variant: some need hand masks, which only the RHD layout has."""
    needs_masks = (method, variant) in (("posenet", "segmented"), ("chen", "full"), ("chen", "native"))
    method_of(method)  # ValueError for an unknown one
    return DATASETS[dataset].has_masks or not needs_masks
