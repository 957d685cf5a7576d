"""Losses of the variational autoencoders: Spurr et al. (CVPR 2018) and Yang & Yao (CVPR 2019).

Both minimise, over the hands of a batch, squared reconstruction errors summed over coordinates plus beta times the
divergence of the code from N(0, I). Poses are in the unit of the network's config: scale bones, or decimetres.

Which hands and joints count: a hand whose root, scale bone (if poses are divided by it) or canonical frame (Yang) needs
a joint that is not annotated is left out; of the others, joints that are not annotated are left out of the sums, and a
hand that lacks any joint is not fed to a pose encoder. Without a single hand the loss is 0 with a gradient of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from msff.choices import OpenChoice, choice_at
from msff.data.batches import Batch
from msff.models.baselines.pose_convention import PoseTargets, pose_targets
from msff.models.baselines.spurr import Spurr, SpurrOutput
from msff.models.baselines.yang import Yang, YangOutput, rotation_to_6d
from msff.settings.losses import SpurrLossConfig, YangLossConfig
from msff.settings.native import SPURR_NATIVE, YANG_NATIVE
from msff.training.objectives.shared import batch_generator, no_hands


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) = sum (variance + mean^2 - 1 - log variance) / 2. (N, Z) twice -> (N,) nats."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1)


def squared_error(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Sum over the coordinates of valid joints. (N, 21, 3) twice, bool (N, 21) -> (N,)."""
    return torch.where(valid[..., None], predicted - true, 0.0).square().sum((1, 2))


def draw_noise(batch: Batch, seed: int, *shapes: tuple[int, int]) -> list[Tensor]:
    """Return standard normal noise of these shapes, the same whenever this batch is drawn."""
    generator = batch_generator(batch, seed)
    return [torch.randn(shape, generator=generator).to(batch.affine.device) for shape in shapes]


def _mean(values: Tensor) -> Tensor:
    """0 for no values."""
    return values.sum() / max(1, len(values))


# Spurr


def spurr_objective(model: Spurr, batch: Batch, config: SpurrLossConfig, seed: int = 0) -> dict[str, Tensor]:
    """Return |p(x) - p|^2 + w |p(p) - p|^2 + beta (KL_x + KL_p), with noise drawn from ``seed``.

    -> scalars "total" and the unweighted terms "pose", "autoencoded", "kl_image", "kl_pose"
    """
    targets, latent = pose_targets(batch, model.config.convention), model.config.latent
    if not len(targets):
        return no_hands(model)
    complete = targets.valid.all(-1)  # (N,)
    seen_noise, own_noise = draw_noise(batch, seed, *[(len(targets), latent)] * 2)
    seen = model(targets.image, targets.side, seen_noise)
    whole = targets.at(complete)
    own = model.from_pose(whole.pose, own_noise[complete])
    return spurr_loss(seen, targets, own, whole, config)


def spurr_loss(
    seen: SpurrOutput, targets: PoseTargets, own: SpurrOutput, whole: PoseTargets, config: SpurrLossConfig
) -> dict[str, Tensor]:
    """Return the loss of N hands ``seen`` in images, and of the ``whole`` ones of them from their ``own`` pose."""
    losses = {
        "pose": _mean(squared_error(seen.pose, targets.pose, targets.valid)),
        "autoencoded": _mean(squared_error(own.pose, whole.pose, whole.valid)),
        "kl_image": _mean(kl_divergence(seen.mean, seen.log_variance)),
        "kl_pose": _mean(kl_divergence(own.mean, own.log_variance)),
    }
    total = losses["pose"] + config.pose_weight * losses["autoencoded"]
    return {"total": total + config.beta * (losses["kl_image"] + losses["kl_pose"]), **losses}


# Yang


def yang_objective(
    model: Yang, batch: Batch, paths: tuple[str, ...], config: YangLossConfig, seed: int = 0
) -> dict[str, Tensor]:
    """Return L1 of the labels, L2 of the images, or their sum: ``paths`` of "labels" and "image".

    Each is |D_p - p|^2 + |D_c - c|^2 + lambda_v |D_v - v|^2 + beta KL, for a code from the encoders of the labels, or
    from that of the image, with noise drawn from ``seed``.
    -> scalars "total" and unweighted "<path>_pose", "_canonical", "_view" and "_kl"
    """
    targets = pose_targets(batch, model.config.convention)
    complete = targets.valid.all(-1)  # (N,)
    if not (len(targets) if "image" in paths else complete.any()):
        return no_hands(model)
    label_noise, image_noise = draw_noise(batch, seed, *[(len(targets), model.config.latent)] * 2)
    losses = {}  # by path
    if "labels" in paths:
        whole = targets.at(complete)
        view = rotation_to_6d(whole.rotation)
        losses["labels"] = yang_loss(
            model.from_labels(whole.canonical, view, whole.side, label_noise[complete]), whole, config
        )
    if "image" in paths:
        losses["image"] = yang_loss(model(targets.image, targets.side, image_noise), targets, config)
    total = sum(losses[path].pop("total") for path in paths)
    return {"total": total} | {f"{path}_{name}": v for path, terms in losses.items() for name, v in terms.items()}


def yang_loss(output: YangOutput, targets: PoseTargets, config: YangLossConfig) -> dict[str, Tensor]:
    """Return the loss of N codes: scalars "total" and the unweighted "pose", "canonical", "view" and "kl"."""
    view = rotation_to_6d(targets.rotation)  # (N, 6)
    losses = {
        "pose": _mean(squared_error(output.pose, targets.pose, targets.valid)),
        "canonical": _mean(squared_error(output.canonical, targets.canonical, targets.valid)),
        "view": _mean((output.view - view).square().sum(-1)),
        "kl": _mean(kl_divergence(output.mean, output.log_variance)),
    }
    total = config.pose_weight * losses["pose"] + config.canonical_weight * losses["canonical"]
    return {"total": total + config.view_weight * losses["view"] + config.beta * losses["kl"], **losses}


SPURR_TRAINING_CHOICES = (
    OpenChoice("squared_error", "sum over coordinates, mean over hands", "own choice",
        "A squared error per modality is the authors' word; how it is averaged is not."),
    OpenChoice("pose_targets", "hands and joints without annotation are left out", "own choice",
        "On RHD all are annotated; on InterHand2.6M some are not."),
    choice_at(SPURR_NATIVE, "learning_rate", "memory, medium", "Adam; the training scripts were not released."),
    choice_at(SPURR_NATIVE, "batch_size", "memory, medium", "The training scripts were not released."),
    choice_at(SPURR_NATIVE, "epochs", "own choice",
        "No schedule is public: 100 passes, a tenth at 60 and at 85."),
    choice_at(SPURR_NATIVE, "augment", "memory, low",
        "Rotation is named by the authors, ranges are not. Here: turned by N(0, 90) degrees cut at 180, box shifted by "
        "4 % and scaled by 10 %, colour gain 0.8-1.2, no mirror; the pose turns with the image.", shown="VAE_AUGMENT"),
)  # fmt: skip
YANG_TRAINING_CHOICES = (
    OpenChoice("squared_error", "sum over coordinates, mean over hands", "own choice", "As for Spurr."),
    choice_at(YANG_NATIVE["image"], "learning_rate", "memory, medium", "Adam, in the first two phases."),
    choice_at(YANG_NATIVE["image"], "batch_size", "memory, medium",
        "Images; 128 for the labels alone, a choice of this study."),
    choice_at(YANG_NATIVE["image"], "epochs", "own choice",
        "Of images, a tenth of the rate at 60 and 85; 50 of labels before. No schedule is known."),
    OpenChoice("YangRecipe.joint", None, "own choice",
        "A last phase that trains all parts together, 20 epochs at 1e-5, is possible but off."),
    choice_at(YANG_NATIVE["image"], "augment", "own choice",
        "As Spurr; turning the image turns p and v, never c.", shown="VAE_AUGMENT"),
)  # fmt: skip
"""What is not settled by public text about the training, beside the fields of the losses' configs."""
