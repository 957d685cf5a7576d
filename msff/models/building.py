"""The network of every method in `msff.models.registry`, and what it costs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
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
from msff.models.registry import FACTORIAL, READINGS, SPURR_VARIANTS, method_of
from msff.settings.networks import NetworkConfig


def build_msff(variant: str, network: NetworkConfig) -> Msff:
    """Build MS-FF, one of its ablations (``FACTORIAL``) or of its ``READINGS``.

    The other variants differ in training or initial weights.
    """
    network = _from_scratch(variant, network)
    modules = FACTORIAL.get("bare" if variant == "scratch-bare" else variant, FACTORIAL["full"])
    config = MsffConfig(
        backbone=network.backbone,
        global_regression=GlobalRegressionConfig(channels=network.pyramid_channels),
        bins=network.bins,
        head_hidden=network.head_hidden,
        **dict(zip(("ccm", "grm", "lom"), map(bool, modules), strict=True)),
    )
    if variant in READINGS:
        module, changes = READINGS[variant]
        config = replace(config, **{module: replace(getattr(config, module), **changes)})
    return Msff(config)


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


_BUILDERS: Mapping[str, Callable[[str, NetworkConfig], nn.Module]] = {
    "msff": build_msff, "internet": build_internet, "rootnet": build_rootnet, "sidenet": build_sidenet,
    "posenet": build_posenet, "chen": build_chen, "spurr": build_spurr, "yang": build_yang, "song": build_song,
}  # fmt: skip


def build(method: str, variant: str, network: NetworkConfig) -> nn.Module:
    """Build the untrained network. Its initial weights come from torch's global generator: seed it first.

    Its memory format is channels last, which changes no value and is up to a third faster on a CPU.
    """
    entry = method_of(method)
    if not entry.has_network:
        raise ValueError(
            f"{method} has no network: use msff.models.baselines.mean_pose.MeanPose.fit on the training part"
        )
    if variant not in entry.variants:
        raise ValueError(f"{method} has no variant {variant!r}: choose one of {', '.join(entry.variants)}")
    return _BUILDERS[method](variant, network).to(memory_format=torch.channels_last)


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
