"""Folders that are made once per run of pytest and copied by every test that wants one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from msff.files import atomic_folder, locked


def copy_made_once(name: str, make: Callable[[Path], object], target: Path) -> None:
    """Copy to ``target`` what ``make`` writes into a folder, at the first request of a run of pytest (conftest.py)."""
    made = Path(os.environ["MADE_ONCE"]) / name
    with locked(made.with_suffix(".lock")):
        if not made.exists():
            with atomic_folder(made) as partial:
                make(partial)
    shutil.copytree(made, target, dirs_exist_ok=True)
