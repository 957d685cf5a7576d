"""Hand pose in a photo: a picture with 2D and 3D, and a JSON file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from msff.data.datasets import DATASETS
from msff.data.loader import HandDataset
from msff.data.sample import DataError, HandSample
from msff.evaluation.lifting import BoxDepth, box_root_depth, lift
from msff.heatmaps import bins_to_crop, decode
from msff.models.registry import HELPERS, method_of
from msff.report.drawing import draw_skeleton, draw_skeleton_3d, keep_frame, save, show_image, style
from msff.skeleton import JOINT_NAMES, JOINTS, SIDES
from msff.study.experiment import Study
from msff.study.runs import Experiment, write_json
from msff.training.checkpoint import CheckpointError, load_checkpoint

TYPICAL_DEPTH = BoxDepth(1000.0)  # RootNet's rule; only the absolute distance depends on it


def predict_photo(
    photo: Path,
    checkpoint: Path,
    box: tuple[float, float, float, float] | None = None,
    focal_px: float | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Write ``<photo>-pose.png`` and ``<photo>-pose.json``; returns their paths.

    ``box`` x, y, w, h in px of the hand or hands (None: the whole photo), ``focal_px`` the focal length (None: the
    longer side of the photo, about 53 degrees of view). Shape is relative to the wrist in mm; the distance from the
    camera rests on the size of the box and is rough. DataError or CheckpointError says what cannot be read.
    """
    sample = photo_sample(photo, box, focal_px)
    state = load_checkpoint(checkpoint)
    if not state.get("describe"):
        raise CheckpointError(f"{checkpoint} does not say which run it is: use one that `msff train` wrote")
    experiment = Experiment(**state["describe"])
    if experiment.method in HELPERS:
        raise CheckpointError(f"{checkpoint} is a {experiment.method}, which estimates no pose: name a method's run")
    if method_of(experiment.method).one_hand:
        raise CheckpointError(
            f"{checkpoint} is of {method_of(experiment.method).label}, which must be shown one hand at a time: "
            "`msff predict` draws the networks that see both hands (MS-FF, InterNet) only"
        )
    study = Study(experiment.profile, device="cpu")
    if state["config_hash"] != study.config_hash(experiment):
        raise CheckpointError(f"{checkpoint} is of an older configuration of {experiment.run_id}: train it again")
    network = study.network(experiment)
    network.load_state_dict(state["model"])
    joints_mm, joints_px, sides = _infer(network.eval(), study, sample)
    folder = out or photo.parent
    folder.mkdir(parents=True, exist_ok=True)
    picture, record = folder / f"{photo.stem}-pose.png", folder / f"{photo.stem}-pose.json"
    shown = _shown(sides)
    trained = f"{experiment.method}, trained on: {DATASETS[experiment.dataset].label}, profile {experiment.profile}"
    save(_picture(np.asarray(Image.open(photo).convert("RGB")), joints_px, joints_mm, shown, trained), picture)
    write_json(record, _record(photo, experiment, joints_mm, joints_px, sides, shown))
    return [picture, record]


def photo_sample(photo: Path, box, focal_px: float | None) -> HandSample:
    """The photo as an unannotated sample; DataError if it is missing, no image, or the box lies outside it."""
    try:
        with Image.open(photo) as image:
            image.load()
            width, height = image.size
    except FileNotFoundError as error:
        raise DataError(f"{photo} does not exist: name a photo (PNG or JPEG)") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{photo} cannot be read as an image ({error}): expected a whole PNG or JPEG") from error
    x, y, w, h = box or (0.0, 0.0, width, height)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DataError(f"{photo}: the box {x:g},{y:g},{w:g},{h:g} lies outside the image of {width} x {height} px")
    focal = focal_px or float(max(width, height))
    return HandSample(
        sample_id=photo.stem,
        image_path=photo,
        image_size=(width, height),
        joints_cam_mm=np.zeros((JOINTS, 3)),
        joints_image_px=np.zeros((JOINTS, 2)),
        joint_valid=np.zeros(JOINTS, bool),
        joint_visible=None,
        intrinsics=np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]),
        box=np.array([x, y, w, h]),
        hand_type="right",  # unknown: never read, since nothing is annotated
        hand_type_valid=False,
    )


@torch.no_grad()
def _infer(network, study: Study, sample: HandSample):
    """(42, 3) mm, (42, 2) px of the photo, (2,) probabilities of right and left."""
    profile = study.profile
    dataset = HandDataset([sample], profile.network.crop_size, supersample=profile.supersample)
    batch = next(iter(dataset.batches(1, augment=None, shuffle=False, generator=torch.Generator())))
    output = network(batch.image)
    crop_px, relative_mm = bins_to_crop(decode(output.volume, profile.decoder), profile.volume)
    depth = box_root_depth(batch.box, batch.intrinsics, TYPICAL_DEPTH)[:, None].expand(-1, 2)
    joints_mm = lift(crop_px, relative_mm, depth, batch.affine, batch.intrinsics)[0]
    pixels = joints_mm @ batch.intrinsics[0].T  # (42, 3), homogeneous
    sides = torch.full((2,), 0.5) if output.side_logits is None else output.side_logits[0].sigmoid()
    return joints_mm.numpy(), (pixels[:, :2] / pixels[:, 2:]).numpy(), sides.numpy()


def _picture(image: np.ndarray, joints_px, joints_mm, shown, trained: str) -> Figure:
    """Skeleton over the photo, and in 3D relative to the wrist."""
    with style():
        figure = plt.figure(figsize=(9, 4.6))
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
        show_image(left, image)
        draw_skeleton(left, joints_px, shown)
        keep_frame(left, image)
        draw_skeleton_3d(right, joints_mm, shown)
        figure.suptitle(trained, fontsize=9)
    return figure


def _shown(sides: np.ndarray) -> np.ndarray:
    """(42,) bool: the hands with probability above 1/2, or the likelier one if neither is."""
    present = sides > 0.5
    if not present.any():
        present = sides == sides.max()
    return np.repeat(present, JOINTS // 2)


def _record(photo, experiment: Experiment, joints_mm, joints_px, sides, shown) -> dict:
    hands = {}
    for index, side in enumerate(SIDES):
        part = slice(21 * index, 21 * index + 21)
        if not shown[part].all():
            continue
        relative = joints_mm[part] - joints_mm[part][-1]
        hands[side] = {
            name: {"relative_mm": [round(float(v), 2) for v in mm], "image_px": [round(float(v), 2) for v in px]}
            for name, mm, px in zip(JOINT_NAMES, relative, joints_px[part], strict=True)
        }
    return {
        "photo": photo.name,
        "run": experiment.run_id,
        "profile": experiment.profile,
        "trained_on": DATASETS[experiment.dataset].label,
        "probability": {side: round(float(p), 4) for side, p in zip(SIDES, sides, strict=True)},
        "hands": hands,
    }
