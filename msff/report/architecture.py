"""Describe a method on the page of a run: the method in words, the run's inputs, and the network's layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import pandas as pd
from IPython.display import Markdown
from torch import Tensor, nn

from msff.evaluation.tracks import PAPER_PROTOCOLS
from msff.models.registry import METHODS, count_macs, module_outputs
from msff.report.comparisons import VARIANT_WORDS
from msff.report.tables import ABLATION_WORDS
from msff.study.experiment import Experiment
from msff.study.store import Run
from msff.study.train import untrained_network
from msff.study.workspace import Workspace

WORDS: Mapping[str, str] = {
    "mean-pose": """
The baseline: no network and no image. Each joint is placed at its mean position relative to its own wrist, over the
hands of the training part in which joint and wrist are annotated, separately for right and left hands, in mm along
the camera axes. At test time both wrists are placed at the centre of the box, on track T1 at their true depth, on T2
at the depth that is estimated for all methods; wrist-aligned errors are therefore the same on both tracks. Nothing is
trained and nothing depends on a seed. There is no estimate of handedness or of the distance between two wrists. The
paper has no such row; this study adds it so that errors in mm can be judged.
""",
    "oracle": """
A lower bound: no network. For each annotated joint the oracle builds the true volume, a Gaussian at the joint's pixel
and depth relative to the wrist, with as many bins as MS-FF and InterNet have, and decodes it with the same decoder. A
joint outside the volume is moved to its border first. The result differs from the annotation only by the loss of bins
and decoder, which for an expectation is zero within the volume. It is lifted to mm like every heat map here, with the
true depth of the wrist on track T1 and the estimate shared by all methods on T2, whose error is added. The oracle
uses the annotation and is no method. Nothing is trained. The paper has no such row.
""",
    "posenet": """
The input is a crop of one hand and its handedness. PoseNet2D, fifteen 3x3 convolutions and three refinement stages,
predicts a score map for each of 21 joints at 1/8 of the crop. Two small networks lift the last maps to 3D: PosePrior
estimates the joints in a canonical frame, as a left hand, ViewpointNet the rotation back to the camera. The output is
the hand relative to its palm in units of the bone between middle MCP and PIP, whose length is an input, as is the
position of the hand. Phase pose2d minimises the root mean square error of the visible joints' maps, summed over the
stages; phase lifting the squared error of canonical joints and rotation, with the true, jittered joints' maps as
input. Source: Zimmermann and Brox, ICCV 2017, and their code. This study's choices: training from scratch, larger
initial weights, and the schedule of all variants but native.
""",
    "chen": """
The published method is an augmentation; its estimator is PoseNet: the same three networks without dropout,
initialised here with the weights of this study's trained PoseNet. The input is a crop of one hand and its handedness,
the output 21 joints relative to the palm in units of the bone between middle MCP and PIP. All parts are trained
together by RMSprop on the mean joint distance in mm. In half of every batch the hand is cut out by its mask and
pasted on the background of another crop, with its colours shifted towards that background. Source of the estimator:
the author's code of November 2018; of the idea: arXiv 1811.09916, which aligns tones with a trained generator on
rendered hands. Neither generator nor images are public. The colour transfer of Reinhard et al. replaces them, this
study's most consequential choice.
""",
    "yang": """
A variational autoencoder with a code of two factors. From a crop of one hand and its handedness, a ResNet estimates
32 numbers for the canonical pose and 32 for the viewpoint. Three fully connected decoders follow: one outputs the
hand in its canonical frame, one the viewpoint as six numbers of a rotation, and one, from both factors, the estimate:
21 joints relative to the palm in units of the bone between middle MCP and PIP. Phase labels trains all decoders and
the encoders of annotated pose and viewpoint; phase image freezes them and fits the image encoder to the same code.
The losses are squared errors of pose, canonical pose and viewpoint, and the divergence of the code from a normal
distribution. Source: Yang and Yao, CVPR 2019. No code is public: sizes, weights and schedule are from memory or this
study's choices, and image synthesis is omitted.
""",
    "spurr": """
A variational autoencoder with one code for images and poses. From a crop of one hand, a ResNet and one linear layer
estimate mean and variance of a code of 30 numbers; fully connected layers decode it to 21 joints relative to the
palm. A second encoder, used in training alone, maps the annotated pose to the same code. The loss is the squared
error of the joints decoded from either code, plus a small weight times the divergence of both codes from a normal
distribution. There is one phase. In the headline variant, as in the paper's table, neither handedness nor scale is
given and the unit is the decimetre; the variants with scale use units of the hand's own bone, those with handedness
take it as a second input. Source: Spurr et al., CVPR 2018, and their evaluation code. This study's choices: weights
and schedule.
""",
    "internet": """
A ResNet processes a square crop about the annotated box, 1.25 times its size; all heads use its last map, at 1/32 of
the crop. Three deconvolutions and a 1x1 convolution per hand predict a volume for each of its 21 joints, pixels by
depth within 400 mm about the wrist. Two small heads on the mean of the map estimate which hands are present and the
depth of the left wrist relative to the right. A joint is decoded to pixel and depth relative to the wrist; with the
depth of the wrist, which is an input, and the camera it is lifted to mm in the camera frame. The loss adds the error
of the volumes, the cross-entropy of both hands and the absolute error of the relative depth, all with weight 1. There
is one phase. Source: Moon et al., ECCV 2020, and their code, which settles nearly everything. This study's choices:
the profile's schedule and, in small profiles, the loss of the volumes.
""",
    "song": """
A surrogate, and no reproduction of Song(2022): no text or code of that paper was found, it treats hands with objects,
and this is our reduction of its idea to one hand. A ResNet processes a crop. Deconvolutions predict 21 heat maps and
a map of hand parts; from the mean of the last map come the joints relative to the wrist in decimetres, the
handedness, and a factor of the wrist's depth. The loss adds the squared error of the maps, the cross-entropy of parts
(if there are masks) and handedness, and the absolute errors of joints and depth. At test time Adam moves the joints,
and the depth if it is not given, so that they project onto the detected joints and parts, stay near the regressed
hand, keep the bone ratios of the training hands, and bend anatomically. Every size, weight and formula is our choice;
the score is not evidence about the authors' method.
""",
    "msff": """
A ResNet processes a square crop about the annotated box, 1.25 times its size; its maps at 1/4, 1/8, 1/16 and 1/32 of
the crop are all used. Channel conversion weights the channels of each. Global regression reduces them to one width
and adds coarse to fine maps from the top down. Local optimisation passes the three coarser maps through one, two and
three passes that convolve half of the channels, shuffle all and double the resolution, so that the four meet at 1/4.
A 1x1 convolution predicts a volume for each of 42 joints, pixels by depth within 400 mm about the wrist; two heads on
the smallest map estimate which hands are present and the depth of the left wrist relative to the right. Decoding,
lifting to mm and losses are InterNet's. The modules are the paper's (Zhan and Luo, 2023); it states no loss,
optimiser, augmentation, depth range or decoder: see the table of open choices.
""",
}
"""Each method in this study's own words."""

_VOLUME_LOSS = {
    "mse": "Here the volumes are trained on the squared error against Gaussians",
    "integral": "Here the volumes are trained on the absolute error of their expectation, which needs far fewer steps",
}
_DECODER = {
    "argmax": "the highest bin",
    "expectation": "the expectation",
    "subvoxel": "the highest bin, refined below it",
}
_GIVEN = {
    "crop": {
        "true box": "a crop about the annotated box", "true box per hand": "a crop about each hand's annotated box",
        "true joints": "a crop about the annotated joints", "found": "a crop about the detected hand",
    },
    "intrinsics": {"true": "the camera", "none": "no camera"},
    "root_depth": {
        "true": "the true depth of the wrist", "box": "a depth of the wrist from the size of the box",
        "network": "a depth of the wrist from RootNet", "own": "its own estimate of the wrist's depth",
        "none": "no depth of the wrist",
    },
    "scale": {
        "true bone": "the true length of the scale bone", "training mean": "the training hands' mean scale",
        "none": "no scale",
    },
    "side_input": {"true": "the true handedness", "predicted": "SideNet's handedness", "none": "no handedness"},
}  # fmt: skip


def architecture(workspace: Workspace, run: Run) -> Markdown:
    """Return the run's method in words, then its variant, its training and its inputs on each track."""
    experiment = run.experiment
    parts = [WORDS[experiment.method].strip().replace("\n", " "), _variant(experiment)]
    if experiment.method in ("msff", "internet"):
        read = _DECODER.get(workspace.profile.decoder, workspace.profile.decoder)
        parts.append(f"{_VOLUME_LOSS[workspace.profile.loss.volume]}, and a joint is decoded as {read}.")
    parts += [_training(run), _given(run)]
    return Markdown("\n\n".join(part for part in parts if part))


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
    phases = history.groupby("phase", sort=False) if "phase" in history else [("all", history)]
    named = [
        f"{name} (epochs: {len(part)}, rate {part['lr'].iloc[0]:g} to {part['lr'].iloc[-1]:g})" for name, part in phases
    ]
    return (
        f"Phases of this training: {', then '.join(named)}."
        if len(named) > 1
        else f"One phase of training: {named[0]}."
    )


def _given(run: Run) -> str:
    """Return a sentence per track from the run's own record."""
    sentences = []
    for track, given in sorted(run.record.test_time_inputs.items()):
        known = [words.get(given[name], f"{name.replace('_', ' ')}: {given[name]}") for name, words in _GIVEN.items()]
        slot = "the annotation" if given["side_slot"] == "true" else given["side_slot"]
        sentences.append(
            f"On track {track} it is given {', '.join(known)}; the hand that is scored is chosen by {slot}."
        )
    return " ".join(sentences)


# Layers


def layers(workspace: Workspace, run: Run) -> pd.DataFrame:
    """Return the layers of the run's network; empty for a row without a network."""
    if METHODS[run.experiment.method].build is None:
        return pd.DataFrame(columns=_COLUMNS)
    return layers_table(untrained_network(workspace, run.experiment), workspace.profile.network.crop_size)


_COLUMNS = ["part", "sub-part", "layers", "output", "parameters", "share, %"]
_OUTSIDE = "not in this pass"


def layers_table(network: nn.Module, crop_size: int) -> pd.DataFrame:
    """Return parts and sub-parts with layers, output for one image, trainable parameters and share, and the totals.

    Shares are of the parameters that a forward pass uses. Parts that only training uses are marked and totalled apart.
    """
    with module_outputs(network) as outputs:
        macs = count_macs(network, crop_size)
    total = sum(_own_parameters(m) for m in outputs)
    rows, outside = [], 0
    for part, name, module in _parts(network):
        count = sum(p.numel() for p in module.parameters() if p.requires_grad)
        runs = any(m in outputs for m in module.modules())
        outside += 0 if runs else count
        share = f"{100 * count / max(total, 1):.1f}" if runs else ""
        shape = _shape(module, outputs) if runs else _OUTSIDE
        rows.append((part, name, describe_layers(module), shape, f"{count:,}", share))
    if outside:
        rows.append((_OUTSIDE, "", "", "", f"{outside:,}", ""))
    rows.append(("total", "", f"{macs / 1e9:.3f} GMAC per crop", "", f"{total:,}", "100.0"))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _own_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters(recurse=False) if p.requires_grad)


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


_LAYER_NAMES = {
    nn.Conv2d: "conv", nn.ConvTranspose2d: "deconv", nn.Linear: "linear", nn.BatchNorm2d: "batch norm",
    nn.BatchNorm1d: "batch norm", nn.MaxPool2d: "max pool", nn.AvgPool2d: "mean pool",
}  # fmt: skip


def describe_layers(module: nn.Module) -> str:
    """Count the layers inside, such as "3 deconv 4x4 /2, 3 batch norm", without activations and dropout."""
    named = [_layer_name(layer) for layer in module.modules() if isinstance(layer, tuple(_LAYER_NAMES))]
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in Counter(named).items())


def _layer_name(layer: nn.Module) -> str:
    name = next(name for kind, name in _LAYER_NAMES.items() if isinstance(layer, kind))
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return name
    stride = f" /{layer.stride[0]}" if layer.stride[0] > 1 else ""
    return f"{name} {'x'.join(map(str, layer.kernel_size))}{stride}"


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
