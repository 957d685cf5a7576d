"""From a network to predictions: crops in, heat-map volumes decoded and lifted under every track."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from msff.data.loader import Batch, HandDataset
from msff.evaluation.lifting import BoxDepth, lift_tracks
from msff.evaluation.protocol import TRACKS, Predictions
from msff.heatmaps import VolumeSpec, bins_to_crop, decode, decode_relative_root
from msff.models.mean_pose import MeanPose
from msff.skeleton import JOINTS, ROOTS


@torch.no_grad()
def predict(
    model: nn.Module,
    dataset: HandDataset,
    spec: VolumeSpec,
    decoder: str,
    law: BoxDepth,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predictions of a heat-map network for every sample, in the dataset's order, under every track.

    ``law`` gives the depth of the wrists from the box on track T2, see `fit_box_depth`.
    """
    model.eval()
    joints = {track: [] for track in TRACKS}
    sides, roots = [], []
    seen = 0
    for batch in _in_order(dataset, batch_size):
        output = model(batch.image)
        crop_px, relative_mm = bins_to_crop(decode(output.volume, decoder), spec)
        _add(joints, crop_px, relative_mm, batch, law)
        nothing = torch.full((len(batch.index),), torch.nan)
        sides.append(
            nothing[:, None].expand(-1, 2) if output.side_logits is None else output.side_logits.sigmoid().cpu()
        )
        roots.append(
            nothing if output.relative_root_bin is None else decode_relative_root(output.relative_root_bin, spec).cpu()
        )
        seen += len(batch.index)
        if progress:
            progress(seen, len(dataset))
    return _collect(dataset, joints, sides, roots)


def predict_mean_pose(mean: MeanPose, dataset: HandDataset, law: BoxDepth, batch_size: int = 64) -> Predictions:
    """The floor that looks at no pixel: the training set's mean pose at the centre of the box."""
    joints = {track: [] for track in TRACKS}
    for batch in _in_order(dataset, batch_size):
        centre = torch.full((len(batch.index), JOINTS, 2), dataset.crop_size / 2, device=dataset.device)
        placed: dict[str, list[Tensor]] = {track: [] for track in TRACKS}
        _add(placed, centre, torch.zeros_like(centre[..., 0]), batch, law)  # both wrists at the centre of the box
        for track, (wrists,) in placed.items():
            joints[track].append(mean.predict(wrists[:, list(ROOTS.values())]))
    count = len(dataset)
    return _collect(dataset, joints, [torch.full((count, 2), torch.nan)], [torch.full((count,), torch.nan)])


def _add(joints: dict[str, list[Tensor]], crop_px: Tensor, relative_mm: Tensor, batch: Batch, law: BoxDepth) -> None:
    lifted = lift_tracks(crop_px, relative_mm, batch.affine, batch.intrinsics, batch.box, batch.root_depth_mm, law)
    for track, cam_mm in lifted.items():
        joints[track].append(cam_mm.cpu())


def _in_order(dataset: HandDataset, batch_size: int):
    return dataset.batches(batch_size, augment=None, shuffle=False, generator=torch.Generator())


def _collect(dataset, joints, sides, roots) -> Predictions:
    return Predictions(
        sample_id=[sample.sample_id for sample in dataset.samples],
        joints={track: torch.cat(parts).float().numpy() for track, parts in joints.items()},
        side_probability=torch.cat(sides).float().numpy(),
        relative_root_depth_mm=torch.cat(roots).float().numpy(),
    )
