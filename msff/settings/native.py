"""The published schedules of the compared methods, for their own data and metric (track T0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msff.settings.training import AugmentConfig, TrainingConfig

_STEADY = AugmentConfig(
    shift=0.0, scale=0.0, rotation_deg=0.0, rotation_probability=0.0, flip_probability=0.0, colour=0.0
)

_EPOCH = {"batch_size": 8, "images_per_epoch": 8000}  # the authors count iterations: 1000 of them

POSENET_NATIVE: Mapping[str, TrainingConfig] = {
    "segmentation": TrainingConfig(
        **_EPOCH, epochs=40, learning_rate=1e-5, decay_epochs=(20, 30), augment=replace(_STEADY, shift=0.1)
    ),
    "pose2d": TrainingConfig(
        **_EPOCH, epochs=30, learning_rate=1e-4, decay_epochs=(10, 20), augment=replace(_STEADY, shift=0.14)
    ),
    "lifting": TrainingConfig(**_EPOCH, epochs=80, learning_rate=1e-5, decay_epochs=(60,), augment=None),
}
"""The authors' schedules, an epoch being 1000 iterations; fewer where there are fewer than 8000 images.

Their augmentation, in what `AugmentConfig` offers; they neither rotate nor mirror.
Segmentation: a random window of 256 px in an image of 320 px, off the centre by up to 32 px, 0.1 of the image. Not
reproduced: the window shows less than the whole image, and hues change by up to 0.1.
PoseNet2D: the centre of the crop moves by a truncated normal of 20 px of the image, and the crop, about 100 px there,
grows so that it still shows all joints: 20 / (100 + 2 * 20) of its side, here uniform. Not reproduced: the growth.
Lifting uses no image: all its noise is `JitterConfig`'s."""

CHEN_NATIVE = TrainingConfig(
    optimizer="rmsprop", learning_rate=2.5e-5, batch_size=24, epochs=100, decay_epochs=(30, 60, 90), augment=None
)
"""The author's schedule: momentum and weight decay 0, 6 images on each of 4 devices; what smooths RMSprop's mean square
is not stated; here it is torch's 0.99. His code has gains of colour and mirrors, but does not apply them to poses in 3D
on RHD."""

VAE_AUGMENT = AugmentConfig(
    shift=0.04, scale=0.1, rotation_deg=90.0, rotation_probability=1.0, flip_probability=0.0, colour=0.2
)
"""Turned by any angle, hardly shifted, never mirrored; the ranges are a choice of this study."""

SPURR_NATIVE = TrainingConfig(batch_size=64, epochs=100, decay_epochs=(60, 85), augment=VAE_AUGMENT)

YANG_NATIVE = {
    "labels": TrainingConfig(batch_size=128, epochs=50, decay_epochs=(), augment=VAE_AUGMENT),
    "image": TrainingConfig(batch_size=32, epochs=100, decay_epochs=(60, 85), augment=VAE_AUGMENT),
}
"""The known part of the authors' recipes, completed by the choices below."""
