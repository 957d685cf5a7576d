"""Readers of the official on-disk formats, crops and batches. Readers never write into a dataset's folder."""

from msff.data.crops import AugmentConfig
from msff.data.datasets import DATASETS, DatasetSpec, load
from msff.data.loader import Batch, HandDataset
from msff.data.sample import DataError, HandSample

__all__ = [
    "DATASETS", "AugmentConfig", "Batch", "DataError", "DatasetSpec", "HandDataset", "HandSample", "load",
]  # fmt: skip
