"""Reading foreign files safely: annotations that are data and nothing else, and messages that say what to do."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from msff.data.sample import DataError

STANDIN_MANIFEST = "standin.json"
DOWNLOAD_AGAIN = "the download or the unpacking was probably cut short: fetch and unpack that archive again"

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("builtins", "__builtin__")  # Python 3 and Python 2
_CONTAINERS = {t.__name__: t for t in (set, frozenset, list, dict, tuple, int, float, bool, complex, str, bytes)}


def require_folder(folder: Path, what: str, remedy: str) -> Path:
    """``folder``, or a DataError that says what should have been there."""
    folder = Path(folder)
    if _stat(Path.is_dir, folder):
        return folder
    if folder.with_name(folder.name + ".partial").is_dir():
        raise DataError(f"{folder}: {what} is unfinished ({folder.name}.partial is there). To finish it, {remedy}")
    raise DataError(f"{folder}: expected the folder of {what}, found {_kind(folder)}. {remedy[:1].upper()}{remedy[1:]}")


def _stat(question: Callable[[Path], bool], path: Path) -> bool:
    """``Path.is_file`` and the like; DataError instead of a bare PermissionError."""
    try:
        return question(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be looked at ({error.strerror}); check its folders' permissions") from error


def _kind(path: Path) -> str:
    """What lies at a path that was not as expected."""
    if path.is_symlink() and not path.exists():
        return "a symbolic link that leads nowhere or in a circle"
    return "a folder" if path.is_dir() else "a file" if path.exists() else "nothing"


def require_file(path: Path, what: str, remedy: str) -> Path:
    """``path`` if it is a non-empty file, or a DataError."""
    if not _stat(Path.is_file, path):
        raise DataError(f"{path}: expected {what}, found {_kind(path)}. {remedy[:1].upper()}{remedy[1:]}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected {what}, found an empty file; {DOWNLOAD_AGAIN}")
    return path


def missing_files(root: Path, names: Iterable[str]) -> list[str]:
    """Those of ``names``, relative to ``root`` with "/", that are not on disk, folder by folder.

    One listing per folder and no Path per file, so that a million names stay cheap.
    """
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        wanted[name.rpartition("/")[0]].append(name)
    missing = []
    for folder, members in wanted.items():
        present = listing(root / folder)
        missing += [name for name in members if name.rpartition("/")[2] not in present]
    return missing


def listing(folder: Path) -> set[str]:
    """Names in a folder; empty where there is none."""
    try:
        return set(os.listdir(folder)) if folder.is_dir() else set()
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions and the disk") from error


def require_files(root: Path, names: Iterable[str], what: str, remedy: str | Callable[[], str]) -> None:
    """DataError with the number of missing files and the first of them; ``remedy`` may be worked out only then."""
    names = list(names)
    missing = missing_files(root, names)
    if missing:
        remedy = remedy() if callable(remedy) else remedy
        raise DataError(
            f"{root / missing[0]}: {len(missing):,} of {len(names):,} {what} are missing, this one first. "
            f"{remedy[:1].upper()}{remedy[1:]}"
        )


def read_json(path: Path, what: str, remedy: str) -> dict:
    """A JSON object from a file."""
    require_file(path, what, remedy)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole JSON file ({error}); {DOWNLOAD_AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object ({what}), found a {type(content).__name__}")
    return content


def read_pickle(path: Path, what: str, remedy: str) -> Any:
    """Unpickle a file that may hold numpy arrays, numbers, strings and containers, and nothing that runs."""
    require_file(path, what, remedy)
    try:
        with open(path, "rb") as file:
            return DataUnpickler(io.BytesIO(file.read()), path).load()
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"{path}: not a whole pickle ({error}); {DOWNLOAD_AGAIN}") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{path}: asks for an impossible amount of memory; {DOWNLOAD_AGAIN}") from error


class DataUnpickler(pickle.Unpickler):
    """Admits arrays, scalars, numbers and containers; anything else is refused by name before it can run."""

    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file, encoding="latin1")  # latin1: arrays that Python 2 pickled
        self._path = path

    def find_class(self, module: str, name: str) -> Callable:
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar"):
            return getattr(np._core.multiarray, name)
        if module in _NUMERIC_MODULES and name == "_frombuffer":
            return np._core.numeric._frombuffer
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in _BUILTINS and name in _CONTAINERS:
            return _CONTAINERS[name]
        if module == "_codecs" and name == "encode":
            return _latin1  # how protocols 0-2 spell bytes
        raise DataError(
            f"{self._path}: refused to load {module}.{name}: annotations are numpy arrays, numbers and containers, "
            "and this pickle asks to run something else. Do not open it otherwise; fetch the official file"
        )


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise ValueError(f"bytes spelt in {encoding!r}")
    return text.encode("latin1")


def check_intrinsics(intrinsics: np.ndarray, where: str) -> np.ndarray:
    """(3, 3) float64 px of a pinhole camera, or a DataError."""
    k = np.asarray(intrinsics, dtype=np.float64)
    if k.shape != (3, 3) or not np.isfinite(k).all():
        raise DataError(f"{where}: expected a finite 3x3 camera matrix K, found shape {k.shape}: {k.tolist()}")
    if k[0, 0] <= 0 or k[1, 1] <= 0 or k[1, 0] != 0 or not np.array_equal(k[2], [0, 0, 1]):
        raise DataError(
            f"{where}: K is not a pinhole camera; expected positive focal lengths, K[1,0] = 0 and last row 0 0 1, "
            f"found {k.tolist()}. Fetch the official annotation file"
        )
    return k
