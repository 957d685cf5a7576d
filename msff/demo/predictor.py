"""A trained network that looks at any picture: from uint8 pixels and a box to poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from msff.camera import apply_affine, crop_affine, invert_affine, square_box
from msff.data.crops import sample_crops
from msff.data.datasets import DATASETS
from msff.data.sample import DataError
from msff.demo.network import demo_folder, load_demo, photo_error
from msff.evaluation.lifting import BoxDepth, box_root_depth, lift
from msff.heatmaps import VolumeSpec, bins_to_crop, decode
from msff.models.registry import HELPERS, method_of
from msff.skeleton import HAND_SLICE, JOINT_NAMES, JOINTS_PER_HAND, SIDES, WRIST
from msff.study.data import find_root
from msff.study.experiment import Study
from msff.study.photos import PHOTOS, TRACK
from msff.study.store import Experiment
from msff.training.checkpoint import CheckpointError, load_checkpoint

Box = tuple[float, float, float, float]
"""x, y, w, h px of the hand or hands."""

TYPICAL_DEPTH = BoxDepth(1000.0)
"""RootNet's rule with gamma 1, for a run, whose checkpoint holds no law; distance and width of the hand rest on it."""


@dataclass(frozen=True, eq=False)
class Pose:
    """What a network says of one picture."""

    joints_mm: np.ndarray  # (42, 3) camera frame
    joints_px: np.ndarray  # (42, 2) of the picture
    sides: np.ndarray  # (2,) probabilities of right and left

    @property
    def shown(self) -> np.ndarray:
        """(42,) bool: the hands with probability above 1/2, or the likelier one if neither is."""
        present = self.sides > 0.5
        if not present.any():
            present = self.sides == self.sides.max()
        return np.repeat(present, JOINTS_PER_HAND)

    def record(self) -> dict:
        """Probability of either side, and the shown hands' joints: mm relative to the wrist, and px of the picture."""
        hands = {}
        for side in SIDES:
            part = HAND_SLICE[side]
            if not self.shown[part].all():
                continue
            relative = self.joints_mm[part] - self.joints_mm[part][WRIST]
            hands[side] = {
                name: {"relative_mm": _rounded(mm), "image_px": _rounded(px)}
                for name, mm, px in zip(JOINT_NAMES, relative, self.joints_px[part], strict=True)
            }
        return {
            "probability": {side: round(float(p), 4) for side, p in zip(SIDES, self.sides, strict=True)},
            "hands": hands,
        }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in values]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network that sees both hands, and what it takes to read it."""

    network: nn.Module  # in evaluation mode
    volume: VolumeSpec
    decoder: str
    supersample: int
    depth: BoxDepth
    run: str  # which one it is
    trained: str  # what it was trained on, a phrase
    expected: str  # which error to expect on real photographs, a sentence
    measured: dict | None = None  # that error in numbers; None: never measured

    @property
    def statement(self) -> str:
        """What must be said with every picture."""
        return f"{self.trained}. {self.expected}"

    @property
    def about(self) -> dict:
        """The same for JSON."""
        return {
            "run": self.run, "trained_on": self.trained, "expected_error": self.expected, "measured": self.measured,
        }  # fmt: skip

    @torch.no_grad()
    def __call__(
        self, images: Sequence[np.ndarray], box: Box | None = None, focal_px: float | None = None
    ) -> list[Pose]:
        """Poses in pictures of one size, each uint8 (H, W, 3) RGB.

        ``box`` None: the whole picture. ``focal_px`` None: the longer side, about 53 degrees of view.
        """
        height, width, _ = images[0].shape
        device, count = next(self.network.parameters()).device, len(images)
        tight = torch.tensor([box or (0.0, 0.0, width, height)], dtype=torch.float32)  # (1, 4)
        focal = focal_px or float(max(width, height))
        intrinsics = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]])  # (1, 3, 3)
        affine = crop_affine(square_box(tight), self.volume.crop_size)  # (1, 2, 3)
        frames = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
        crops = sample_crops(frames, affine.expand(count, -1, -1), self.volume.crop_size, self.supersample)
        output = self.network(crops.to(device))
        crop_px, relative_mm = (x.cpu() for x in bins_to_crop(decode(output.volume, self.decoder), self.volume))
        depth_mm = box_root_depth(tight, intrinsics, self.depth)[:, None].expand(count, len(SIDES))
        joints_mm = lift(crop_px, relative_mm, depth_mm, affine.expand(count, -1, -1), intrinsics)
        joints_px = apply_affine(invert_affine(affine), crop_px)
        sides = torch.full((count, 2), 0.5) if output.side_logits is None else output.side_logits.sigmoid().cpu()
        return [Pose(*(a.numpy() for a in row)) for row in zip(joints_mm, joints_px, sides, strict=True)]


def check_box(where: Path, box: Box | None, width: int, height: int) -> Box:
    """The box, or the whole picture for None; DataError if it lies outside the picture."""
    x, y, w, h = box or (0.0, 0.0, float(width), float(height))
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DataError(f"{where}: the box {x:g},{y:g},{w:g},{h:g} lies outside the image of {width} x {height} px")
    return x, y, w, h


def demo_predictor(root: Path | None = None) -> Predictor:
    """The demonstration network of the project; CheckpointError if there is none."""
    demo = load_demo(demo_folder(root or find_root()), "cuda" if torch.cuda.is_available() else "cpu")
    settings = demo.network, demo.volume, demo.decoder, demo.supersample, demo.depth
    return Predictor(*settings, "demo", demo.trained, demo.expected, demo.record["measured"].get(PHOTOS))


def run_predictor(checkpoint: Path) -> Predictor:
    """The network of one run of the study; CheckpointError says what cannot be used."""
    try:
        state = load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint: name one that `msff train` wrote") from error
    if not state.get("describe"):
        raise CheckpointError(f"{checkpoint} does not say which run it is: use one that `msff train` wrote")
    experiment = Experiment(**state["describe"])
    if experiment.method in HELPERS:
        raise CheckpointError(f"{checkpoint} is a {experiment.method}, which estimates no pose: name a method's run")
    method = method_of(experiment.method)
    if method.one_hand:
        raise CheckpointError(
            f"{checkpoint} is of {method.label}, which must be shown one hand at a time: "
            "`msff predict` draws the networks that see both hands (MS-FF, InterNet) only"
        )
    study = Study(experiment.profile, device="cpu")
    if state["config_hash"] != study.config_hash(experiment):
        raise CheckpointError(f"{checkpoint} is of an older configuration of {experiment.run_id}: train it again")
    network = study.network(experiment)
    network.load_state_dict(state["model"])
    profile = study.profile
    trained = f"{method.label}, trained on: {DATASETS[experiment.dataset].label}, profile {profile.name}"
    settings = network.eval(), profile.volume, profile.decoder, profile.supersample, TYPICAL_DEPTH
    return Predictor(*settings, experiment.run_id, trained, *_stored_error(study, experiment))


def _stored_error(study: Study, experiment: Experiment) -> tuple[str, dict | None]:
    """What the store knows of the experiment's error on real photographs, as a sentence and in numbers."""
    run = study.finished(experiment)
    if run is None or run.photos is None:
        return "Error on real photographs: never measured for this run.", None
    network, count = run.photos["metrics"][TRACK], run.photos["photos"]["count"]
    return photo_error("Error of the stored run", count, network), {
        "images": count, "tracks": {TRACK: {"network": network}},
    }  # fmt: skip
