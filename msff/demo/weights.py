"""The weights that are kept with the project: a safetensors file in half precision, checked before it is parsed.

The index of a network lists its files, in their order, with their sizes and SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from msff.files import digest_of
from msff.training.checkpoint import CheckpointError

NAME = "model-00001-of-00001.safetensors"


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
    path = folder / NAME
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in half(state).items()}))
    return [{"file": NAME, "bytes": path.stat().st_size, "sha256": digest_of(path)}]


def read_weights(folder: Path, index: Sequence[Mapping], remedy: str) -> dict[str, Tensor]:
    """Return the stored state on the host; CheckpointError with ``remedy`` for a file that is not as it was written."""
    state: dict[str, Tensor] = {}
    for entry in index:
        path = folder / entry["file"]
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: {remedy}")
        size, stated = path.stat().st_size, entry["bytes"]
        if size != stated:
            raise CheckpointError(f"{path} has {size:,} bytes, expected {stated:,}; it was cut short: {remedy}")
        if digest_of(path) != entry["sha256"]:
            raise CheckpointError(f"{path} is damaged, its SHA-256 is not the stored one: {remedy}")
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is no safetensors file ({error}): {remedy}") from error
    return state
