"""Spurr(2018): one code for images and hand poses (Spurr et al., CVPR 2018), after the paper and spurra/vae-hands-3d.

Two encoders share a Gaussian code and the pose decoder: image -> z -> pose is the estimator, pose -> z -> pose
regularises the code. 12.4 M parameters and 2.37 G multiply-adds at 256 px from image to pose.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from msff.choices import OpenChoice, choice_at, open_choice, require
from msff.models.baselines.pose_convention import PoseConvention
from msff.models.baselines.vae import POSE_DIMS, ImageEncoder, Latent, VaeSize, mlp
from msff.models.precision import in_float32
from msff.skeleton import JOINTS_PER_HAND


@dataclass(frozen=True)
class SpurrConfig:
    """Sizes and variant: S (``scale_invariant``) and H (``hand_side``) are independent, which makes four variants."""

    size: VaeSize = VaeSize()
    latent: int = open_choice(  # dimensions of the code
        30, "released code",
        "The released evaluation code uses 30 dimensions; the paper's text, as remembered, says 64.",
    )  # fmt: skip
    scale_invariant: bool = False  # S: poses are in units of the scale bone, whose length must be given
    hand_side: bool = False  # H: the image encoder receives the handedness

    def __post_init__(self):
        require(self, "latent", at_least=1)

    @property
    def convention(self) -> PoseConvention:
        """Return the unit of the poses."""
        return PoseConvention(self.scale_invariant)


@dataclass(frozen=True, eq=False)
class SpurrOutput:
    """The estimate for N hands, the same in training and evaluation."""

    pose: Tensor  # (N, 21, 3) relative to the palm (row WRIST); camera axes; scale bones with S, else dm
    mean: Tensor  # (N, Z) of the code
    log_variance: Tensor  # (N, Z)


class Spurr(nn.Module):
    """(N, 3, S, S) in [0, 1], and with H (N,) side (0 right, 1 left) -> `SpurrOutput`.

    Without ``noise`` the code is its mean, as at test time. Training passes standard normal ``noise`` (N, Z), so that
    the network draws no random numbers and behaves alike in training and evaluation.
    """

    def __init__(self, config: SpurrConfig):
        super().__init__()
        self.config = config
        size, z = config.size, config.latent
        self.image_encoder = ImageEncoder(size, 2 * z, config.hand_side)
        self.pose_encoder = mlp(POSE_DIMS, size.hidden, size.encoder_layers, 2 * z)
        self.pose_decoder = mlp(z, size.hidden, size.decoder_layers, POSE_DIMS)

    def forward(self, image: Tensor, side: Tensor | None = None, noise: Tensor | None = None) -> SpurrOutput:
        return self._decode(Latent.of(self.image_encoder(image, side)), noise)

    def from_pose(self, pose: Tensor, noise: Tensor | None = None) -> SpurrOutput:
        """Encode and decode poses: (N, 21, 3) -> `SpurrOutput`."""
        return self._decode(Latent.of(self.pose_encoder(pose.flatten(1))), noise)

    def _decode(self, latent: Latent, noise: Tensor | None) -> SpurrOutput:
        z, plain = in_float32(latent.at(noise))  # (N, Z)
        with plain:
            pose = self.pose_decoder(z).unflatten(-1, (JOINTS_PER_HAND, 3))  # (N, 21, 3)
        return SpurrOutput(pose, latent.mean, latent.log_variance)


SPURR_CHOICES = (
    choice_at(VaeSize().backbone, "pretrained", "own choice",
        "The released network file loads no ImageNet weights; whether the paper's training did is not known. "
        "A profile may switch them on."),
    OpenChoice("SpurrOutput", "no decoded image", "released code",
        "The authors say that reconstructing the image helped little; off in their best model on RHD."),
    OpenChoice("PoseConvention.fixed_mm", PoseConvention().fixed_mm, "own choice",
        "Metres in the released code; in decimetres the sum of squares weighs about as much as with S, so that one "
        "beta serves both."),
    OpenChoice("mlp", "torch's initialisation", "own choice",
        "The released file draws He-normal weights for its ResNet, as ours; of the linear layers it says nothing."),
)  # fmt: skip
"""What is not settled by the paper or its code about the network, beside the fields of its config."""
