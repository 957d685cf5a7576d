"""Sixteen rendered hands in memory, one per image, and a plain loop that learns them by heart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from msff.data.batches import Batch
from msff.data.synthetic import synthetic_batch
from msff.standin import render


def standin_batch(count: int, size: int) -> Batch:
    """``count`` crops of ``size`` px with one hand each; all that single-hand methods read is true to the image."""
    rendered = render(torch.Generator().manual_seed(0), 3 * count, size)
    single = (rendered.side_present.sum(1) == 1).nonzero()[:count, 0]
    assert len(single) == count
    valid = rendered.side_present[single].repeat_interleave(21, 1)
    return replace(
        synthetic_batch(count, size, "cpu", torch.Generator()),
        image=rendered.images[single].float() / 255,
        joints_cam_mm=rendered.joints_cam_mm[single].float(),
        joints_crop_px=rendered.joints_px[single].float(),
        joint_valid=valid,
        joint_visible=valid,
        side_present=rendered.side_present[single].float(),
    )


def learn_by_heart(model, objective, batch: Batch, parameters: Iterable, rate: float, steps: int) -> None:
    """Adam on one batch; the rate falls to a fifth after 70 % of the steps and to a twentieth after 90 %."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 if step < 0.7 * steps else 0.2 if step < 0.9 * steps else 0.05)
        optimizer.zero_grad(set_to_none=True)
        objective(model, batch)["total"].backward()
        optimizer.step()
    model.eval()
