"""Every open choice of this study: what the paper leaves open about MS-FF and what other sources leave open.

The choices about a config field stand beside that field; the others here or beside the code that makes them.
"""

from __future__ import annotations

from msff.camera import CROP_FACTOR
from msff.choices import OpenChoice, choice_at, choices_of
from msff.evaluation.tracks import TRACKS
from msff.heatmaps import VolumeSpec
from msff.models.backbone import BackboneConfig
from msff.models.msff.channel_conversion import CHANNEL_CONVERSION_CHOICES, ChannelConversionConfig
from msff.models.msff.global_regression import GLOBAL_REGRESSION_CHOICES, GlobalRegressionConfig
from msff.models.msff.local_optimization import LOCAL_OPTIMIZATION_CHOICES, LocalOptimizationConfig
from msff.models.msff.network import MsffConfig
from msff.study.profiles import Profile
from msff.training.loop import TrainingConfig
from msff.training.objectives.heatmap import LossConfig

MSFF_CONFIGS = (
    BackboneConfig, ChannelConversionConfig, GlobalRegressionConfig, LocalOptimizationConfig, MsffConfig, VolumeSpec,
    LossConfig,
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
