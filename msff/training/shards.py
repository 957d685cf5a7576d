"""Weights that are kept with the project: safetensors in half precision, in shards small enough for any repository.

A shard is an ordinary safetensors file; which shards there are, their sizes and their SHA-256 stand in the index that
names them. They are checked before a byte of them is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from msff.files import digest_of
from msff.training.checkpoint import CheckpointError

SHARD_BYTES = 16 * 2**20  # a shard stays below it
_HEADER_BYTES, _ENTRY_BYTES = 64, 160  # of a safetensors header, at most: its frame, and a tensor's entry but its name


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state on the host, floating-point tensors as float16; CheckpointError if one does not survive it."""
    halved = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        halved[name] = tensor.half() if tensor.is_floating_point() else tensor.clone()
        if tensor.is_floating_point() and not halved[name].isfinite().all():
            raise CheckpointError(f"{name} holds values beyond half precision (65504) or no numbers: train it again")
    return halved


def count_bytes(state: Mapping[str, Tensor]) -> int:
    """Return the bytes of the tensors, floating-point ones in half precision, others as they are; without headers."""
    return sum(t.numel() * (2 if t.is_floating_point() else t.element_size()) for t in state.values())


def write_shards(folder: Path, state: Mapping[str, Tensor], limit: int = SHARD_BYTES) -> list[dict]:
    """Write ``model-0000k-of-0000N.safetensors``, each smaller than ``limit`` bytes; returns the index.

    The index has file, bytes and sha256 of each shard, in their order. ValueError if one tensor alone is too large.
    """
    parts = _parts(half(state), limit)
    index = []
    for number, part in enumerate(parts, 1):
        path = folder / f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in part.items()}))
        index.append({"file": path.name, "bytes": path.stat().st_size, "sha256": digest_of(path)})
    return index


def _parts(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """Return the tensors in their order, in parts of at most ``limit`` bytes."""
    parts: list[dict[str, Tensor]] = []
    size = limit
    for name, tensor in state.items():
        needs = tensor.numel() * tensor.element_size() + len(name) + _ENTRY_BYTES
        if needs + _HEADER_BYTES >= limit:
            raise ValueError(f"{name} takes {needs:,} bytes and does not fit into a shard of less than {limit:,}")
        if size + needs >= limit:
            parts.append({})
            size = _HEADER_BYTES
        parts[-1][name] = tensor
        size += needs
    return parts


def read_shards(folder: Path, index: Sequence[Mapping], remedy: str) -> dict[str, Tensor]:
    """Return the stored state on the host; CheckpointError with ``remedy`` for a shard that is not as it was written.

    Every shard is checked against the index before the first is read.
    """
    for shard in index:
        _check(folder / shard["file"], shard, remedy)
    state: dict[str, Tensor] = {}
    for shard in index:
        try:
            state |= load_file(folder / shard["file"])
        except SafetensorError as error:
            raise CheckpointError(f"{folder / shard['file']} is no safetensors file ({error}): {remedy}") from error
    return state


def _check(path: Path, shard: Mapping, remedy: str) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {remedy}")
    size = path.stat().st_size
    if size != shard["bytes"]:
        raise CheckpointError(f"{path} has {size:,} bytes, expected {shard['bytes']:,}; it was cut short: {remedy}")
    if digest_of(path) != shard["sha256"]:
        raise CheckpointError(f"{path} is damaged, its SHA-256 is not the stored one: {remedy}")
