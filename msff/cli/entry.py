"""The command's entry: parse, run, and report the project's own errors."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys

from msff.cli.bench import add_bench
from msff.cli.data import add_data
from msff.cli.predict import add_demo, add_predict
from msff.cli.study import add_study, add_train
from msff.environment import own_settings
from msff.errors import NO_SPACE, MsffError, one_line, printable

_FOR_THE_USER = (MsffError, ValueError, OSError)
"""Errors reported as one line; any other is a defect and shows its traceback."""


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn the project's own errors into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may have bytes that no encoding has
    parser = _parser()
    args = parser.parse_args(_with_negative_boxes(sys.argv[1:] if arguments is None else arguments))
    if not hasattr(args, "run"):
        args.help_parser.print_help()
        return 2
    return _guarded(args)


def _guarded(args) -> int:
    try:
        _check_alone(args)
        with own_settings(MPLBACKEND="agg"):
            return args.run(args) or 0
    except KeyboardInterrupt:
        goes_on = "resumes" if args.resumes else "starts over"
        print(f"\nInterrupted. Files that were finished are kept; the same command {goes_on}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            where = f" while writing {printable(error.filename)}" if error.filename else ""
            print(f"msff: no space left on the disk{where}. Free some and run the same command again.", file=sys.stderr)
            return 1
        if not isinstance(error, _FOR_THE_USER):
            raise
        print(f"msff: {printable(one_line(error) if isinstance(error, OSError) else error)}", file=sys.stderr)
        return 1


def _with_negative_boxes(arguments: list[str]) -> list[str]:
    """Write ``--box -20,30,180,200`` with "=", since argparse takes a value with a leading minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", argument):
            joined[-1] = f"--box={argument}"
        else:
            joined.append(argument)
    return joined


def _check_alone(args) -> None:
    """Refuse torchrun for every command but `msff train`, the only one that shares its work."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not getattr(args, "shared", False):
        raise ValueError(
            "torchrun's processes share the work of `msff train` alone: train the runs with `torchrun ... -m msff.cli "
            "train ...`, then call this command without torchrun"
        )


def _parser() -> argparse.ArgumentParser:
    from msff import __version__

    parser = argparse.ArgumentParser(prog="msff", description="The MS-FF reproduction study.")
    parser.add_argument("--version", action="version", version=f"msff {__version__}")
    parser.set_defaults(help_parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (add_data, add_train, add_study, add_bench, add_demo, add_predict):
        add(commands)
    return parser
