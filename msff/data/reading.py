"""Reading foreign files safely: annotations that can hold nothing but data, and errors that name the remedy."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from msff.data.sample import DataError

STANDIN_MANIFEST = "standin.json"
FETCH = "fetch the official file"
DOWNLOAD_AGAIN = "the download or the unpacking was probably cut short: fetch and unpack that archive again"

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("builtins", "__builtin__")  # Python 3 and Python 2
_CONTAINERS = {t.__name__: t for t in (set, frozenset, list, dict, tuple, int, float, bool, complex, str, bytes)}


def again(path: Path, otherwise: str = DOWNLOAD_AGAIN) -> str:
    """Return how to replace a damaged file: ``otherwise``, or by rendering if it belongs to a stand-in."""
    for folder in [*Path(os.path.abspath(path)).parents][:9]:  # InterHand2.6M's images lie 6 deep
        if os.path.lexists(folder / STANDIN_MANIFEST):
            return f"it belongs to a stand-in: delete {folder} and render it again with `msff data make`"
    return otherwise


def sentence(text: str) -> str:
    """Return ``text`` with a capital, to follow a full stop."""
    return text[:1].upper() + text[1:]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while ``path`` is read into DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error


def check_relative(name: str, where: str) -> str:
    """Return ``name``; DataError if it is empty or leads out of its folder."""
    if not name or name[0] == "/" or "\\" in name or "\0" in name or (".." in name and ".." in name.split("/")):
        raise DataError(
            f"{where}: file name {name!r} is empty, absolute or leads out of the dataset; expected a path inside its "
            f"folder. {sentence(FETCH)}, and trust no other file from the same source"
        )
    return name


def numbers(value: Any, shape: tuple[int, ...], where: str, name: str, remedy: str) -> np.ndarray:
    """Return ``value`` as float64 of ``shape``, NaN allowed; DataError for anything but real numbers."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{where}: {name} is ragged ({error}). {sentence(remedy)}") from error
    if array.shape != shape:
        raise DataError(f"{where}: expected {name} of shape {shape}, found {array.shape}. {sentence(remedy)}")
    if array.dtype.kind not in "biuf":
        found = f"found {array.dtype} values"
        raise DataError(f"{where}: expected {name} to be real numbers, {found}. {sentence(remedy)}")
    return array.astype(np.float64)


def require_folder(folder: Path, what: str, remedy: str) -> Path:
    """Return ``folder``; DataError if there is no such folder."""
    folder = Path(folder)
    if check(Path.is_dir, folder):
        return folder
    if folder.name and check(Path.is_dir, folder.with_name(folder.name + ".partial")):
        raise DataError(f"{folder}: {what} is unfinished ({folder.name}.partial is there). To finish it, {remedy}")
    raise DataError(f"{folder}: expected the folder of {what}, found {kind_of(folder)}. {sentence(remedy)}")


def check(predicate: Callable[[Path], bool], path: Path) -> bool:
    """Call ``Path.is_file`` and the like; DataError instead of a bare PermissionError."""
    try:
        return predicate(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be looked at ({error.strerror}); check its folders' permissions") from error


def kind_of(path: Path) -> str:
    """Describe what lies at a path, for an error."""
    dead = next((p for p in [*reversed(path.parents), path] if p.is_symlink() and not p.exists()), None)
    if dead is not None:
        return "a symbolic link that leads nowhere or in a circle" + ("" if dead == path else f": {dead}")
    return "a folder" if path.is_dir() else "a file" if path.exists() else "nothing"


def require_file(path: Path, what: str, remedy: str) -> Path:
    """Return ``path``; DataError if it is no file or empty."""
    if not check(Path.is_file, path):
        raise DataError(f"{path}: expected {what}, found {kind_of(path)}. {sentence(remedy)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected {what}, found an empty file; {again(path)}")
    return path


def compare_files(root: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which of ``names``, relative to ``root`` with "/", are not on disk, and what else is in their folders.

    Lists each folder once and makes no Path per file, so that a million names stay cheap.
    """
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in names:
        wanted[name.rpartition("/")[0]].append(name)
    missing, surplus = [], []
    for folder, members in wanted.items():
        present = {f"{folder}/{name}" if folder else name for name in listing(root / folder)}
        missing += [name for name in members if name not in present]
        surplus += present.difference(members)
    return missing, surplus


def listing(folder: Path) -> set[str]:
    """Return the names in a folder; none if it does not exist, DataError for a link that leads nowhere."""
    try:
        if "symbolic" in (kind := kind_of(folder)):
            raise DataError(f"{folder}: expected a folder, found {kind}; mend the link or remove it")
        return set(os.listdir(folder)) if folder.is_dir() else set()
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions and the disk") from error


def require_files(root: Path, names: Iterable[str], what: str, remedy: str) -> None:
    """Raise DataError with the number of missing files and the first."""
    names = list(names)
    missing, _ = compare_files(root, names)
    if missing:
        raise DataError(
            f"{root / missing[0]}: {len(missing):,} of {len(names):,} {what} are missing, this one first. "
            f"{sentence(remedy)}"
        )


def read_json(path: Path, what: str, remedy: str) -> dict:
    """Read a JSON object from a file."""
    require_file(path, what, remedy)
    try:
        with readable(path), open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a whole JSON file ({error}); {again(path)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object ({what}), found a {type(content).__name__}; {again(path)}")
    return content


def read_pickle(path: Path, what: str, remedy: str) -> Any:
    """Unpickle a file that may hold numpy arrays, numbers, strings and containers, and nothing that runs."""
    require_file(path, what, remedy)
    with readable(path), open(path, "rb") as file:
        content = file.read()
    try:
        return DataUnpickler(io.BytesIO(content), path).load()
    except (DataError, *_UNPICKLING_ERRORS) as error:
        if content.count(b"\n") == content.count(b"\r\n") > 0:
            raise DataError(
                f"{path}: its line ends were changed to CR LF, as by a transfer in text mode, which destroys a pickle; "
                f"transfer it again in binary mode, or {again(path, FETCH)}"
            ) from error
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a whole pickle ({error}); {again(path)}") from error


_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    MemoryError, OverflowError,
)  # fmt: skip


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
        named = f"{module}.{name}".encode("unicode_escape").decode()  # no control character reaches the terminal
        raise DataError(
            f"{self._path}: refused to load {named}: annotations are numpy arrays, numbers and containers, "
            f"and this pickle asks to run something else. Do not open it otherwise; {again(self._path, FETCH)}"
        )


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise ValueError(f"bytes spelt in {encoding!r}")
    return text.encode("latin1")


def check_intrinsics(intrinsics: np.ndarray, where: str, remedy: str = FETCH) -> np.ndarray:
    """Return (3, 3) float64 px of a pinhole camera; DataError with ``remedy`` if it is none."""
    k = numbers(intrinsics, (3, 3), where, "K", remedy)
    if not np.isfinite(k).all():
        raise DataError(f"{where}: expected a finite 3x3 camera matrix K, found {k.tolist()}. {sentence(remedy)}")
    if k[0, 0] <= 0 or k[1, 1] <= 0 or k[1, 0] != 0 or not np.array_equal(k[2], [0, 0, 1]):
        raise DataError(
            f"{where}: K is not a pinhole camera; expected positive focal lengths, K[1,0] = 0 and last row 0 0 1, "
            f"found {k.tolist()}. {sentence(remedy)}"
        )
    return k
