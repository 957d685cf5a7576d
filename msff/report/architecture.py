"""Describe a run on its page: variant, training, and the layers of its network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import pandas as pd
from IPython.display import Markdown
from torch import Tensor, nn

from msff.evaluation.tracks import PAPER_PROTOCOLS
from msff.models.building import count_macs, count_parameters, count_used_parameters, module_outputs
from msff.models.registry import METHODS
from msff.report.comparisons import VARIANT_WORDS
from msff.report.tables import ABLATION_WORDS
from msff.study.experiment import Experiment
from msff.study.store import Run
from msff.study.train import untrained_network
from msff.study.workspace import Workspace

_VOLUME_LOSS = {
    "mse": "Here the volumes are trained on the squared error against Gaussians",
    "integral": "Here the volumes are trained on the absolute error of their expectation, which needs far fewer steps",
}
_DECODER = {
    "argmax": "the highest bin",
    "expectation": "the expectation",
    "subvoxel": "the highest bin, refined below it",
}


def architecture(workspace: Workspace, run: Run) -> Markdown:
    """Return the run's variant and its training, in words."""
    experiment = run.experiment
    parts = [_variant(experiment)]
    if experiment.method in ("msff", "internet"):
        read = _DECODER.get(workspace.profile.decoder, workspace.profile.decoder)
        parts.append(f"{_VOLUME_LOSS[workspace.profile.loss.volume]}, and a joint is decoded as {read}.")
    return Markdown("\n\n".join(part for part in [*parts, _training(run)] if part))


def _variant(experiment: Experiment) -> str:
    method, variant = experiment.method, experiment.variant
    if variant == "native":
        metric = PAPER_PROTOCOLS[method].own_metric or "not known"
        return f"Variant native: the known parts of the paper's own recipe, crop and metric ({metric}); track T0."
    if method == "msff" and variant in ABLATION_WORDS:
        return f"Variant {variant}. Modules: {ABLATION_WORDS[variant]}."
    words = VARIANT_WORDS.get(method, {}).get(variant)
    return f"Variant {variant}: {words}." if words else ""


def _training(run: Run) -> str:
    """Return the phases of the history; "" if nothing was trained."""
    history = run.history
    if not len(history):
        return ""
    named = [
        f"{name} (epochs: {len(part)}, rate {part['lr'].iloc[0]:g} to {part['lr'].iloc[-1]:g})"
        for name, part in history.groupby("phase", sort=False)
    ]
    if len(named) == 1:
        return f"One phase of training: {named[0]}."
    return f"Phases of this training: {', then '.join(named)}."


# Layers


def layers(workspace: Workspace, run: Run) -> pd.DataFrame:
    """Return the layers of the run's network; empty for a row without a network."""
    if not METHODS[run.experiment.method].has_network:
        return pd.DataFrame(columns=_COLUMNS)
    return layers_table(untrained_network(workspace, run.experiment), workspace.profile.network.crop_size)


_COLUMNS = ["part", "sub-part", "output", "parameters", "share, %"]
_OUTSIDE = "not in this pass"


def layers_table(network: nn.Module, crop_size: int) -> pd.DataFrame:
    """Return parts and sub-parts with output for one image, trainable parameters and share, and the totals.

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
    return pd.DataFrame(rows, columns=_COLUMNS)


def _parts(network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield part, sub-part and module of every row: two levels deep, through lists, parameters only."""
    for part, module in network.named_children():
        children = list(_learning_children(module))
        if not any(True for _ in module.parameters()):
            continue
        if len(children) < 2 or _is_flat(module):
            yield part, "", module
        else:
            yield from ((part, name, child) for name, child in children)


def _learning_children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children with parameters; of a list its elements."""
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from ((f"{name}.{key}", element) for key, element in _learning_children(child))
        elif any(True for _ in child.parameters()):
            yield name, child


def _is_flat(module: nn.Module) -> bool:
    """Return True for a plain sequence of single layers, which needs one row only."""
    return isinstance(module, nn.Sequential) and not any(list(child.children()) for child in module)


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
