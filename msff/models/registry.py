"""Every method and auxiliary network of the study by name: its variants and what its network depends on.

`msff.models.building` builds the networks; this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_HEAT_MAP_SIZES = ("crop_size", "bins", "backbone", "pyramid_channels", "deconv_channels", "head_hidden")

FACTORIAL: Mapping[str, tuple[int, int, int]] = {
    "bare": (0, 0, 0), "ccm": (1, 0, 0), "grm": (0, 1, 0), "lom": (0, 0, 1),
    "no-lom": (1, 1, 0), "no-ccm": (0, 1, 1), "no-grm": (1, 0, 1), "full": (1, 1, 1),
}  # fmt: skip
"""MS-FF's 2^3 factorial: whether a variant has channel conversion, global regression and local optimisation."""

SCHEDULE_VARIANTS = ("other-rate", "batch-x4", "images-x2", "epochs-x2", "gaussian")
"""Variants of the heat-map networks that differ from "full" in their training alone; "gaussian" learns the volumes of
Eq. (15) where a profile has the integral loss."""

SCRATCH_VARIANTS = ("scratch", "scratch-x2")
"""Variants of the heat-map networks whose trunk starts without ImageNet weights; "-x2" trains twice as long."""

READINGS: Mapping[str, tuple[str, dict[str, object]]] = {
    "printed": ("channel_conversion", {"form": "printed"}),
    "grm-relu-sum": ("global_regression", {"relu": "sum"}),
    "grm-norm": ("global_regression", {"norm": True}),
    "grm-one-level": ("global_regression", {"enlarged": "V"}),
    "lom-1123": ("local_optimization", {"passes": (1, 1, 2, 3)}),
    "lom-whole": ("local_optimization", {"residual": "whole"}),
}
"""Variants of the whole of MS-FF that read the text in another way: the module, and the fields of its config."""

NORM_VARIANTS: Mapping[str, str] = {"bare-norm": "bare", "no-grm-norm": "no-grm"}
"""Variants with the batch norm of the reading "grm-norm" and with the modules of another variant."""

LIKE: Mapping[str, str] = {
    "scratch-bare": "bare", "one-scale": "bare", "gaussian-bare": "bare", "gaussian-norm": "grm-norm",
}  # fmt: skip
"""Variants with the modules of another: "scratch-bare" without ImageNet weights, "one-scale" with heat maps from the
scale 1/32 alone, the others trained on Gaussian volumes."""

MSFF_VARIANTS = (*FACTORIAL, *READINGS, *NORM_VARIANTS, *SCHEDULE_VARIANTS, *SCRATCH_VARIANTS, *LIKE)

SPURR_VARIANTS: Mapping[str, Mapping[str, bool]] = {
    "plain": {"scale_invariant": False, "hand_side": False},
    "side": {"scale_invariant": False, "hand_side": True},
    "scale": {"scale_invariant": True, "hand_side": False},
    "scale-side": {"scale_invariant": True, "hand_side": True},
}
"""The four variants that the authors released, as fields of `SpurrConfig`."""


@dataclass(frozen=True)
class Method:
    """One row of the study, or an auxiliary network."""

    label: str  # as tables show it
    version: int  # part of the config hash: raise it when a change of code changes the method's numbers
    variants: tuple[str, ...] = ("full",)
    sizes: tuple[str, ...] = _HEAT_MAP_SIZES  # the fields of NetworkConfig that the network depends on
    headline: str = "full"  # the variant that stands for the method in tables and figures
    single_hand: bool = False  # a crop shows one hand; an image of two hands becomes two crops
    has_network: bool = True


_CROP = ("crop_size", "backbone18")
METHODS = {
    "mean-pose": Method("Mean pose", 1, has_network=False),
    "oracle": Method("Heat-map oracle", 1, has_network=False),
    "posenet": Method(
        "PoseNet(2017)", 1, ("full", "segmented", "native"),
        ("crop_size", "posenet_width"), single_hand=True,
    ),
    "chen": Method(
        "Chen(2018)", 1, ("full", "plain", "native"), ("crop_size", "posenet_width"), single_hand=True
    ),
    "yang": Method("Yang(2019)", 1, ("full", "native"), (*_CROP, "vae_hidden"), single_hand=True),
    "spurr": Method(
        "Spurr(2018)", 1, (*SPURR_VARIANTS, "native"), (*_CROP, "vae_hidden"), "plain", single_hand=True
    ),
    "internet": Method("InterNet(2020)", 1, ("full", "native", *SCHEDULE_VARIANTS, *SCRATCH_VARIANTS)),
    "song": Method(
        "Song-S (surrogate)", 1, ("full", "regressed"),
        ("crop_size", "backbone", "deconv_channels", "head_hidden"), single_hand=True,
    ),
    "msff": Method("MS-FF", 1, MSFF_VARIANTS),
}  # fmt: skip
"""In the order of the paper's Table 1; first the baseline (mean pose) and the lower bound (oracle).

The variant "native" is a paper's own recipe, for the real data.
"""

_RECIPE = {"native": "by its own recipe"}
_TRAINING = {
    "batch-x4": "with four times the batch", "images-x2": "with twice the images per epoch",
    "epochs-x2": "with twice the epochs", "scratch": "from scratch", "scratch-x2": "from scratch with twice the steps",
    "gaussian": "with Gaussian volumes",
}  # fmt: skip
VARIANT_WORDS: Mapping[str, Mapping[str, str]] = {
    "posenet": {"segmented": "with boxes found by HandSegNet"} | _RECIPE,
    "chen": {"plain": "without augmentation"} | _RECIPE,
    "yang": _RECIPE,
    "spurr": {
        "side": "with the handedness given", "scale": "in units of the scale bone",
        "scale-side": "in units of the scale bone, with the handedness given",
    } | _RECIPE,
    "internet": {"other-rate": "at MS-FF's learning rate"} | _RECIPE | _TRAINING,
    "song": {"regressed": "before test-time optimisation"},
    "msff": {
        "bare": "without its modules", "ccm": "with channel conversion alone", "grm": "with global regression alone",
        "lom": "with local optimisation alone", "no-lom": "without local optimisation",
        "no-ccm": "without channel conversion", "no-grm": "without global regression",
        "printed": "with Eq. (4) as printed", "grm-relu-sum": "with the ReLU of global regression on the sum",
        "grm-norm": "with batch norm", "grm-one-level": "with each level adding the next coarser map only",
        "lom-1123": "with local optimisation at 1/4 too",
        "lom-whole": "with the residual of local optimisation around the whole pass",
        "bare-norm": "with batch norm, without its modules",
        "no-grm-norm": "with batch norm, without global regression",
        "other-rate": "at InterNet's learning rate", "scratch-bare": "from scratch, without its modules",
        "one-scale": "without its modules, on the scale 1/32 alone",
        "gaussian-bare": "with Gaussian volumes, without its modules",
        "gaussian-norm": "with Gaussian volumes and batch norm",
        "headless-bare": "without its modules and heads", "headless-full": "without heads",
        "headless-ccm": "with channel conversion alone, without heads",
        "headless-ccm-grm": "without local optimisation and heads",
    } | _TRAINING,
}  # fmt: skip
"""What distinguishes each variant from its method's headline variant, in the words that follow the method's label.

"headless" variants are stored runs of an earlier grid.
"""

AUXILIARY = {
    "rootnet": Method("RootNet", 1),
    "sidenet": Method("SideNet", 1, sizes=_CROP, single_hand=True),
}
"""Networks that are no rows of the study: on track T2 RootNet estimates the depth of the wrists for all methods, and
SideNet the handedness for the methods that need it as input."""


def method_of(name: str) -> Method:
    """Return the method or auxiliary network of that name; ValueError lists the known ones."""
    known = METHODS | AUXILIARY
    if name not in known:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(known)}")
    return known[name]


def network_name(method: str, variant: str) -> str:
    """Return how tables, figures and prose name a network: "MS-FF without global regression".

    The headline variant has the method's label alone. KeyError for a variant without words.
    """
    known = method_of(method)
    return known.label if variant == known.headline else f"{known.label} {VARIANT_WORDS[method][variant]}"
