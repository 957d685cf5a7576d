"""Pictures and small tables of the pages that build the network module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from msff.models.msff.global_regression import GlobalRegression
from msff.report.drawing import METHOD_COLOURS, show_maps, style


def named_maps(maps: Mapping[str, Tensor], what: str, data: str) -> Figure:
    """Draw the first sample of each map (B, C, H, W), averaged over its channels, under its name and at its own size.

    The maps may have different sizes; each is enlarged without interpolation to the largest.
    """
    size = max((m.shape[-2:] for m in maps.values()), key=lambda shape: shape[0])
    means = [m[:1].detach().mean(1, keepdim=True) for m in maps.values()]
    drawn = torch.stack([torch.nn.functional.interpolate(m, size=size)[0, 0] for m in means])
    titles = [f"{name}, {m.shape[-2]} x {m.shape[-1]}" for name, m in maps.items()]
    return show_maps(drawn.cpu().numpy(), titles=titles, columns=4, title=f"{what} ({data})")


def loss_curve(losses: Sequence[float], data: str) -> Figure:
    """Draw the loss of each training step, from the first, in a small figure."""
    with style():
        figure, ax = plt.subplots(figsize=(3.2, 1.7))
        ax.plot(range(len(losses)), losses, color=METHOD_COLOURS["MS-FF"], marker=".", lw=1)
        ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
        ax.set_title(data, fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def lateral_costs(pyramid: GlobalRegression, maps: Sequence[Tensor]) -> pd.DataFrame:
    """Return channels in and out, size, parameters and multiply-adds per crop of Eq. (6), a row for each level.

    ``maps`` are the module's four inputs (B, C_k, H, W), fine to coarse. A 1x1 convolution multiplies each of its
    weights once per pixel.
    """
    rows = {}
    for k, (r, f) in enumerate(zip(pyramid.lateral, maps, strict=True), 1):
        weights = sum(p.numel() for p in r.parameters() if p.dim() == 4)
        rows[f"level {k}"] = {
            "channels in": f.shape[1],
            "channels out": r(f[:1]).shape[1],
            "size": f"{f.shape[-2]} x {f.shape[-1]}",
            "parameters": sum(p.numel() for p in r.parameters()),
            "million multiply-adds": weights * f.shape[-2] * f.shape[-1] / 1e6,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
