"""Small pictures of what one module does to the maps of a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from msff.report.drawing import show_maps, style


def channel_bars(values: Tensor, what: str, data: str) -> Figure:
    """Draw one bar per channel of the first image. (B, C)."""
    heights = values[0].detach().numpy()
    with style():
        figure, ax = plt.subplots(figsize=(5.2, 1.7))
        ax.bar(np.arange(len(heights)), heights, width=0.8)
        spread = max(np.ptp(heights), 1e-6)
        if heights.min() > 0 and spread < heights.min():  # else the bars all look alike
            ax.set_ylim(heights.min() - spread / 4, heights.max() + spread / 8)
        ax.set(xlabel="channel", ylabel=what)
        ax.set_title(f"{what} ({data})", fontsize=9)
        ax.grid(axis="x", visible=False)
    return figure


def extreme_channels(w: Tensor, count: int = 3) -> list[int]:
    """Return the channels with the ``count`` largest and ``count`` smallest weights of the first image. (B, C)."""
    order = w[0].argsort(descending=True).tolist()
    return [*order[:count], *order[-count:]]


def maps_before_and_after(before: Tensor, after: Tensor, channels: Sequence[int], data: str) -> Figure:
    """Draw these channels of the first image above themselves after the module. Two (B, C, H, W)."""
    chosen = list(channels)
    maps = np.concatenate([before[0, chosen].detach().numpy(), after[0, chosen].detach().numpy()])
    titles = [f"channel {c}, {when}" for when in ("before", "after") for c in chosen]
    return show_maps(maps, titles=titles, columns=len(chosen), title=f"Above before, below after ({data})")


def chosen_maps(x: Tensor, channels: Sequence[int], title: str) -> Figure:
    """Draw these channels of the first image. (B, C, H, W)."""
    chosen = list(channels)
    return show_maps(x[0, chosen].detach().numpy(), titles=[f"channel {c}" for c in chosen], title=title)


def loss_curves(losses: Mapping[str, Sequence[float]], data: str) -> Figure:
    """Draw the loss over the steps, one line per name."""
    with style():
        figure, ax = plt.subplots(figsize=(3.6, 1.9))
        for (name, values), line in zip(losses.items(), ("-", "--", ":"), strict=False):
            ax.plot(range(len(values)), values, line, label=name)
        ax.set(xlabel="step", ylabel="training loss", ylim=(0, None))
        ax.set_title(f"Twenty steps on two crops ({data})", fontsize=9)
        if len(losses) > 1:
            ax.legend()
    return figure
