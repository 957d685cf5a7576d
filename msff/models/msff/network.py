"""MS-FF (Sec. A, Fig. 1): trunk, channel conversion, global regression, local optimisation, heads.

Every value that the paper does not state is an open choice, recorded beside the field or the code that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from msff.choices import open_choice, require, stated
from msff.models.backbone import build_backbone
from msff.models.heads import HandednessHead, RelativeDepthHead, VolumeHead
from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig, TopDown
from msff.models.msff.local_optimization import LocalOptimization, LocalOptimizationConfig, LocalOptimizationPyramid
from msff.models.output import HandOutput
from msff.settings.networks import BackboneConfig


@dataclass(frozen=True)
class MsffConfig:
    """The whole network. Without ``ccm``, ``grm`` or ``lom`` that module is the identity, see `Msff`."""

    backbone: BackboneConfig = stated(BackboneConfig, "ResNet50 module (Sec. A); see BackboneConfig")
    channel_conversion: ChannelConversionConfig = stated(ChannelConversionConfig, "Sec. B")
    global_regression: GlobalRegressionConfig = stated(GlobalRegressionConfig, "Sec. C")
    local_optimization: LocalOptimizationConfig = stated(LocalOptimizationConfig, "Sec. D")
    bins: int = open_choice(  # depth bins; x and y have as many at 256 px
        64, tag="D21",
        source="A 2.5D Gaussian heat map; Eq. (15), which would give the number of depth bins, is missing.",
        reason="InterNet's 64: at 256 px the volume is a cube, x and y being 1/4 of the crop.",
    )  # fmt: skip
    head_hidden: int = open_choice(  # hidden units of the handedness and relative depth heads
        512, tag="D22",
        source="Handedness and relative depth come from the smallest channel-converted map; the layers are not given.",
        reason="InterNet's heads: global mean, 512 hidden units; softmax expectation for the depth.",
    )  # fmt: skip
    volume_std: float = open_choice(  # initial weights of the heat-map convolution
        0.001, tag="D23",
        source="Nothing on initialisation.",
        reason="InterNet's, for the layer that both networks share; the other convolutions are He-normal.",
    )  # fmt: skip
    scales: int = stated(4, "Eq. (14) concatenates four; ablated to the coarsest alone")
    ccm: bool = stated(True, "Part of the network (Fig. 1); ablated without")
    grm: bool = stated(True, "Part of the network (Fig. 1); ablated without")
    lom: bool = stated(True, "Part of the network (Fig. 1); ablated without")

    def __post_init__(self):
        require(self, "bins", at_least=2)
        require(self, "scales", at_least=1, at_most=4)
        require(self, "head_hidden", at_least=1)
        require(self, "volume_std", above=0)
        if self.global_regression.relu == "sum" and not self.grm:
            raise ValueError("without grm there is no sum: GlobalRegressionConfig.relu must be lateral")


class Msff(nn.Module):
    """(B, 3, S, S) in [0, 1] -> `HandOutput` with a volume (B, 42, bins, S/4, S/4).

    An ablated module is ``nn.Identity()``; the network still reaches 1/4 scale with the same widths:
    without ``ccm`` the maps pass unweighted, inside local optimisation too;
    without ``grm`` the 1x1 convolutions and their ReLU stay and nothing flows from coarse to fine;
    without ``lom`` each level is only enlarged.
    With fewer ``scales`` only that many of the coarsest maps go on.
    """

    def __init__(self, config: MsffConfig):
        super().__init__()
        self.config = config
        channels, width = config.backbone.channels[-config.scales :], config.global_regression.channels
        conversion = partial(ChannelConversion, config=config.channel_conversion) if config.ccm else nn.Identity
        top_down = TopDown if config.grm else nn.Identity
        one_pass = (
            partial(LocalOptimization, width, config.local_optimization, conversion) if config.lom else nn.Identity
        )
        self.backbone = build_backbone(config.backbone)
        self.channel_conversion = EachLevel(conversion(c) for c in channels)
        self.global_regression = GlobalRegression(channels, config.global_regression, top_down)
        self.local_optimization = LocalOptimizationPyramid(config.local_optimization, one_pass)
        self.volume = VolumeHead(config.scales * width, config.bins, std=config.volume_std)
        self.handedness = HandednessHead(channels[-1], config.head_hidden)
        self.relative_depth = RelativeDepthHead(channels[-1], config.head_hidden, config.bins)

    def forward(self, image: Tensor) -> HandOutput:
        f = self.backbone(image)[-self.config.scales :]  # Sec. A: four maps (B, C_k, S/s_k, S/s_k), fine to coarse
        f = self.channel_conversion(f)  # Sec. B, Eqs. (3)-(5): same shapes
        g = self.global_regression(f)  # Sec. C, Eqs. (6)-(11): four maps (B, C, S/s_k, S/s_k)
        o = self.local_optimization(g)  # Sec. D, Eqs. (12)-(13): four maps (B, C, S/4, S/4)
        volume = self.volume(torch.cat(o, 1))  # Eqs. (14)-(15): (B, 42, D, S/4, S/4)
        return HandOutput(volume, self.handedness(f[-1]), self.relative_depth(f[-1]))


class EachLevel(nn.ModuleList):
    """One module per map: a list of maps -> a list of maps."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [module(f_k) for module, f_k in zip(self, maps, strict=True)]
