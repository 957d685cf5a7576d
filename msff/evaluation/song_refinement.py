"""Test-time optimisation of Song-S (`msff.models.baselines.song_surrogate`): a regressed hand under 2D constraints.

The energy of one hand, with p its 21 joints relative to the wrist's pixel at the wrist's depth z, all in dm:

    reprojection  sum_j conf_j Huber(|proj_j - uv_j| / side of the crop)
    outside       mean distance of 5 samples per bone to the part map of the bone's finger, in sides of the crop
    pull          |p - p0|^2, p0 the regressed joints
    bones         sum_b (|bone_b| - ratio_b L)^2, L the length of all bones of p0, ratio_b the training set's mean
    angles        sum of squared excesses, in rad, over the limits of flexion and of the flexion plane

Source: the idea of Song, Mu & Martin (CGF 41(7), 2022), whose text was not available; every formula is this study's.
Their contact term is left out, since there is no object.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from msff.camera import apply_affine, invert_affine, project, unproject
from msff.evaluation.hand_size import CHILD, PARENT, bone_lengths
from msff.models.auxiliary.rootnet import box_k_mm, wrist_depth_mm
from msff.models.baselines.canonical_frame import turn_with_crop
from msff.models.baselines.song_surrogate import MM_PER_DM, SongOutput, from_wrist, part_groups, peaks
from msff.settings.losses import RefineConfig
from msff.skeleton import BONES, FINGER_BASES, FINGER_OF_JOINT, FINGERTIPS, WRIST

_PALM = len(FINGERTIPS)  # index of the palm in `part_groups`
_GROUP = [_PALM if parent == WRIST else FINGER_OF_JOINT[child] for child, parent in BONES]  # (20,)
_JOINTED = range(1, len(FINGER_BASES))  # the fingers that flex at right angles to the palm: all but the thumb
_INDEX, _LITTLE = FINGER_BASES[1], FINGER_BASES[-1]
_NEAR_DM = 0.1  # nearest depth that is projected, to keep the projection finite


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the optimisation of M hands starts from: the network's output, the crops and the cameras."""

    relative_dm: Tensor  # (M, 21, 3) regressed joints from the wrist, camera axes
    root_depth_dm: Tensor  # (M,) estimated or given
    joints_crop_px: Tensor  # (M, 21, 2) peaks of the heat maps
    confidence: Tensor  # (M, 21) in [0, 1]
    outside_box: Tensor  # (M, 6, H, W) distance to fingers and palm in sides of the crop; 0 if not segmented
    bone_ratio: Tensor  # (20,) of the length of all bones, see ``fit_bone_ratios``
    is_left: Tensor  # (M,) bool
    affine: Tensor  # (M, 2, 3) original image px -> crop px
    intrinsics: Tensor  # (M, 3, 3) px, of the original image
    crop_size: int  # px

    # Constant during the optimisation.

    @cached_property
    def wrist_px(self) -> Tensor:
        """(M, 1, 2) px of the original image."""
        return apply_affine(invert_affine(self.affine), self.joints_crop_px[:, [WRIST]])

    @cached_property
    def bones_dm(self) -> Tensor:
        """(M, 20) target lengths from the ratios."""
        return bone_lengths(self.relative_dm).sum(1, keepdim=True) * self.bone_ratio

    @cached_property
    def outside_of_bones(self) -> Tensor:
        """(M 20, 1, H, W) distance map of each bone's part."""
        return self.outside_box[:, _GROUP].flatten(0, 1)[:, None]


def collect_evidence(
    output: SongOutput, affine: Tensor, intrinsics: Tensor, box: Tensor, crop_size: int, bone_ratio: Tensor,
    config: RefineConfig, root_depth_mm: Tensor | None = None,
) -> Evidence:  # fmt: skip
    """Return the evidence for M crops; parts and handedness are those that the network predicts.

    affine (M, 2, 3), intrinsics (M, 3, 3), tight boxes (M, 4) x, y, w, h px; ``root_depth_mm`` (M,) overrides gamma.
    ValueError for a mirrored crop, whose hand the camera of the original image cannot show.
    """
    if (torch.linalg.det(affine[..., :2]) < 0).any():
        raise ValueError("a mirrored crop cannot be refined in the original camera: turn the augmentation's mirror off")
    joints_px, confidence = peaks(output.heat_maps, crop_size, config.amplitude)
    if root_depth_mm is None:
        root_depth_mm = wrist_depth_mm(output.gamma[:, None], box_k_mm(box, intrinsics))[:, 0]
    groups = part_groups(output.part_logits.argmax(1))  # (M, 6, H, W)
    return Evidence(
        relative_dm=turn_with_crop(from_wrist(output.relative_dm), affine, back=True).detach(),
        root_depth_dm=(root_depth_mm / MM_PER_DM).detach(),
        joints_crop_px=joints_px.detach(),
        confidence=confidence.detach(),
        outside_box=outside_distance(groups, config),
        bone_ratio=bone_ratio.to(output.relative_dm),
        is_left=output.side_logit > 0,
        affine=affine,
        intrinsics=intrinsics,
        crop_size=crop_size,
    )


def fit_bone_ratios(joints_mm: Tensor, valid: Tensor) -> Tensor:
    """Return the mean share of each bone in the length of all bones of a hand. (N, 21, 3), bool (N, 21) -> (20,), sum 1

    The mean is over the hands with all joints valid; NaN without any.
    """
    length = bone_lengths(joints_mm[valid.all(1)])  # (N, 20)
    return (length / length.sum(1, keepdim=True)).mean(0)


def outside_distance(groups: Tensor, config: RefineConfig) -> Tensor:
    """Return the exact Euclidean distance of each bin to the nearest bin of the part, in sides of the crop.

    bool (M, 6, H, W), thumb first, palm last -> (M, 6, H, W); all zeros for a part of fewer than ``least_bins`` bins.
    """
    if config.matching == "hand":
        groups = groups.any(1, keepdim=True).expand_as(groups)
    size = groups.shape[-1]
    far = float(sum(side**2 for side in groups.shape[-2:]))
    # Squared distance to the nearest bin of the row, then over all rows.
    in_row = _lower_envelope(torch.where(groups, 0.0, far), -1)
    distance = _lower_envelope(in_row, -2).sqrt() / size  # (M, 6, H, W)
    segmented = groups.sum((2, 3)) >= config.least_bins  # (M, 6)
    return torch.where(segmented[..., None, None], distance, 0.0)


def _lower_envelope(squared: Tensor, axis: int) -> Tensor:
    """Return min_j squared[j] + (i - j)^2 along an axis, same shape, shift by shift to avoid a table of all pairs."""
    size, best = squared.shape[axis], squared.clone()
    for shift in range(1, size):
        moved = squared + float(shift**2)
        for to, source in ((shift, 0), (0, shift)):
            target = best.narrow(axis, to, size - shift)
            torch.minimum(target, moved.narrow(axis, source, size - shift), out=target)
    return best


def refine(evidence: Evidence, config: RefineConfig) -> tuple[Tensor, Tensor]:
    """Minimise the energy, starting from the regressed hands. Deterministic; hands do not influence each other.

    -> joints (M, 21, 3) from the wrist and depth (M,), both in dm, see ``placed_dm``
    """
    joints = evidence.relative_dm.detach().clone().requires_grad_()
    depth = evidence.root_depth_dm.detach().clone().requires_grad_(config.free_depth)
    free = [joints, depth] if config.free_depth else [joints]
    optimizer = torch.optim.Adam(free, lr=config.learning_rate)
    with torch.enable_grad():
        for _ in range(config.steps):
            optimizer.zero_grad(set_to_none=True)
            energy(joints, depth, evidence, config).sum().backward()
            optimizer.step()
    return joints.detach(), depth.detach()


def energy(joints_dm: Tensor, depth_dm: Tensor, evidence: Evidence, config: RefineConfig) -> Tensor:
    """Return the weighted sum of ``energy_terms``. (M, 21, 3), (M,) -> (M,)"""
    return sum(getattr(config, n) * v for n, v in energy_terms(joints_dm, depth_dm, evidence, config).items())


def energy_terms(joints_dm: Tensor, depth_dm: Tensor, evidence: Evidence, config: RefineConfig) -> dict[str, Tensor]:
    """Return the unweighted terms of the energy, each (M,). Joints (M, 21, 3) from the wrist, depth (M,), all in dm."""
    cam_dm = placed_dm(joints_dm, depth_dm, evidence)
    return {
        "reprojection": reprojection(cam_dm, evidence, config),
        "outside": outside(cam_dm, evidence, config),
        "pull": (joints_dm - evidence.relative_dm).square().sum((1, 2)),
        "bones": (bone_lengths(joints_dm) - evidence.bones_dm).square().sum(1),
        "angles": angle_excess(joints_dm, evidence.is_left, config),
    }


def placed_dm(joints_dm: Tensor, depth_dm: Tensor, evidence: Evidence) -> Tensor:
    """Place joints (M, 21, 3) at the wrist's pixel and depth (M,). -> (M, 21, 3), camera frame. All in dm."""
    return joints_dm + unproject(evidence.wrist_px, depth_dm[:, None], evidence.intrinsics)


def _in_crop(cam_dm: Tensor, evidence: Evidence) -> Tensor:
    """Project (M, N, 3) dm in the camera frame to (M, N, 2) in sides of the crop."""
    visible = torch.cat([cam_dm[..., :2], cam_dm[..., 2:].clamp(min=_NEAR_DM)], -1)
    return apply_affine(evidence.affine, project(visible, evidence.intrinsics)) / evidence.crop_size


def reprojection(cam_dm: Tensor, evidence: Evidence, config: RefineConfig) -> Tensor:
    """sum_j conf_j h(|proj_j - uv_j| / side), h(r) = r^2 / (2 d) up to d, then r - d / 2. (M, 21, 3) -> (M,)

    Huber's function divided by its d, so that the weight is the slope per side of the crop for any d.
    """
    d = config.huber_box
    squared = (_in_crop(cam_dm, evidence) - evidence.joints_crop_px / evidence.crop_size).square().sum(-1)  # (M, 21)
    far = squared.clamp(min=d * d).sqrt() - d / 2
    return (evidence.confidence * torch.where(squared < d * d, squared / (2 * d), far)).sum(1)


def outside(cam_dm: Tensor, evidence: Evidence, config: RefineConfig) -> Tensor:
    """Return the mean over bones and samples of the distance to the bone's part. (M, 21, 3) -> (M,) in crop sides

    The samples lie at (k + 1/2) / n of each bone; the distance is bilinear, and outside the crop that of its edge.
    """
    n = config.samples_per_bone
    share = (torch.arange(n, device=cam_dm.device, dtype=cam_dm.dtype) + 0.5) / n
    child, parent = cam_dm[:, CHILD, None], cam_dm[:, PARENT, None]  # (M, 20, 1, 3)
    points = (parent + share[:, None] * (child - parent)).flatten(1, 2)  # (M, 20 n, 3)
    size = evidence.outside_box.shape[-1]
    bins = (_in_crop(points, evidence) * size).unflatten(1, (len(BONES), n))  # (M, 20, n, 2)
    grid = (2 * bins / (size - 1) - 1).flatten(0, 1)[:, None]  # (M 20, 1, n, 2)
    maps = evidence.outside_of_bones.to(cam_dm.dtype)
    distance = F.grid_sample(maps, grid, "bilinear", "border", align_corners=True)  # (M 20, 1, 1, n)
    return distance.flatten(1).mean(1).unflatten(0, (-1, len(BONES))).mean(1)


def angle_excess(joints: Tensor, is_left: Tensor, config: RefineConfig) -> Tensor:
    """Return the summed squared excess over the joint limits of the fingers. (M, 21, 3) any unit, (M,) -> (M,) rad^2"""
    flexion, deviation = finger_angles(joints, is_left)
    least, most = (torch.deg2rad(flexion.new_tensor(limit)) for limit in config.flexion_deg)
    slack = torch.deg2rad(flexion.new_tensor(config.plane_slack_deg))
    bent = F.relu(least - flexion) + F.relu(flexion - most)  # (M, 4, 3)
    return bent.square().sum((1, 2)) + F.relu(deviation.abs() - slack).square().sum((1, 2))


def finger_angles(joints: Tensor, is_left: Tensor) -> tuple[Tensor, Tensor]:
    """Return flexion (M, 4, 3) of MCP, PIP, DIP and deviation (M, 4, 2) of the last two bones from the plane, in rad.

    Index to little finger; the thumb flexes at no fixed angle to the palm. Flexion is positive towards the palm, whose
    normal is that of wrist, index and little MCP. A finger flexes about the axis that lies in the palm across its
    metacarpal, made perpendicular to its first bone, so that abduction at the MCP costs nothing.
    """
    index, little = (joints[:, j] - joints[:, WRIST] for j in (_INDEX, _LITTLE))
    sign = torch.where(is_left, -1.0, 1.0).to(joints)[:, None]
    palmar = F.normalize(sign * torch.linalg.cross(index, little), dim=-1)[:, None]  # (M, 1, 3)
    chains = [[WRIST, *range(FINGER_BASES[f], FINGERTIPS[f] - 1, -1)] for f in _JOINTED]
    bones = F.normalize(joints[:, chains].diff(dim=2), dim=-1)  # (M, 4, 4, 3) metacarpal first
    metacarpal, first = bones[:, :, 0], bones[:, :, 1]
    across = F.normalize(torch.linalg.cross(metacarpal, palmar.expand_as(metacarpal)), dim=-1)  # (M, 4, 3)
    axis = F.normalize(across - (across * first).sum(-1, keepdim=True) * first, dim=-1)
    axes = torch.stack([across, axis, axis], 2)  # (M, 4, 3, 3) one per joint
    before, after = bones[:, :, :-1], bones[:, :, 1:]  # (M, 4, 3, 3)
    turn = (torch.linalg.cross(before, after) * axes).sum(-1)
    flexion = torch.atan2(turn, (before * after).sum(-1))  # (M, 4, 3)
    deviation = torch.asin((bones[:, :, 2:] * axis[:, :, None]).sum(-1).clamp(-0.999, 0.999))  # (M, 4, 2)
    return flexion, deviation
