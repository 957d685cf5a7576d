"""What each method does with the study's parts: which pictures it sees, in which phases it learns, whence it starts.

The heat-map networks (MS-FF, InterNet) see whole pictures; the others see one hand at a time. ``procedure`` says it of
one experiment; `msff.study.experiment` carries it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.data.datasets import DATASETS
from msff.data.masks import MaskStore, hand_pixels
from msff.models.baselines.spurr import SPURR_VARIANTS
from msff.models.registry import method_of
from msff.study.profiles import Profile
from msff.study.recipes import INTERNET_NATIVE, NATIVE, SCHEDULES, HandRecipes
from msff.study.store import Experiment
from msff.training.loop import Phase, TrainingConfig
from msff.training.objectives.auxiliary import RootObjective, SideObjective
from msff.training.objectives.chen import chen_phases
from msff.training.objectives.heatmap import HandObjective
from msff.training.objectives.posenet import posenet_phases, segmentation_phase
from msff.training.objectives.song_surrogate import SongObjective
from msff.training.objectives.vae import spurr_phases, yang_phases

Phases = tuple[Phase, ...]


@dataclass(frozen=True)
class Procedure:
    """How one experiment is trained."""

    recipe: dict  # all that shapes its numbers beside network and data, for the hash of its configuration
    phases: Callable[[HandDataset | None], Phases]  # of a training set; None asks for the schedules alone
    view: str = "images"  # of the pictures, see `msff.study.data.VIEWS`
    test_view: str = ""  # where the test pictures are seen otherwise
    start: Experiment | None = None  # whose trained weights it begins with
    begin: Callable[[nn.Module, nn.Module], None] | None = None  # gives them to the network: (network, trained)
    needs_side: bool = False  # the network must be told the side of the hand
    needs_scale: bool = False  # the network's pose has no size
    native_track: str | None = None  # a paper's own recipe: the track whose predictions are its T0


def procedure(experiment: Experiment, profile: Profile) -> Procedure:
    """How that experiment is trained in that profile."""
    make = _PROCEDURES.get(experiment.method, _heat_map)
    return make(experiment, profile)


def helper_procedure(experiment: Experiment, training: TrainingConfig, recipe: dict, objective, view: str):
    """A helper's: one phase for everything."""
    return Procedure(recipe, lambda _: (Phase("all", objective, training),), view)


def _heat_map(experiment: Experiment, profile: Profile) -> Procedure:
    """MS-FF, InterNet; also the floors, which train nothing and depend on the decoder at most."""
    native = experiment.variant == "native"
    training = replace(profile.training, learning_rate=profile.rate(experiment.method, experiment.variant))
    if native:
        training = INTERNET_NATIVE[DATASETS[experiment.dataset].layout]
    elif experiment.variant in SCHEDULES:
        training = SCHEDULES[experiment.variant](training)
    if experiment.method in ("mean-pose", "oracle"):
        return Procedure({"decoder": profile.decoder}, lambda _: ())
    objective = HandObjective(profile.volume, profile.loss)
    recipe = {"training": _plain(training), "loss": _plain(profile.loss), "decoder": profile.decoder}
    phases = (Phase("all", objective, training),)
    return Procedure(recipe, lambda _: phases, native_track="T2" if native else None)


def _rootnet(experiment: Experiment, profile: Profile) -> Procedure:
    spec = profile.root_depth
    recipe = {"training": _plain(spec.training), "loss": _plain(spec.loss)}
    return helper_procedure(experiment, spec.training, recipe, RootObjective(spec.loss), "images")


def _sidenet(experiment: Experiment, profile: Profile) -> Procedure:
    training = profile.recipes.sidenet
    return helper_procedure(experiment, training, {"training": _plain(training)}, SideObjective(), "hands")


def _posenet(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).posenet, experiment.variant == "native"
    if experiment.variant == "segmented":

        def segment(data: HandDataset | None) -> Phases:
            return (segmentation_phase(recipe.segmentation, _hand_masks(data)),)

        return Procedure(
            {"segmentation": _plain(recipe.segmentation)}, segment, "frames", "hands",
            start=replace(experiment, variant="full"),
            begin=lambda found, posenet: found.start_from(posenet),
            needs_side=True, needs_scale=True,
        )  # fmt: skip

    def phases(data: HandDataset | None) -> Phases:
        return posenet_phases(recipe.pose2d, recipe.lifting, recipe.maps, recipe.jitter, experiment.seed)

    settings = _plain(recipe)
    settings.pop("segmentation")  # of another variant
    return Procedure(
        settings, phases, _view(native), needs_side=True, needs_scale=True, native_track="T1" if native else None
    )


def _chen(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).chen, experiment.variant == "native"
    augmented = experiment.variant != "plain"

    def phases(data: HandDataset | None) -> Phases:
        masks = _hand_masks(data) if augmented else None
        return chen_phases(recipe.training, masks, recipe.tonality, experiment.seed)

    settings = _plain(recipe)
    if not augmented:
        settings.pop("tonality")
    return Procedure(
        settings, phases, _view(native),
        start=replace(experiment, method="posenet", variant="native" if native else "full"),
        begin=lambda chen, posenet: chen.start_from(posenet),
        needs_side=True, needs_scale=True, native_track="T1" if native else None,
    )  # fmt: skip


def _spurr(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).spurr, experiment.variant == "native"
    flags = SPURR_VARIANTS["plain" if native else experiment.variant]
    return Procedure(
        _plain(recipe), lambda _: spurr_phases(recipe.training, recipe.loss, experiment.seed), _view(native),
        needs_side=flags["hand_side"], needs_scale=flags["scale_invariant"], native_track="T2" if native else None,
    )  # fmt: skip


def _yang(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).yang, experiment.variant == "native"

    def phases(data: HandDataset | None) -> Phases:
        return yang_phases(recipe.labels, recipe.image, recipe.loss, experiment.seed, recipe.joint)

    return Procedure(
        _plain(recipe), phases, _view(native), needs_side=True, needs_scale=True, native_track="T1" if native else None
    )


def _song(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = profile.recipes.song
    settings = _plain(recipe)
    if experiment.variant == "regressed":  # the same network before its optimisation
        settings.pop("refine")
        return Procedure(
            settings, lambda _: (), "hands", start=replace(experiment, variant="full"),
            begin=lambda network, trained: network.load_state_dict(trained.state_dict()),
        )  # fmt: skip

    def phases(data: HandDataset | None) -> Phases:
        labels = _part_labels(data) if data is not None and DATASETS[experiment.dataset].has_masks else None
        return (Phase("all", SongObjective(recipe.loss, labels), recipe.training),)

    return Procedure(settings, phases, "hands")


_PROCEDURES = {
    "rootnet": _rootnet, "sidenet": _sidenet, "posenet": _posenet, "chen": _chen, "spurr": _spurr, "yang": _yang,
    "song": _song,
}  # fmt: skip


def runs_on(method: str, variant: str, dataset: str) -> bool:
    """Whether a variant can be had on a dataset: two need the masks of hands, which only the RHD layout has."""
    needs_masks = (method, variant) in (("posenet", "segmented"), ("chen", "full"), ("chen", "native"))
    method_of(method)  # ValueError for an unknown one
    return DATASETS[dataset].has_masks or not needs_masks


def _recipes(experiment: Experiment, profile: Profile) -> HandRecipes:
    return NATIVE if experiment.variant == "native" else profile.recipes


def _view(native: bool) -> str:
    """The papers' own crop is about the true joints, the study's about the box."""
    return "keypoints" if native else "hands"


def _hand_masks(data: HandDataset | None) -> Callable[[Batch], Tensor]:
    """The pixels of any hand on a batch's crops, (B, S, S) bool."""
    if data is None:
        return lambda batch: batch.image[:, 0] > 1  # of no use: the schedules alone are asked for
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: hand_pixels(store.on_crops(batch, batch.image.shape[-1]))


def _part_labels(data: HandDataset) -> Callable[[Batch], Tensor]:
    """RHD's labels on a batch's crops, one per bin of 4 px: (B, S/4, S/4) uint8."""
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: store.on_crops(batch, batch.image.shape[-1] // 4)


def _plain(config) -> dict:
    return dataclasses.asdict(config)
