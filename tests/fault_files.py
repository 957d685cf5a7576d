"""Files from a stranger, for `tests/faults.py`: each is to be refused by name, and nothing of it may run."""

import contextlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
from fault_trials import Outcome, Project, Trial
from hostile_archives import RUN, write_hostile
from made_up_book import one_page_book, put
from make_official import write_rhd
from PIL import Image
from tiny_study import tiny_study

from msff.cli import main
from msff.report.book.build import render_html
from msff.study.configuration import config_hash
from msff.study.workspace import Workspace

HARMLESS = "nothing ran or was written"
SCRIPT = "<script>document.title = 'ran'</script>"


class Runs:
    """A pickle of it makes a file ``ran`` in the working directory."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def command(make: Callable[[Path], list[str]]) -> Trial:
    """Write the file into a project and give it to the command that ``make`` returns."""

    def trial(project: Project, stages: tuple[str, ...]) -> Outcome:
        root = tiny_study(project.root / "inside" / "project").root
        printed = io.StringIO()
        with contextlib.chdir(root), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            arguments = make(root)
            before = {*project.root.rglob("*")}
            code = main(arguments)
        made = {*project.root.rglob("*")} - before - {root / "results"}
        lines = [line.strip() for line in printed.getvalue().splitlines()]
        words = next((x for x in lines if x.startswith(("msff: ", "PROBLEM: "))), lines[-1])
        words = words.replace(f"{root}/", "")
        return Outcome(str(code), words, ", ".join(path.name for path in made) or HARMLESS, equal="-")

    return trial


def weights(root: Path) -> list[str]:
    torch.save({"format": 1, "config_hash": "", "epoch": 1, "model": Runs()}, root / "weights.pt")
    Image.new("RGB", (64, 64)).save(root / "photo.png")
    return ["predict", "photo.png", "--checkpoint", "weights.pt"]


def annotation(root: Path) -> list[str]:
    write_rhd(root / "rhd", "training", count=2)
    (root / "rhd" / "training" / "anno_training.pickle").write_bytes(pickle.dumps({0: Runs()}))
    return ["data", "verify", "rhd"]


def huge_image(root: Path) -> list[str]:
    write_rhd(root / "rhd", "training", count=2)
    Image.new("1", (20_000, 20_000)).save(root / "rhd" / "training" / "color" / "00001.png")
    return ["data", "verify", "rhd"]


def nested_json(root: Path) -> list[str]:
    write_rhd(root / "rhd", "training", count=2)
    (root / "rhd" / "standin.json").write_text("[" * 100_000)
    return ["data", "verify", "rhd"]


def archive(kind: str) -> Trial:
    """An archive with one entry, which `msff study ingest` is to take."""

    def make(root: Path) -> list[str]:
        write_hostile(root / "runs.tar.gz", kind)
        return ["study", "ingest", "runs.tar.gz"]

    return command(make)


def record(text: str) -> Trial:
    """An archive with a run whose record names such a machine."""

    def make(root: Path) -> list[str]:
        put(root / "made" / "smoke", ())
        study, path = Workspace("smoke", root, "cpu"), root / "made" / RUN / "run.json"
        current = config_hash(study, study.experiment("standin-rhd/msff/full/seed0"))
        changes = {"hardware": text, "config_hash": current}
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with tarfile.open(root / "runs.tar.gz", "w:gz") as target:
            target.add(root / "made" / "smoke", "smoke")
        return ["study", "ingest", "runs.tar.gz"]

    return command(make)


def table(project: Project, stages: tuple[str, ...]) -> Outcome:
    """A stored table with a script, in a book of one page."""
    root = one_page_book(project.root / "inside", f"{SCRIPT}\n\n| a |\n|---|\n| {SCRIPT} |\n")
    render_html("smoke", root)
    shown = (root / "book" / "_build" / "html" / "book" / "bibliography.html").read_text()
    escaped = SCRIPT not in shown and shown.count("&lt;script&gt;") == 2
    return Outcome(
        "0", "the page shows the tag as text", HARMLESS if escaped else "the script is in the page", equal="-"
    )


FILES: dict[str, tuple[str, Trial]] = {
    "weights": ("weights that execute a command (`msff predict --checkpoint`)", command(weights)),
    "pickle": ("an RHD annotation that executes a command", command(annotation)),
    "upwards": ("an archive with a path upwards", archive("a path upwards")),
    "absolute": ("an archive with an absolute path", archive("an absolute path")),
    "link": ("an archive with a symbolic link", archive("a symbolic link")),
    "hard-link": ("an archive with a hard link", archive("a hard link")),
    "device": ("an archive with a device", archive("a device")),
    "zeros": ("an archive of zeros, a thousand times its size", archive("zeros")),
    "npz": ("an archive with an npz file of zeros", archive("an npz file of zeros")),
    "script": ("a run whose record holds a script", record(SCRIPT)),
    "template": ("a run whose record holds a template that executes", record("{{ ''.__class__ }}")),
    "table": ("a stored table with a script", table),
    "image": ("a picture of 400 million pixels", command(huge_image)),
    "json": ("a JSON file nested 100,000 deep", command(nested_json)),
}
