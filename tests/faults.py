"""Faults that users meet, tried on real trainings: `make faults` writes the table that the book shows.

Each fault makes the two runs of a tiny study in a project folder of its own and compares the stored predictions with
those of an undisturbed one. ``python tests/faults.py [NAME ...]`` tries some; their rows replace the older ones.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "results" / "faults" / "survived.csv"
KILLS, SEED = 5, 0
LIMIT_S = 300
CHILD = """
import signal
import sys
from pathlib import Path
from msff.study.profiles import RHD, Block, RootDepthSpec
from msff.study.queue import run_all
from tiny_study import again, tiny_study

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a study started by nohup ignores
    grid = (Block(("msff", "internet"), layouts=RHD),)
    run_all(again(tiny_study(Path(sys.argv[1])), grid=grid, root_depth=RootDepthSpec("box")), jobs=1)
"""


class Project:
    """A tiny study in ``root``, made by `start`."""

    def __init__(self, root: Path):
        root.mkdir(parents=True)
        self.root, self.script = root, root / "study.py"
        self.script.write_text(CHILD)

    def start(self, prefix: list[str] = (), **variables: str | None) -> subprocess.Popen:
        """Start the study's process; a variable that is None is removed from its environment."""
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        environment |= {"OMP_NUM_THREADS": "1", "MSFF_THREADS": "1"}
        environment |= {key: value for key, value in variables.items() if value is not None}
        for key in [key for key, value in variables.items() if value is None]:
            environment.pop(key, None)
        with (self.root / "output.txt").open("a") as output:
            return subprocess.Popen(
                [*prefix, sys.executable, self.script, self.root], env=environment, stdout=output, stderr=output,
                start_new_session=True, cwd=self.root,
            )  # fmt: skip

    def run(self, prefix: list[str] = (), **variables: str | None) -> str:
        """Make the runs; return "" or how it ended."""
        code = self.start(prefix, **variables).wait(LIMIT_S)
        return "" if code == 0 else f"exit {code}: {self.last_line()}"

    def last_line(self) -> str:
        return ([line for line in (self.root / "output.txt").read_text().splitlines() if line.strip()] or [""])[-1][:90]

    def predictions(self) -> dict[str, np.ndarray]:
        """Return every array of every stored prediction."""
        found = {}
        for path in sorted((self.root / "results").rglob("predictions.npz")):
            with np.load(path) as arrays:
                name = path.relative_to(self.root).as_posix()
                found |= {f"{name}:{key}": arrays[key] for key in arrays.files}
        return found


def environment(**variables: str | None) -> Callable[[Project], str]:
    return lambda project: project.run(**variables)


def unwritable_home(project: Project) -> str:
    return project.run(HOME="/proc/nobody", XDG_CACHE_HOME=None)


def foreign_modules(project: Project) -> str:
    foreign = project.root / "foreign"
    foreign.mkdir()
    for name in ("utils", "models", "config"):
        (foreign / f"{name}.py").write_text("raise ImportError('a module of another project')\n")
    return project.run(PYTHONPATH=os.pathsep.join(map(str, (foreign, ROOT, ROOT / "tests"))))


def without_git(project: Project) -> str:
    return project.run(PATH=str(Path(sys.executable).parent))


def private_files(project: Project) -> str:
    return project.run(["sh", "-c", 'umask 077; exec "$@"', "sh"])


def one_core(project: Project) -> str:
    return project.run(["taskset", "-c", "0"])


def two_at_once(project: Project) -> str:
    both = [project.start(), project.start()]
    codes = [process.wait(LIMIT_S) for process in both]
    return "" if codes == [0, 0] else f"exits {codes}: {project.last_line()}"


def interrupted(project: Project) -> str:
    """Ctrl-C in mid-training, then the same command."""
    process = project.start()
    _until(lambda: list((project.root / "data" / "checkpoints").rglob("*.pt")), process)
    os.killpg(process.pid, signal.SIGINT)
    if process.wait(60) == 0:
        return "Ctrl-C came too late to test anything"
    return project.run()


def killed(project: Project) -> str:
    """kill -9 of all its processes at seeded moments, then the same command."""
    chance = random.Random(SEED)
    for _ in range(KILLS):
        process = project.start()
        with suppress(subprocess.TimeoutExpired):
            if process.wait(chance.uniform(2, 12)) != 0:
                return f"exit {process.returncode}: {project.last_line()}"
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return project.run()


def full_disk(project: Project) -> str:
    """A tmpfs of 300 kB for the results: the call fails with a message, and ends as usual when there is room."""
    results = project.root / "results"
    results.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", results], capture_output=True).returncode:
        return "not run: this needs the right to mount"
    try:
        (results / "filler").write_bytes(bytes(290_000))
        if not project.run():
            return "it ended as if there were room"
        if "No space left" not in (project.root / "output.txt").read_text():
            return f"another failure: {project.last_line()}"
        (results / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", results], check=True)
        error = project.run()
        shutil.copytree(results, project.root / "copy")
    finally:
        subprocess.run(["umount", results], check=True)
    shutil.copytree(project.root / "copy", results, dirs_exist_ok=True)
    shutil.rmtree(project.root / "copy")
    return error


def _until(condition, process: subprocess.Popen) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.05)


FAULTS: dict[str, tuple[str, str, Callable[[Project], str]]] = {  # name -> fault, folder, trial
    "umask": ("files private to their owner (`umask 077`)", "study", private_files),
    "home-unset": ("`HOME` unset", "study", environment(HOME=None)),
    "home-unwritable": ("`HOME` that cannot be written", "study", unwritable_home),
    "path": ("a path with spaces and umlauts", "mit Leerzeichen und Ümläuten", environment()),
    "locale": ("`LC_ALL=C`", "study", environment(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")),
    "backend": ("`MPLBACKEND=module://elsewhere`", "study", environment(MPLBACKEND="module://elsewhere")),
    "modules": ("`PYTHONPATH` with another project's modules", "study", foreign_modules),
    "optimize": ("`PYTHONOPTIMIZE=1`", "study", environment(PYTHONOPTIMIZE="1")),
    "git": ("no git", "study", without_git),
    "core": ("one core", "study", one_core),
    "two": ("the same command twice at once", "study", two_at_once),
    "ctrl-c": ("Ctrl-C in mid-training, then the same command", "study", interrupted),
    "kill": (f"kill -9 at {KILLS} random moments, then the same command", "study", killed),
    "disk": ("no space left for results, then the same command with space", "study", full_disk),
}


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> str:
    """Return whether the predictions are the undisturbed ones."""
    if found.keys() != expected.keys():
        return f"no: {len(found)} of {len(expected)} arrays"
    if all(np.array_equal(found[key], expected[key], equal_nan=found[key].dtype.kind == "f") for key in expected):
        return "yes, bit for bit"
    return "no: other values"


def main(names: list[str]) -> int:
    unknown = set(names) - set(FAULTS)
    if unknown:
        raise SystemExit(f"unknown fault {min(unknown)}: choose from {', '.join(FAULTS)}")
    rows = pd.read_csv(TABLE).set_index("name").to_dict("index") if TABLE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        plain = Project(Path(folder) / "undisturbed")
        if error := plain.run():
            raise SystemExit(f"the undisturbed study fails: {error}")
        expected = plain.predictions()
        for name in names or FAULTS:
            fault, place, trial = FAULTS[name]
            project = Project(Path(folder) / name / place)
            error = trial(project)
            same = "-" if error.startswith("not run") else compare(project.predictions(), expected)
            rows[name] = {"fault": fault, "result": error or "ends with exit 0", "numbers": same}
            print(f"{name:16} {rows[name]['result']}; equal: {same}", flush=True)
            table = pd.DataFrame.from_dict({n: rows[n] for n in FAULTS if n in rows}, orient="index")
            TABLE.parent.mkdir(exist_ok=True)
            table.rename_axis("name").to_csv(TABLE)
    return 1 if any(row["numbers"].startswith("no") or row["result"][:4] == "exit" for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
