"""Checkpoints: what a killed run needs to go on, and what `msff predict` needs to load a network.

The header, what was trained and how far, is readable without torch: one more entry in torch's zip archive, so that both
are always of the same moment.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from msff.errors import MsffError
from msff.files import atomic_file

if TYPE_CHECKING:
    import torch

FORMAT = 1
_KEYS = {"format", "config_hash", "epoch", "model"}
_ENTRY = "/msff.json"


class CheckpointError(MsffError):
    """A checkpoint that cannot be used. The message names the file and the remedy."""


def save_checkpoint(path: Path, *, config_hash: str, epoch: int, model: dict, **state) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of it."""
    import torch

    with atomic_file(path) as partial:
        torch.save({"format": FORMAT, "config_hash": config_hash, "epoch": epoch, "model": model, **state}, partial)
        header = {"config_hash": config_hash, "epoch": epoch, "uid": state.get("uid")}
        with zipfile.ZipFile(partial, "a") as archive:
            folder = archive.namelist()[0].partition("/")[0]  # torch wants all entries in one
            archive.writestr(folder + _ENTRY, json.dumps(header))


def load_checkpoint(
    path: Path, device: str | torch.device = "cpu", config_hash: str | None = None, *, mapped: bool = False
) -> dict:
    """Read a checkpoint (tensors, numbers and containers only); ``mapped`` leaves tensors on the disk until used.

    Raises CheckpointError if it is missing, truncated, of another format, or of another configuration than
    ``config_hash``.
    """
    import torch

    if not path.exists():
        raise CheckpointError(f"{path} does not exist. `msff train` writes checkpoints.")
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except Exception as error:  # torch's parser of a damaged file: RuntimeError, KeyError, EOFError ...
        raise CheckpointError(_damaged(path, error)) from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise CheckpointError(
            f"{path} is no checkpoint of this project: expected the keys {sorted(_KEYS)}. {_remedy(path)}"
        )
    if state["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads {FORMAT}. {_remedy(path)}")
    if config_hash is not None and state["config_hash"] != config_hash:
        raise CheckpointError(
            f"{path} belongs to configuration {state['config_hash']}, this run is {config_hash}. {_remedy(path)}"
        )
    return state


def discard_stale(path: Path, config_hash: str | None) -> None:
    """Delete a checkpoint of another configuration, which is of no use to this one; None: of any.

    CheckpointError if it is damaged.
    """
    if config_hash is None or (path.exists() and read_header(path)["config_hash"] != config_hash):
        path.unlink(missing_ok=True)


def read_header(path: Path) -> dict:
    """Return ``config_hash``, ``epoch`` and ``uid``; the whole state of a checkpoint from before there were headers.

    CheckpointError if the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(_ENTRY):
                    return json.loads(archive.read(name))
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError for an unknown version ...
        raise CheckpointError(_damaged(path, error)) from error
    return load_checkpoint(path, mapped=True)


def _damaged(path: Path, error: Exception) -> str:
    """Return the message about a file that cannot be read."""
    return f"{path} is damaged or no checkpoint of this project ({error}). {_remedy(path)}"


def _remedy(path: Path) -> str:
    return f"Delete it to train from the start: rm {path}"
