"""The layers of a network as a table: output shapes, parameters and shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msff.models.backbone import STRIDES
from msff.models.building import count_macs, count_parameters, count_used_parameters, module_outputs
from msff.models.registry import METHODS
from msff.study.store import Run
from msff.study.train import untrained_network
from msff.study.workspace import Workspace


def layers(workspace: Workspace, run: Run) -> pd.DataFrame:
    """Return the layers of the run's network; empty for a row without a network."""
    if METHODS[run.experiment.method].has_network:
        return layers_table(untrained_network(workspace, run.experiment), workspace.profile.network.crop_size)
    return pd.DataFrame(columns=_COLUMNS)


_WORDS = {
    "backbone": "trunk", "local_optimization": "local optimisation", "volume": "heat maps",
    "hands": "deconvolutions and heat maps", "relative_depth": "relative depth of the wrists",
    "pose2d": "2D heat maps", "lifting": "lifting to 3D", "prior": "canonical pose", "posenet": "PoseNet",
    "segmentation": "segmentation of the hand", "place": "location of the wrist", "gamma": "factor of the depth",
    "up": "deconvolutions", "parts": "parts of the hand", "side": "handedness", "out": "handedness",
    "conv1": "first convolution", "bn1": "its batch norm", **{f"layer{i}": f"stage {i}" for i in range(1, 5)},
}  # fmt: skip
"""Names of parts in the code -> in tables, where these are more than the same words without underscores."""
_COLUMNS = ["part", "sub-part", "output", "parameters", "share, %"]
_OUTSIDE = "not in this pass"


def layers_table(network: nn.Module, crop_size: int) -> pd.DataFrame:
    """Return parts and sub-parts with output for one image, trainable parameters and share, and the totals.

    Without any sub-part their column is left out.
    Shares are of the parameters that a forward pass uses. Parts that only training uses are marked and totalled apart.
    """
    with module_outputs(network) as outputs:
        macs = count_macs(network, crop_size)
    total = count_used_parameters(network, crop_size)
    rows, outside = [], 0
    for part, name, module in _parts(network):
        count = count_parameters(module)
        runs = any(m in outputs for m in module.modules())
        outside += 0 if runs else count
        share = f"{100 * count / max(total, 1):.1f}" if runs else ""
        shape = _shape(module, outputs) if runs else _OUTSIDE
        rows.append((part, name, shape, f"{count:,}", share))
    if outside:
        rows.append((_OUTSIDE, "", "", f"{outside:,}", ""))
    rows.append(("total", "", f"{macs / 1e9:.3f} GMAC per crop", f"{total:,}", "100.0"))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table if table["sub-part"].any() else table.drop(columns="sub-part")


def _parts(network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield part, sub-part and module of every row in words: two levels deep, those with parameters."""
    for part, module in network.named_children():
        children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
        if any(True for _ in module.parameters(recurse=False)) or len(children) < 2:
            children = [("", module)]
        for place, (name, child) in enumerate(children):
            if any(True for _ in child.parameters()):
                yield _in_words(part), _ordinal(part, place) if name.isdigit() else _in_words(name), child


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _ordinal(part: str, place: int) -> str:
    """Return the words for one of a part's numbered sub-parts: the scale in a pyramid, else the layer."""
    return f"at 1/{STRIDES[place]}" if part == "channel_conversion" else f"layer {place + 1}"


def _shape(module: nn.Module, outputs: Mapping[nn.Module, object]) -> str:
    """Return the shapes of one image's output, counted: "3 of 21x32x32"; of a list, those of its elements."""
    found = [outputs[module]] if module in outputs else [outputs[m] for m in module.children() if m in outputs]
    shapes = ["x".join(map(str, tensor.shape[1:])) or "1" for output in found for tensor in _tensors(output)]
    return ", ".join(f"{count} of {shape}" if count > 1 else shape for shape, count in Counter(shapes).items())


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from _tensors(item)
    elif is_dataclass(output):
        for field in fields(output):
            yield from _tensors(getattr(output, field.name))


def level_costs(
    parts: Sequence[nn.Module], levels: Sequence[Callable[[Tensor], Tensor]], maps: Sequence[Tensor], names: list[str]
) -> pd.DataFrame:
    """Return the trainable parameters of each part and the multiply-adds of its level for one image, with totals.

    ``maps``: one (B, C, H, W) per level. Convolutions and matrix products count, as everywhere in the book.
    """
    rows = []
    for part, level, x in zip(parts, levels, maps, strict=True):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            level(x[:1])
        rows.append((count_parameters(part), counter.get_total_flops() // 2))
    table = pd.DataFrame(rows, columns=["parameters", "multiply-adds"], index=names[: len(parts)])
    table.loc["total"] = table.sum()
    return table.map("{:,}".format).rename_axis("level").reset_index()
