"""The environment of commands and kernels, without the caller's settings of plotting, Jupyter and IPython.

They belong to the caller's own work: MPLBACKEND=Agg turns every figure of a page into text, JUPYTER_PATH may lead to
another Python's kernel, and a matplotlibrc or an IPython profile changes what a page shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

FOREIGN = (
    "MPLBACKEND", "MATPLOTLIBRC", "JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_PATH", "JUPYTER_CONFIG_DIR",
    "IPYTHONDIR", "PYTHONSTARTUP",
)  # fmt: skip
"""Variables that are not inherited; the Makefile names them too."""
FATAL = "8"
"""FFmpeg's level: a damaged video otherwise prints thousands of lines, in which the command's own message is lost."""


@contextmanager
def own_settings(**variables: str) -> Iterator[None]:
    """Hide ``FOREIGN`` from this process and those that it starts, choose kernels of this environment and matplotlib's
    default settings, and set ``variables``, until the block ends.

    Where the home folder cannot be written, matplotlib caches in a temporary one; else pages show its complaint.
    """
    defaults = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc"
    ours = {"JUPYTER_PREFER_ENV_PATH": "1", "MATPLOTLIBRC": str(defaults), "OPENCV_FFMPEG_LOGLEVEL": FATAL}
    variables = ours | variables
    with ExitStack() as block:
        if "MPLCONFIGDIR" not in os.environ and not os.access(os.path.expanduser("~"), os.W_OK):
            variables["MPLCONFIGDIR"] = block.enter_context(TemporaryDirectory())
        block.enter_context(replaced(dict.fromkeys(FOREIGN) | variables))
        yield


@contextmanager
def replaced(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables, or remove those that are None, for this process and those that it starts in the block."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
