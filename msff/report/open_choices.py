"""Every open choice of this study: what the paper leaves open about MS-FF and what other sources leave open.

The choices about a config field stand beside that field; the others here or beside the code that makes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from msff.camera import CROP_FACTOR
from msff.choices import OpenChoice, choice_at, choices_of
from msff.evaluation.tracks import TRACKS
from msff.models.auxiliary.sidenet import SideNetConfig
from msff.models.baselines.chen import CHEN_CHOICES
from msff.models.baselines.posenet import POSENET_CHOICES, PoseNetConfig
from msff.models.baselines.posenet_layers import LayerConfig
from msff.models.baselines.song_surrogate import SONG_CHOICES, SongConfig
from msff.models.baselines.spurr import SPURR_CHOICES, SpurrConfig
from msff.models.baselines.yang import YANG_CHOICES, YangConfig
from msff.models.msff.channel_conversion import CHANNEL_CONVERSION_CHOICES, ChannelConversionConfig
from msff.models.msff.global_regression import GLOBAL_REGRESSION_CHOICES, GlobalRegressionConfig
from msff.models.msff.local_optimization import LOCAL_OPTIMIZATION_CHOICES, LocalOptimizationConfig
from msff.models.msff.network import MsffConfig
from msff.settings import losses
from msff.settings.networks import BackboneConfig, VolumeSpec
from msff.settings.training import TrainingConfig
from msff.study.profiles import Profile
from msff.training.objectives.chen import CHEN_TRAINING_CHOICES
from msff.training.objectives.posenet import POSENET_TRAINING_CHOICES
from msff.training.objectives.vae import SPURR_TRAINING_CHOICES, YANG_TRAINING_CHOICES

MSFF_CONFIGS = (
    BackboneConfig, ChannelConversionConfig, GlobalRegressionConfig, LocalOptimizationConfig, MsffConfig, VolumeSpec,
    losses.LossConfig,
)  # fmt: skip
"""Configs of which each field is either stated by the paper or an open choice."""

_EVALUATION = (
    choice_at(Profile, "decoder",
        "Nothing on how coordinates are read from the heat maps.",
        "InterNet's hard arg-max; profiles that train with the integral loss use its expectation.", "D34"),
    OpenChoice("TRACKS", ", ".join(TRACKS),
        "Neither the crop box nor the absolute root depth at test time.",
        "The box is the annotated one on both tracks. The depth is annotated on T1 and estimated on T2, by a network "
        "that all methods share or from the size of the box.", "D35"),
    OpenChoice("square_box.factor", CROP_FACTOR,
        "The hand image is resized to 256x256; how the hand is cut out is not said.",
        "InterNet's square about the annotated box, a quarter larger.", "D36"),
)  # fmt: skip

_ALL = (
    *choices_of(*(config() for config in (*MSFF_CONFIGS, TrainingConfig))),
    *CHANNEL_CONVERSION_CHOICES,
    *GLOBAL_REGRESSION_CHOICES,
    *LOCAL_OPTIMIZATION_CHOICES,
    *_EVALUATION,
)
MSFF_CHOICES: tuple[OpenChoice, ...] = tuple(sorted(_ALL, key=lambda choice: int(choice.tag[1:])))
"""What the paper leaves open about MS-FF, in the order of the tags D1, D2, ..."""

COMPARED_CHOICES: Mapping[str, tuple[OpenChoice, ...]] = {
    "posenet": (
        *choices_of(LayerConfig(), PoseNetConfig(), losses.Pose2DConfig(), SideNetConfig()),
        *POSENET_CHOICES,
        *POSENET_TRAINING_CHOICES,
    ),
    "chen": (*CHEN_CHOICES, *choices_of(losses.TonalityConfig()), *CHEN_TRAINING_CHOICES),
    "spurr": (*choices_of(SpurrConfig(), losses.SpurrLossConfig()), *SPURR_CHOICES, *SPURR_TRAINING_CHOICES),
    "yang": (*choices_of(YangConfig(), losses.YangLossConfig()), *YANG_CHOICES, *YANG_TRAINING_CHOICES),
    "song": (*SONG_CHOICES, *choices_of(SongConfig(), losses.SongLossConfig(), losses.RefineConfig())),
}
"""What this study had to decide about each compared method. InterNet's code settles all but its schedule."""
