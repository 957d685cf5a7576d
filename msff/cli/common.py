"""What the commands share: their parsers, arguments and output."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple


def group(commands, name: str, text: str):
    """Add a command that has commands of its own, and return `command` for them."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(help_parser=parser)
    return partial(command, parser.add_subparsers(title="commands", metavar="COMMAND"))


def command(commands, name: str, text: str, run, *, as_json: bool = False, resumes: bool = False):
    """Add a command that calls ``run``; with ``as_json`` it can print JSON. ``resumes``: so it does after Ctrl-C."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run, resumes=resumes)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_profile(parser, default: str | None = None) -> None:
    """Add the option --profile."""
    parser.add_argument(
        "--profile", default=default,
        help="smoke, cpu, cpu-scratch, cpu-long, gpu-short, gpu or paper (default: gpu with CUDA, else cpu)",
    )  # fmt: skip


def open_project(args):
    """Return the project of the profile in ``args``, for commands that compute nothing."""
    from msff.study.project import Project

    return Project(args.profile or default_profile())


def open_workspace(args):
    """Return the workspace of the profile in ``args``."""
    from msff.study.workspace import Workspace

    return Workspace(args.profile or default_profile(), device=getattr(args, "device", None))


def progress(bar):
    """Return a training callback that shows the epochs and the loss on a tqdm bar."""

    def show(epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        bar.total = epochs * steps
        bar.set_postfix(epoch=f"{epoch}/{epochs}", loss=f"{loss:.3g}", refresh=False)
        bar.update((epoch - 1) * steps + step - bar.n)

    return show


def default_profile() -> str:
    """Return ``gpu`` where CUDA works, else ``cpu``."""
    from msff.accelerator import has_cuda

    return "gpu" if has_cuda() else "cpu"


def print_rows(rows: Sequence[NamedTuple], as_json: bool = False) -> None:
    """Print a table with the fields' names above its columns, or a list of objects in JSON."""
    from tabulate import tabulate

    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
    elif rows:
        print(tabulate(rows, headers=rows[0]._fields, tablefmt="plain", floatfmt=".2f"))


def count(text: str) -> int:
    """Parse a count from 1 up."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


def number(text: str) -> float:
    """Return the number, NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _positive(expected: str, text: str, zero: bool = False) -> float:
    """Parse a finite number above 0, or from 0 up."""
    value = number(text)
    if not (0 < value < math.inf or (zero and value == 0)):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


duration = partial(_positive, "a number of seconds above 0")
budget = partial(_positive, "a number of seconds from 0 up", zero=True)
mebibytes = partial(_positive, "a size in MiB above 0")
focal = partial(_positive, "a focal length in px above 0")
