"""Archives of finished runs: from a machine that is borrowed for minutes into the results of another.

An archive is a tar file of whole run folders and the ground truth of their test parts, under their names in
``results/<profile>``. Reading one extracts it into a temporary folder and takes over the runs whose configuration is
today's; anything else in it is refused. Imports no torch.
"""

from __future__ import annotations

import io
import re
import shutil
import signal
import tarfile
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from msff.study.project import Project
from msff.study.store import PHOTO_FILES, RUN_FILES, Run, Store, StoreError

PACKING_S = 5.0
"""Seconds of a budget that packing may take."""
TRUTH_TOLERANCE = 1e-3  # mm, px; processors differ in the last bits
MOST_UNPACKED = 200
"""Bytes of content per byte of an archive. Runs have up to 12; a tar or npz file of zeros has a thousand."""
_NAMES = "|".join(map(re.escape, (*RUN_FILES, *PHOTO_FILES)))
_RUN_FILE = re.compile(
    rf"[\w-]+/(truth/[\w-]+\.(json|npz)|(runs|auxiliary)/[\w-]+/[\w-]+/[\w-]+/seed\d+/({_NAMES}))", re.ASCII
)
_EXPECTED = "expected plain files of runs below a folder named after a profile, without links, devices and other paths"
DISTRUST = "do not trust its source"
AGAIN = "fetch the archive again, or pack it again where it was made"

ADDED, KNOWN = "added", "here already"
KEPT = "another run is here, --replace takes the archive's"


class ArchiveError(MsffError):
    """An archive that cannot be used. The message names the file and the remedy."""


# packing


@contextmanager
def packing(project: Project, folder: Path, limit_mib: float) -> Iterator[None]:
    """Pack what is finished in the block when it ends, also when it fails, is interrupted or terminated."""
    if folder.exists() and not folder.is_dir():
        raise ArchiveError(f"{folder}: expected a folder for archives, found a file; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    before = {run.record.uid for run in project.store.all_runs()}
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # sent by `timeout`: treat it as Ctrl-C
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
        for path in pack(project, folder, before, limit_mib):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def pack(project: Project, folder: Path, before: set[str], limit_mib: float) -> list[Path]:
    """Write the runs whose uids are not in ``before`` into archives of at most that size; a run stays whole."""
    stem = f"msff-{project.profile.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}"
    limit = limit_mib * 2**20 * 0.98 - _size(project.store.root.glob("truth/*"))
    parts: list[list[Run]] = []
    room = 0.0
    for run in project.store.all_runs():
        if run.record.uid in before or not _is_current(project, run):
            continue
        size = _size(_files(run))
        if not parts or size > room:
            parts.append([])
            room = limit
        parts[-1].append(run)
        room -= size
    paths = [folder / f"{stem}-{number}.tar.gz" for number in range(1, len(parts) + 1)]
    for path, part in zip(paths, parts, strict=True):
        with atomic_file(path) as partial:
            partial.write_bytes(packed(project, part))
    return paths


def packed(project: Project, runs: list[Run]) -> bytes:
    """Return these runs and the ground truth of their test parts as one archive."""
    root, stream = project.store.root, io.BytesIO()
    datasets = sorted({run.experiment.dataset for run in runs})
    truth = [root / "truth" / f"{name}{suffix}" for name in datasets for suffix in (".json", ".npz")]
    with tarfile.open(fileobj=stream, mode="w:gz") as target:
        for file in [*filter(Path.exists, truth), *(file for run in runs for file in _files(run))]:
            target.add(file, f"{project.profile.name}/{file.relative_to(root)}")
    return stream.getvalue()


def _is_current(project: Project, run: Run) -> bool:
    try:
        experiment = project.experiment(run.experiment.run_id)
    except ValueError:  # the profile no longer has it
        return False
    return run.record.config_hash == config_hash(project, experiment)


def _files(run: Run) -> list[Path]:
    return [run.path / name for name in (*RUN_FILES, *PHOTO_FILES) if (run.path / name).exists()]


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)


# ingesting


def ingest(path: Path, root: Path, replace: bool = False) -> tuple[Project, dict[str, str]]:
    """Add an archive's runs to the results of the project in ``root``; see `ingest_bytes`. Returns the project, too."""
    if not path.is_file():
        raise ArchiveError(f"{path}: expected an archive that `msff study train --out` wrote, found none")
    return ingest_bytes(path.read_bytes(), str(path), root, replace)


def ingest_bytes(
    content: bytes, source: str, root: Path, replace: bool = False, project: Project | None = None
) -> tuple[Project, dict[str, str]]:
    """Add an archive's runs to the results in ``root``, of ``project`` if the archive may hold no other's.

    Returns the project of the archive's profile and what became of each run, by run id: ``ADDED``, ``KNOWN`` (the same
    run is here), ``KEPT`` (another run of the experiment is) or why it is refused. ArchiveError, which names
    ``source``, if the archive cannot be used.
    """
    results = root / "results"
    results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, suffix=".partial") as folder:
        _extract(content, source, Path(folder))
        profiles = [entry.name for entry in Path(folder).iterdir()]
        expected = [project.profile.name] if project else PROFILES
        if len(profiles) != 1 or profiles[0] not in expected:
            raise ArchiveError(f"{source}: expected one folder named after a profile, found {profiles}; {AGAIN}")
        project = project or Project(profiles[0], root)
        incoming, outcome = Store(Path(folder) / profiles[0]), {}
        for run in incoming.all_runs():
            try:
                outcome[run.experiment.run_id] = _take_over(source, project, incoming, run, replace)
            except (StoreError, ResultError, ValueError, RecursionError) as error:
                reason = f"{run.experiment.run_id} cannot be used ({error.__cause__ or error})"
                raise ArchiveError(f"{source}: {reason}; {AGAIN}") from error
        if not outcome:
            raise ArchiveError(f"{source}: no run in it; {AGAIN}")
        return project, outcome


def _extract(content: bytes, source: str, folder: Path) -> None:
    """Extract an archive that holds plain files with the names of runs and nothing else; ArchiveError otherwise.

    A link may lead out of the folder once its run is moved, a device blocks its reader, and zeros compress a thousand
    times.
    """
    left = MOST_UNPACKED * len(content)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg() or not _RUN_FILE.fullmatch(member.name):
                    raise ArchiveError(f"{source}: holds {ascii(member.name)}, {_EXPECTED}; {DISTRUST}")
                left -= member.size
                if left >= 0:
                    archive.extract(member, folder, filter="data")
                    if member.name.endswith(".npz"):
                        with zipfile.ZipFile(folder / member.name) as file:
                            left -= sum(part.file_size for part in file.infolist())
                if left < 0:
                    raise ArchiveError(f"{source}: unpacks to more than {MOST_UNPACKED} times its size; {DISTRUST}")
    except (tarfile.TarError, zlib.error, zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        if getattr(error, "errno", None):  # of the disk here, not of the archive
            raise
        raise ArchiveError(f"{source}: damaged, cut short or no archive ({error}); {AGAIN}") from error


def _take_over(source: str, project: Project, incoming: Store, run: Run, replace: bool) -> str:
    """Move one run into the project's store and return what became of it."""
    record = run.record
    _ = run.auxiliary_predictions if run.experiment.method in AUXILIARY else run.predictions  # can be read
    if record.experiment != run.experiment or not _is_current(project, run):
        return (
            f"refused: its configuration {record.config_hash} is not this checkout's; train it again, or ingest it in "
            "the checkout that it was made with"
        )
    here = finished(project, run.experiment)
    if here is not None and here.record.uid == record.uid:
        if here.photos is None and run.photos is not None:
            for name in reversed(PHOTO_FILES):  # the record last: it promises the predictions
                shutil.copyfile(run.path / name, here.path / name)
        return KNOWN
    if here is not None and not replace:
        return KEPT
    _take_over_truth(source, project, incoming, run.experiment)
    target = project.store.path(run.experiment)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    run.path.rename(target)
    return ADDED


def _take_over_truth(source: str, project: Project, incoming: Store, experiment: Experiment) -> None:
    """Take over the ground truth of the run's test part where there is none. ArchiveError if another one is here."""
    dataset, store, wanted = experiment.dataset, project.store, project.data_config(experiment.dataset, "test")
    if experiment.method in AUXILIARY or incoming.truth_source(dataset) != wanted:
        return
    truth = incoming.truth(dataset)
    if store.truth_source(dataset) != wanted:
        store.save_truth(truth, wanted)
        return
    here = store.truth(dataset)
    same = truth.sample_id == here.sample_id and np.allclose(
        truth.joints_cam_mm, here.joints_cam_mm, rtol=0, atol=TRUTH_TOLERANCE, equal_nan=True
    )
    if not same:
        raise ArchiveError(
            f"{source}: its ground truth of the {DATASETS[dataset].label} is not the one in "
            f"{store.root / 'truth' / dataset}.npz, so that errors are not comparable. If the file here is the wrong "
            "one, delete it and run the same command again"
        )
