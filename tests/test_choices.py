"""Bounds of config fields: the check itself, and that every config refuses values that make no sense."""

from dataclasses import dataclass

import pytest

from msff.choices import require
from msff.models.auxiliary.rootnet import RootNetConfig
from msff.models.baselines.internet import InterNetConfig
from msff.models.baselines.posenet import PoseNetConfig
from msff.models.baselines.posenet_layers import LayerConfig
from msff.models.baselines.song_surrogate import SongConfig
from msff.models.baselines.spurr import SpurrConfig
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import YangConfig
from msff.models.msff.channel_conversion import ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegressionConfig
from msff.models.msff.local_optimization import LocalOptimizationConfig
from msff.models.msff.network import MsffConfig
from msff.settings.losses import (
    JitterConfig,
    LossConfig,
    Pose2DConfig,
    RefineConfig,
    RootLossConfig,
    SongLossConfig,
    SpurrLossConfig,
    TonalityConfig,
    YangLossConfig,
)
from msff.settings.networks import VolumeSpec
from msff.settings.training import AugmentConfig, TrainingConfig

WRONG = {
    AugmentConfig: {
        "flip_probability": 1.5, "rotation_probability": -0.1, "scale": 1.0, "shift": -1, "rotation_deg": -3,
    },
    VolumeSpec: {"sigma_bin": 0.0, "bins": 0},
    ChannelConversionConfig: {"form": "none", "reduction": 0},
    GlobalRegressionConfig: {"relu": "top", "channels": 0},
    LocalOptimizationConfig: {"residual": "none"},
    MsffConfig: {"bins": 1, "head_hidden": 0, "volume_std": 0.0},
    InterNetConfig: {"bins": 1, "deconv_channels": 0},
    RootNetConfig: {"roots": 0, "deconv_channels": 0},
    PoseNetConfig: {"crop_size": 40, "stages": 0, "prior_dropout": 1.0, "viewpoint_dropout": -0.1},
    LayerConfig: {"width": 0.0, "gain": 0.0, "slope": 1.0},
    JitterConfig: {"joint_px": -1.0, "zoom": (2.0, 1.0)},
    SpurrConfig: {"latent": 0},
    VaeSize: {"hidden": 0, "decoder_layers": 0},
    YangConfig: {"view_latent": 0},
    SongConfig: {"deconv_channels": 0, "hidden": 0, "gamma_start": 0.0},
    TrainingConfig: {"batch_size": 0, "epochs": 0, "learning_rate": 0.0, "optimizer": "lamb"},
    LossConfig: {"volume": "l1", "side_weight": -1.0},
    Pose2DConfig: {"sigma_px": 0.0, "joint_noise_px": -1.0},
    RootLossConfig: {"xy_weight": -1.0, "depth_unit_mm": 0.0},
    SongLossConfig: {"heat_map_weight": -1.0, "depth_weight": -0.1, "sigma_bin": 0.0},
    SpurrLossConfig: {"beta": -1.0},
    YangLossConfig: {"view_weight": -1.0},
    TonalityConfig: {"share": 1.5, "feather_px": 0.0, "gain_limit": 0.5, "strength": (1.0, 0.5)},
    RefineConfig: {
        "pull": -1.0, "huber_box": 0.0, "matching": "all", "flexion_deg": (5.0, -5.0), "samples_per_bone": 0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    size: float = 1.0
    kind: str = "a"


@pytest.mark.parametrize(
    "bounds, inside, outside, expected",
    [
        ({"at_least": 1}, 1, 0.9, "at least 1"),
        ({"above": 0}, 0.1, 0, "above 0"),
        ({"at_most": 1}, 1, 1.1, "at most 1"),
        ({"at_least": 0, "below": 1}, 0, 1, "below 1"),
        ({"at_least": 0}, 5, float("nan"), "at least 0"),
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_config_and_value(bounds, inside, outside, expected):
    require(Config(inside), "size", **bounds)
    with pytest.raises(ValueError, match=rf"^Config\.size must be {expected}, got {outside}$"):
        require(Config(outside), "size", **bounds)


def test_an_unknown_choice_is_named_with_the_known_ones():
    require(Config(), "kind", one_of={"a": 1})
    with pytest.raises(ValueError, match=r"^Config\.kind must be one of a, b, got 'c'$"):
        require(Config(kind="c"), "kind", one_of=("a", "b"))


def test_every_named_field_is_checked():
    with pytest.raises(TypeError):
        require(Config(), "size", "kind", at_least=1)


@pytest.mark.parametrize("config, name", [(config, name) for config, fields in WRONG.items() for name in fields])
def test_every_config_names_the_field_that_makes_no_sense(config, name):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        config(**{name: WRONG[config][name]})
