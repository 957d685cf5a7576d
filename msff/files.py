"""Atomic writes, digests, and locks between processes.

A reader sees the old file or the new one, never part of it: both writers fill a temporary sibling and rename it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PARTIAL = ".partial"  # in the name of every temporary sibling
LONGEST = 200  # bytes of a name that its temporary sibling repeats; file systems allow 255
FULL_BYTES = 2**20  # a disk with less free is full
ABANDONED_S = 86400  # age from which a temporary sibling belongs to a process that was killed


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the suffix of ``path``; the file written there replaces ``path`` unless an error
    leaves the block.
    """
    partial = _sibling(path)
    try:
        with _naming_a_full_disk(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that replaces the folder ``path`` unless an error leaves the block."""
    partial = _sibling(path)
    partial.mkdir()
    try:
        with _naming_a_full_disk(path):
            yield partial
            if path.exists():
                old = _sibling(path)
                path.rename(old)
                partial.rename(path)
                shutil.rmtree(old)
            else:
                partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _naming_a_full_disk(path: Path) -> Iterator[None]:
    """Turn the error of a full disk that does not say so, as torch's, or names no file, into "no space left"."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "errno", None)
        unnamed = code in (errno.ENOSPC, errno.EDQUOT) and error.filename is None
        if unnamed or (code is None and shutil.disk_usage(path.parent).free < FULL_BYTES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _sibling(path: Path) -> Path:
    """Return a new hidden name beside ``path``, after removing abandoned ones of the same path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsencode(path.name)
    start = f".{path.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()[:16]}."
    for left in path.parent.iterdir():
        if left.name.startswith(start) and PARTIAL in left.name:
            with suppress(FileNotFoundError):  # another process has renamed or removed it
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{uuid.uuid4().hex[:8]}{PARTIAL}{path.suffix}")


def write_json(path: Path, value: dict, indent: int | None = 1) -> None:
    """Write ``value`` with sorted keys; ValueError for NaN and infinity, which JSON does not have."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=indent, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none. OSError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def listing_digest(listed: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of what ``sha256sum`` lists of (name, SHA-256) pairs, by name: one for all their bytes.

    On disk: ``find training -name '*.png' | LC_ALL=C sort | xargs sha256sum | sha256sum``, in the files' folder.
    """
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(listed)).encode()).hexdigest()


def locked(path: Path) -> FileLock:
    """Return a context manager that holds the lock file ``path``, after waiting for any other process or thread.

    The operating system frees the lock when its holder ends, however that happens. The file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def is_locked(path: Path) -> bool:
    """Return True if a process or thread holds the lock file ``path``."""
    if not path.exists():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
