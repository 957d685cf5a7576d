"""Every method and helper of the study by name: how its network is built, its variants, its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from msff.models.backbone import BackboneConfig
from msff.models.channel_conversion import ChannelConversionConfig
from msff.models.global_regression import GlobalRegressionConfig
from msff.models.internet import InterNet, InterNetConfig
from msff.models.local_optimization import LocalOptimizationConfig
from msff.models.msff import Msff, MsffConfig
from msff.models.rootnet import RootNet, RootNetConfig


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes that a profile chooses, for all methods alike. The default is the paper's network."""

    crop_size: int = 256  # px
    bins: int = 64  # voxels along x, y and z; the maps at 1/4 of the crop fix it
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    pyramid_channels: int = 256  # MS-FF: width of each of the four levels
    deconv_channels: int = 256  # InterNet, RootNet: width of the deconvolutions
    head_hidden: int = 512  # both: hidden units of the handedness and relative depth heads

    def __post_init__(self):
        if self.crop_size < 32 or self.crop_size % 32:
            raise ValueError(f"NetworkConfig.crop_size must be a multiple of 32, got {self.crop_size}")
        if self.bins * 4 != self.crop_size:
            raise ValueError(
                f"bins must be crop_size / 4 = {self.crop_size // 4}, the size of the maps, got {self.bins}"
            )


def build_msff(variant: str, network: NetworkConfig) -> Msff:
    """MS-FF or one of its ablations, see ``VARIANTS``."""
    switches = dict(_MSFF_VARIANTS[variant])
    conversion = ChannelConversionConfig(form=switches.pop("form", "se"))
    config = MsffConfig(
        backbone=network.backbone,
        channel_conversion=conversion,
        global_regression=GlobalRegressionConfig(channels=network.pyramid_channels),
        local_optimization=LocalOptimizationConfig(conversion=conversion),
        bins=network.bins,
        head_hidden=network.head_hidden,
    )
    return Msff(replace(config, **switches))


def build_internet(variant: str, network: NetworkConfig) -> InterNet:
    """InterNet; its only variant is "full"."""
    return InterNet(InterNetConfig(network.backbone, network.bins, network.deconv_channels, network.head_hidden))


def build_rootnet(variant: str, network: NetworkConfig) -> RootNet:
    """RootNet for both wrists, on the trunk of all others but with ImageNet's input; its only variant is "full"."""
    return RootNet(RootNetConfig(replace(network.backbone, normalise=True), network.deconv_channels))


_MSFF_VARIANTS: Mapping[str, Mapping[str, bool | str]] = {
    # cumulative, each one module more; the first four predict neither handedness nor relative depth
    "backbone": {"ccm": False, "grm": False, "lom": False, "heads": False},
    "ccm": {"grm": False, "lom": False, "heads": False},
    "ccm-grm": {"lom": False, "heads": False},
    "ccm-grm-lom": {"heads": False},
    "full": {},
    # one module less than "full"
    "no-ccm": {"ccm": False},
    "no-grm": {"grm": False},
    "no-lom": {"lom": False},
    # Eq. (4) as typeset
    "printed": {"form": "printed"},
}


@dataclass(frozen=True)
class Method:
    """One row of the study, or a network that helps all rows."""

    label: str  # as tables show it
    version: int  # raise it by hand when a change of code changes the method's numbers; part of the config hash
    build: Callable[[str, NetworkConfig], nn.Module] | None  # None: it has no network
    variants: tuple[str, ...]


METHODS = {
    "mean-pose": Method("Mean pose", 1, None, ("full",)),
    "msff": Method("MS-FF", 1, build_msff, tuple(_MSFF_VARIANTS)),
    "internet": Method("InterNet", 1, build_internet, ("full",)),
}

HELPERS = {"rootnet": Method("RootNet", 1, build_rootnet, ("full",))}
"""Networks that serve all methods alike and are no rows of the study: RootNet gives track T2 its depth."""

VARIANTS = {name: method.variants for name, method in METHODS.items()}


def method_of(name: str) -> Method:
    """The method or helper of that name; ValueError lists the known ones."""
    known = METHODS | HELPERS
    if name not in known:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(known)}")
    return known[name]


def build(method: str, variant: str, network: NetworkConfig) -> nn.Module:
    """The untrained network. Its initial weights come from torch's global generator: seed it first.

    Its maps lie channels last in memory, which changes no value and is up to a third faster on a CPU.
    """
    entry = method_of(method)
    if entry.build is None:
        raise ValueError(f"{method} has no network: use msff.models.mean_pose.MeanPose.fit on the training joints")
    if variant not in entry.variants:
        raise ValueError(f"{method} has no variant {variant!r}: choose one of {', '.join(entry.variants)}")
    return entry.build(variant, network).to(memory_format=torch.channels_last)


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def count_macs(module: nn.Module, crop_size: int) -> int:
    """Multiply-adds of convolutions and matrix products in one forward pass of one image of ``crop_size`` px.

    Run on the meta device: it costs neither time nor memory, and the module is left as it was.
    """
    state = {n: t.to("meta") for n, t in (*module.named_parameters(), *module.named_buffers())}
    images = torch.empty(2, 3, crop_size, crop_size, device="meta")  # two, since batch norm may be in training mode
    with FlopCounterMode(display=False) as counter:
        functional_call(module, state, (images,))
    return counter.get_total_flops() // (2 * 2)  # flops of two images
