"""The tables of choices about other papers' methods: they name fields that exist, with their defaults."""

from dataclasses import fields

import pytest

from msff.evaluation.song_refinement import RefineConfig
from msff.models.auxiliary.sidenet import SideNetConfig
from msff.models.backbone import BackboneConfig
from msff.models.baselines.chen import CHEN_CHOICES
from msff.models.baselines.posenet import POSENET_CHOICES, PoseNetConfig
from msff.models.baselines.posenet_layers import LayerConfig
from msff.models.baselines.posenet_segmentation import MaskBoxConfig
from msff.models.baselines.song_surrogate import SONG_CHOICES, SongConfig
from msff.models.baselines.spurr import SPURR_CHOICES, SpurrConfig
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import YANG_CHOICES, YangConfig
from msff.training.objectives.chen import CHEN_NATIVE
from msff.training.objectives.posenet import POSENET_NATIVE, Pose2DConfig
from msff.training.objectives.song_surrogate import SongLossConfig
from msff.training.objectives.tonality import TonalityConfig
from msff.training.objectives.vae import SPURR_NATIVE, VAE_AUGMENT, YANG_NATIVE, SpurrLossConfig, YangLossConfig

TABLES = {
    "posenet": (POSENET_CHOICES, (PoseNetConfig(), LayerConfig(), Pose2DConfig(), MaskBoxConfig(), SideNetConfig())),
    "chen": (CHEN_CHOICES, (TonalityConfig(),)),
    "spurr": (SPURR_CHOICES, (SpurrConfig(), SpurrLossConfig(), BackboneConfig())),
    "yang": (YANG_CHOICES, (YangConfig(), YangLossConfig(), VaeSize())),
    "song": (SONG_CHOICES, (SongConfig(), SongLossConfig(), RefineConfig())),
}
TRAINING = {
    "posenet": POSENET_NATIVE["pose2d"],
    "chen": CHEN_NATIVE,
    "spurr": SPURR_NATIVE,
    "yang": YANG_NATIVE["image"],
}
COMPLETE = {
    "chen": (TonalityConfig,),
    "spurr": (SpurrLossConfig,),
    "yang": (YangConfig, YangLossConfig),
    "song": (SongConfig, SongLossConfig, RefineConfig),
}
"""Nothing about these configs is known from a public source: their tables hold every field."""


def shown(value):
    """A value as the tables name it."""
    if isinstance(value, BackboneConfig):
        return {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}[value.name]
    return "VAE_AUGMENT" if value == VAE_AUGMENT else value


@pytest.mark.parametrize("method", TABLES)
def test_a_field_has_the_value_that_is_its_default(method):
    rows, configs = TABLES[method]
    defaults = {type(config).__name__: config for config in configs} | {"TrainingConfig": TRAINING.get(method)}
    checked = set()
    for row in rows:
        owner, _, name = row.field.partition(".")
        if owner.endswith(("Config", "Size")):
            checked.add(owner)
            assert shown(getattr(defaults[owner], name)) == row.value, row.field
    assert checked == {name for name, config in defaults.items() if config is not None}


@pytest.mark.parametrize("method", TABLES)
def test_a_row_stands_once_and_gives_its_reason(method):
    rows, _ = TABLES[method]
    names = [row.field for row in rows]
    assert len(set(names)) == len(names)
    assert all(row.reason.endswith(".") and row.confidence for row in rows)


@pytest.mark.parametrize("method", COMPLETE)
def test_what_no_source_gives_is_listed_in_full(method):
    listed = {row.field for row in TABLES[method][0]}
    expected = {f"{config.__name__}.{f.name}" for config in COMPLETE[method] for f in fields(config)}
    assert expected - listed <= {"YangConfig.size"}


def test_the_trunk_of_the_autoencoders_starts_at_random():
    assert SpurrConfig().size.backbone.pretrained is YangConfig().size.backbone.pretrained is False
