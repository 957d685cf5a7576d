"""Statistics of a dataset, measured with the project's readers, beside published facts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msff.data.datasets import spec
from msff.data.sample import HandSample
from msff.data.verify_split import reprojection_error_px
from msff.models.baselines.mean_pose import MeanPose
from msff.report.published import DATASET_FACTS, DATASET_NAMES
from msff.skeleton import HAND_SLICE, INDEX_MCP, LITTLE_MCP, ROOTS, SIDES, WRIST, root_index

FACING_DEG = 60.0  # a palm or a back faces the camera if its normal is at most this far from the line to it

CHECK = "reprojection error, largest px"  # a check of reader and files, not a property of a dataset

ROWS = (
    ("images", "{images:,.0f}"),
    ("persons", "{persons:.0f}"),
    ("image size, px", "{width:.0f}x{height:.0f}"),
    ("focal length, median px", "{focal_px:.0f}"),
    ("right hand alone, %", "{right_percent:.1f}"),
    ("left hand alone, %", "{left_percent:.1f}"),
    ("interacting hands, %", "{interacting_percent:.1f}"),
    ("valid joints of the hands present, %", "{valid_percent:.1f}"),
    ("visible joints, %", "{visible_percent:.1f}"),
    ("longer side of the box, median px [quartiles]", "{box_px:.0f} [{box_px_low:.0f}, {box_px_high:.0f}]"),
    ("wrist distance, median mm [quartiles]", "{wrist_mm:.0f} [{wrist_mm_low:.0f}, {wrist_mm_high:.0f}]"),
    ("palm towards the camera, % of hands", "{palm_percent:.1f}"),
    ("back towards the camera, % of hands", "{back_percent:.1f}"),
    ("seen from the side, % of hands", "{side_percent:.1f}"),
    ("tilt of the palm, median degrees [quartiles]", "{tilt_deg:.0f} [{tilt_deg_low:.0f}, {tilt_deg_high:.0f}]"),
    ("error of the training mean pose, mm", "{mean_pose_mm:.1f}"),
    (CHECK, "{reprojection_px:.3f}"),
)
"""Rows of the table: label, and the format of its numbers (the keys of `statistics`)."""


def statistics(samples: list[HandSample], training: list[HandSample] | None = None) -> pd.Series:
    """Return counts, shares, sizes, distances and viewpoints of a part; NaN if the layout does not annotate it.

    ``training`` gives the mean pose whose error on ``samples`` is measured; None: ``samples`` themselves.
    ValueError if there are no samples.
    """
    if not samples:
        raise ValueError("no samples to describe")
    joints, valid = _joints(samples)
    kinds = np.array([s.hand_type for s in samples])
    present = np.stack([np.repeat(s.side_present, valid.shape[1] // 2) for s in samples])  # (N, 42)
    visible = [s.joint_visible[s.joint_valid] for s in samples if s.joint_visible is not None]
    persons = {s.meta["subject"] for s in samples if s.meta.get("subject") is not None}
    wrists = list(ROOTS.values())
    angle = palm_angles_deg(joints, valid)
    views = {"palm": angle <= FACING_DEG, "back": angle >= 180 - FACING_DEG}
    views["side"] = ~views["palm"] & ~views["back"]
    widths, heights = np.array([s.image_size for s in samples]).T
    mean = MeanPose.fit(*(_joints(training) if training else (joints, valid)))
    return pd.Series({
        "images": len(samples), "persons": len(persons) or np.nan,
        "width": np.median(widths), "height": np.median(heights),
        "focal_px": np.median([s.intrinsics[0, 0] for s in samples]),
        **{f"{kind}_percent": 100 * (kinds == kind).mean() for kind in ("right", "left", "interacting")},
        "valid_percent": 100 * valid[present].mean(),
        "visible_percent": 100 * np.concatenate(visible).mean() if visible else np.nan,
        **_quartiles("box_px", np.array([s.box[2:].max() for s in samples])),
        **_quartiles("wrist_mm", joints[:, wrists, 2][valid[:, wrists]]),
        **{f"{view}_percent": 100 * seen.mean() if len(angle) else np.nan for view, seen in views.items()},
        **_quartiles("tilt_deg", np.minimum(angle, 180 - angle)),  # 0: palm or back seen flat, 90: from the side
        "mean_pose_mm": mean_pose_error_mm(mean, joints, valid),
        "reprojection_px": max(map(reprojection_error_px, samples)),
    }, dtype=float)  # fmt: skip


def comparison(dataset: str, parts: dict[str, list[HandSample]], profile: str) -> pd.DataFrame:
    """Return ``statistics`` of a dataset's parts, rounded, beside published facts of the real set.

    ``parts`` maps "train" and others to samples; the mean pose is that of "train". The caption is in ``attrs``.
    """
    dataset_spec = spec(dataset)
    table = pd.DataFrame({"quantity": [label for label, _ in ROWS]})
    for part, samples in parts.items():
        values = statistics(samples, parts.get("train"))
        shown = [text.format(**values) for _, text in ROWS]
        table[part] = ["not annotated" if "nan" in cell else cell for cell in shown]
    name = DATASET_NAMES[dataset_spec.layout]
    facts = {CHECK: ("", "")} | DATASET_FACTS[dataset_spec.layout]
    published = [facts.get(label, ("not published", "")) for label, _ in ROWS]
    table[f"{name}, published"], table["source"] = zip(*published, strict=True)
    words = {"train": "training"}
    counts = " and ".join(f"{len(samples):,} {words.get(part, part)}" for part, samples in parts.items())
    rendered = " (rendered)" if dataset_spec.is_standin else ""
    table.attrs["caption"] = (
        f"Data: {dataset_spec.label}{rendered}, profile {profile}, {counts} images. Beside it published facts of "
        f"{name}, training / test. Persons are counted if the annotation names them."
    )
    return table


def _joints(samples: list[HandSample]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 42, 3) mm, camera frame, and (N, 42) bool."""
    return np.stack([s.joints_cam_mm for s in samples]), np.stack([s.joint_valid for s in samples])


def _quartiles(name: str, values: np.ndarray) -> dict[str, float]:
    numbers = np.percentile(values, [50, 25, 75]) if len(values) else (np.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def palm_angles_deg(joints_cam_mm: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the angle between each hand's palm normal and the line from the palm to the camera, degrees.

    0: the palm faces the camera, 90: seen from the side, 180: the back does. (N, 42, 3), (N, 42) -> (M,), the right
    hands first; only hands whose wrist, index base and little finger's base are valid.
    """
    angles = []
    for side in SIDES:
        hand, known = joints_cam_mm[:, HAND_SLICE[side]], valid[:, HAND_SLICE[side]]
        corners = [WRIST, INDEX_MCP, LITTLE_MCP]
        hand = hand[known[:, corners].all(1)][:, corners]  # (M, 3, 3)
        normal = np.cross(hand[:, 1] - hand[:, 0], hand[:, 2] - hand[:, 0])  # out of a right hand's palm
        normal = normal if side == "right" else -normal
        line = -hand.mean(1)  # the camera is at the origin
        cosine = (normal * line).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(line, axis=1)
        angles.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    return np.concatenate(angles)


def mean_pose_error_mm(mean: MeanPose, joints_cam_mm: np.ndarray, valid: np.ndarray) -> float:
    """Return the wrist-relative error of a mean pose over the 20 other joints, a measure of variety.

    joints_cam_mm (N, 42, 3), valid (N, 42) -> mm, pooled over joints and samples.
    """
    relative = joints_cam_mm - joints_cam_mm[:, root_index()]
    usable = valid & valid[:, root_index()]
    usable[:, list(ROOTS.values())] = False
    return float(np.linalg.norm(relative - mean.relative_mm.numpy(), axis=-1)[usable].mean())
