"""Random batches, for benchmarks and tests that need the shapes of real data but not their content."""

from __future__ import annotations

import torch

from msff.data.batches import Batch


def synthetic_batch(count: int, size: int, device: str, generator: torch.Generator, hands: int = 2) -> Batch:
    """Return a batch of random pixels and joints with every tensor that a training step reads.

    With ``hands=2`` each crop shows both hands, with ``hands=1`` right and left hands alternate.
    """
    affine = torch.eye(3)[:2].expand(count, 2, 3)
    crop_px = torch.rand(count, 42, 2, generator=generator) * size
    depth = torch.rand(count, 42, generator=generator) * 200 - 100
    side, true1 = torch.ones(count, 2, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    if hands == 1:
        side = torch.arange(count)[:, None] % 2 == torch.arange(2)  # (B, 2)
    valid = side.repeat_interleave(21, 1)  # (B, 42)
    tensors = {
        "image": torch.rand(count, 3, size, size, generator=generator),
        "affine": affine,
        "intrinsics": torch.tensor([[500.0, 0, size / 2], [0, 500.0, size / 2], [0, 0, 1]]).expand(count, 3, 3),
        "joints_cam_mm": torch.cat([crop_px, depth[..., None] + 600], -1),
        "joints_crop_px": crop_px,
        "relative_depth_mm": depth,
        "joint_valid": valid,
        "joint_visible": valid,
        "side_present": side.float(),
        "side_valid": true1,
        "root_depth_mm": torch.full((count, 2), 600.0),
        "relative_root_depth_mm": torch.zeros(count),
        "relative_root_valid": side.all(1),
        "box": torch.tensor([0.0, 0.0, size, size]).expand(count, 4),
        "index": torch.arange(count),
    }
    return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})
