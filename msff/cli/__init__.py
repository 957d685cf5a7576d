"""The `msff` command: data, train, study, bench, demo, predict.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from msff.cli.entry import main

__all__ = ["main"]
