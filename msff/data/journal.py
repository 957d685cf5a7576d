"""Which files a long check has already found whole, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from msff.data.cache import user_cache


class Journal:
    """Paths with size and modification time, one per line, in the user's cache; a changed file counts as not checked.

    Use as a context manager: the file stays if the block is left by an exception, and is removed if it ends.
    """

    def __init__(self, root: Path, task: str):
        name = hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()[:12]
        self.path = user_cache() / f"{task}-{name}.txt"
        self._done: set[str] = set()
        self._file = None

    def __enter__(self) -> Journal:
        try:
            if self.path.is_file():
                self._done = {*self.path.read_text(encoding="utf-8", errors="replace").splitlines()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed in __exit__)
        except OSError as error:
            warnings.warn(f"{self.path}: cannot be written ({error}); an interrupted check starts over", stacklevel=2)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._file is None:
            return
        self._file.close()
        if kind is None:
            self.path.unlink(missing_ok=True)

    def __contains__(self, path: Path) -> bool:
        return bool(self._done) and _line(path) in self._done

    def add(self, path: Path) -> None:
        """Note that ``path`` is whole as it is now."""
        if self._file is not None:
            self._file.write(_line(path) + "\n")


def _line(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {path.resolve()}"
