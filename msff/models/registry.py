"""Every method and auxiliary network of the study by name: its network, its variants, its cost."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from msff.models.auxiliary.rootnet import RootNet, RootNetConfig
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.models.backbone import RESNET18, BackboneConfig
from msff.models.baselines.chen import Chen
from msff.models.baselines.internet import InterNet, InterNetConfig
from msff.models.baselines.posenet import PoseNet, PoseNetConfig
from msff.models.baselines.posenet_segmentation import FoundHand
from msff.models.baselines.song_surrogate import SongConfig, SongSurrogate
from msff.models.baselines.spurr import SPURR_VARIANTS, Spurr, SpurrConfig
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import Yang, YangConfig
from msff.models.msff.channel_conversion import ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegressionConfig
from msff.models.msff.network import Msff, MsffConfig

_HEAT_MAP_SIZES = ("crop_size", "bins", "backbone", "pyramid_channels", "deconv_channels", "head_hidden")


@dataclass(frozen=True)
class NetworkConfig:
    """The network sizes of a profile. The defaults are those of each paper."""

    crop_size: int = 256  # px
    bins: int = 64  # voxels along x, y and z; the maps at 1/4 of the crop fix it
    backbone: BackboneConfig = field(default_factory=BackboneConfig)  # MS-FF, InterNet, RootNet, Song-S
    pyramid_channels: int = 256  # MS-FF: width of each of the four levels
    deconv_channels: int = 256  # InterNet, RootNet, Song-S: width of the deconvolutions
    head_hidden: int = 512  # MS-FF, InterNet: hidden units of the handedness and relative depth heads; Song-S: doubled
    backbone18: BackboneConfig = RESNET18  # Spurr, Yang, SideNet
    vae_hidden: int = 512  # Spurr, Yang: units of the fully connected layers
    posenet_width: float = 1.0  # PoseNet, Chen: share of the authors' channels

    def __post_init__(self):
        if self.crop_size < 32 or self.crop_size % 32:
            raise ValueError(f"NetworkConfig.crop_size must be a multiple of 32, got {self.crop_size}")
        if self.bins * 4 != self.crop_size:
            raise ValueError(
                f"bins must be crop_size / 4 = {self.crop_size // 4}, the size of the maps, got {self.bins}"
            )


def build_msff(variant: str, network: NetworkConfig) -> Msff:
    """Build MS-FF or one of its ablations, see ``VARIANTS``."""
    network, switches = _from_scratch(variant, network), dict(_MSFF_VARIANTS[variant])
    config = MsffConfig(
        backbone=network.backbone,
        channel_conversion=ChannelConversionConfig(form=switches.pop("form", "se")),
        global_regression=GlobalRegressionConfig(channels=network.pyramid_channels),
        bins=network.bins,
        head_hidden=network.head_hidden,
    )
    return Msff(replace(config, **switches))


def _from_scratch(variant: str, network: NetworkConfig) -> NetworkConfig:
    """Return the sizes; of a variant "scratch..." without the trunk's ImageNet weights."""
    if not variant.startswith("scratch"):
        return network
    return replace(network, backbone=replace(network.backbone, pretrained=False))


def build_internet(variant: str, network: NetworkConfig) -> InterNet:
    """Build InterNet; its variants differ in their training and in the trunk's initial weights."""
    network = _from_scratch(variant, network)
    return InterNet(InterNetConfig(network.backbone, network.bins, network.deconv_channels, network.head_hidden))


def build_rootnet(variant: str, network: NetworkConfig) -> RootNet:
    """Build RootNet for both wrists, on the shared trunk with ImageNet's normalisation; its only variant is "full"."""
    return RootNet(RootNetConfig(replace(network.backbone, normalise=True), network.deconv_channels))


def _posenet_config(network: NetworkConfig) -> PoseNetConfig:
    return PoseNetConfig().slim(network.crop_size, network.posenet_width)


def build_posenet(variant: str, network: NetworkConfig) -> PoseNet | FoundHand:
    """Build PoseNet, as "segmented" with HandSegNet before it."""
    config = _posenet_config(network)
    return FoundHand(config) if variant == "segmented" else PoseNet(config)


def build_chen(variant: str, network: NetworkConfig) -> Chen:
    """Build PoseNet's networks without dropout; the variants differ in their training."""
    return Chen(_posenet_config(network))


def _vae_size(network: NetworkConfig) -> VaeSize:
    return VaeSize(network.crop_size, network.backbone18, network.vae_hidden)


def build_spurr(variant: str, network: NetworkConfig) -> Spurr:
    """Build Spurr, with scale and handedness given or not."""
    return Spurr(SpurrConfig(_vae_size(network), **SPURR_VARIANTS["plain" if variant == "native" else variant]))


def build_yang(variant: str, network: NetworkConfig) -> Yang:
    """Build Yang; scale and handedness are given."""
    return Yang(YangConfig(_vae_size(network)))


def build_song(variant: str, network: NetworkConfig) -> SongSurrogate:
    """Build Song-S; its variants differ in what follows the network."""
    return SongSurrogate(SongConfig(network.backbone, network.deconv_channels, 2 * network.head_hidden))


def build_sidenet(variant: str, network: NetworkConfig) -> SideNet:
    """Build the handedness classifier, on the trunk of the small networks."""
    return SideNet(SideNetConfig(network.backbone18))


FACTORIAL: Mapping[str, tuple[int, int, int]] = {
    "bare": (0, 0, 0), "ccm": (1, 0, 0), "grm": (0, 1, 0), "lom": (0, 0, 1),
    "no-lom": (1, 1, 0), "no-ccm": (0, 1, 1), "no-grm": (1, 0, 1), "full": (1, 1, 1),
}  # fmt: skip
"""MS-FF's 2^3 factorial: whether a variant has channel conversion, global regression and local optimisation."""

SCHEDULE_VARIANTS = ("other-rate", "batch-x4", "images-x2", "epochs-x2")
"""Variants of the heat-map networks that differ from "full" in their training alone."""

SCRATCH_VARIANTS = ("scratch", "scratch-x2")
"""Variants of the heat-map networks whose trunk starts without ImageNet weights; "-x2" trains twice as long."""

_MSFF_VARIANTS: Mapping[str, Mapping[str, bool | str]] = {
    **{variant: dict(zip(("ccm", "grm", "lom"), map(bool, has), strict=True)) for variant, has in FACTORIAL.items()},
    # Eq. (4) as typeset
    "printed": {"form": "printed"},
    # "full" with another schedule, or from scratch; and "bare" from scratch
    **dict.fromkeys((*SCHEDULE_VARIANTS, *SCRATCH_VARIANTS), {}),
    "scratch-bare": {"ccm": False, "grm": False, "lom": False},
}


@dataclass(frozen=True)
class Method:
    """One row of the study, or an auxiliary network."""

    label: str  # as tables show it
    version: int  # part of the config hash: raise it when a change of code changes the method's numbers
    build: Callable[[str, NetworkConfig], nn.Module] | None  # None: it has no network
    variants: tuple[str, ...] = ("full",)
    sizes: tuple[str, ...] = _HEAT_MAP_SIZES  # the fields of NetworkConfig that the network depends on
    headline: str = "full"  # the variant that stands for the method in tables and figures
    single_hand: bool = False  # a crop shows one hand; an image of two hands becomes two crops


_CROP = ("crop_size", "backbone18")
METHODS = {
    "mean-pose": Method("Mean pose", 1, None),
    "oracle": Method("Heat-map oracle", 1, None),
    "posenet": Method(
        "PoseNet(2017)", 1, build_posenet, ("full", "segmented", "native"),
        ("crop_size", "posenet_width"), single_hand=True,
    ),
    "chen": Method(
        "Chen(2018)", 1, build_chen, ("full", "plain", "native"), ("crop_size", "posenet_width"), single_hand=True
    ),
    "yang": Method("Yang(2019)", 1, build_yang, ("full", "native"), (*_CROP, "vae_hidden"), single_hand=True),
    "spurr": Method(
        "Spurr(2018)", 1, build_spurr, (*SPURR_VARIANTS, "native"), (*_CROP, "vae_hidden"), "plain", single_hand=True
    ),
    "internet": Method("InterNet(2020)", 1, build_internet, ("full", "native", *SCHEDULE_VARIANTS, *SCRATCH_VARIANTS)),
    "song": Method(
        "Song-S (surrogate)", 1, build_song, ("full", "regressed"),
        ("crop_size", "backbone", "deconv_channels", "head_hidden"), single_hand=True,
    ),
    "msff": Method("MS-FF", 1, build_msff, tuple(_MSFF_VARIANTS)),
}  # fmt: skip
"""In the order of the paper's Table 1; first the baseline (mean pose) and the lower bound (oracle).

The variant "native" is a paper's own recipe, for the real data.
"""

AUXILIARY = {
    "rootnet": Method("RootNet", 1, build_rootnet),
    "sidenet": Method("SideNet", 1, build_sidenet, sizes=_CROP, single_hand=True),
}
"""Networks that are no rows of the study: on track T2 RootNet estimates the depth of the wrists for all methods, and
SideNet the handedness for the methods that need it as input."""

VARIANTS = {name: method.variants for name, method in METHODS.items()}


def method_of(name: str) -> Method:
    """Return the method or auxiliary network of that name; ValueError lists the known ones."""
    known = METHODS | AUXILIARY
    if name not in known:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(known)}")
    return known[name]


def build(method: str, variant: str, network: NetworkConfig) -> nn.Module:
    """Build the untrained network. Its initial weights come from torch's global generator: seed it first.

    Its memory format is channels last, which changes no value and is up to a third faster on a CPU.
    """
    entry = method_of(method)
    if entry.build is None:
        raise ValueError(
            f"{method} has no network: use msff.models.baselines.mean_pose.MeanPose.fit on the training part"
        )
    if variant not in entry.variants:
        raise ValueError(f"{method} has no variant {variant!r}: choose one of {', '.join(entry.variants)}")
    return entry.build(variant, network).to(memory_format=torch.channels_last)


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_used_parameters(module: nn.Module, crop_size: int) -> int:
    """Count the trainable parameters that a forward pass uses, without the layers that only training needs."""
    with module_outputs(module) as used:
        _forward_on_meta(module, crop_size)
    return sum(p.numel() for layer in used for p in layer.parameters(recurse=False) if p.requires_grad)


@contextmanager
def module_outputs(network: nn.Module) -> Iterator[dict[nn.Module, object]]:
    """Collect what each module of the network returns within the block, by module."""
    outputs: dict[nn.Module, object] = {}

    def keep(module: nn.Module, _, output: object) -> None:
        outputs[module] = output

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def count_macs(module: nn.Module, crop_size: int) -> int:
    """Count the multiply-adds of convolutions and matrix products for one image of ``crop_size`` px.

    Runs on the meta device, which takes neither time nor memory and leaves the module unchanged.
    """
    with FlopCounterMode(display=False) as counter:
        _forward_on_meta(module, crop_size)
    return counter.get_total_flops() // 2


class _WithoutBatchNorm(TorchFunctionMode):
    """Returns the input of a batch norm, which takes two thirds of the time on the meta device and changes no shape."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return args[0] if function is F.batch_norm else function(*args, **(kwargs or {}))


@torch.no_grad()
def _forward_on_meta(module: nn.Module, crop_size: int) -> None:
    """Run one pass of one image without data."""
    state = {n: t.to("meta") for n, t in (*module.named_parameters(), *module.named_buffers())}
    inputs = [torch.empty(1, 3, crop_size, crop_size, device="meta")]
    if takes_handedness(module):
        inputs.append(torch.zeros(1, dtype=torch.long, device="meta"))
    with _WithoutBatchNorm():
        functional_call(module, state, tuple(inputs))


def takes_handedness(module: nn.Module) -> bool:
    """Return True if the network takes the handedness as a second input: (B,) 0 right, 1 left."""
    return "side" in inspect.signature(module.forward).parameters
