"""How the single-hand methods are trained: one recipe per method, chosen by a profile.

The defaults give every method the budget of MS-FF: as many images, its batch and its rate. ``NATIVE`` holds the
recipes of the papers themselves, for their own data and metric (track T0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from msff.settings.losses import (
    JitterConfig,
    Pose2DConfig,
    RefineConfig,
    SongLossConfig,
    SpurrLossConfig,
    TonalityConfig,
    YangLossConfig,
)
from msff.settings.native import CHEN_NATIVE, POSENET_NATIVE, SPURR_NATIVE, YANG_NATIVE
from msff.settings.training import TrainingConfig


@dataclass(frozen=True)
class PoseNetRecipe:
    """PoseNet's stages; ``segmentation`` is of the variant that finds its hand."""

    pose2d: TrainingConfig = field(default_factory=TrainingConfig)
    lifting: TrainingConfig = field(default_factory=TrainingConfig)
    segmentation: TrainingConfig = field(default_factory=TrainingConfig)
    maps: Pose2DConfig = field(default_factory=Pose2DConfig)
    jitter: JitterConfig = field(default_factory=JitterConfig)


@dataclass(frozen=True)
class ChenRecipe:
    """Chen's training from PoseNet's weights on; the augmentation is that of the variant "full"."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(optimizer="rmsprop", learning_rate=2.5e-5))
    tonality: TonalityConfig = field(default_factory=TonalityConfig)


@dataclass(frozen=True)
class SpurrRecipe:
    """Spurr's only phase."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: SpurrLossConfig = field(default_factory=SpurrLossConfig)


@dataclass(frozen=True)
class YangRecipe:
    """Yang's phases; ``joint`` None leaves the last one out."""

    labels: TrainingConfig = field(default_factory=lambda: TrainingConfig(batch_size=128))
    image: TrainingConfig = field(default_factory=TrainingConfig)
    joint: TrainingConfig | None = None
    loss: YangLossConfig = field(default_factory=YangLossConfig)


@dataclass(frozen=True)
class SongRecipe:
    """Song-S's only phase, and its optimisation at test time."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: SongLossConfig = field(default_factory=SongLossConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


@dataclass(frozen=True)
class HandRecipes:
    """A recipe for each single-hand method, and for SideNet, which predicts the handedness for them."""

    posenet: PoseNetRecipe = field(default_factory=PoseNetRecipe)
    chen: ChenRecipe = field(default_factory=ChenRecipe)
    spurr: SpurrRecipe = field(default_factory=SpurrRecipe)
    yang: YangRecipe = field(default_factory=YangRecipe)
    song: SongRecipe = field(default_factory=SongRecipe)
    sidenet: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def alike(cls, training: TrainingConfig, chen_rate: float, **changes) -> HandRecipes:
        """Return the same training for all, except for Chen's optimiser; ``changes`` replace whole recipes."""
        recipes = {
            "posenet": PoseNetRecipe(training, training, training),
            "chen": ChenRecipe(replace(training, optimizer="rmsprop", learning_rate=chen_rate)),
            "spurr": SpurrRecipe(training),
            "yang": YangRecipe(training, training),
            "song": SongRecipe(training),
            "sidenet": training,
        }
        return cls(**recipes | changes)


NATIVE = HandRecipes(
    posenet=PoseNetRecipe(**POSENET_NATIVE),
    chen=ChenRecipe(CHEN_NATIVE),
    spurr=SpurrRecipe(SPURR_NATIVE),
    yang=YangRecipe(**YANG_NATIVE),
)
"""The papers' own recipes, where they are known; Song-S is a surrogate and has none."""

INTERNET_NATIVE: Mapping[str, TrainingConfig] = {
    "rhd": TrainingConfig(epochs=50, decay_epochs=(45, 47)),
    "interhand": TrainingConfig(),
}
"""InterNet's by layout. Its code trains with 16 images on each of several GPUs; here 16 in all."""


def _more_images(training: TrainingConfig) -> TrainingConfig:
    if training.images_per_epoch is None:
        raise ValueError("images-x2 needs a profile that limits images_per_epoch; this one uses every image already")
    return replace(training, images_per_epoch=2 * training.images_per_epoch)


def _twice_as_long(training: TrainingConfig) -> TrainingConfig:
    decays = tuple(2 * epoch for epoch in training.decay_epochs)
    return replace(training, epochs=2 * training.epochs, decay_epochs=decays)


SCHEDULES: Mapping[str, Callable[[TrainingConfig], TrainingConfig]] = {
    # four times the batch at twice the rate: Adam's noise falls with the square root of the batch
    "batch-x4": lambda t: replace(t, batch_size=4 * t.batch_size, learning_rate=2 * t.learning_rate),
    "images-x2": _more_images, "epochs-x2": _twice_as_long,
    "scratch-x2": _twice_as_long,
}  # fmt: skip
"""Variants of the heat-map networks that change the profile's schedule."""
