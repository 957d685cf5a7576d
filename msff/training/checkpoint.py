"""Checkpoints: what a killed run needs to go on, and what `msff predict` needs to load a network."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from msff.files import atomic_file
from msff.training.header import CheckpointError, damaged, read_header, remedy, write_header

FORMAT = 1
_KEYS = {"format", "config_hash", "epoch", "model"}


def save_checkpoint(path: Path, *, config_hash: str, epoch: int, model: dict, **state) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of it."""
    with atomic_file(path) as partial:
        torch.save({"format": FORMAT, "config_hash": config_hash, "epoch": epoch, "model": model, **state}, partial)
        write_header(partial, config_hash=config_hash, epoch=epoch, uid=state.get("uid"))


def load_checkpoint(
    path: Path, device: str | torch.device = "cpu", config_hash: str | None = None, *, mapped: bool = False
) -> dict:
    """Read a checkpoint (tensors, numbers and containers only); ``mapped`` leaves tensors on the disk until used.

    Raises CheckpointError if it is missing, truncated, of another format, or of another configuration than
    ``config_hash``.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. `msff train` writes checkpoints.")
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError, OSError) as error:
        raise CheckpointError(damaged(path, error)) from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise CheckpointError(
            f"{path} is no checkpoint of this project: expected the keys {sorted(_KEYS)}. {remedy(path)}"
        )
    if state["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads {FORMAT}. {remedy(path)}")
    if config_hash is not None and state["config_hash"] != config_hash:
        raise CheckpointError(
            f"{path} belongs to configuration {state['config_hash']}, this run is {config_hash}. {remedy(path)}"
        )
    return state


def discard_stale(path: Path, config_hash: str | None) -> None:
    """Delete a checkpoint of another configuration, which is of no use to this one; None: of any.

    CheckpointError if it is damaged.
    """
    if config_hash is None or (path.exists() and _config_hash(path) != config_hash):
        path.unlink(missing_ok=True)


def _config_hash(path: Path) -> str:
    return (read_header(path) or load_checkpoint(path, mapped=True))["config_hash"]
