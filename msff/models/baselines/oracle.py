"""The quantisation bound: the error of a perfect heat-map network with these bins and this decoder.

Its volume is the target of Eq. (15) itself; the only loss is that of bins and decoder. An expectation can represent
any position within the volume, so that only joints outside it are lost. The oracle uses the annotation and is no
method: its error is a lower bound for networks with this output, except by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.data.batches import Batch
from msff.heatmaps import Decoder, bins_to_crop, decode, encode_bins, gaussian_volume
from msff.settings.networks import VolumeSpec


@dataclass(frozen=True)
class HeatMapOracle:
    """Decodes the true volume of a batch, with the ``spec`` and ``decoder`` of the methods that it bounds."""

    spec: VolumeSpec
    decoder: Decoder = "argmax"

    def __call__(self, batch: Batch) -> Tensor:
        """Return the decoded bins of every joint, valid or not. -> (B, 42, 3) x, y, z."""
        return self.decode(encode_bins(batch.joints_crop_px, batch.relative_depth_mm, self.spec))

    def decoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the same as (B, 42, 2) crop px and (B, 42) mm behind the own wrist, ready for `lifting.lift`."""
        return bins_to_crop(self(batch), self.spec)

    def decode(self, bins: Tensor) -> Tensor:
        """Encode real-valued true bins (B, J, 3) in a volume and decode it, -> (B, J, 3).

        A joint outside the volume is moved onto its border first, the nearest position that a volume can represent.
        """
        inside = bins.clamp(0, self.spec.bins - 1)
        if self.decoder == "expectation":  # any position between the outermost bins
            return inside
        if self.decoder == "argmax":  # needs no volume: the nearest voxel, at a tie the lower one
            return torch.ceil(inside - 0.5)
        volumes = (gaussian_volume(sample[None], self.spec) for sample in inside)  # one by one: 44 MB each at 64 bins
        return torch.cat([bins.new_zeros(0, *bins.shape[1:]), *(decode(v, self.decoder) for v in volumes)])
