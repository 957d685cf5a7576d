"""Pictures and small tables of the pages that build the network module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from IPython.display import HTML
from matplotlib import pyplot as plt
from torch import Tensor

from msff.models.output import HandOutput
from msff.report.diagrams import Arrow, Box, diagram, shape_text
from msff.report.display import Picture
from msff.report.drawing import show_maps, style


def named_maps(maps: Mapping[str, Tensor], what: str, data: str) -> Picture:
    """Draw the first sample of each map (B, C, H, W), averaged over its channels, under its name and at its own size.

    The maps may have different sizes; each is enlarged without interpolation to the largest.
    """
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


def extreme_channels(w: Tensor) -> list[int]:
    """Return the channels with the three largest and the three smallest weights of the first image. (B, C)."""
    order = w[0].argsort(descending=True).tolist()
    return [*order[:3], *order[-3:]]


def maps_before_and_after(before: Tensor, after: Tensor, channels: Sequence[int], data: str) -> Picture:
    """Draw these channels of the first image above themselves after the module. Two (B, C, H, W)."""
    chosen = list(channels)
    maps = np.concatenate([before[0, chosen].detach().numpy(), after[0, chosen].detach().numpy()])
    titles = [f"channel {c}, {when}" for when in ("before", "after") for c in chosen]
    figure = show_maps(maps, titles, f"Above before, below after ({data})", columns=len(chosen))
    return Picture(figure, f"Maps of the channels {', '.join(map(str, chosen))}: above before, below after")


def chosen_maps(x: Tensor, channels: Sequence[int], title: str) -> Picture:
    """Draw these channels of the first image. (B, C, H, W)."""
    chosen = list(channels)
    figure = show_maps(x[0, chosen].detach().numpy(), [f"channel {c}" for c in chosen], title)
    return Picture(figure, f"{title}: maps of the channels {', '.join(map(str, chosen))}")


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


def backbone_diagram(
    image: Tensor, f: Sequence[Tensor], v: Sequence[Tensor], o: Sequence[Tensor], volume: Tensor
) -> HTML:
    """Draw the network without modules with the shapes of a pass: trunk F_k, one width V_k, one size O_k, volume."""
    boxes, arrows = [Box("I", "image", shape_text(image), 0, 0)], [Arrow("I", "F1")]
    last = len(f)
    for k, (f_k, v_k, o_k) in enumerate(zip(f, v, o, strict=True), 1):
        columns = ((f"F{k}", "trunk", f_k), (f"V{k}", "1x1, ReLU", v_k), (f"O{k}", "enlarged", o_k))
        boxes += [Box(symbol, name, shape_text(x), c, k) for c, (symbol, name, x) in enumerate(columns)]
        arrows += [Arrow(f"F{k}", f"V{k}"), Arrow(f"V{k}", f"O{k}")]
        if k < last:
            arrows.append(Arrow(f"F{k}", f"F{k + 1}"))
    joined = shape_text(torch.cat(list(o), 1))
    boxes += [
        Box("concat", f"of O1 to O{last}", joined, 2, last + 1),
        Box("H", "volume", shape_text(volume), 1, last + 1),
    ]
    arrows += [Arrow(f"O{last}", "concat"), Arrow("concat", "H")]
    words = (
        "The trunk makes four maps of the image, each from the one before; 1x1 convolutions bring them to one width, "
        "upsampling to one size; all four are concatenated and become a volume per joint."
    )
    return diagram("The network without modules", words, boxes, arrows)


def pyramid_diagram(f: Sequence[Tensor], g: Sequence[Tensor]) -> HTML:
    """Draw global regression with the shapes of its inputs F'_k and outputs G_k (B, C, H, W), fine to coarse."""
    boxes, arrows = [], []
    for row, k in enumerate(range(len(f), 0, -1)):
        columns = ((f"F'{k}", "converted", f[k - 1]), (f"V{k}", "1x1, ReLU", g[k - 1]), (f"G{k}", "sum", g[k - 1]))
        boxes += [Box(symbol, name, shape_text(x), c, row) for c, (symbol, name, x) in enumerate(columns)]
        arrows += [Arrow(f"F'{k}", f"V{k}"), Arrow(f"V{k}", f"G{k}")]
        if k < len(f):
            arrows.append(Arrow(f"G{k + 1}", f"G{k}", f"U{k}"))
    words = "Each map is reduced to one width; the coarser sum U, upsampled twice, is added from the top down."
    return diagram("Global regression", words, boxes, arrows)


def network_diagram(image: Tensor, features: Mapping[str, Sequence[Tensor]], output: HandOutput) -> HTML:
    """Draw the whole network: the image (B, 3, S, S), the finest map of every stage, and the output."""
    finest = {name: shape_text(maps[0]) for name, maps in features.items()}
    boxes = [
        Box("I", "image", shape_text(image), 0, 0),
        Box("F", "backbone", finest["backbone"], 1, 0),
        Box("F′", "conversion", finest["channel_conversion"], 2, 0),
        Box("h, d", "hands, depth", "2 and 1", 1, 1),
        Box("G", "regression", finest["global_regression"], 2, 2),
        Box("O", "optimisation", finest["local_optimization"], 1, 2),
        Box("H", "volume", " × ".join(map(str, output.volume.shape[1:])), 0, 2),
    ]
    ends = (("I", "F"), ("F", "F′"), ("F′", "G"), ("G", "O"), ("O", "H"))
    arrows = [*(Arrow(*pair) for pair in ends), Arrow("F′", "h, d", first="down")]
    words = "Image, backbone, channel conversion, global regression, local optimisation, volume; two heads beside."
    return diagram("MS-FF", words, boxes, arrows)
