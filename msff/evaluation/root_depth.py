"""The wrists' absolute depth from a network, for track T2, and how good an estimate of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from msff.data.batches import Batch, HandDataset
from msff.evaluation.lifting import RootDepth
from msff.models.auxiliary.rootnet import RootNet, box_k_mm, wrist_depth_mm
from msff.skeleton import ROOTS


@dataclass(frozen=True, eq=False)
class NetworkDepth:
    """gamma * k of a trained RootNet: a ``RootDepth`` that looks at the crop as well as at its box."""

    model: RootNet
    source: ClassVar[str] = "network"

    def __post_init__(self):
        if self.model.config.roots != len(ROOTS):
            raise ValueError(f"a network for {len(ROOTS)} wrists is needed, this one has {self.model.config.roots}")

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Depth of the right and left wrist, each from its own gamma. -> (B, 2) mm, camera frame."""
        gamma = self.model.eval()(batch.image).gamma  # (B, 2)
        return wrist_depth_mm(gamma, box_k_mm(batch.box, batch.intrinsics))


def relative_depth_error(depth: RootDepth, dataset: HandDataset, batch_size: int = 64) -> Tensor:
    """Return |estimate - truth| / truth of every valid wrist of the dataset, in its order. -> (M,)"""
    parts = []
    for batch in dataset.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator()):
        valid = batch.joint_valid[:, list(ROOTS.values())]  # (B, 2)
        true_mm = batch.root_depth_mm[valid]
        parts.append(((depth(batch)[valid] - true_mm).abs() / true_mm).cpu())
    return torch.cat(parts)


def depth_accuracy(depth: RootDepth, dataset: HandDataset) -> dict[str, float]:
    """Return the median and mean absolute relative error of the wrists' depth over all valid wrists, in per cent.

    ValueError if no wrist is annotated.
    """
    error = 100 * relative_depth_error(depth, dataset).double()  # (M,)
    if not len(error):
        raise ValueError("no valid wrist to measure the depth on")
    return {"median_percent": float(error.quantile(0.5)), "mean_percent": float(error.mean()), "wrists": len(error)}
