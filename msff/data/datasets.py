"""The datasets by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msff.data.sample import DataError

_REALWORLD_REMEDY = (
    "put data/real_world_testset of github.com/3d-hand-shape/hand-graph-cnn there; `git clone --depth 1 "
    "--filter=blob:none --sparse` it and `git sparse-checkout set data/real_world_testset`"
)


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset and its name in the study."""

    name: str
    label: str  # for captions and tables; marks the stand-in
    is_standin: bool
    layout: Literal["rhd", "interhand", "realworld"]
    splits: dict[str, str]  # part of the study -> the layout's own split
    remedy: str  # how to get it

    @property
    def has_masks(self) -> bool:
        """True if the layout has masks of the hands' parts."""
        return self.layout == "rhd"


_RHD_SPLITS = {"train": "training", "test": "evaluation"}
_INTERHAND_SPLITS = {"train": "train", "val": "val", "test": "test"}

DATASETS: dict[str, DatasetSpec] = {
    "standin-rhd": DatasetSpec(
        "standin-rhd", "stand-in in RHD format", True, "rhd", _RHD_SPLITS,
        "render it with `msff data make standin-rhd`",
    ),
    "rhd": DatasetSpec(
        "rhd", "RHD", False, "rhd", _RHD_SPLITS, "unpack RHD_v1-1.zip there (Zimmermann & Brox 2017, research only)",
    ),
    "standin-interhand": DatasetSpec(
        "standin-interhand", "stand-in in InterHand2.6M format", True, "interhand", _INTERHAND_SPLITS,
        "render it with `msff data make standin-interhand`",
    ),
    "interhand26m": DatasetSpec(
        "interhand26m", "InterHand2.6M", False, "interhand", _INTERHAND_SPLITS,
        "unpack its annotations/ and images/ there (Moon et al. 2020, CC BY-NC 4.0)",
    ),
    "realworld": DatasetSpec(
        "realworld", "real-world test set", False, "realworld", {"test": "test"}, _REALWORLD_REMEDY,
    ),
}  # fmt: skip


def spec(name: str) -> DatasetSpec:
    """Return the dataset of that name; DataError with a list of the names if there is none."""
    if name not in DATASETS:
        raise DataError(f"unknown dataset {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name]
