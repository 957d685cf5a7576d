"""MS-FF (Sec. A, Fig. 1): trunk, channel conversion, global regression, local optimisation, heads.

Choices that the paper does not state are fields of the configs below and rows of ``DEVIATIONS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from msff.models.backbone import BackboneConfig, build_backbone
from msff.models.deviations import DEVIATIONS, Deviation
from msff.models.heads import HandednessHead, RelativeDepthHead, VolumeHead
from msff.models.msff.channel_conversion import ChannelConversion, ChannelConversionConfig
from msff.models.msff.global_regression import GlobalRegression, GlobalRegressionConfig
from msff.models.msff.local_optimization import LocalOptimizationConfig, LocalOptimizationPyramid
from msff.models.output import HandOutput

__all__ = ["DEVIATIONS", "Deviation", "Msff", "MsffConfig"]


@dataclass(frozen=True)
class MsffConfig:
    """The whole network. The three switches ablate one module each; what remains is stated at ``Msff``."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    channel_conversion: ChannelConversionConfig = field(default_factory=ChannelConversionConfig)
    global_regression: GlobalRegressionConfig = field(default_factory=GlobalRegressionConfig)
    local_optimization: LocalOptimizationConfig = field(default_factory=LocalOptimizationConfig)
    bins: int = 64  # depth bins; x and y have as many at 256 px: deviation D21
    head_hidden: int = 512  # hidden units of the handedness and relative depth heads: deviation D22
    volume_std: float = 0.001  # initial weights of the heat-map convolution: deviation D23
    ccm: bool = True  # channel conversion, on the trunk's maps and inside local optimisation
    grm: bool = True  # global regression
    lom: bool = True  # local optimisation

    def __post_init__(self):
        if self.bins < 2 or self.head_hidden < 1 or self.volume_std <= 0:
            raise ValueError(
                "MsffConfig needs bins >= 2, head_hidden >= 1 and volume_std > 0, "
                f"got {self.bins}, {self.head_hidden} and {self.volume_std}"
            )


class Msff(nn.Module):
    """(B, 3, S, S) in [0, 1] -> `HandOutput` with a volume (B, 42, bins, S/4, S/4).

    Ablated, the network still reaches 1/4 scale with the same widths:
    without ``ccm`` the maps pass unweighted, inside local optimisation too;
    without ``grm`` the 1x1 convolutions (and ReLU) stay and nothing flows from coarse to fine;
    without ``lom`` each pass is only its bilinear x2.
    """

    def __init__(self, config: MsffConfig):
        super().__init__()
        self.config = config
        conversion = config.channel_conversion if config.ccm else replace(config.channel_conversion, form="none")
        inner = replace(config.local_optimization, conversion=_inner_conversion(config))
        channels, width = config.backbone.channels, config.global_regression.channels
        self.backbone = build_backbone(config.backbone)
        self.channel_conversion = nn.ModuleList(ChannelConversion(c, conversion) for c in channels)
        self.global_regression = GlobalRegression(channels, config.global_regression, top_down=config.grm)
        self.local_optimization = LocalOptimizationPyramid(width, inner, enabled=config.lom)
        self.volume = VolumeHead(4 * width, config.bins, std=config.volume_std)
        self.handedness = HandednessHead(channels[-1], config.head_hidden)
        self.relative_depth = RelativeDepthHead(channels[-1], config.head_hidden, config.bins)

    def forward(self, image: Tensor) -> HandOutput:
        maps = self.features(image)
        smallest = maps["converted"][-1]
        return HandOutput(
            volume=self.volume(maps["fused"]),  # Eq. (15), (B, 42, D, S/4, S/4)
            side_logits=self.handedness(smallest),
            relative_root_bin=self.relative_depth(smallest),
        )

    def features(self, image: Tensor) -> dict[str, list[Tensor] | Tensor]:
        """What each module makes of the image, fine to coarse.

        ``trunk``, ``converted``: (B, C_k, S/s_k, S/s_k); ``pyramid``: (B, C, S/s_k, S/s_k);
        ``optimised``: (B, C, S/4, S/4); ``fused``: one (B, 4C, S/4, S/4), Eq. (14).
        """
        trunk = self.backbone(image)
        converted = [convert(f) for convert, f in zip(self.channel_conversion, trunk, strict=True)]  # Eqs. (3)-(5)
        pyramid = self.global_regression(converted)  # Eqs. (6)-(11)
        optimised = self.local_optimization(pyramid)  # Eqs. (12)-(13)
        fused = torch.cat(optimised, 1)  # Eq. (14)
        return {"trunk": trunk, "converted": converted, "pyramid": pyramid, "optimised": optimised, "fused": fused}


def _inner_conversion(config: MsffConfig) -> ChannelConversionConfig:
    """Local optimisation's own channel conversion; switched off with the others."""
    conversion = config.local_optimization.conversion
    return conversion if config.ccm else replace(conversion, form="none")
