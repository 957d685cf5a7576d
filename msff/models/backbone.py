"""The trunk: feature maps at 1/4, 1/8, 1/16 and 1/32 of the crop (Sec. A, "ResNet50 module").

The paper's is ResNet-50. The profiles for CPUs take EfficientNet-Lite0, whose ImageNet weights come with a package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msff.models.efficientnet import EfficientNetLite0
from msff.settings.networks import BackboneConfig

STRIDES = (4, 8, 16, 32)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_backbone(config: BackboneConfig) -> nn.Module:
    """Build the trunk: (B, 3, S, S) in [0, 1] -> four maps (B, C_k, S/s_k, S/s_k), fine to coarse."""
    if config.trunk == "efficientnet_lite0":
        return EfficientNetLite0(config.pretrained)
    return ResNet(config)


class ResNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> four maps (B, C_k, S/s_k, S/s_k) for strides s_k = 4, 8, 16, 32.

    torchvision's blocks in torchvision's layout (the same parameter names, so its weights fit), at any width.
    Initialisation is torchvision's: convolutions He-normal (fan out), batch norm 1 and 0.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = (width, *config.channels[:3])
        for stage in range(4):
            layer = _stage(config.block, inputs[stage], width * 2**stage, config.blocks[stage], 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if config.normalise:
            self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1), persistent=False)
        if config.pretrained:
            load_imagenet(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        self._check(image)
        if self.config.normalise:
            image = (image - self.mean) / self.std
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))  # (B, width, S/4, S/4)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % 32 or image.shape[3] % 32:
            raise ValueError(f"image must be (B, 3, S, S) with S a multiple of 32, got {tuple(image.shape)}")
        if self.training and image.shape[0] * image.shape[2] * image.shape[3] == 32 * 32:
            raise ValueError(
                "batch norm cannot train on one 32 px crop, whose smallest map is a single value per channel: "
                "use a batch of at least 2 or a crop of at least 64 px"
            )


def _stage(block: str, inputs: int, planes: int, count: int, stride: int) -> nn.Sequential:
    """Return a ResNet stage; its first block changes resolution and channels, with a projection shortcut if needed."""
    from torchvision.models.resnet import BasicBlock, Bottleneck  # takes seconds, and most commands build no network

    kind = {"bottleneck": Bottleneck, "basic": BasicBlock}[block]
    outputs = planes * kind.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = kind(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(kind(outputs, planes) for _ in range(count - 1)))


def load_imagenet(backbone: ResNet) -> None:
    """Load torchvision's ImageNet weights into the trunk; they are downloaded on first use."""
    from torchvision.models import get_model_weights

    config = backbone.config
    weights = get_model_weights(config.name).IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise OSError(
            f"the ImageNet weights of {config.name} could not be fetched ({error}): put the file "
            f"{weights.url.rsplit('/', 1)[-1]} into {torch.hub.get_dir()}/checkpoints, or use pretrained=False"
        ) from error
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    backbone.load_state_dict(state)
