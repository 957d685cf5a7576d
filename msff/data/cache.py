"""Arrow tables kept beside the files they were made from, and rebuilt when those files change.

A cache entry is a folder with one Arrow IPC file per table. Its name holds a hash of the format version and of name,
size and modification time of every source file, so that a changed source leads to another name. Entries are written
atomically.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs
import pyarrow as pa

from msff.files import atomic_folder

CACHE_VARIABLE = "MSFF_CACHE"
"""Environment variable that names the folder for caches; without it the dataset's own folder is tried first."""
FOLDER_NAME = ".msff-cache"
FORMAT_VERSION = 1  # raise whenever the columns or their meaning change

Tables = dict[str, pa.Table]


def cached(
    root: Path, name: str, sources: Sequence[Path], names: Sequence[str], build: Callable[[], Tables], keep_from: int,
    check: Callable[[Tables], None],
) -> Tables:  # fmt: skip
    """Return the tables ``names`` of ``sources``, files of the dataset ``root``, from the cache; else build them.

    Built tables are kept if the first has ``keep_from`` rows. ``check`` raises ValueError for an entry that is not
    sound, which is then built again. A build that raises leaves nothing behind.
    """
    if not all(path.is_file() for path in sources):
        return build()  # which reports what is missing
    folders, key = _folders(root), f"{name}-{_fingerprint(sources)}"
    for entry in (folder / key for folder in folders):
        if not entry.is_dir():
            continue
        try:
            found = {table: _open(entry / f"{table}.arrow") for table in names}
            check(found)
            return found
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            warnings.warn(f"{entry}: damaged index ({error}); it is made again from the annotations", stacklevel=2)
            shutil.rmtree(entry, ignore_errors=True)
    built = build()
    if len(built[names[0]]) >= keep_from:
        _store(folders, key, built)
    return built


def _folders(root: Path) -> list[Path]:
    """Return the folders to use, best first: MSFF_CACHE alone, else the dataset's and the user's."""
    own = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    if named := os.environ.get(CACHE_VARIABLE):
        return [Path(named) / own]
    return [root / FOLDER_NAME, Path(platformdirs.user_cache_dir("msff")) / own]


def _fingerprint(sources: Sequence[Path]) -> str:
    """Return 16 hexadecimal digits of the format version and of each source's name, size and modification time."""
    digest = hashlib.sha256(f"format {FORMAT_VERSION}".encode())
    for path in sources:
        status = path.stat()
        digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _open(path: Path) -> pa.Table:
    """Return a memory-mapped table."""
    table = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
    table.validate(full=True)
    return table


def _store(folders: Sequence[Path], key: str, tables: Tables) -> None:
    """Write an entry to the first folder that is writable, with a warning if that is not the first folder.

    Entries of the same name with another fingerprint are removed there.
    """
    failures = []
    for folder in folders:
        entry = folder / key
        try:
            with atomic_folder(entry) as partial:
                for name, table in tables.items():
                    path = str(partial / f"{name}.arrow")
                    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                        writer.write_table(table)
        except OSError as error:
            failures.append(f"{folder}: cannot be written ({error.strerror or error})")
            continue
        for old in folder.glob(f"{key.rpartition('-')[0]}-*"):
            if old != entry:
                shutil.rmtree(old, ignore_errors=True)
        if failures:
            warnings.warn(f"{'; '.join(failures)}: the index of the annotations is kept in {entry}", stacklevel=3)
        return
    warnings.warn(
        f"{'; '.join(failures)}: the index of the annotations is not kept and will be made again next time; "
        f"set {CACHE_VARIABLE} to a folder that can be written",
        stacklevel=3,
    )
