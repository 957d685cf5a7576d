"""The training phases of each method: the schedules of its procedure with their losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.data.datasets import DATASETS
from msff.data.masks import MaskStore, hand_pixels
from msff.settings.training import TrainingConfig
from msff.study.experiment import Experiment
from msff.study.procedures import procedure, recipes_of
from msff.study.profiles import Profile
from msff.study.recipes import YangRecipe
from msff.training.loop import Phase
from msff.training.objectives.auxiliary import root_objective, side_objective
from msff.training.objectives.chen import chen_objective
from msff.training.objectives.heatmap import HandObjective
from msff.training.objectives.posenet import lifting_objective, pose2d_objective, segmentation_objective
from msff.training.objectives.song_surrogate import song_objective
from msff.training.objectives.vae import spurr_objective, yang_objective


def phases(experiment: Experiment, profile: Profile, data: HandDataset | None = None) -> tuple[Phase, ...]:
    """Return the experiment's phases in order, for a training set; it is needed only by losses that read hand masks."""
    schedules = procedure(experiment, profile).schedules
    seed, recipes = experiment.seed, recipes_of(experiment, profile)
    if not schedules:
        return ()
    match experiment.method, experiment.variant:
        case "posenet", "segmented":
            objective = partial(segmentation_objective, masks=_hand_masks(data))
            return (Phase("segmentation", objective, schedules["segmentation"], ("segmentation",)),)
        case "posenet", _:  # the score maps, then the lifting on the annotated joints' maps of the same sigma
            pose2d = partial(pose2d_objective, config=recipes.posenet.maps, seed=seed)
            noise = {"jitter": recipes.posenet.jitter, "sigma_px": recipes.posenet.maps.sigma_px, "seed": seed}
            lifting = partial(lifting_objective, **noise)
            return (
                Phase("pose2d", pose2d, schedules["pose2d"], ("pose2d",)),
                Phase("lifting", lifting, schedules["lifting"], ("lifting",), pixels=False),
            )
        case "chen", variant:
            masks = None if variant == "plain" else _hand_masks(data)
            objective = partial(chen_objective, tonality=recipes.chen.tonality, masks=masks, seed=seed)
        case "spurr", _:
            objective = partial(spurr_objective, config=recipes.spurr.loss, seed=seed)
        case "yang", _:
            return _yang_phases(schedules, recipes.yang, seed)
        case "song", _:
            labels = _part_labels(data) if DATASETS[experiment.dataset].has_masks else None
            objective = partial(song_objective, config=recipes.song.loss, masks=labels)
        case "rootnet", _:
            objective = partial(root_objective, config=profile.root_depth.loss)
        case "sidenet", _:
            objective = side_objective
        case _:
            loss, _ = profile.target(experiment.variant)
            objective = HandObjective(profile.volume, loss)
    return (Phase("all", objective, schedules["all"]),)


def _yang_phases(schedules: Mapping[str, TrainingConfig], recipe: YangRecipe, seed: int) -> tuple[Phase, ...]:
    """Return two phases: the code of the labels, then the image encoder for that code; a ``joint`` last one for all."""
    of_labels = ("canonical_encoder", "view_encoder", "canonical_decoder", "view_decoder", "pose_decoder")
    learns = {"labels": of_labels, "image": ("image_encoder",), "joint": ()}
    objective = partial(yang_objective, config=recipe.loss, seed=seed)
    paths = {"labels": ("labels",), "image": ("image",), "joint": ("labels", "image")}
    return tuple(
        Phase(name, partial(objective, paths=paths[name]), schedule, learns[name], pixels=name != "labels")
        for name, schedule in schedules.items()
    )


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
