"""The demonstration network: MS-FF trained on both stand-ins of a profile together, kept with the project.

``results/demo`` holds its weights in half precision and ``demo.json``, which says how to build it, what it was trained
on, and which errors it makes (`msff.demo.training`). No profile is needed to load it, so that a later change of
one does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from msff.evaluation.lifting import BoxDepth
from msff.heatmaps import VolumeSpec
from msff.models.backbone import BackboneConfig
from msff.models.registry import NetworkConfig, build, method_of
from msff.study.photos import PHOTOS, TRACK
from msff.training.checkpoint import CheckpointError
from msff.training.shards import read_shards

FORMAT = 1
INDEX = "demo.json"
REMEDY = "restore the folder with `git checkout -- results/demo`, or make it anew with `msff demo train`"


def demo_folder(root: Path) -> Path:
    """Where the demonstration network lies in the project folder ``root``."""
    return root / "results" / "demo"


@dataclass(frozen=True, eq=False)
class Demo:
    """The demonstration network as kept, and ``demo.json``."""

    network: nn.Module  # float32, in evaluation mode
    volume: VolumeSpec
    decoder: str
    supersample: int
    depth: BoxDepth  # fitted with exponent 1: a wrong focal length moves a hand and does not resize it
    record: dict

    @property
    def trained(self) -> str:
        """What it was trained on, as one phrase."""
        made = self.record["trained_on"]
        sets = " and ".join(f"{d['label']} ({d['images']:,} images)" for d in made["datasets"])
        label = method_of(self.record["method"]).label
        return f"{label}, trained on: {sets}, profile {made['profile']}, {made['image_steps']:,} image steps"

    @property
    def expected(self) -> str:
        """Which error to expect on real photographs, as one sentence."""
        photos = self.record["measured"].get(PHOTOS)
        if photos is None:
            return "Error on real photographs: never measured for this network."
        track = photos["tracks"][TRACK]
        return photo_error(
            "Error", photos["images"], track["network"], track["mean_pose"], track["handedness_accuracy"]
        )


def photo_error(
    what: str, count: int, network: Mapping, mean_pose: Mapping | None = None, correct: float | None = None
) -> str:
    """A sentence on the error on real photographs; ``network`` and ``mean_pose``: metric -> value, low, high.

    ``correct``: the share of photos whose side is guessed correctly.
    """
    told, guessed, aligned = (_interval(network[m]) for m in ("wrist20", "wrist20_pred_side", "pa21"))
    share = "" if correct is None else f", which is correct in {100 * correct:.0f} %"
    text = (
        f"{what} measured on {count} real photographs of one hand (95 % intervals): {told} mm relative to the wrist if "
        f"the side is known, {guessed} mm by its own guess of the side{share}, {aligned} mm after similarity alignment."
    )
    if mean_pose is None:
        return text
    floor = [f"{mean_pose[m]['value']:.0f}" for m in ("wrist20", "pa21")]
    return f"{text} A mean pose, which looks at no pixel, makes {floor[0]} and {floor[1]} mm."


def _interval(error: Mapping) -> str:
    return f"{error['value']:.0f} ({error['low']:.0f} to {error['high']:.0f})"


def load_demo(folder: Path, device: str | torch.device = "cpu") -> Demo:
    """The network in ``folder`` on ``device``; CheckpointError if it is absent, damaged or of another format."""
    record = _read_index(folder)
    try:
        sizes = dict(record["network"])
        sizes |= {"backbone": BackboneConfig(**sizes["backbone"])}
        with torch.random.fork_rng(devices=[]):  # its initial weights are of no interest, nor is anybody's next draw
            network = build(record["method"], record["variant"], NetworkConfig(**sizes))
        parts = {"volume": VolumeSpec(**record["volume"]), "depth": BoxDepth(**record["root_depth"])}
        rest = {key: record[key] for key in ("decoder", "supersample")}
        state = read_shards(folder, record["shards"], REMEDY)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / INDEX} does not fit this version of msff ({error!r}): {REMEDY}") from error
    shapes = [{(name, tensor.shape) for name, tensor in tensors.items()} for tensors in (network.state_dict(), state)]
    if shapes[0] != shapes[1]:
        name = min(name for name, _ in shapes[0] ^ shapes[1])
        raise CheckpointError(f"{folder}: the weights do not fit the network, the first at {name}: {REMEDY}")
    network.load_state_dict(state)  # half precision goes into float32 as it is
    return Demo(network.to(device).eval(), **parts, **rest, record=record)


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    if not path.is_file():
        raise CheckpointError(
            f"{folder} holds no demonstration network ({INDEX} is missing): make one with `msff demo train`, or name a "
            "run's checkpoint with --checkpoint"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no index of a demonstration network ({error!r}): {REMEDY}") from error
    if found != FORMAT:
        raise CheckpointError(f"{path} has format {found}, this version reads {FORMAT}: {REMEDY}")
    return record
