"""Archives of finished runs: from a machine that is borrowed for minutes into the results of another.

An archive is a tar file of whole run folders and the ground truth of their test parts, under their names in
``results/<profile>``. Reading one extracts it into a temporary folder and takes over the runs whose configuration is
today's; anything else in it is refused.
"""

from __future__ import annotations

import re
import shutil
import signal
import tarfile
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from msff.data.datasets import DATASETS
from msff.errors import MsffError
from msff.evaluation.predictions import ResultError
from msff.files import atomic_file
from msff.models.registry import AUXILIARY
from msff.study.configuration import config_hash
from msff.study.experiment import Experiment
from msff.study.profiles import PROFILES
from msff.study.progress import finished
from msff.study.store import PHOTO_FILES, RUN_FILES, Run, Store, StoreError
from msff.study.workspace import Workspace

PACKING_S = 5.0
"""Seconds of a budget that packing may take."""
TRUTH_TOLERANCE = 1e-3  # mm, px; processors differ in the last bits
MOST_UNPACKED = 200
"""Bytes of content per byte of an archive. Runs have up to 12; a tar or npz file of zeros has a thousand."""
_RUN_FILE = re.compile(
    r"[\w-]+/(truth/[\w-]+\.(json|npz)|(runs|auxiliary)/[\w-]+/[\w-]+/[\w-]+/seed\d+/[\w.]+)", re.ASCII
)
_EXPECTED = "expected plain files of runs below a folder named after a profile, without links, devices and other paths"
DISTRUST = "do not trust its source"
AGAIN = "fetch the archive again, or pack it again where it was made"


class ArchiveError(MsffError):
    """An archive that cannot be used. The message names the file and the remedy."""


# packing


@contextmanager
def packing(workspace: Workspace, folder: Path, limit_mib: float, log: Callable[[str], None] = print) -> Iterator[None]:
    """Pack what is finished in the block when it ends, also when it fails, is interrupted or terminated."""
    if folder.exists() and not folder.is_dir():
        raise ArchiveError(f"{folder}: expected a folder for archives, found a file; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    before = {run.record.uid for run in _stored(workspace)}
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # sent by `timeout`: treat it as Ctrl-C
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
        for path in pack(workspace, folder, before, limit_mib):
            log(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def pack(workspace: Workspace, folder: Path, before: set[str], limit_mib: float) -> list[Path]:
    """Write the runs whose uids are not in ``before`` into archives of at most that size; a run stays whole."""
    runs = [run for run in _stored(workspace) if run.record.uid not in before and _is_current(workspace, run)]
    stem = f"msff-{workspace.profile.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}"
    parts: list[list[Run]] = []
    room = 0.0
    for run in runs:
        size = sum(path.stat().st_size for path in _files(run))
        if not parts or size > room:
            parts.append([])
            room = limit_mib * 2**20 * 0.98 - _truth_bytes(workspace)
        parts[-1].append(run)
        room -= size
    return [write_archive(workspace, folder / f"{stem}-{number}.tar.gz", part) for number, part in enumerate(parts, 1)]


def _stored(workspace: Workspace) -> list[Run]:
    return [*workspace.store.auxiliary(), *workspace.store.runs()]


def _is_current(workspace: Workspace, run: Run) -> bool:
    try:
        experiment = workspace.experiment(run.experiment.run_id)
    except ValueError:  # the profile no longer has it
        return False
    return run.record.config_hash == config_hash(workspace, experiment)


def _files(run: Run) -> list[Path]:
    return [run.path / name for name in (*RUN_FILES, *PHOTO_FILES) if (run.path / name).exists()]


def _truth_bytes(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in (workspace.store.root / "truth").glob("*"))


def write_archive(workspace: Workspace, path: Path, runs: list[Run]) -> Path:
    """Write these runs and the ground truth of their test parts as one archive."""
    root = workspace.store.root
    datasets = {run.experiment.dataset for run in runs}
    truth = [root / "truth" / f"{name}{suffix}" for name in sorted(datasets) for suffix in (".json", ".npz")]
    with atomic_file(path) as partial, tarfile.open(partial, "w:gz") as target:
        for file in [*filter(Path.exists, truth), *(file for run in runs for file in _files(run))]:
            target.add(file, f"{workspace.profile.name}/{file.relative_to(root)}")
    return path


# ingesting


@dataclass
class Ingested:
    """What became of an archive's runs, by run id."""

    profile: str
    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)  # the same run is here
    kept: list[str] = field(default_factory=list)  # another run of the experiment is here
    refused: dict[str, str] = field(default_factory=dict)  # reason

    def lines(self) -> list[str]:
        """Return the outcome in words."""
        lines = [f"  added: {', '.join(self.added) or 'nothing'}"]
        lines += [f"  here already: {', '.join(self.known)}"] if self.known else []
        lines += [f"  another run is here, --replace takes the archive's: {', '.join(self.kept)}"] if self.kept else []
        return lines + [f"  refused {run_id}: {reason}" for run_id, reason in self.refused.items()]


def ingest(path: Path, root: Path, replace: bool = False, workspace: Workspace | None = None) -> Ingested:
    """Add an archive's runs to the results of the project in ``root``. ArchiveError if it cannot be used.

    ``workspace``: the only one that the runs may belong to.
    """
    if not path.is_file():
        raise ArchiveError(f"{path}: expected an archive that `msff study train --out` wrote, found none")
    results = root / "results"
    results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, suffix=".partial") as folder:
        _extract(path, Path(folder))
        profiles = [entry.name for entry in Path(folder).iterdir()]
        expected = [workspace.profile.name] if workspace else PROFILES
        if len(profiles) != 1 or profiles[0] not in expected:
            raise ArchiveError(f"{path}: expected one folder named after a profile, found {profiles}; {AGAIN}")
        workspace = workspace or Workspace(profiles[0], root)
        incoming = Store(Path(folder) / profiles[0])
        result = Ingested(profiles[0])
        for run in [*incoming.auxiliary(), *incoming.runs()]:
            try:
                _ingest_run(path, workspace, incoming, run, replace, result)
            except (StoreError, ResultError, ValueError, RecursionError) as error:
                reason = f"{run.experiment.run_id} cannot be used ({error.__cause__ or error})"
                raise ArchiveError(f"{path}: {reason}; {AGAIN}") from error
        if not (result.added or result.known or result.kept or result.refused):
            raise ArchiveError(f"{path}: no run in it; {AGAIN}")
        return result


def _extract(path: Path, folder: Path) -> None:
    """Extract an archive that holds plain files with the names of runs and nothing else; ArchiveError otherwise.

    A link may lead out of the folder once its run is moved, a device blocks its reader, and zeros compress a thousand
    times.
    """
    left = MOST_UNPACKED * path.stat().st_size
    try:
        with tarfile.open(path, "r:gz") as source:
            for member in source:
                if member.isdir():
                    continue
                if not member.isreg() or not _RUN_FILE.fullmatch(member.name):
                    raise ArchiveError(f"{path}: holds {ascii(member.name)}, {_EXPECTED}; {DISTRUST}")
                left -= member.size
                if left >= 0:
                    source.extract(member, folder, filter="data")
                    if member.name.endswith(".npz"):
                        left -= _unpacked_bytes(folder / member.name)
                if left < 0:
                    raise ArchiveError(f"{path}: unpacks to more than {MOST_UNPACKED} times its size; {DISTRUST}")
    except (tarfile.TarError, zlib.error, zipfile.BadZipFile, EOFError, OSError) as error:
        if getattr(error, "errno", None):  # of the disk here, not of the archive
            raise
        raise ArchiveError(f"{path}: damaged, cut short or no archive ({error}); {AGAIN}") from error


def _unpacked_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as file:
        return sum(part.file_size for part in file.infolist())


def _ingest_run(path: Path, workspace: Workspace, incoming: Store, run: Run, replace: bool, result: Ingested) -> None:
    run_id = run.experiment.run_id
    strangers = {file.name for file in run.path.iterdir()} - {*RUN_FILES, *PHOTO_FILES}
    if strangers:
        raise ArchiveError(f"{path}: {run_id} holds {min(strangers)}, no file of a run; {DISTRUST}")
    record = run.record
    _ = run.auxiliary_predictions if run.experiment.method in AUXILIARY else run.predictions  # can be read
    if record.experiment != run.experiment or not _is_current(workspace, run):
        result.refused[run_id] = (
            f"its configuration {record.config_hash} is not this checkout's; train it again, or ingest it in the "
            "checkout that it was made with"
        )
        return
    here = finished(workspace, run.experiment)
    if here is not None and here.record.uid == record.uid:
        result.known.append(run_id)
        if here.photos is None and run.photos is not None:
            for name in reversed(PHOTO_FILES):  # the record last: it promises the predictions
                shutil.copyfile(run.path / name, here.path / name)
        return
    if here is not None and not replace:
        result.kept.append(run_id)
        return
    _ingest_truth(path, workspace, incoming, run.experiment)
    target = workspace.store.path(run.experiment)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    run.path.rename(target)
    result.added.append(run_id)


def _ingest_truth(path: Path, workspace: Workspace, incoming: Store, experiment: Experiment) -> None:
    """Take over the ground truth of the run's test part where there is none. ArchiveError if another one is here."""
    dataset, store = experiment.dataset, workspace.store
    if experiment.method in AUXILIARY or incoming.truth_source(dataset) != workspace.test_config(dataset):
        return
    truth = incoming.truth(dataset)
    if store.truth_source(dataset) != workspace.test_config(dataset):
        store.save_truth(truth, workspace.test_config(dataset))
        return
    here = store.truth(dataset)
    same = truth.sample_id == here.sample_id and np.allclose(
        truth.joints_cam_mm, here.joints_cam_mm, rtol=0, atol=TRUTH_TOLERANCE, equal_nan=True
    )
    if not same:
        raise ArchiveError(
            f"{path}: its ground truth of the {DATASETS[dataset].label} is not the one in "
            f"{store.root / 'truth' / dataset}.npz, so that errors are not comparable. If the file here is the wrong "
            "one, delete it and run the same command again"
        )
