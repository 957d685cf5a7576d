"""Pictures and small tables of the pages that build the network module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from msff.report.display import Picture
from msff.report.drawing import show_maps, style


def named_maps(maps: Mapping[str, Tensor], what: str, data: str) -> Picture:
    """Draw the first sample of each map (B, C, H, W), averaged over its channels, at the size of the largest."""
    size = max((m.shape[-2:] for m in maps.values()), key=lambda shape: shape[0])
    means = [m[:1].detach().mean(1, keepdim=True) for m in maps.values()]
    drawn = torch.stack([torch.nn.functional.interpolate(m, size=size)[0, 0] for m in means])
    titles = [f"{name}, {m.shape[-2]} × {m.shape[-1]}" for name, m in maps.items()]
    figure = show_maps(drawn.cpu().numpy(), titles, f"{what} ({data})", columns=4)
    return Picture(figure, f"{what}, as pictures: {'; '.join(titles)}")


def crop_picture(images: Tensor, data: str) -> Picture:
    """Draw the first crop as the networks receive it. (B, 3, S, S), values 0 to 1."""
    with style():
        figure, ax = plt.subplots(figsize=(2.1, 2.3))
        ax.imshow(images[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy())
        ax.set_axis_off()
        ax.set_title(f"The crop, {images.shape[-2]} × {images.shape[-1]}\n({data})", fontsize=7)
    return Picture(figure, f"A crop with a hand, {images.shape[-2]} × {images.shape[-1]} px ({data})")


def channel_bars(values: Tensor, what: str, data: str) -> Picture:
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
    ends = f"{heights.min():.2g} to {heights.max():.2g}"
    return Picture(figure, f"{what} of each channel, a bar for each of {len(heights)}, from {ends}")


def maps_before_and_after(before: Tensor, after: Tensor, channels: Sequence[int], data: str) -> Picture:
    """Draw these channels of the first image above themselves after the module. Two (B, C, H, W)."""
    maps = torch.cat([before[0, channels], after[0, channels]]).detach().numpy()
    titles = [f"channel {c}, {when}" for when in ("before", "after") for c in channels]
    figure = show_maps(maps, titles, f"Above before, below after ({data})", columns=len(channels))
    return Picture(figure, f"Maps of the channels {', '.join(map(str, channels))}: above before, below after")


def chosen_maps(x: Tensor, channels: Sequence[int], title: str) -> Picture:
    """Draw these channels of the first image. (B, C, H, W)."""
    figure = show_maps(x[0, channels].detach().numpy(), [f"channel {c}" for c in channels], title)
    return Picture(figure, f"{title}: maps of the channels {', '.join(map(str, channels))}")


def loss_curves(losses: Mapping[str, Sequence[float]], data: str) -> Picture:
    """Draw the loss over the steps, one line per name."""
    with style():
        figure, ax = plt.subplots(figsize=(3.8, 2.1))
        for (name, values), line in zip(losses.items(), ("-", "--", ":"), strict=False):
            ax.plot(range(len(values)), values, line, label=name)
        ax.set(xlabel="step", ylabel="training loss", ylim=(0, None))
        ax.set_title(f"Twenty steps on two crops\n({data})", fontsize=9)
        if len(losses) > 1:
            ax.legend()
    ends = "; ".join(f"{name} from {values[0]:.2f} to {values[-1]:.2f}" for name, values in losses.items())
    return Picture(figure, f"Training loss over twenty steps: {ends}")
