"""The header of a checkpoint, readable without torch: what was trained and how far.

A checkpoint is torch's zip archive; the header is one more entry in it, so that both are always of the same moment.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from msff.errors import MsffError

_ENTRY = "/msff.json"


class CheckpointError(MsffError):
    """A checkpoint that cannot be used. The message names the file and the remedy."""


def write_header(path: Path, **header: str | int | None) -> None:
    """Add the header to a checkpoint that torch has written."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]  # torch wants all entries in one
        archive.writestr(folder + _ENTRY, json.dumps(header))


def read_header(path: Path) -> dict | None:
    """Return ``config_hash``, ``epoch`` and ``uid``; None if the checkpoint is from before there were headers.

    CheckpointError if the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(_ENTRY):
                    return json.loads(archive.read(name))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CheckpointError(damaged(path, error)) from error
    return None


def damaged(path: Path, error: Exception) -> str:
    """Return the message about a file that cannot be read."""
    return f"{path} is damaged or no checkpoint of this project ({error}). {remedy(path)}"


def remedy(path: Path) -> str:
    return f"Delete it to train from the start: rm {path}"
