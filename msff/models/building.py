"""The network of every method in `msff.models.registry`, and what it costs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from msff.models.auxiliary.rootnet import RootNet, RootNetConfig
from msff.models.auxiliary.sidenet import SideNet, SideNetConfig
from msff.models.baselines.chen import Chen
from msff.models.baselines.internet import InterNet, InterNetConfig
from msff.models.baselines.posenet import PoseNet, PoseNetConfig
from msff.models.baselines.posenet_segmentation import FoundHand
from msff.models.baselines.song_surrogate import SongConfig, SongSurrogate
from msff.models.baselines.spurr import Spurr, SpurrConfig
from msff.models.baselines.vae import VaeSize
from msff.models.baselines.yang import Yang, YangConfig
from msff.models.msff.global_regression import GlobalRegressionConfig
from msff.models.msff.network import Msff, MsffConfig
from msff.models.registry import FACTORIAL, LIKE, NORM_VARIANTS, READINGS, SPURR_VARIANTS, method_of
from msff.settings.networks import NetworkConfig


def _msff_config(variant: str, network: NetworkConfig) -> MsffConfig:
    """Return MS-FF, or a variant of `msff.models.registry` that changes its modules; others have the whole of it."""
    scales = 1 if variant == "one-scale" else 4
    variant = LIKE.get(variant, variant)
    modules = FACTORIAL.get(NORM_VARIANTS.get(variant, variant), FACTORIAL["full"])
    config = MsffConfig(
        backbone=network.backbone,
        global_regression=GlobalRegressionConfig(channels=network.pyramid_channels, norm=variant in NORM_VARIANTS),
        bins=network.bins,
        head_hidden=network.head_hidden,
        scales=scales,
        **dict(zip(("ccm", "grm", "lom"), map(bool, modules), strict=True)),
    )
    if variant in READINGS:
        module, changes = READINGS[variant]
        config = replace(config, **{module: replace(getattr(config, module), **changes)})
    return config


def _network(method: str, variant: str, network: NetworkConfig) -> nn.Module:
    """Return the network in the default memory format; variants that are not named here differ in their training."""
    trunk = network.backbone if not variant.startswith("scratch") else replace(network.backbone, pretrained=False)
    match method:
        case "msff":
            return Msff(_msff_config(variant, replace(network, backbone=trunk)))
        case "internet":
            return InterNet(InterNetConfig(trunk, network.bins, network.deconv_channels, network.head_hidden))
        case "posenet" | "chen":
            config = PoseNetConfig().slim(network.crop_size, network.posenet_width)
            if method == "chen":
                return Chen(config)
            return FoundHand(config) if variant == "segmented" else PoseNet(config)
        case "yang" | "spurr":
            size = VaeSize(network.crop_size, network.backbone18, network.vae_hidden)
            if method == "yang":
                return Yang(YangConfig(size))
            return Spurr(SpurrConfig(size, **SPURR_VARIANTS["plain" if variant == "native" else variant]))
        case "song":
            return SongSurrogate(SongConfig(trunk, network.deconv_channels, 2 * network.head_hidden))
        case "rootnet":
            return RootNet(RootNetConfig(replace(trunk, normalise=True), network.deconv_channels))
        case "sidenet":
            return SideNet(SideNetConfig(network.backbone18))
    raise ValueError(f"{method} has no network: use msff.models.baselines.mean_pose.MeanPose.fit on the training part")


def build(method: str, variant: str, network: NetworkConfig) -> nn.Module:
    """Build the untrained network. Its initial weights come from torch's global generator: seed it first.

    Its memory format is channels last, which changes no value and is up to a third faster on a CPU.
    """
    variants = method_of(method).variants
    if variant not in variants:
        raise ValueError(f"{method} has no variant {variant!r}: choose one of {', '.join(variants)}")
    return _network(method, variant, network).to(memory_format=torch.channels_last)


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
