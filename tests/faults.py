"""Faults that users meet, tried on real trainings: `make faults` writes the table that the book shows.

Each fault meets a tiny study in a project folder of its own; what that holds in the end is compared with an undisturbed
one. ``python tests/faults.py [NAME ...]`` tries some; their rows replace the older ones.
"""

import sys
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
from fault_files import FILES
from fault_trials import (
    KILLS,
    NETWORK_OFF,
    PRIVATE,
    ROOT,
    TESTS,
    Outcome,
    Project,
    Skip,
    compare,
    full_disk,
    given,
    interrupted,
    killed,
    killed_worker,
    read_only,
    two_at_once,
    with_many_jobs,
)

TABLE = ROOT / "results" / "faults" / "survived.csv"
COLUMNS = ["part", "fault", "exit", "message", "lost", "again", "equal"]
RUNS, PAGE, BOOK = ("runs",), ("runs", "page"), ("book",)
BROKEN = "raise RuntimeError('a setting of somebody else')\n"
KERNEL = '{"argv": ["false"], "display_name": "of another Python", "language": "python"}'
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FOREIGN = {f"foreign/{name}.py": BROKEN for name in ("utils", "models", "config")}
HOME = {
    "home/.ipython/profile_default/startup/00.py": BROKEN,
    "home/.jupyter/jupyter_config.py": BROKEN,
    "home/.jupyter/jupyter_server_config.json": "{",
    "home/.local/share/jupyter/kernels/python3/kernel.json": KERNEL,
    "home/.config/matplotlib/matplotlibrc": "figure.figsize: 1, 1\n",
    "notebooks/matplotlibrc": "figure.figsize: 1, 1\n",
}
VARIABLES = {
    "JUPYTER_PATH": "{root}/home/.local/share/jupyter", "JUPYTER_CONFIG_DIR": "{root}/home/.jupyter",
    "IPYTHONDIR": "{root}/home/.ipython", "MATPLOTLIBRC": "{root}/home/.config/matplotlib", "MPLBACKEND": "module://no",
}  # fmt: skip

PATH = "mit Leerzeichen und Ümläuten"

PARTS = {  # part -> name -> fault, stages, trial
    "The machine": {
        "umask": ("files private to their owner (`umask 077`)", RUNS, given(PRIVATE)),
        "path": ("a path with spaces and umlauts", RUNS, given()),
        "git": ("no git", RUNS, given(PATH=str(Path(sys.executable).parent))),
        "network": ("no network but the machine itself", PAGE, given(NETWORK_OFF)),
        "core": ("one core", RUNS, given(("taskset", "-c", "0"))),
        "make": ("`make -j8 reproduce`", PAGE, with_many_jobs),
        "two": ("the same command twice at once", RUNS, two_at_once),
    },
    "Settings of the user": {
        "home-unset": ("`HOME` unset", RUNS, given(HOME=None)),
        "home-unwritable": ("`HOME` that cannot be made", RUNS, given(HOME="/proc/no", XDG_CACHE_HOME=None)),
        "locale": ("`LC_ALL=C` without Python's UTF-8 mode", RUNS, given(**C_LOCALE)),
        "modules": (
            "`PYTHONPATH` with modules `utils`, `models` and `config` that break", RUNS,
            given(files=FOREIGN, PYTHONPATH=f"{{root}}/foreign:{ROOT}:{TESTS}"),
        ),
        "optimize": ("`PYTHONOPTIMIZE=1`", RUNS, given(PYTHONOPTIMIZE="1")),
        "home-broken": (
            "`HOME` with an IPython startup file and a Jupyter configuration that break, a foreign `python3` kernel, "
            "matplotlibrc", PAGE, given(files=HOME, HOME="{root}/home", XDG_CONFIG_HOME=None),
        ),
        "variables": (
            "the same by `JUPYTER_PATH`, `JUPYTER_CONFIG_DIR`, `IPYTHONDIR`, `MATPLOTLIBRC`; `MPLBACKEND`", PAGE,
            given(files=HOME, **VARIABLES),
        ),
    },
    "Stopped in the middle": {
        "ctrl-c-images": ("Ctrl-C while images are rendered", RUNS, interrupted("data", "*.png")),
        "ctrl-c": ("Ctrl-C in mid-training", RUNS, interrupted("data/checkpoints", "*.pt")),
        "ctrl-c-page": ("Ctrl-C while a page is executed", PAGE, interrupted("results/smoke/notebooks", "*", RUNS)),
        "ctrl-c-book": ("Ctrl-C while the book is built", BOOK, interrupted("book/_build", "*.html")),
        "kill": (f"`kill -9` at {KILLS} random moments of rendering, training and storing", RUNS, killed),
        "torchrun": ("`kill -9` of one of two processes of torchrun", (), killed_worker),
    },
    "The disk": {
        "full-images": ("full while images are rendered", RUNS, full_disk("data", room=60)),
        "full-training": ("full while a checkpoint is written", RUNS, full_disk("data/checkpoints", room=60)),
        "full-run": ("full while a run is stored", RUNS, full_disk("results", room=8)),
        "full-page": ("full while a page is executed", PAGE, full_disk("results/smoke/notebooks", RUNS, room=8)),
        "full-book": ("full while the book is built", BOOK, full_disk("book/_build", room=500)),
        "read-only-data": ("`data/` read-only", RUNS, read_only("data")),
        "read-only-results": ("`results/` read-only", RUNS, read_only("results")),
        "read-only-home": ("`HOME` read-only", PAGE, read_only("home", HOME="{root}/home", XDG_CACHE_HOME=None)),
    },
    "Files from a stranger": {name: (fault, (), trial) for name, (fault, trial) in FILES.items()},
}  # fmt: skip
FAULTS = {name: (part, *fault) for part, faults in PARTS.items() for name, fault in faults.items()}


def ended_well(row: dict) -> bool:
    """Return whether a row of the table is a fault survived: equal results, or a refusal in words and nothing else."""
    if row["equal"] == "-":
        return row["lost"].startswith("nothing") and bool(row["message"]) or row["exit"] == "not tried"
    return row["equal"].startswith("yes") and (row["again"] or row["exit"]) == "0"


def _stored() -> dict[str, dict]:
    table = pd.read_csv(TABLE, dtype=str, keep_default_na=False) if TABLE.exists() else pd.DataFrame({"name": []})
    return table.set_index("name").to_dict("index")


def main(names: list[str]) -> int:
    unknown = set(names) - set(FAULTS)
    if unknown:
        raise SystemExit(f"unknown fault {min(unknown)}: choose from {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory() as folder:

        @cache
        def undisturbed(stages: tuple[str, ...]) -> Project:
            project = Project(Path(folder) / "undisturbed" / "-".join(stages))
            code, message = project.run(*stages)
            if code != "0":
                raise SystemExit(f"the undisturbed study fails: {message}")
            return project

        for name in names or FAULTS:
            part, fault, stages, trial = FAULTS[name]
            project = Project(Path(folder) / name / (PATH if name == "path" else "study"))
            try:
                outcome = trial(project, stages)
            except Skip as reason:
                outcome = Outcome("not tried", str(reason), "", equal="-")
            if outcome.equal is None:
                outcome.equal = compare(project, undisturbed(stages))
            rows = _stored()
            rows[name] = {"part": part, "fault": fault, **vars(outcome)}
            print(f"{name:18}", *(f"{key}: {value}" for key, value in vars(outcome).items() if value), flush=True)
            table = pd.DataFrame.from_dict({n: rows[n] for n in FAULTS if n in rows}, orient="index")
            TABLE.parent.mkdir(exist_ok=True)
            table[COLUMNS].rename_axis("name").to_csv(TABLE)
    bad = [name for name, row in rows.items() if name in FAULTS and not ended_well(row)]
    print(f"not survived: {', '.join(bad) or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
