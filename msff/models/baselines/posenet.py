"""PoseNet (2017): "Learning to Estimate 3D Hand Pose from Single RGB Images", Zimmermann & Brox, ICCV 2017.

Written from the description of their networks (repository lmb-freiburg/hand3d). A crop of one hand of known handedness
goes through three networks: PoseNet2D predicts score maps of 21 joints; from the last maps, PosePrior estimates the
pose in the canonical frame and ViewpointNet the rotation back to the camera frame. 21.4 M parameters, 30.3 G
multiply-adds at 256 px. Joint order is this project's; row ``WRIST`` is the palm, see
``msff.models.baselines.canonical_frame``. HandSegNet, which finds the hand in a full image, is in
``msff.models.baselines.posenet_segmentation``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import OpenChoice, open_choice, require
from msff.models.baselines.canonical_frame import from_canonical, rotation_from_axis_angle
from msff.models.baselines.pose_convention import PoseConvention
from msff.models.baselines.posenet_layers import FullyConnected, LayerConfig, SameConv, initialised, vgg
from msff.models.precision import in_float32
from msff.skeleton import JOINTS_PER_HAND, SIDES

MAP_STRIDE = 8  # crop pixels per cell of a score map
_MEAN = 0.5  # images in [0, 1] are shifted to [-0.5, 0.5]


@dataclass(frozen=True)
class PoseNetConfig:
    """Network sizes, the authors' by default."""

    crop_size: int = open_choice(  # px; fixes the size of the lifting networks
        256, "own choice",
        "The authors' crop. A profile may shrink it; the lifting networks' first full layers shrink with it, and every "
        "length that is stated for 256 px.",
    )  # fmt: skip
    layers: LayerConfig = field(default_factory=LayerConfig)
    stages: int = 3  # PoseNet2D's score maps, each refining the one before
    prior_dropout: float = 0.2  # after both hidden layers of PosePrior
    viewpoint_dropout: float = 0.25  # after both hidden layers of ViewpointNet

    def __post_init__(self):
        if self.crop_size < 32 or self.crop_size % 32:
            raise ValueError(f"PoseNetConfig.crop_size must be a multiple of 32, got {self.crop_size}")
        require(self, "stages", at_least=1)
        require(self, "prior_dropout", "viewpoint_dropout", at_least=0, below=1)

    @property
    def convention(self) -> PoseConvention:
        """Return the unit of the poses: palm-relative, in units of the hand's scale bone."""
        return PoseConvention(scale_invariant=True)

    @property
    def map_size(self) -> int:
        """Return the cells of a score map along x and y."""
        return self.crop_size // MAP_STRIDE

    def slim(self, crop_size: int, width: float) -> PoseNetConfig:
        """Return the same network at another crop size and width."""
        return replace(self, crop_size=crop_size, layers=replace(self.layers, width=width))


@dataclass(frozen=True, eq=False)
class PoseNetOutput:
    """The estimate for N hands, the same in training and evaluation."""

    pose: Tensor  # (N, 21, 3) relative to the palm, camera axes, in scale bones
    canonical: Tensor  # (N, 21, 3) canonical frame, same unit
    rotation: Tensor  # (N, 3, 3) for rows: canonical to camera frame
    score_maps: tuple[Tensor, ...] = ()  # per stage (N, 21, S/8, S/8), linear; none if the joints' maps are given


class PoseNet(nn.Module):
    """(B, 3, S, S) in [0, 1] and (B,) side (0 right, 1 left) -> `PoseNetOutput`."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.config = config
        self.pose2d = PoseNet2D(config)
        self.lifting = Lifting(config)

    def forward(self, image: Tensor, side: Tensor) -> PoseNetOutput:
        score_maps = self.pose2d(image)
        lifted = self.lifting(score_maps[-1], side)
        return PoseNetOutput(lifted.pose, lifted.canonical, lifted.rotation, score_maps)


class PoseNet2D(nn.Module):
    """(B, 3, S, S) in [0, 1] -> score maps of 21 joints, one (B, 21, S/8, S/8) per stage. 17.52 M parameters."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.config, layers = config, config.layers
        blocks = ((64,) * 2, (128,) * 2, (256,) * 4, (512, 512, 256, 256, 256, 256, 128))
        self.encoder, encoded = vgg(blocks, layers)
        hidden = layers.scaled(512)
        first = nn.Sequential(
            SameConv(encoded, hidden, 1, layers), SameConv(hidden, JOINTS_PER_HAND, 1, layers, linear=True)
        )
        refining = (_refinement(encoded + JOINTS_PER_HAND, layers) for _ in range(config.stages - 1))
        self.stages = nn.ModuleList([first, *refining])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        size = self.config.crop_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"image must be (B, 3, {size}, {size}), got {tuple(image.shape)}")
        encoding = self.encoder(image - _MEAN)  # (B, 128, S/8, S/8)
        maps = [self.stages[0](encoding)]  # (B, 21, S/8, S/8)
        for stage in self.stages[1:]:
            maps.append(stage(torch.cat([maps[-1], encoding], 1)))
        return tuple(maps)


def _refinement(inputs: int, layers: LayerConfig) -> nn.Sequential:
    """Return five 7x7 and two 1x1 convolutions: (B, inputs, h, w) -> (B, 21, h, w)."""
    width = layers.scaled(128)
    wide = [SameConv(inputs if n == 0 else width, width, 7, layers) for n in range(5)]
    return nn.Sequential(
        *wide, SameConv(width, width, 1, layers), SameConv(width, JOINTS_PER_HAND, 1, layers, linear=True)
    )


class Lifting(nn.Module):
    """PosePrior and ViewpointNet: (M, 21, S/8, S/8) score maps, (M,) side (0 right, 1 left) -> `PoseNetOutput`."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.prior = PosePrior(config)
        self.viewpoint = ViewpointNet(config)

    def forward(self, score_map: Tensor, side: Tensor) -> PoseNetOutput:
        canonical, rotation = self.prior(score_map, side), self.viewpoint(score_map, side)
        with in_float32(canonical)[1]:
            return PoseNetOutput(from_canonical(canonical, rotation, side), canonical, rotation)


class PosePrior(nn.Module):
    """(M, 21, S/8, S/8), (M,) side -> canonical joints (M, 21, 3). 1.64 M parameters."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.trunk = _MapTrunk((32, 64, 128), config)
        self.hidden = FullyConnected(self.trunk.outputs, (512, 512), config.prior_dropout, config.layers)
        self.out = initialised(nn.Linear(self.hidden.outputs, JOINTS_PER_HAND * 3), config.layers)

    def forward(self, score_map: Tensor, side: Tensor) -> Tensor:
        hidden, plain = in_float32(self.hidden(self.trunk(score_map, side)))
        with plain:
            return self.out(hidden).unflatten(1, (JOINTS_PER_HAND, 3))  # (M, 21, 3)


class ViewpointNet(nn.Module):
    """(M, 21, S/8, S/8), (M,) side -> rotation (M, 3, 3) from an axis-angle vector. 2.24 M parameters."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.trunk = _MapTrunk((64, 128, 256), config)
        self.hidden = FullyConnected(self.trunk.outputs, (256, 128), config.viewpoint_dropout, config.layers)
        self.axis_angle = nn.ModuleList(initialised(nn.Linear(self.hidden.outputs, 1), config.layers) for _ in range(3))

    def forward(self, score_map: Tensor, side: Tensor) -> Tensor:
        hidden, plain = in_float32(self.hidden(self.trunk(score_map, side)))
        with plain:
            return rotation_from_axis_angle(torch.cat([layer(hidden) for layer in self.axis_angle], 1))


class _MapTrunk(nn.Module):
    """Two 3x3 convolutions per width, the second of stride 2; flattened, with the handedness as one-hot: (M, outputs).

    The authors' one-hot has left first; permuting two inputs does not affect training.
    """

    def __init__(self, widths: tuple[int, ...], config: PoseNetConfig):
        super().__init__()
        layers, inputs, cells = [], JOINTS_PER_HAND, config.map_size
        for width in map(config.layers.scaled, widths):
            layers += [SameConv(inputs, width, 3, config.layers), SameConv(width, width, 3, config.layers, stride=2)]
            inputs, cells = width, -(-cells // 2)
        self.layers = nn.Sequential(*layers)
        self.outputs = inputs * cells**2 + len(SIDES)

    def forward(self, score_map: Tensor, side: Tensor) -> Tensor:
        if side.shape != (len(score_map),) or side.dtype != torch.int64:
            raise ValueError(
                f"side must be int64 ({len(score_map)},), 0 right and 1 left, got {side.dtype} {tuple(side.shape)}"
            )
        given = F.one_hot(side, len(SIDES)).to(score_map)  # (M, 2)
        return torch.cat([self.layers(score_map).flatten(1), given], 1)  # (M, outputs)


POSENET_CHOICES = (
    # targets
    OpenChoice("palm_visible", "wrist or middle MCP visible, both annotated", "own choice",
        "The authors' rule, plus the annotation, which RHD always gives and InterHand2.6M does not."),
    OpenChoice("palm_hands", "hands without palm, scale bone or frame are left out", "own choice",
        "Without them the lifting has no target; single joints without annotation are left out of the sums. On RHD "
        "nothing is left out."),
    OpenChoice("turn_with_crop", "targets turn with the crop", "own choice",
        "The authors do not rotate crops. In the augmentation shared by all rows, the pose rotates with its crop."),
    # inputs at test time
    OpenChoice("crop", "the dataset's box", "own choice",
        "The authors' crop is centred on the middle MCP and spans the visible joints, as in the variant \"native\"; "
        "otherwise all rows share one crop. The variant \"segmented\" crops what HandSegNet finds."),
    OpenChoice("keypoint_square", "the box's centre without a middle MCP", "own choice",
        "The authors' crop is centred on the middle MCP, which RHD always gives. Where InterHand2.6M lacks it, theirs "
        "would be centred on the corner of the image."),
    OpenChoice("single-hand crops", "an image of two hands becomes two crops", "own choice",
        "Also for Chen, Yang, Spurr and Song-S, which estimate one hand at a time. Each hand has its own box, "
        "which is more than MS-FF gets: one box around both hands."),
    OpenChoice("box_of_mask.dilation_px", 21, "own choice",
        "The authors stretch images to 240 x 320 px. Here images keep their shape, and this length scales with them."),
    OpenChoice("FoundHand", "only HandSegNet is trained", "own choice",
        "The networks behind the found box were trained on the given box."),
    OpenChoice("MeanScale", "mean of the training hands of the same handedness", "own choice",
        "The authors assume that the scale is known; this is for tracks where it is not."),
)  # fmt: skip
"""What no public source settles about the network, its targets and its inputs, beside the fields of its configs."""
