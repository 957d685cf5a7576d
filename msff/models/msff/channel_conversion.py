"""Channel conversion module (Sec. B, Fig. 2, Eqs. 3-5): weights the channels of a map by its global content.

Eq. (4) as printed, sigmoid(W1 A + W2 A), lacks the ReLU that the text around it defines, and is one linear map of A.
Squeeze-and-excitation (Hu et al., CVPR 2018), sigmoid(W2 ReLU(W1 A)), is what it most probably means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from msff.choices import OpenChoice, open_choice, require


@dataclass(frozen=True)
class ChannelConversionConfig:
    """``form`` picks Eq. (4): "se" as meant, "printed" as typeset."""

    form: Literal["se", "printed"] = open_choice(
        "se", tag="D3",
        source="Eq. (4) prints sigmoid(W1 A + W2 A); the text defines a ReLU that the equation does not contain.",
        reason="Without the ReLU the two layers are one linear map; squeeze-and-excitation fits the text. "
        "The form \"printed\" is an ablation.",
    )  # fmt: skip
    reduction: int = open_choice(  # C / hidden units of "se"
        16, tag="D4",
        source="Two fully connected layers, no reduction ratio.",
        reason="The ratio of the squeeze-and-excitation paper.",
    )  # fmt: skip
    min_hidden: int = open_choice(
        8, tag="D5",
        source="Nothing.",
        reason="Keeps slim networks from a bottleneck of one or two units; never reached with ResNet-50.",
    )  # fmt: skip

    def __post_init__(self):
        require(self, "form", one_of=("se", "printed"))
        require(self, "reduction", "min_hidden", at_least=1)

    def hidden(self, channels: int) -> int:
        """Return the number of hidden units of the form "se" on a map of ``channels``."""
        return max(channels // self.reduction, self.min_hidden)


class ChannelConversion(nn.Module):
    """(B, C, H, W) -> (B, C, H, W). Initialisation: He-uniform of ``nn.Linear``."""

    def __init__(self, channels: int, config: ChannelConversionConfig | None = None):
        super().__init__()
        config = config or ChannelConversionConfig()
        self.form = config.form
        hidden = config.hidden(channels) if config.form == "se" else channels
        self.w1 = nn.Linear(channels, hidden, bias=False)
        self.w2 = nn.Linear(hidden, channels, bias=False)

    def forward(self, f: Tensor) -> Tensor:
        w = self.weights(self.aggregate(f))  # (B, C)
        return w[:, :, None, None] * f  # Eq. (5), (B, C, H, W)

    def aggregate(self, f: Tensor) -> Tensor:
        """Return A of Eq. (3), the mean of each channel: (B, C, H, W) -> (B, C)."""
        return f.mean((2, 3))

    def weights(self, a: Tensor) -> Tensor:
        """Return W of Eq. (4), the weight of each channel in (0, 1): A (B, C) -> (B, C)."""
        excited = self.w2(self.w1(a).relu()) if self.form == "se" else self.w1(a) + self.w2(a)
        return excited.sigmoid()


CHANNEL_CONVERSION_CHOICES = (
    OpenChoice(
        "ChannelConversion.w1, w2", "no bias", "Eq. (4) shows weight matrices and no bias.", "As printed.", "D6"
    ),
)
