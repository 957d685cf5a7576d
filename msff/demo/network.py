"""Networks that `msff predict` uses: the demonstration network, MS-FF trained on both stand-ins together, and runs.

``results/demo`` holds the demonstration network's weights in half precision and ``demo.json``: its sizes, training data
and measured errors (`msff.demo.training`). Loading it needs no profile, so that profiles may change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch

from msff.data.datasets import DATASETS
from msff.demo.predictor import Predictor
from msff.demo.weights import read_weights
from msff.evaluation.hand_size import AVERAGE_HAND_MM
from msff.models.building import build
from msff.models.registry import AUXILIARY, method_of
from msff.settings.networks import BackboneConfig, NetworkConfig, VolumeSpec
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.photos import PHOTOS, TRACK
from msff.study.progress import finished
from msff.study.train import untrained_network
from msff.study.workspace import Workspace
from msff.training.checkpoint import CheckpointError, load_checkpoint

FORMAT = 2
INDEX = "demo.json"
REMEDY = "restore the folder with `git checkout -- results/demo`, or train it again with `msff demo train`"


def demo_folder(root: Path) -> Path:
    """Return the folder of the demonstration network in the project folder ``root``."""
    return root / "results" / "demo"


def load_demo(folder: Path, device: str | torch.device = "cpu") -> Predictor:
    """Load the network in ``folder`` to ``device``; CheckpointError if it is absent, damaged or of another format."""
    record = _read_index(folder)
    try:
        sizes = dict(record["network"])
        sizes |= {"backbone": BackboneConfig(**sizes["backbone"])}
        with torch.random.fork_rng(devices=[]):  # the global generator stays as it was
            network = build(record["method"], record["variant"], NetworkConfig(**sizes))
        volume, hand_mm = VolumeSpec(**record["volume"]), float(record["hand_mm"])
        decoder, supersample = record["decoder"], record["supersample"]
        trained, measured = _trained(record), record["measured"].get(PHOTOS)
        state = read_weights(folder, record["shards"], REMEDY)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / INDEX} does not fit this version of msff ({error!r}): {REMEDY}") from error
    shapes = [{(name, tensor.shape) for name, tensor in tensors.items()} for tensors in (network.state_dict(), state)]
    if shapes[0] != shapes[1]:
        name = min(name for name, _ in shapes[0] ^ shapes[1])
        raise CheckpointError(f"{folder}: the weights do not fit the network, the first at {name}: {REMEDY}")
    network.load_state_dict(state)  # casts half precision to float32
    network = network.to(device).eval()
    expected = _expected(measured)
    return Predictor(network, volume, decoder, supersample, hand_mm, "demo", trained, expected, measured)


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


def _trained(record: Mapping) -> str:
    """Return what the demonstration network was trained on, as a phrase."""
    made = record["trained_on"]
    sets = " and ".join(f"{d['label']} ({d['images']:,} images)" for d in made["datasets"])
    method, variant = method_of(record["method"]), record["variant"]
    label = method.label if variant == method.headline else f"{method.label} ({variant})"
    return f"{label}, trained on: {sets}, profile {made['profile']}, {made['image_steps']:,} image steps"


def _expected(photos: Mapping | None) -> str:
    """Return the demonstration network's error on real photographs, as a sentence."""
    if photos is None:
        return "Error on real photographs: not measured for this network."
    track = photos["tracks"][TRACK]
    return photo_error("Error", photos["images"], track["network"], track["mean_pose"], track["handedness_accuracy"])


def photo_error(
    what: str, count: int, network: Mapping, mean_pose: Mapping | None = None, correct: float | None = None
) -> str:
    """Return a sentence on the error on real photographs; ``network`` and ``mean_pose``: metric -> value, low, high.

    ``correct``: the share of photos whose handedness is predicted correctly.
    """
    given, predicted, aligned = (_interval(network[m]) for m in ("wrist20", "wrist20_pred_side", "pa21"))
    share = "" if correct is None else f" (right in {100 * correct:.0f} %)"
    text = (
        f"{what} measured on {count} real photographs of one hand (95 % intervals): {given} mm relative to the wrist "
        f"with handedness given, {predicted} mm with it predicted{share}, {aligned} mm after similarity alignment."
    )
    if mean_pose is None:
        return text
    baseline = [f"{mean_pose[m]['value']:.0f}" for m in ("wrist20", "pa21")]
    return f"{text} The mean pose, a constant, has {baseline[0]} and {baseline[1]} mm."


def _interval(error: Mapping) -> str:
    return f"{error['value']:.0f} ({error['low']:.0f} to {error['high']:.0f})"


def load_run(checkpoint: Path) -> Predictor:
    """Load the network of one run of the study; CheckpointError if the checkpoint cannot be used, ValueError if no
    profile has its run.
    """
    try:
        state = load_checkpoint(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint} is not a checkpoint: name one that `msff train` wrote") from error
    try:
        experiment = msgspec.convert(state.get("describe"), Experiment)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{checkpoint} does not name its run: use one that `msff train` wrote") from error
    if experiment.method in AUXILIARY:
        raise CheckpointError(f"{checkpoint} is a {experiment.method}, which estimates no pose: name a method's run")
    method = method_of(experiment.method)
    if method.single_hand:
        raise CheckpointError(
            f"{checkpoint} is of {method.label}, which estimates one hand: `msff predict` takes only networks that "
            "estimate both hands (MS-FF, InterNet)"
        )
    workspace = Workspace(experiment.profile, device="cpu")
    workspace.experiment(experiment.run_id)
    if state["config_hash"] != config_hash(workspace, experiment):
        raise CheckpointError(f"{checkpoint} is of an older configuration of {experiment.run_id}: train it again")
    network = untrained_network(workspace, experiment)
    try:
        network.load_state_dict(state["model"])
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: its weights do not fit {experiment.run_id}: train it again") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise CheckpointError(f"{checkpoint}: its weights are no finite numbers: train it again")
    profile = workspace.profile
    trained = f"{method.label}, trained on: {DATASETS[experiment.dataset].label}, profile {profile.name}"
    settings = network.eval(), profile.volume, profile.decoder, profile.supersample, AVERAGE_HAND_MM
    return Predictor(*settings, experiment.run_id, trained, *_stored_error(workspace, experiment))


def _stored_error(workspace: Workspace, experiment: Experiment) -> tuple[str, dict | None]:
    """Return the stored error of the experiment's run on real photographs, as a sentence and in numbers."""
    run = finished(workspace, experiment)
    if run is None or run.photos is None:
        return "Error on real photographs: not measured for this run.", None
    network, count = run.photos["metrics"][TRACK], run.photos["photos"]["count"]
    return photo_error("Error of the stored run", count, network), {
        "images": count, "tracks": {TRACK: {"network": network}},
    }  # fmt: skip
