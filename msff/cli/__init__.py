"""The `msff` command: data, train, workspace, bench, demo, predict.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from msff.cli.entry import main

__all__ = ["main"]
