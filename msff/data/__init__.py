"""Readers of the official on-disk formats, crops and batches.

Readers write nothing into a dataset's folder but ``.msff-cache``, the index of a large InterHand2.6M split.
"""

from msff.data.batches import Batch, HandDataset
from msff.data.crops import AugmentConfig
from msff.data.datasets import DATASETS, DatasetSpec, load
from msff.data.interhand import InterHandConfig
from msff.data.sample import DataError, HandSample

__all__ = [
    "DATASETS", "AugmentConfig", "Batch", "DataError", "DatasetSpec", "HandDataset", "HandSample",
    "InterHandConfig", "load",
]  # fmt: skip
