"""What a method is, for the page of a run: the method in words, what the run was given, and the network's layers."""

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
from msff.study.experiment import Study
from msff.study.store import Experiment, Run

WORDS: Mapping[str, str] = {
    "mean-pose": """
No network and no picture: the floor that a method must beat to have seen anything. Every joint is put where it lies on
average, relative to its own wrist, over the hands of the training part whose joint and wrist are annotated, right and
left apart, in mm along the camera's axes. At test time both wrists are placed at the centre of the box. On track T1
they get their true depth, on T2 the depth that the study's shared estimate gives to every method; neither changes the
pose, so errors that are aligned at the wrist are the same on both tracks. Nothing is trained and nothing depends on a
seed. It names no hand and no distance between two wrists. The paper has no such row: it is this study's own addition,
without which an error in mm cannot be read as good or bad.
""",
    "oracle": """
No network: the floor of what heat maps can say. For every annotated joint the oracle makes the true volume, a Gaussian
at its pixel and at its depth behind the wrist, in as many bins as MS-FF and InterNet have, and reads it with the same
decoder. A joint beyond the volume's edge is moved onto it first. What comes out differs from the annotation only by
what bins and decoder lose, which for an expectation is nothing within the volume; it is lifted to mm in the camera
frame like every heat map here, with the true depth of the wrist on track T1 and the shared estimate on T2, where that
estimate's error is added. It looks at the annotation and is no method: no method of this output can be expected below
it. Nothing is trained. The row is this study's addition; the published numbers come without it.
""",
    "posenet": """
A crop that shows one hand goes in, together with the side of that hand. PoseNet2D, fifteen 3x3 convolutions and three
stages of refinement, draws a score map for each of 21 joints at an eighth of the crop. Two small networks lift the last
maps: PosePrior to the joints of a left hand in a canonical frame, ViewpointNet to the rotation back to the camera. What
comes out is the hand relative to its palm, in lengths of the bone between middle knuckle and next joint; that length
must come from elsewhere, as must the place of the hand. Phase pose2d minimises the root mean square error of the
visible joints' maps, summed over the stages; phase lifting the squared error of canonical joints and rotation, read
from the true, jittered joints' maps. Source: Zimmermann and Brox, ICCV 2017, and their code. Ours: training from
scratch, with weights started larger, and the schedule outside the variant native.
""",
    "chen": """
The published method is an augmentation, and its estimator that of PoseNet: the same three networks without dropout,
started here from the study's own trained PoseNet. A crop of one hand and its side go in; out come 21 joints relative
to the palm, in lengths of the bone between middle knuckle and next joint, which is multiplied by a length from
elsewhere. All parts learn together, by RMSprop, to bring the mean distance of the joints in mm down. In half of every
batch the hand is cut out by its mask, laid on the background of another crop, and its colours are moved towards that
background. Source of the estimator: the author's code of November 2018; of the idea: arXiv 1811.09916, which makes
tones agree with a trained generator on rendered hands. Neither generator nor images are public, so the colour transfer
of Reinhard et al. stands in: the choice of this study that matters most.
""",
    "yang": """
A variational autoencoder whose code has two factors. A crop of one hand and its side go through a ResNet to a code of
32 numbers for the canonical pose and 32 for the viewpoint. Three decoders of fully connected layers read it: one gives
the hand in its canonical frame, one the viewpoint as six numbers of a rotation, and one, from both halves, the
estimate: 21 joints relative to the palm, in lengths of the bone between middle knuckle and next joint. Phase labels
trains encoders of the annotated pose and viewpoint and all decoders; phase image keeps those and fits the image's
encoder to the same code. Each minimises squared errors of pose, canonical pose and viewpoint, and the divergence of
the code from a normal one. Source: Yang and Yao, CVPR 2019. No code is public: sizes, weights and schedule are memory
or this study's choice, and the part that paints images is left out.
""",
    "spurr": """
A variational autoencoder with one code for pictures and poses. A crop of one hand goes through a ResNet and one linear
layer to the mean and variance of a code of 30 numbers; fully connected layers decode it to 21 joints relative to the
palm. A second encoder, used in training alone, takes the annotated pose to the same code. The loss is the squared
error of the joints from the picture and of those from the pose, with a small weight on the divergence of both codes
from a normal one; everything learns in one phase. In the variant that stands for the method, as in the paper's table,
the network is told neither side nor scale and its unit is the decimetre; the variants with scale speak in lengths of
the hand's own bone instead, those with side see it beside the picture. Source: Spurr et al., CVPR 2018, and their
evaluation code. Ours: weights and schedule.
""",
    "internet": """
A square crop about the annotated box, 1.25 times its size, goes through a ResNet, whose last map, at 1/32 of the crop,
feeds all that follows. Three deconvolutions and a 1x1 convolution per hand draw a volume for each of its 21 joints,
pixels by depth within 400 mm about the wrist. From the mean of the map two small heads tell which hands are there and
how far the left wrist lies behind the right one. A joint is read as pixel and depth relative to the wrist; with the
wrist's depth from elsewhere and the camera it becomes mm in the camera frame. The loss adds the error
of the volumes, the cross-entropy of both hands and the absolute error of the relative depth, all with weight 1, in one
phase. Source: Moon et al., ECCV 2020, and their code, which settles nearly everything; ours are the profile's schedule
and, in small profiles, the volume's loss.
""",
    "song": """
A surrogate, and no reproduction of Song(2022): no text or code of that paper was found, it treats hands with objects,
and this is our reduction of its idea to one hand. A crop goes through a ResNet. Deconvolutions draw 21 heat maps and a
map of hand parts; from the mean of the last map come the joints relative to the wrist in decimetres, the side, and a
factor of the wrist's depth. The loss adds the squared error of the maps, the cross-entropy of parts (where there are
masks) and of the side, and the absolute errors of joints and depth. At test time Adam moves the joints, and a depth
that is not given, so that they project onto the found joints and parts, stay near the regressed hand, keep the training
hands' bone ratios, and bend as fingers can. Every size, weight and formula is our choice; its score says nothing about
the authors' method.
""",
    "msff": """
A square crop about the annotated box, 1.25 times its size, goes through a ResNet, whose maps at 1/4, 1/8, 1/16 and 1/32
of the crop are all kept. Channel conversion weights the channels of each. Global regression brings them to one width
and adds the coarse to the fine ones, from the top down. Local optimisation sends the three coarser maps through one,
two and three passes that convolve half of the channels, shuffle all and double the resolution, so that the four meet
at 1/4. A 1x1 convolution makes a volume for each of 42 joints, pixels by depth within 400 mm about the wrist; the
smallest map also tells which hands are there and how far the left wrist lies behind the right. Decoding, lifting to mm
and losses are InterNet's. The modules are the paper's (Zhan and Luo, 2023); it states no loss, optimiser, augmentation,
depth range or decoder: rows in the table of deviations.
""",
}
"""Each method in 80 to 160 words of this study's own."""

_VOLUME_LOSS = {
    "mse": "Here the volumes learn by squared error against Gaussians",
    "integral": "Here the volumes learn by the absolute error of their expectation, which needs far fewer steps",
}
_DECODER = {
    "argmax": "the highest bin",
    "expectation": "the expectation",
    "subvoxel": "the highest bin, refined below it",
}
_GIVEN = {
    "crop": {
        "true box": "a crop about the annotated box", "true box per hand": "a crop about each hand's annotated box",
        "true joints": "a crop about the annotated joints", "found": "a crop that it finds itself",
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
    "side_input": {"true": "the true side", "predicted": "the side that SideNet finds", "none": "no side"},
}  # fmt: skip


def architecture(study: Study, run: Run) -> Markdown:
    """The run's method in words, then what this run's variant, training and tracks make of it."""
    experiment = run.experiment
    parts = [WORDS[experiment.method].strip().replace("\n", " "), _variant(experiment)]
    if experiment.method in ("msff", "internet"):
        read = _DECODER.get(study.profile.decoder, study.profile.decoder)
        parts.append(f"{_VOLUME_LOSS[study.profile.loss.volume]}, and a joint is read as {read}.")
    parts += [_training(run), _given(run)]
    return Markdown("\n\n".join(part for part in parts if part))


def _variant(experiment: Experiment) -> str:
    method, variant = experiment.method, experiment.variant
    if variant == "native":
        metric = PAPER_PROTOCOLS[method].own_metric or "not known"
        return (
            f"Variant native: the paper's own recipe, crop and metric ({metric}), as far as they are known; track T0."
        )
    if method == "msff" and variant in ABLATION_WORDS:
        return f"Variant {variant}. Modules: {ABLATION_WORDS[variant]}."
    words = VARIANT_WORDS.get(method, {}).get(variant)
    return f"Variant {variant}: {words}." if words else ""


def _training(run: Run) -> str:
    """The phases as the history has them; "" where nothing was trained."""
    history = run.history
    if not len(history):
        return ""
    phases = history.groupby("phase", sort=False) if "phase" in history else [("all", history)]
    told = [
        f"{name} (epochs: {len(part)}, rate {part['lr'].iloc[0]:g} to {part['lr'].iloc[-1]:g})" for name, part in phases
    ]
    return (
        f"Phases of this training: {', then '.join(told)}." if len(told) > 1 else f"One phase of training: {told[0]}."
    )


def _given(run: Run) -> str:
    """A sentence per track from the run's own record."""
    sentences = []
    for track, given in sorted(run.record.get("given", {}).items()):
        known = [words.get(given[name], f"{name.replace('_', ' ')}: {given[name]}") for name, words in _GIVEN.items()]
        slot = "the annotation" if given["side_slot"] == "true" else given["side_slot"]
        sentences.append(f"On track {track} it has {', '.join(known)}; the hand that is scored is chosen by {slot}.")
    return " ".join(sentences)


# Layers


def layers(study: Study, run: Run) -> pd.DataFrame:
    """The layers of the run's network; empty for a row that has none."""
    if METHODS[run.experiment.method].build is None:
        return pd.DataFrame(columns=_COLUMNS)
    return layers_table(study.network(run.experiment), study.profile.network.crop_size)


_COLUMNS = ["part", "sub-part", "layers", "output", "parameters", "share, %"]
_OUTSIDE = "not in this pass"


def layers_table(network: nn.Module, crop_size: int) -> pd.DataFrame:
    """Parts and their parts with layers, output for one image, trainable parameters and share, and the totals.

    Shares are of what a forward pass uses. Parts that learn but do not run in it are marked and totalled apart.
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
    """Part, sub-part and module of every row: two levels deep, through lists, without layers that learn nothing."""
    for part, module in network.named_children():
        children = list(_learning_children(module))
        if not any(True for _ in module.parameters()):
            continue
        if len(children) < 2 or _is_flat(module):
            yield part, "", module
        else:
            yield from ((part, name, child) for name, child in children)


def _learning_children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Children that hold parameters; a list's elements in its place."""
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from ((f"{name}.{key}", element) for key, element in _learning_children(child))
        elif any(True for _ in child.parameters()):
            yield name, child


def _is_flat(module: nn.Module) -> bool:
    """A plain sequence of single layers: one row says it all."""
    return isinstance(module, nn.Sequential) and not any(list(child.children()) for child in module)


_LAYER_NAMES = {
    nn.Conv2d: "conv", nn.ConvTranspose2d: "deconv", nn.Linear: "linear", nn.BatchNorm2d: "batch norm",
    nn.BatchNorm1d: "batch norm", nn.MaxPool2d: "max pool", nn.AvgPool2d: "mean pool",
}  # fmt: skip


def describe_layers(module: nn.Module) -> str:
    """Counts of the layers inside, such as "3 deconv 4x4 /2, 3 batch norm"; activations and dropout go unnamed."""
    named = [_layer_name(layer) for layer in module.modules() if isinstance(layer, tuple(_LAYER_NAMES))]
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in Counter(named).items())


def _layer_name(layer: nn.Module) -> str:
    name = next(name for kind, name in _LAYER_NAMES.items() if isinstance(layer, kind))
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return name
    stride = f" /{layer.stride[0]}" if layer.stride[0] > 1 else ""
    return f"{name} {'x'.join(map(str, layer.kernel_size))}{stride}"


def _shape(module: nn.Module, outputs: Mapping[nn.Module, object]) -> str:
    """Shapes of one image's output, alike ones counted: "3 of 21x32x32"; of a list, those of its elements."""
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
