"""Predictions of the heat-map networks: crops in, volumes decoded and lifted under every track.

The mean pose (baseline) and the oracle (lower bound) are predicted the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.evaluation.lifting import RootDepth, lift_tracks, track_depths
from msff.evaluation.predictions import Predictions
from msff.evaluation.tracks import TRACKS
from msff.heatmaps import bins_to_crop, decode, decode_relative_root
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.settings.networks import VolumeSpec
from msff.skeleton import JOINTS, ROOTS


@dataclass(frozen=True, eq=False)
class _Estimate:
    """Predictions for one batch."""

    joints_mm: dict[str, Tensor]  # track -> (B, 42, 3) camera frame
    side_probability: Tensor | None = None  # (B, 2) right, left
    relative_root_depth_mm: Tensor | None = None  # (B,) left minus right wrist


_Estimator = Callable[[Batch, dict[str, Tensor]], _Estimate]  # a batch and track -> (B, 2) mm depth of the wrists


def predict(
    model: nn.Module,
    dataset: HandDataset,
    spec: VolumeSpec,
    decoder: str,
    depth: RootDepth,
    *,
    batch_size: int = 32,
) -> Predictions:
    """Return a heat-map network's predictions for every sample, in the dataset's order, under every track.

    ``depth`` estimates the absolute depth of the wrists for track T2, see `lifting`.
    """
    model.eval()

    def estimate(batch: Batch, depths_mm: dict[str, Tensor]) -> _Estimate:
        output = model(batch.image)
        crop_px, relative_mm = bins_to_crop(decode(output.volume, decoder), spec)
        return _Estimate(
            lift_tracks(crop_px, relative_mm, batch.affine, batch.intrinsics, depths_mm),
            output.side_logits.float().sigmoid(),
            decode_relative_root(output.relative_root_bin, spec),
        )

    return _predict(estimate, dataset, depth, batch_size)


def predict_mean_pose(mean: MeanPose, dataset: HandDataset, depth: RootDepth, batch_size: int = 64) -> Predictions:
    """Return the baseline that ignores the image: the training set's mean pose, both wrists at the box centre."""

    def estimate(batch: Batch, depths_mm: dict[str, Tensor]) -> _Estimate:
        centre_px = torch.full((len(batch.index), JOINTS, 2), dataset.crop_size / 2, device=dataset.device)
        lifted = lift_tracks(
            centre_px, torch.zeros_like(centre_px[..., 0]), batch.affine, batch.intrinsics, depths_mm
        )  # track -> (B, 42, 3), all joints of a hand at its wrist
        return _Estimate({track: mean.predict(j.cpu()[:, list(ROOTS.values())]) for track, j in lifted.items()})

    return _predict(estimate, dataset, depth, batch_size)


def predict_oracle(
    oracle: HeatMapOracle, dataset: HandDataset, depth: RootDepth, *, batch_size: int = 32
) -> Predictions:
    """Return the lower bound of any heat-map network: the annotation, decoded from its own volume and lifted.

    It bounds the pose only and predicts neither handedness nor relative wrist depth. Joints without annotation lie at
    the volume's border.
    """

    def estimate(batch: Batch, depths_mm: dict[str, Tensor]) -> _Estimate:
        return _Estimate(lift_tracks(*oracle.decoded(batch), batch.affine, batch.intrinsics, depths_mm))

    return _predict(estimate, dataset, depth, batch_size)


@torch.no_grad()
def _predict(estimate: _Estimator, dataset: HandDataset, depth: RootDepth, batch_size: int) -> Predictions:
    inputs = TRACKS | {"T2": replace(TRACKS["T2"], root_depth=depth.source)}
    sample_id, parts, done = [sample.sample_id for sample in dataset.samples], [], 0
    for batch in dataset.in_order(batch_size):
        depths_mm, count = track_depths(batch.root_depth_mm, depth(batch)), len(batch.index)
        estimated = estimate(batch, depths_mm)
        parts.append(
            Predictions(
                sample_id=sample_id[done : done + count],
                joints={track: _array(joints) for track, joints in estimated.joints_mm.items()},
                side_probability=_array(estimated.side_probability, (count, 2)),
                relative_root_depth_mm=_array(estimated.relative_root_depth_mm, (count,)),
                inputs=inputs,
                root_depth_mm={track: _array(d) for track, d in depths_mm.items()},
            )
        )
        done += count
    return Predictions.joined(parts)


def _array(values: Tensor | None, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return float32 on the host, NaN of that shape if the values are not predicted."""
    return np.full(shape, np.nan, np.float32) if values is None else values.float().cpu().numpy()
