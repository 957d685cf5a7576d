"""The quantisation floor: what a perfect network of 64-bin heat maps would score.

Its volume is the target of Eq. (15) itself; all that is lost is what the decoder cannot read from it. An expectation
reads any place within the volume, so that only joints outside it are lost. The oracle looks at the annotation and is
no method: no network with this output can be better, save by luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from msff.heatmaps import Decoder, VolumeSpec, bins_to_crop, decode, encode_bins, gaussian_volume

if TYPE_CHECKING:
    from msff.data.batches import Batch


@dataclass(frozen=True)
class HeatMapOracle:
    """Decodes the true volume of a batch; ``spec`` and ``decoder`` are those of the methods it is the floor of."""

    spec: VolumeSpec
    decoder: Decoder = "argmax"

    def __call__(self, batch: Batch) -> Tensor:
        """Decoded bins of every joint, those that are not valid included. -> (B, 42, 3) x, y, z."""
        return decode_truth(encode_bins(batch.joints_crop_px, batch.relative_depth_mm, self.spec), self)

    def decoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same as (B, 42, 2) crop px and (B, 42) mm behind the own wrist, ready for `lifting.lift`."""
        return bins_to_crop(self(batch), self.spec)


def decode_truth(bins: Tensor, oracle: HeatMapOracle) -> Tensor:
    """Real-valued true bins (B, J, 3) -> what the oracle's decoder reads from their volume, (B, J, 3).

    A joint outside the volume is moved onto its border first, the best that a volume can say of it.
    """
    inside = bins.clamp(0, oracle.spec.bins - 1)
    if oracle.decoder == "expectation":  # of some distribution over the bins it is any place between the outermost
        return inside
    if oracle.decoder == "argmax":  # needs no volume: the nearest voxel, the lower one of two as near
        return torch.ceil(inside - 0.5)
    volumes = (gaussian_volume(sample[None], oracle.spec) for sample in inside)  # one at a time: 44 MB each at 64 bins
    return torch.cat([bins.new_zeros(0, *bins.shape[1:]), *(decode(v, oracle.decoder) for v in volumes)])
