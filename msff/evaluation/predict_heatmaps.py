"""From a network to predictions: crops in, heat-map volumes decoded and lifted under every track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from msff.data.batches import HandDataset
from msff.evaluation.lifting import RootDepth, lift_tracks, track_depths
from msff.evaluation.predictions import Predictions
from msff.evaluation.tracks import TRACKS
from msff.heatmaps import VolumeSpec, bins_to_crop, decode, decode_relative_root
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.skeleton import JOINTS, ROOTS


@torch.no_grad()
def predict(
    model: nn.Module,
    dataset: HandDataset,
    spec: VolumeSpec,
    decoder: str,
    depth: RootDepth,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predictions of a heat-map network for every sample, in the dataset's order, under every track.

    ``depth`` estimates the absolute depth of the wrists for track T2, see ``fit_box_depth``.
    """
    model.eval()
    joints, depths = _per_track(), _per_track()
    sides, roots = [], []
    seen = 0
    for batch in _in_order(dataset, batch_size):
        output = model(batch.image)
        crop_px, relative_mm = bins_to_crop(decode(output.volume, decoder), spec)
        placed = track_depths(batch.root_depth_mm, depth(batch))
        _add(joints, lift_tracks(crop_px, relative_mm, batch.affine, batch.intrinsics, placed))
        _add(depths, placed)
        nothing = torch.full((len(batch.index),), torch.nan)
        sides.append(
            nothing[:, None].expand(-1, 2) if output.side_logits is None else output.side_logits.float().sigmoid().cpu()
        )
        roots.append(
            nothing if output.relative_root_bin is None else decode_relative_root(output.relative_root_bin, spec).cpu()
        )
        seen += len(batch.index)
        if progress:
            progress(seen, len(dataset))
    return _collect(dataset, depth, joints, depths, sides, roots)


def predict_mean_pose(mean: MeanPose, dataset: HandDataset, depth: RootDepth, batch_size: int = 64) -> Predictions:
    """The floor that looks at no pixel: the training set's mean pose at the centre of the box."""
    joints, depths = _per_track(), _per_track()
    for batch in _in_order(dataset, batch_size):
        centre = torch.full((len(batch.index), JOINTS, 2), dataset.crop_size / 2, device=dataset.device)
        flat, placed = torch.zeros_like(centre[..., 0]), track_depths(batch.root_depth_mm, depth(batch))
        # Both wrists at the centre of the box.
        wrists = lift_tracks(centre, flat, batch.affine, batch.intrinsics, placed)
        _add(joints, {track: mean.predict(w.cpu()[:, list(ROOTS.values())]) for track, w in wrists.items()})
        _add(depths, placed)
    return _collect(dataset, depth, joints, depths, *_no_heads(len(dataset)))


@torch.no_grad()
def predict_oracle(
    oracle: HeatMapOracle, dataset: HandDataset, depth: RootDepth, *, batch_size: int = 32
) -> Predictions:
    """The floor below which no heat map can go: the annotation, read from its own volume and lifted like a network's.

    A floor of the pose alone: it names no side and no relative depth of the wrists. Joints that are not annotated lie
    at the volume's border.
    """
    joints, depths = _per_track(), _per_track()
    for batch in _in_order(dataset, batch_size):
        placed = track_depths(batch.root_depth_mm, depth(batch))
        _add(joints, lift_tracks(*oracle.decoded(batch), batch.affine, batch.intrinsics, placed))
        _add(depths, placed)
    return _collect(dataset, depth, joints, depths, *_no_heads(len(dataset)))


def _no_heads(count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Side probabilities and relative wrist depths of what predicts neither."""
    return [torch.full((count, 2), torch.nan)], [torch.full((count,), torch.nan)]


def _per_track() -> dict[str, list[Tensor]]:
    return {track: [] for track in TRACKS}


def _add(parts: dict[str, list[Tensor]], values: dict[str, Tensor]) -> None:
    for track, value in values.items():
        parts[track].append(value.cpu())


def _in_order(dataset: HandDataset, batch_size: int):
    return dataset.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator())


def _collect(dataset, depth, joints, depths, sides, roots) -> Predictions:
    given = {name: track.given for name, track in TRACKS.items()}
    given["T2"] = replace(given["T2"], root_depth=depth.source)
    return Predictions(
        sample_id=[sample.sample_id for sample in dataset.samples],
        joints={track: torch.cat(parts).float().numpy() for track, parts in joints.items()},
        side_probability=torch.cat(sides).float().numpy(),
        relative_root_depth_mm=torch.cat(roots).float().numpy(),
        given=given,
        root_depth_mm={track: torch.cat(parts).float().numpy() for track, parts in depths.items()},
    )
