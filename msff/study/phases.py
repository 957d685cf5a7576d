"""The training phases of each method: the schedules of its procedure with their losses."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.data.datasets import DATASETS
from msff.data.masks import MaskStore, hand_pixels
from msff.study.experiment import Experiment
from msff.study.procedures import procedure, recipes_of
from msff.study.profiles import Profile
from msff.training.loop import Phase
from msff.training.objectives.auxiliary import RootObjective, SideObjective
from msff.training.objectives.chen import chen_phases
from msff.training.objectives.heatmap import HandObjective
from msff.training.objectives.posenet import posenet_phases, segmentation_phase
from msff.training.objectives.song_surrogate import SongObjective
from msff.training.objectives.vae import spurr_phases, yang_phases


def phases(experiment: Experiment, profile: Profile, data: HandDataset | None = None) -> tuple[Phase, ...]:
    """Return the experiment's phases in order, for a training set; it is needed only by losses that read hand masks."""
    schedules = procedure(experiment, profile).schedules
    seed, recipes = experiment.seed, recipes_of(experiment, profile)
    if not schedules:
        return ()
    match experiment.method, experiment.variant:
        case "posenet", "segmented":
            return (segmentation_phase(schedules["segmentation"], _hand_masks(data)),)
        case "posenet", _:
            return posenet_phases(**schedules, maps=recipes.posenet.maps, jitter=recipes.posenet.jitter, seed=seed)
        case "chen", variant:
            masks = None if variant == "plain" else _hand_masks(data)
            return chen_phases(schedules["all"], masks, recipes.chen.tonality, seed)
        case "spurr", _:
            return spurr_phases(schedules["all"], recipes.spurr.loss, seed)
        case "yang", _:
            return yang_phases(**schedules, loss=recipes.yang.loss, seed=seed)
        case "song", _:
            labels = _part_labels(data) if DATASETS[experiment.dataset].has_masks else None
            objective = SongObjective(recipes.song.loss, labels)
        case "rootnet", _:
            objective = RootObjective(profile.root_depth.loss)
        case "sidenet", _:
            objective = SideObjective()
        case _:
            objective = HandObjective(profile.volume, profile.loss)
    return (Phase("all", objective, schedules["all"]),)


def start_from(experiment: Experiment, network: nn.Module, trained: nn.Module) -> None:
    """Copy the weights that the experiment starts from into its untrained network."""
    if experiment.method == "song":
        network.load_state_dict(trained.state_dict())
    else:
        network.start_from(trained)


def _hand_masks(data: HandDataset) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to the pixels of any hand on its crops, (B, S, S) bool."""
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: hand_pixels(store.on_crops(batch, batch.image.shape[-1]))


def _part_labels(data: HandDataset) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to RHD's labels, one per bin of 4 px: (B, S/4, S/4) uint8."""
    store = MaskStore(data.samples, data.device, data.cached)
    return lambda batch: store.on_crops(batch, batch.image.shape[-1] // 4)
