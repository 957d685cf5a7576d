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


def user_cache() -> Path:
    """Return the user's folder for caches of this package, from MSFF_CACHE or the operating system's convention."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("msff"))


def cache_folders(root: Path, folder: Path | None = None) -> list[Path]:
    """Return the folders to use, best first: ``folder`` or MSFF_CACHE alone, else the dataset's and the user's."""
    own = hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()[:12]
    if folder is not None or os.environ.get(CACHE_VARIABLE):
        return [(Path(folder) if folder is not None else user_cache()) / own]
    return [Path(root) / FOLDER_NAME, user_cache() / own]


def fingerprint(sources: Sequence[Path]) -> str:
    """Return 16 hexadecimal digits of the format version and of each source's name, size and modification time."""
    digest = hashlib.sha256(f"format {FORMAT_VERSION}".encode())
    for path in sources:
        status = path.stat()
        digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def cached(
    folders: Sequence[Path], name: str, sources: Sequence[Path], tables: Sequence[str], build: Callable[[], Tables],
    worth_keeping: Callable[[Tables], bool], check: Callable[[Tables], None] = lambda tables: None,
) -> Tables:  # fmt: skip
    """Return the named tables of ``sources`` from the cache; else build them, and keep them if ``worth_keeping``.

    ``check`` raises ValueError for an entry that is not sound, which is then built again. A build that raises leaves
    nothing behind.
    """
    if not all(path.is_file() for path in sources):
        return build()  # which reports what is missing
    key = f"{name}-{fingerprint(sources)}"
    found = find(folders, key, tables, check)
    if found is not None:
        return found
    built = build()
    if worth_keeping(built):
        store(folders, key, built)
    return built


def find(
    folders: Sequence[Path], key: str, tables: Sequence[str], check: Callable[[Tables], None] = lambda tables: None
) -> Tables | None:
    """Return the tables of an entry, memory-mapped; None if there is none, it does not open or is not sound."""
    for folder in folders:
        entry = folder / key
        if not entry.is_dir():
            continue
        try:
            found = {name: _open(entry / f"{name}.arrow") for name in tables}
            for table in found.values():
                table.validate(full=True)
            check(found)
            return found
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            warnings.warn(f"{entry}: damaged index ({error}); it is made again from the annotations", stacklevel=3)
            shutil.rmtree(entry, ignore_errors=True)
    return None


def _open(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()


def store(folders: Sequence[Path], key: str, tables: Tables) -> Path | None:
    """Write an entry to the first folder that is writable, with a warning if that is not the first folder.

    Entries of the same name with another fingerprint are removed there. Returns the entry; None if no folder is
    writable.
    """
    failures = []
    for folder in folders:
        try:
            entry = _write(folder, key, tables)
        except OSError as error:
            failures.append(f"{folder}: cannot be written ({error.strerror or error})")
            continue
        if failures:
            warnings.warn(f"{'; '.join(failures)}: the index of the annotations is kept in {entry}", stacklevel=3)
        return entry
    warnings.warn(
        f"{'; '.join(failures)}: the index of the annotations is not kept and will be made again next time; "
        f"set {CACHE_VARIABLE} to a folder that can be written",
        stacklevel=3,
    )
    return None


def _write(folder: Path, key: str, tables: Tables) -> Path:
    """Write one entry and remove older ones of the same name."""
    entry = folder / key
    with atomic_folder(entry) as partial:
        for name, table in tables.items():
            with pa.OSFile(str(partial / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    for old in folder.glob(f"{key.rpartition('-')[0]}-*"):
        if old != entry:
            shutil.rmtree(old, ignore_errors=True)
    return entry
