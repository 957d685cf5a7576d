"""How each method is trained: its view of the images, its training phases and its initial weights.

The heat-map networks (MS-FF, InterNet) see whole images; the other methods see one hand per crop.
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
from msff.study.experiment import Experiment
from msff.study.profiles import Profile
from msff.study.recipes import INTERNET_NATIVE, NATIVE, SCHEDULES, HandRecipes
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

    recipe: dict  # what affects its numbers beside network and data, for the hash of its configuration
    phases: Callable[[HandDataset | None], Phases]  # for a training set; None: only the schedules matter
    view: str = "images"  # of the training images, see `msff.study.workspace.VIEWS`
    test_view: str = ""  # of the test images, if another
    start_from: Experiment | None = None  # the run whose trained weights it starts from
    transfer: Callable[[nn.Module, nn.Module], None] | None = None  # copies them: (network, trained)
    needs_handedness: bool = False  # as an input of the network
    needs_scale: bool = False  # the predicted pose has no size
    paper_track: str | None = None  # of a paper's own recipe: the track whose predictions are its T0


def procedure(experiment: Experiment, profile: Profile) -> Procedure:
    """Return how the experiment is trained in that profile."""
    make = _PROCEDURES.get(experiment.method, _heat_map)
    return make(experiment, profile)


def _auxiliary(training: TrainingConfig, recipe: dict, objective, view: str) -> Procedure:
    """Return an auxiliary network's procedure: one phase for everything."""
    return Procedure(recipe, lambda _: (Phase("all", objective, training),), view)


def _heat_map(experiment: Experiment, profile: Profile) -> Procedure:
    """Return the procedure of MS-FF and InterNet; also of mean pose and oracle, which train nothing."""
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
    return Procedure(recipe, lambda _: phases, paper_track="T2" if native else None)


def _rootnet(experiment: Experiment, profile: Profile) -> Procedure:
    spec = profile.root_depth
    recipe = {"training": _plain(spec.training), "loss": _plain(spec.loss)}
    return _auxiliary(spec.training, recipe, RootObjective(spec.loss), "images")


def _sidenet(experiment: Experiment, profile: Profile) -> Procedure:
    training = profile.recipes.sidenet
    return _auxiliary(training, {"training": _plain(training)}, SideObjective(), "hands")


def _posenet(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).posenet, experiment.variant == "native"
    if experiment.variant == "segmented":

        def segment(data: HandDataset | None) -> Phases:
            return (segmentation_phase(recipe.segmentation, _hand_masks(data)),)

        return Procedure(
            {"segmentation": _plain(recipe.segmentation)}, segment, "frames", "hands",
            start_from=replace(experiment, variant="full"),
            transfer=lambda found, posenet: found.start_from(posenet),
            needs_handedness=True, needs_scale=True,
        )  # fmt: skip

    def phases(data: HandDataset | None) -> Phases:
        return posenet_phases(recipe.pose2d, recipe.lifting, recipe.maps, recipe.jitter, experiment.seed)

    settings = _plain(recipe)
    settings.pop("segmentation")  # of another variant
    return Procedure(
        settings, phases, _view(native), needs_handedness=True, needs_scale=True, paper_track="T1" if native else None
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
        start_from=replace(experiment, method="posenet", variant="native" if native else "full"),
        transfer=lambda chen, posenet: chen.start_from(posenet),
        needs_handedness=True, needs_scale=True, paper_track="T1" if native else None,
    )  # fmt: skip


def _spurr(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).spurr, experiment.variant == "native"
    flags = SPURR_VARIANTS["plain" if native else experiment.variant]
    return Procedure(
        _plain(recipe), lambda _: spurr_phases(recipe.training, recipe.loss, experiment.seed), _view(native),
        needs_handedness=flags["hand_side"], needs_scale=flags["scale_invariant"], paper_track="T2" if native else None,
    )  # fmt: skip


def _yang(experiment: Experiment, profile: Profile) -> Procedure:
    recipe, native = _recipes(experiment, profile).yang, experiment.variant == "native"

    def phases(data: HandDataset | None) -> Phases:
        return yang_phases(recipe.labels, recipe.image, recipe.loss, experiment.seed, recipe.joint)

    return Procedure(
        _plain(recipe),
        phases,
        _view(native),
        needs_handedness=True,
        needs_scale=True,
        paper_track="T1" if native else None,
    )


def _song(experiment: Experiment, profile: Profile) -> Procedure:
    recipe = profile.recipes.song
    settings = _plain(recipe)
    if experiment.variant == "regressed":  # the same network before its optimisation
        settings.pop("refine")
        return Procedure(
            settings, lambda _: (), "hands", start_from=replace(experiment, variant="full"),
            transfer=lambda network, trained: network.load_state_dict(trained.state_dict()),
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
    """Return whether a dataset supports a variant: some need hand masks, which only the RHD layout has."""
    needs_masks = (method, variant) in (("posenet", "segmented"), ("chen", "full"), ("chen", "native"))
    method_of(method)  # ValueError for an unknown one
    return DATASETS[dataset].has_masks or not needs_masks


def _recipes(experiment: Experiment, profile: Profile) -> HandRecipes:
    return NATIVE if experiment.variant == "native" else profile.recipes


def _view(native: bool) -> str:
    """Return the view: the papers' own crops are about the annotated joints, the study's about the box."""
    return "keypoints" if native else "hands"


def _hand_masks(data: HandDataset | None) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to the pixels of any hand on its crops, (B, S, S) bool."""
    if data is None:
        return lambda batch: batch.image[:, 0] > 1  # a placeholder: only the schedules matter
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: hand_pixels(store.on_crops(batch, batch.image.shape[-1]))


def _part_labels(data: HandDataset) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to RHD's labels, one per bin of 4 px: (B, S/4, S/4) uint8."""
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: store.on_crops(batch, batch.image.shape[-1] // 4)


def _plain(config) -> dict:
    return dataclasses.asdict(config)
