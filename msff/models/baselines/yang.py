"""Yang(2019): a code of two factors, canonical pose and viewpoint (Yang & Yao, CVPR 2019, arXiv:1812.01002).

The authors published no code and the text leaves most sizes and weights open: nearly every value here is memory or our
choice. What is theirs: a variational autoencoder whose code is split into labelled factors, trained on the labels
first; then an image encoder that is fitted to the same code.

Names: c canonical pose, v viewpoint, p pose before the camera, u the rest of the image; E encoders, D decoders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msff.choices import OpenChoice, choice_at, open_choice
from msff.models.baselines.pose_convention import PoseConvention
from msff.models.baselines.vae import POSE_DIMS, ImageDecoder, ImageEncoder, Latent, VaeSize, mlp
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
    # code of what is neither pose nor view; used by the image decoder alone
    content_latent: int = open_choice(64, "own choice", "As large as the labelled factors together.")
    image_decoder: bool = open_choice(False, "own choice", "The study compares poses, not synthesised images.")

    def __post_init__(self):
        if min(self.canonical_latent, self.view_latent, self.content_latent) < 1:
            raise ValueError(
                "YangConfig needs codes of at least one dimension, got "
                f"{self.canonical_latent}, {self.view_latent} and {self.content_latent}"
            )

    @property
    def convention(self) -> PoseConvention:
        """Return the unit and frame of the poses."""
        return YANG_CONVENTION

    @property
    def label_latent(self) -> int:
        """Return the number of dimensions of the factors with labels, z_c and z_v."""
        return self.canonical_latent + self.view_latent

    @property
    def image_latent(self) -> int:
        """Return the number of dimensions of an image's code: z_c, z_v, and z_u if the image is decoded."""
        return self.label_latent + self.content_latent * self.image_decoder


@dataclass(frozen=True, eq=False)
class YangOutput:
    """The estimate for N hands, the same in training and evaluation."""

    pose: Tensor  # (N, 21, 3) relative to the root, camera axes, in scale bones: the estimate
    canonical: Tensor  # (N, 21, 3) the same hand in its canonical frame, as a left hand
    view: Tensor  # (N, 6) raw; `rotation_from_6d` makes it a rotation
    mean: Tensor  # (N, Z) of the code: z_c, z_v and, from an image that is also decoded, z_u
    log_variance: Tensor  # (N, Z)
    image: Tensor | None = None  # (N, 3, S/2, S/2) rgb / 255 - 0.5; None without that decoder


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
        self.image_encoder = ImageEncoder(size, 2 * config.image_latent, hand_side=True)  # E_x
        self.canonical_decoder = mlp(c, size.hidden, size.decoder_layers, POSE_DIMS)  # D_c
        self.view_decoder = mlp(v, size.hidden, size.decoder_layers, VIEW_DIMS)  # D_v
        self.pose_decoder = mlp(c + v + len(SIDES), size.hidden, size.decoder_layers, POSE_DIMS)  # D_p
        self.image_decoder = ImageDecoder(size, config.image_latent) if config.image_decoder else None  # D_x

    def forward(self, image: Tensor, side: Tensor | None = None, noise: Tensor | None = None) -> YangOutput:
        return self._decode(Latent.of(self.image_encoder(image, side)), side, noise, self.image_decoder)

    def from_labels(self, canonical: Tensor, view: Tensor, side: Tensor, noise: Tensor | None = None) -> YangOutput:
        """Encode and decode labels: c (N, 21, 3), v (N, 6), side (N,) -> `YangOutput` without an image.

        ``noise`` (N, label_latent).
        """
        c = Latent.of(self.canonical_encoder(canonical.flatten(1)))
        v = Latent.of(self.view_encoder(view))
        latent = Latent(torch.cat([c.mean, v.mean], -1), torch.cat([c.log_variance, v.log_variance], -1))
        return self._decode(latent, side, noise, None)

    def _decode(
        self, latent: Latent, side: Tensor, noise: Tensor | None, image_decoder: nn.Module | None
    ) -> YangOutput:
        z, plain = in_float32(latent.at(noise))  # (N, Z)
        labelled = z[:, : self.config.label_latent]
        given = F.one_hot(side, len(SIDES)).to(z)  # (N, 2)
        z_c, z_v = labelled.split([self.config.canonical_latent, self.config.view_latent], -1)
        with plain:
            pose = self.pose_decoder(torch.cat([labelled, given], -1)).unflatten(-1, (JOINTS_PER_HAND, 3))
            canonical = self.canonical_decoder(z_c).unflatten(-1, (JOINTS_PER_HAND, 3))  # (N, 21, 3) both
            view = self.view_decoder(z_v)
        image = image_decoder(z) if image_decoder else None
        return YangOutput(pose, canonical, view, latent.mean, latent.log_variance, image)


def rotation_to_6d(rotation: Tensor) -> Tensor:
    """Return the first two rows of a rotation that acts on row vectors. (N, 3, 3) -> (N, 6)."""
    return rotation[..., :2, :].flatten(-2)


def rotation_from_6d(view: Tensor) -> Tensor:
    """Orthonormalise by Gram-Schmidt: (N, 6) -> (N, 3, 3), determinant 1; inverse of `rotation_to_6d` on rotations.

    The first three numbers give the direction of the first row, the component of the others orthogonal to it the second
    row; the third row is their cross product. (Zhou et al., CVPR 2019, with rows for columns.)
    """
    a, b = view.unflatten(-1, (2, 3)).unbind(-2)  # (N, 3) each
    first = F.normalize(a, dim=-1)
    second = F.normalize(b - (first * b).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2)


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
    OpenChoice("root", "palm", "own choice",
        "As Spurr, on whose networks this one builds; later public loaders of the same group take the middle MCP."),
    OpenChoice("rotation_to_6d", "6 numbers", "own choice",
        "Viewpoint as two rows of the rotation: free of jumps, unlike angles."),
)  # fmt: skip
"""What is not settled by public text about the network, beside the fields of its config."""
