"""Yang(2019): a code of two factors, canonical pose and viewpoint (Yang & Yao, CVPR 2019, arXiv:1812.01002).

The authors published no code and the text leaves most sizes and weights open: nearly every value here is memory or our
choice. What is theirs: a variational autoencoder whose code is split into labelled factors, trained on the labels
first; then an image encoder that is fitted to the same code.

Names: c canonical pose, v viewpoint, p pose before the camera; E encoders, D decoders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import OpenChoice, choice_at, open_choice, require
from msff.models.baselines.pose_convention import PoseConvention
from msff.models.baselines.vae import POSE_DIMS, ImageEncoder, Latent, VaeSize, mlp
from msff.models.precision import in_float32
from msff.skeleton import JOINTS_PER_HAND, SIDES

VIEW_DIMS = 6


YANG_CONVENTION = PoseConvention(scale_invariant=True, canonical=True)
"""Of the poses: palm-relative, in units of the hand's scale bone; with the canonical frame."""


@dataclass(frozen=True)
class YangConfig:
    """Sizes. Every default but the split itself is memory or choice."""

    size: VaeSize = VaeSize()
    canonical_latent: int = open_choice(32, "memory, medium", "A code of 64 dimensions, half of it for the pose.")
    view_latent: int = open_choice(32, "memory, medium", "The other half.")

    def __post_init__(self):
        require(self, "canonical_latent", "view_latent", at_least=1)

    @property
    def convention(self) -> PoseConvention:
        """Return the unit and frame of the poses."""
        return YANG_CONVENTION

    @property
    def latent(self) -> int:
        """Return the number of dimensions of the code, z_c and z_v."""
        return self.canonical_latent + self.view_latent


@dataclass(frozen=True, eq=False)
class YangOutput:
    """The estimate for N hands, the same in training and evaluation."""

    pose: Tensor  # (N, 21, 3) relative to the root, camera axes, in scale bones: the estimate
    canonical: Tensor  # (N, 21, 3) the same hand in its canonical frame, as a left hand
    view: Tensor  # (N, 6) the viewpoint, see `rotation_to_6d`; raw, no rotation until orthonormalised
    mean: Tensor  # (N, Z) of the code: z_c, z_v
    log_variance: Tensor  # (N, Z)


class Yang(nn.Module):
    """(N, 3, S, S) in [0, 1], (N,) side (0 right, 1 left) -> `YangOutput`.

    ``noise`` (N, Z) as in `msff.models.baselines.spurr.Spurr`: None takes the mean of the code.
    """

    def __init__(self, config: YangConfig):
        super().__init__()
        self.config = config
        size, c, v = config.size, config.canonical_latent, config.view_latent
        self.canonical_encoder = mlp(POSE_DIMS, size.hidden, size.encoder_layers, 2 * c)  # E_c
        self.view_encoder = mlp(VIEW_DIMS, size.hidden, size.encoder_layers, 2 * v)  # E_v
        self.image_encoder = ImageEncoder(size, 2 * config.latent, hand_side=True)  # E_x
        self.canonical_decoder = mlp(c, size.hidden, size.decoder_layers, POSE_DIMS)  # D_c
        self.view_decoder = mlp(v, size.hidden, size.decoder_layers, VIEW_DIMS)  # D_v
        self.pose_decoder = mlp(c + v + len(SIDES), size.hidden, size.decoder_layers, POSE_DIMS)  # D_p

    def forward(self, image: Tensor, side: Tensor | None = None, noise: Tensor | None = None) -> YangOutput:
        return self._decode(Latent.of(self.image_encoder(image, side)), side, noise)

    def from_labels(self, canonical: Tensor, view: Tensor, side: Tensor, noise: Tensor | None = None) -> YangOutput:
        """Encode and decode labels: c (N, 21, 3), v (N, 6), side (N,), noise (N, Z) -> `YangOutput`."""
        c = Latent.of(self.canonical_encoder(canonical.flatten(1)))
        v = Latent.of(self.view_encoder(view))
        latent = Latent(torch.cat([c.mean, v.mean], -1), torch.cat([c.log_variance, v.log_variance], -1))
        return self._decode(latent, side, noise)

    def _decode(self, latent: Latent, side: Tensor, noise: Tensor | None) -> YangOutput:
        z, plain = in_float32(latent.at(noise))  # (N, Z)
        given = F.one_hot(side, len(SIDES)).to(z)  # (N, 2)
        z_c, z_v = z.split([self.config.canonical_latent, self.config.view_latent], -1)
        with plain:
            pose = self.pose_decoder(torch.cat([z, given], -1)).unflatten(-1, (JOINTS_PER_HAND, 3))
            canonical = self.canonical_decoder(z_c).unflatten(-1, (JOINTS_PER_HAND, 3))  # (N, 21, 3) both
            view = self.view_decoder(z_v)
        return YangOutput(pose, canonical, view, latent.mean, latent.log_variance)


def rotation_to_6d(rotation: Tensor) -> Tensor:
    """Return the first two rows of a rotation that acts on row vectors. (N, 3, 3) -> (N, 6)."""
    return rotation[..., :2, :].flatten(-2)


YANG_CHOICES = (
    choice_at(VaeSize(), "backbone", "memory, medium", "As Spurr.", shown="ResNet-18"),
    choice_at(VaeSize(), "encoder_layers", "own choice", "As Spurr's pose encoder, for c and v."),
    choice_at(VaeSize(), "decoder_layers", "own choice", "As Spurr's pose decoder, for c, v and p."),
    choice_at(YANG_CONVENTION, "scale_invariant", "memory, medium", "The table of results marks the scale as given."),
    OpenChoice("Yang.image_encoder", "receives the handedness", "memory, medium",
        "The table of results marks the handedness as given."),
    OpenChoice("Yang.pose_decoder", "receives the handedness", "own choice",
        "A canonical hand is a left one, whichever hand it was: canonical pose and viewpoint alone do not determine "
        "which of two mirrored poses is meant."),
    OpenChoice("YangOutput", "no decoded image", "own choice", "The study compares poses, not synthesised images."),
    OpenChoice("root", "palm", "own choice",
        "As Spurr, on whose networks this one builds; later public loaders of the same group take the middle MCP."),
    OpenChoice("rotation_to_6d", "6 numbers", "own choice",
        "Viewpoint as two rows of the rotation: free of jumps, unlike angles."),
)  # fmt: skip
"""What is not settled by public text about the network, beside the fields of its config."""
