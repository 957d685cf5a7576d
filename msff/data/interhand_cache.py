"""The index of an InterHand2.6M split, kept beside the annotations and made again when they change.

An entry is a folder with one Arrow IPC file per table. Its name holds a hash of the format version and of name, size
and modification time of every annotation file, so that a changed one leads to another name. Entries are written
atomically.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from msff.data.interhand_index import TABLES, Tables, check_index
from msff.files import atomic_folder

CACHE_VARIABLE = "MSFF_CACHE"
"""Environment variable that names the folder for caches, where the dataset's own cannot be written."""
FOLDER_NAME = ".msff-cache"
FORMAT_VERSION = 2  # raise whenever the columns or their meaning change


def cached(root: Path, name: str, sources: Sequence[Path], build: Callable[[], Tables], keep_from: int) -> Tables:
    """Return the index of ``sources``, files of the dataset ``root``, as kept; else build it.

    It is kept if it has ``keep_from`` annotations. One that is damaged is built again.
    """
    if not all(path.is_file() for path in sources):
        return build()  # which reports what is missing
    folder = root / FOLDER_NAME
    if named := os.environ.get(CACHE_VARIABLE):
        folder = Path(named) / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    digest = hashlib.sha256(f"format {FORMAT_VERSION}".encode())
    for path in sources:
        status = path.stat()
        digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    entry = folder / f"{name}-{digest.hexdigest()[:16]}"
    if entry.is_dir():
        try:
            found = {table: _open(entry / f"{table}.arrow") for table in TABLES}
            check_index(found)
            return found
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            warnings.warn(f"{entry}: damaged index ({error}); it is made again from the annotations", stacklevel=2)
            shutil.rmtree(entry, ignore_errors=True)
    built = build()
    if len(built["annotations"]) >= keep_from:
        _store(entry, built)
    return built


def _open(path: Path) -> pa.Table:
    """Return a memory-mapped table."""
    table = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
    table.validate(full=True)
    return table


def _store(entry: Path, tables: Tables) -> None:
    """Write an entry and remove those of the same name with another fingerprint; a warning if that is impossible."""
    try:
        with atomic_folder(entry) as partial:
            for name, table in tables.items():
                path = str(partial / f"{name}.arrow")
                with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
    except OSError as error:
        warnings.warn(
            f"{entry.parent}: cannot be written ({error.strerror or error}): the index of the annotations is not kept "
            f"and will be made again next time; set {CACHE_VARIABLE} to a folder that can be written",
            stacklevel=3,
        )
        return
    for old in entry.parent.glob(f"{entry.name.rpartition('-')[0]}-*"):
        if old != entry:
            shutil.rmtree(old, ignore_errors=True)
