"""The sizes of a profile's networks, and their heat-map volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msff.choices import open_choice, require, stated

LITE0_CHANNELS = (24, 40, 112, 320)
"""Channels of EfficientNet-Lite0's four maps."""

_EXPANSION = {"bottleneck": 4, "basic": 1}
"""Channels of a block's output over those inside it."""

_PUBLISHED = {
    ("bottleneck", 64, (3, 4, 6, 3)): "resnet50",
    ("basic", 64, (3, 4, 6, 3)): "resnet34",
    ("basic", 64, (2, 2, 2, 2)): "resnet18",
}
"""The sizes for which torchvision has ImageNet weights (V1, as in InterNet's time)."""


@dataclass(frozen=True)
class BackboneConfig:
    """The trunk and its size. The default is ResNet-50, as in the paper."""

    block: Literal["bottleneck", "basic"] = stated("bottleneck", "ResNet50 module (Sec. A)")
    # channels of the stem and of the first stage's blocks; doubled at each further stage
    width: int = stated(64, "ResNet50 module (Sec. A)")
    blocks: tuple[int, int, int, int] = stated((3, 4, 6, 3), "ResNet50 module (Sec. A)")
    pretrained: bool = open_choice(  # ImageNet weights
        False, tag="D1",
        source="Nothing on pre-training.",
        reason="InterNet starts from ImageNet weights. So do the profiles paper and, with another trunk (D37), cpu, "
        "cpu-long and gpu-short.",
    )  # fmt: skip
    normalise: bool = open_choice(  # subtract ImageNet's mean, divide by its standard deviation
        False, tag="D2",
        source="Nothing on the range of the input.",
        reason="InterNet divides by 255 and subtracts no mean.",
    )  # fmt: skip
    trunk: Literal["resnet", "efficientnet_lite0"] = open_choice(  # the second has one size
        "resnet", tag="D37",
        source="A ResNet50 module.",
        reason="As written. The profiles cpu, cpu-long and gpu-short take EfficientNet-Lite0, the one trunk that "
        "trains on a CPU and whose ImageNet weights come as a Python package.",
    )  # fmt: skip

    def __post_init__(self):
        object.__setattr__(self, "blocks", tuple(self.blocks))  # a list if read from JSON
        require(self, "trunk", one_of=("resnet", "efficientnet_lite0"))
        if self.trunk == "efficientnet_lite0":
            if not self.normalise:
                raise ValueError("EfficientNet-Lite0 normalises its input: BackboneConfig.normalise must be True")
            return
        require(self, "block", one_of=_EXPANSION)
        require(self, "width", at_least=1)
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ValueError(f"BackboneConfig.blocks must be four counts >= 1, got {self.blocks}")
        if self.pretrained and (self.block, self.width, self.blocks) not in _PUBLISHED:
            raise ValueError(
                f"there are no ImageNet weights for {self.block} blocks, width {self.width}, {self.blocks}: "
                "use a ResNet-18, 34 or 50, or pretrained=False"
            )

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Return the channels of the four maps: 256, 512, 1024, 2048 for ResNet-50."""
        if self.trunk == "efficientnet_lite0":
            return LITE0_CHANNELS
        return tuple(self.width * 2**stage * _EXPANSION[self.block] for stage in range(4))

    @property
    def name(self) -> str:
        """Return a short readable name, such as ``resnet50`` or ``resnet-basic-w16-1111``."""
        if self.trunk == "efficientnet_lite0":
            return self.trunk
        slim = f"resnet-{self.block}-w{self.width}-{''.join(map(str, self.blocks))}"
        return _PUBLISHED.get((self.block, self.width, self.blocks), slim)


RESNET18 = BackboneConfig("basic", 64, (2, 2, 2, 2))
"""ResNet-18 without ImageNet weights."""

LITE0 = BackboneConfig(trunk="efficientnet_lite0", pretrained=True, normalise=True)
"""EfficientNet-Lite0 with its ImageNet weights."""


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


@dataclass(frozen=True)
class VolumeSpec:
    """Geometry and amplitude of the volume. The paper gives none of it; the defaults are InterNet's."""

    bins: int = open_choice(  # voxels along x, y and z alike
        64, tag="D24", source="As D21.", reason="As D21; profiles with smaller crops have a quarter of the crop's side."
    )  # fmt: skip
    crop_size: int = stated(256, "The hand image was resized to 256x256 (experiments)")  # px, of the network's input
    depth_range_mm: float = open_choice(  # covered by z, and by the relative root depth
        400.0, tag="D25",
        source="Nothing on the range of depth, of joints or of the relative root.",
        reason="InterNet's 400 mm about the wrist, for both.",
    )  # fmt: skip
    sigma_bin: float = open_choice(  # standard deviation of the Gaussian
        2.5, tag="D26",
        source="A Gaussian without its width.",
        reason="InterNet's 2.5 bins; smaller volumes keep 2.5/64 of their side.",
    )  # fmt: skip
    amplitude: float = open_choice(  # its peak
        255.0, tag="D27",
        source="A Gaussian without its height.",
        reason="InterNet's; it sets the weight of the heat maps against the other two losses.",
    )  # fmt: skip

    def __post_init__(self):
        require(self, "bins", "crop_size", "depth_range_mm", "sigma_bin", "amplitude", above=0)
