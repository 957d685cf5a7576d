"""Networks that `msff predict` uses: the demonstration network, MS-FF trained on both stand-ins together, and runs.

``results/demo`` holds the demonstration network's weights in half precision and ``demo.json``: its sizes, training data
and measured errors (`msff.demo.training`). Loading it needs no profile, so that profiles may change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from msff.data.datasets import DATASETS
from msff.demo.predictor import Predictor
from msff.evaluation.hand_size import AVERAGE_HAND_MM
from msff.evaluation.tracks import RANKING_TRACK
from msff.files import digest_of
from msff.models.building import build
from msff.models.registry import AUXILIARY, method_of, network_name
from msff.settings.networks import BackboneConfig, NetworkConfig, VolumeSpec
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.photos import PHOTOS
from msff.study.progress import finished
from msff.study.train import untrained_network
from msff.study.workspace import Workspace
from msff.training.checkpoint import CheckpointError, load_checkpoint

FORMAT = 2
INDEX, WEIGHTS = "demo.json", "model-00001-of-00001.safetensors"
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
        state = read_weights(folder, record["shards"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / INDEX} does not fit this version of msff ({error!r}): {REMEDY}") from error
    shapes = [{(name, tensor.shape) for name, tensor in tensors.items()} for tensors in (network.state_dict(), state)]
    if shapes[0] != shapes[1]:
        name = min(name for name, _ in shapes[0] ^ shapes[1])
        raise CheckpointError(f"{folder}: the weights do not fit the network, the first at {name}: {REMEDY}")
    network.load_state_dict(state)  # casts half precision to float32
    network = network.to(device).eval()
    expected = "Error on real photographs: not measured for this network."
    if measured is not None:
        found = measured["tracks"][RANKING_TRACK]
        numbers = found["network"], found["mean_pose"], found["handedness_accuracy"]
        expected = photo_error("Error", measured["images"], *numbers)
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
    name = network_name(record["method"], record["variant"])
    schedule = f"{made['epochs']} epochs of {made['image_steps'] / made['epochs']:,.0f} images"
    return f"{name}, trained on: {sets}, profile {made['profile']}, {schedule}"


def photo_error(
    what: str, count: int, network: Mapping, mean_pose: Mapping | None = None, correct: float | None = None
) -> str:
    """Return a sentence on the error on real photographs; ``network`` and ``mean_pose``: metric -> value, low, high.

    ``correct``: the share of photos whose handedness is predicted correctly.
    """
    errors = (network[metric] for metric in ("wrist20", "wrist20_pred_side", "pa21"))
    given, predicted, aligned = (f"{e['value']:.0f} ({e['low']:.0f} to {e['high']:.0f})" for e in errors)
    share = "" if correct is None else f" (right in {100 * correct:.0f} %)"
    text = (
        f"{what} measured on {count} real photographs of one hand (95 % intervals): {given} mm relative to the wrist "
        f"with handedness given, {predicted} mm with it predicted{share}, {aligned} mm after similarity alignment."
    )
    if mean_pose is None:
        return text
    baseline = [f"{mean_pose[m]['value']:.0f}" for m in ("wrist20", "pa21")]
    return f"{text} The mean pose, a constant, has {baseline[0]} and {baseline[1]} mm."


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
    run, measured = finished(workspace, experiment), None
    expected = "Error on real photographs: not measured for this run."
    if run is not None and run.photos is not None:
        errors, count = run.photos["metrics"][RANKING_TRACK], run.photos["photos"]["count"]
        expected = photo_error("Error of the stored run", count, errors)
        measured = {"images": count, "tracks": {RANKING_TRACK: {"network": errors}}}
    settings = network.eval(), profile.volume, profile.decoder, profile.supersample, AVERAGE_HAND_MM
    return Predictor(*settings, experiment.run_id, trained, expected, measured)


# weights in half precision; the index lists their files, in order, with sizes and SHA-256


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state on the host, floating-point tensors as float16; CheckpointError if one does not survive it."""
    halved = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        halved[name] = tensor.half() if tensor.is_floating_point() else tensor.clone()
        if tensor.is_floating_point() and not halved[name].isfinite().all():
            raise CheckpointError(f"{name} holds values beyond half precision (65504) or no numbers: train it again")
    return halved


def write_weights(folder: Path, state: Mapping[str, Tensor]) -> list[dict]:
    """Write the state in half precision and return the index: file, bytes and sha256."""
    path = folder / WEIGHTS
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in half(state).items()}))
    return [{"file": WEIGHTS, "bytes": path.stat().st_size, "sha256": digest_of(path)}]


def read_weights(folder: Path, index: Sequence[Mapping]) -> dict[str, Tensor]:
    """Return the stored state on the host; CheckpointError for a file that is not as it was written."""
    state: dict[str, Tensor] = {}
    for entry in index:
        path = folder / entry["file"]
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: {REMEDY}")
        size, stated = path.stat().st_size, entry["bytes"]
        if size != stated:
            raise CheckpointError(f"{path} has {size:,} bytes, expected {stated:,}; it was cut short: {REMEDY}")
        if digest_of(path) != entry["sha256"]:
            raise CheckpointError(f"{path} is damaged, its SHA-256 is not the stored one: {REMEDY}")
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is no safetensors file ({error}): {REMEDY}") from error
    return state
