"""The table "What the paper does not say" against the code."""

import dataclasses
import inspect
import re

import pytest

from msff.camera import square_box
from msff.heatmaps import VolumeSpec
from msff.models.backbone import BackboneConfig
from msff.models.deviations import STATED
from msff.models.msff.channel_conversion import ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegressionConfig
from msff.models.msff.local_optimization import LocalOptimizationConfig
from msff.models.msff.network import DEVIATIONS, MsffConfig
from msff.training.loop import TrainingConfig
from msff.training.objectives.heatmap import LossConfig

COMPLETE = (
    BackboneConfig, ChannelConversionConfig, GlobalRegressionConfig, LocalOptimizationConfig, MsffConfig, VolumeSpec,
    LossConfig,
)  # fmt: skip
CONFIGS = {config.__name__: config for config in (*COMPLETE, TrainingConfig)}


@pytest.mark.parametrize("row", DEVIATIONS, ids=lambda row: row.tag)
def test_a_row_names_an_existing_field_and_its_default(row):
    owner, _, name = row.field.partition(".")
    if owner not in CONFIGS:
        # no fields of these configs
        assert row.field in ("Profile.decoder", "TRACKS", "square_box.factor", "GlobalRegression")
        return
    default = getattr(CONFIGS[owner](), name)
    if isinstance(row.default, str) and not isinstance(default, str) or row.default is None:
        assert dataclasses.is_dataclass(default)  # a config of its own, described in words
    else:
        assert default == row.default
    assert row.paper_says and row.reason


@pytest.mark.parametrize("config", COMPLETE, ids=lambda config: config.__name__)
def test_every_field_is_either_stated_by_the_paper_or_a_row(config):
    names = {f"{config.__name__}.{f.name}" for f in dataclasses.fields(config)}
    rows = {row.field for row in DEVIATIONS}
    assert names - rows - STATED.keys() == set()
    assert names & rows & STATED.keys() == set()


def test_the_box_is_enlarged_as_the_table_says():
    (row,) = [row for row in DEVIATIONS if row.field == "square_box.factor"]
    assert inspect.signature(square_box).parameters["factor"].default == row.default


def test_tags_are_unique_and_in_order():
    assert [row.tag for row in DEVIATIONS] == [f"D{n}" for n in range(1, len(DEVIATIONS) + 1)]
    assert {field.partition(".")[0] for field in STATED} <= CONFIGS.keys()


@pytest.mark.parametrize("config", COMPLETE, ids=lambda config: config.__name__)
def test_tags_in_the_comments_are_those_of_the_table(config):
    tags = {row.field: row.tag for row in DEVIATIONS}
    for name, tag in re.findall(r"^    (\w+):.*deviation (D\d+)$", inspect.getsource(config), re.MULTILINE):
        assert tags[f"{config.__name__}.{name}"] == tag
