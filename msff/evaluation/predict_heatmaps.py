"""Predictions of the heat-map networks: crops in, volumes decoded and lifted under every track.

The mean pose (baseline) and the oracle (lower bound) are predicted the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from msff.data.batches import Batch, HandDataset
from msff.evaluation.lifting import RootDepth, lift, track_depths
from msff.evaluation.predictions import Predictions
from msff.evaluation.tracks import TRACKS
from msff.heatmaps import bins_to_crop, decode, decode_depth
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.settings.networks import VolumeSpec
from msff.skeleton import JOINTS, ROOTS

_Decoded = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Crop px (B, 42, 2), depth from the wrist (B, 42) mm; if predicted, the probabilities of right and left (B, 2) and the
depth of the left minus the right wrist (B,) mm."""


def predict(
    model: nn.Module, dataset: HandDataset, spec: VolumeSpec, decoder: str, depth: RootDepth, *, batch_size: int = 32
) -> Predictions:
    """Return a heat-map network's predictions for every sample, in the dataset's order, under every track.

    ``depth`` estimates the absolute depth of the wrists for track T2, see `lifting`.
    """
    model.eval()

    def decoded(batch: Batch) -> _Decoded:
        output = model(batch.image)
        relative_root_mm = decode_depth(output.relative_root_bin, spec)
        pose = bins_to_crop(decode(output.volume, decoder), spec)
        return *pose, output.side_logits.float().sigmoid(), relative_root_mm

    return _predict(decoded, dataset, depth, batch_size)


def predict_mean_pose(mean: MeanPose, dataset: HandDataset, depth: RootDepth, batch_size: int = 64) -> Predictions:
    """Return the baseline that ignores the image: the training set's mean pose, both wrists at the box centre."""

    def wrists(batch: Batch) -> _Decoded:
        centre_px = torch.full((len(batch), JOINTS, 2), dataset.crop_size / 2, device=dataset.device)
        return centre_px, torch.zeros_like(centre_px[..., 0]), None, None

    def pose(wrists_mm: Tensor) -> Tensor:  # (B, 42, 3), all joints of a hand at its wrist
        return mean.predict(wrists_mm.cpu()[:, list(ROOTS.values())])

    return _predict(wrists, dataset, depth, batch_size, pose)


def predict_oracle(
    oracle: HeatMapOracle, dataset: HandDataset, depth: RootDepth, *, batch_size: int = 32
) -> Predictions:
    """Return the lower bound of any heat-map network: the annotation, decoded from its own volume and lifted.

    It bounds the pose only and predicts neither handedness nor relative wrist depth. Joints without annotation lie at
    the volume's border.
    """
    return _predict(lambda batch: (*oracle.decoded(batch), None, None), dataset, depth, batch_size)


@torch.no_grad()
def _predict(
    decoded: Callable[[Batch], _Decoded], dataset: HandDataset, depth: RootDepth, batch_size: int,
    pose: Callable[[Tensor], Tensor] = lambda joints_mm: joints_mm,
) -> Predictions:  # fmt: skip
    """Predict the batches and lift them on each track; ``pose`` changes the lifted joints, (B, 42, 3) mm."""
    inputs = TRACKS | {"T2": replace(TRACKS["T2"], root_depth=depth.source)}
    sample_id, parts, done = [sample.sample_id for sample in dataset.samples], [], 0
    for batch in dataset.in_order(batch_size):
        depths_mm, count = track_depths(batch.root_depth_mm, depth(batch)), len(batch)
        crop_px, relative_mm, sides, relative_root_mm = decoded(batch)
        joints = {t: pose(lift(crop_px, relative_mm, d, batch.affine, batch.intrinsics)) for t, d in depths_mm.items()}
        parts.append(
            Predictions(
                sample_id=sample_id[done : done + count],
                joints={track: _array(joints_mm) for track, joints_mm in joints.items()},
                side_probability=_array(sides, (count, 2)),
                relative_root_depth_mm=_array(relative_root_mm, (count,)),
                inputs=inputs,
                root_depth_mm={track: _array(d) for track, d in depths_mm.items()},
            )
        )
        done += count
    return Predictions.joined(parts)


def _array(values: Tensor | None, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return float32 on the host, NaN of that shape if the values are not predicted."""
    return np.full(shape, np.nan, np.float32) if values is None else values.float().cpu().numpy()
