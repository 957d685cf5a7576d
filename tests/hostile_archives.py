"""Archives with one entry that no run has: each must be refused before anything is written."""

import io
import tarfile
from pathlib import Path

import numpy as np

RUN = "smoke/runs/standin-rhd/msff/full/seed0"
HISTORY = f"{RUN}/history.csv"


def _zeros() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(2_000_000))
    return stream.getvalue()


HOSTILE = {  # what it holds -> name, type, content, target of a link
    "a path upwards": ("../outside.txt",),
    "an absolute path": ("/tmp/outside.txt",),
    "a symbolic link": (HISTORY, tarfile.SYMTYPE, b"", "/etc/passwd"),
    "a symbolic link inside": (HISTORY, tarfile.SYMTYPE, b"", "run.json"),
    "a hard link": (HISTORY, tarfile.LNKTYPE, b"", "/etc/passwd"),
    "a device": (HISTORY, tarfile.CHRTYPE),
    "a pipe": (HISTORY, tarfile.FIFOTYPE),
    "a file of another name": (f"{RUN}/a.py",),
    "another folder": ("elsewhere/a",),
    "a terminal's command": (f"{RUN}/\x1b]0;a",),
    "zeros": (HISTORY, tarfile.REGTYPE, bytes(20_000_000)),
    "an npz file of zeros": ("smoke/truth/standin-rhd.npz", tarfile.REGTYPE, _zeros()),
}


def write_hostile(path: Path, kind: str) -> None:
    name, *rest = HOSTILE[kind]
    type_, content, link = [*rest, *(tarfile.REGTYPE, b"", "")[len(rest) :]]
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = type_, len(content), link
    with tarfile.open(path, "w:gz") as target:
        target.addfile(member, io.BytesIO(content))
