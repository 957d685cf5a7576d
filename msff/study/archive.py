"""Archives of finished runs: from a machine that one has for minutes into the results of another.

An archive is a zip file with ``manifest.json`` and files of the results store under their names there: whole runs and
helpers, with what the helpers answered and what a run measured on real photos, the ground truth of the test parts, and
the executed notebooks that show them. The manifest names the version of the format, of the package and of the
generator, the configuration's hash and the uid of every run, and size and SHA-256 of every file. What does not fit into
one archive is split into several, each with whole runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import signal
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import msff
from msff.errors import MsffError
from msff.evaluation.answers import Answers
from msff.evaluation.predictions import ResultError
from msff.files import atomic_file
from msff.standin import GENERATOR_VERSION
from msff.study.execute import code_hash, output_path, steps
from msff.study.experiment import Study
from msff.study.grid import find
from msff.study.machine import provenance
from msff.study.photos import METRICS, TRACK
from msff.study.profiles import get_profile
from msff.study.store import ANSWERS, PHOTO_FILES, Experiment, Run, Store

FORMAT = 1
MANIFEST = "manifest.json"
PACKING_S = 5.0  # of a budget, kept for it
AGAIN = "Fetch the archive again, or pack it again where it was made"
_RUN_FILES = ("run.json", "history.csv", "predictions.npz", ANSWERS)
_NAME = re.compile(  # the only names that an archive may hold
    rf"((runs|helpers)/[\w-]+/[\w-]+/[\w-]+/seed\d+/({'|'.join(map(re.escape, (*_RUN_FILES, *PHOTO_FILES)))})"
    r"|truth/[\w-]+\.(npz|json)|notebooks/(runs/)?[\w-]+\.ipynb)",
    re.ASCII,
)
_DAMAGE = (  # what zipfile raises for archives that are none, cut short, encrypted or otherwise made
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
_ENTRY_BYTES = 400  # of an entry beside its content, at most: its headers and its line of the manifest
_BASE_BYTES = 8192


class ArchiveError(MsffError):
    """An archive that cannot be used. The message names the file and the remedy."""


# writing


@dataclass(frozen=True)
class State:
    """What the results hold, to tell later what a call has added."""

    uids: frozenset[str]
    pages: dict[str, int]  # executed notebook -> time of its last change

    @classmethod
    def of(cls, study: Study) -> State:
        pages = {step.output: output_path(study, step) for step in steps(study)}
        times = {output: path.stat().st_mtime_ns for output, path in pages.items() if path.exists()}
        return cls(frozenset(run.record["uid"] for run in _stored(study)), times)


@contextmanager
def packing(
    study: Study, folder: Path, limit_mib: float, log: Callable[[str], None] = print
) -> Iterator[Callable[[], None]]:
    """At the end of the block, packs what was finished in it, also when it fails, or is interrupted or terminated.

    What the block gets does so at once, for a process that may be killed outright; each packing takes the place of
    the one before.
    """
    if folder.exists() and not folder.is_dir():
        raise ArchiveError(f"{folder}: expected a folder for archives, found a file; choose another --out")
    before = State.of(study)
    folder.mkdir(parents=True, exist_ok=True)  # fails now rather than after hours
    stem, written = _stem(study, folder), []

    def pack_now(log: Callable[[str], None] = lambda line: None) -> None:
        paths = pack(study, folder, before, limit_mib, log, stem)
        for old in set(written) - set(paths):
            old.unlink()
        written[:] = paths

    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `timeout` sends it: the same as Ctrl-C
    try:
        yield pack_now
    finally:
        signal.signal(signal.SIGTERM, usual)
        pack_now(log)


def _stem(study: Study, folder: Path) -> str:
    """A name that no archive in the folder has."""
    stem = f"msff-{study.profile.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    return f"{stem}-{uuid.uuid4().hex[:6]}" if any(folder.glob(f"{stem}*.zip")) else stem


def pack(
    study: Study, folder: Path, since: State, limit_mib: float, log: Callable[[str], None] = print,
    stem: str | None = None,
) -> list[Path]:  # fmt: skip
    """Write what the study has finished ``since`` then into one archive of at most that size, or into several.

    Their names begin with ``stem``, by default a new one.
    """
    runs = [run for run in _stored(study) if run.record["uid"] not in since.uids]
    runs = [run for run in runs if run.record["config_hash"] == todays_hash(study, run.experiment.run_id)]
    pages = [path.relative_to(study.store.root).as_posix() for path in _new_pages(study, since)]
    files = {name: (study.store.root / name).read_bytes() for name in pages}
    units = [_truth_unit(study, sorted({run.experiment.dataset for run in runs})), *(_unit(study, run) for run in runs)]
    parts, left_out = _fit(units, files, int(limit_mib * 2**20))
    stem, written = stem or _stem(study, folder), []
    for number, part in enumerate(parts, 1):
        path = folder / (f"{stem}-{number}.zip" if len(parts) > 1 else f"{stem}.zip")
        _write(path, part, _manifest(study, part, runs) | {"part": number, "parts": len(parts), "left_out": left_out})
        written.append(path)
        log(_describe(path, part, limit_mib))
    if left_out:
        log(f"Left out, to stay below {limit_mib:g} MiB: {len(left_out)} executed notebooks")
    return written


def _stored(study: Study) -> list[Run]:
    return [*study.store.helpers(), *study.store.runs()]


def todays_hash(study: Study, run_id: str) -> str | None:
    """The hash of the experiment's configuration in this checkout; None if the profile does not have it."""
    try:
        return study.config_hash(find(study.profile, run_id))
    except ValueError:
        return None


def _new_pages(study: Study, since: State) -> list[Path]:
    """Notebooks executed since then, without those that show all runs: they are of one machine's results."""
    pages = [(step.output, output_path(study, step)) for step in steps(study) if step.stage < 3]
    return [path for output, path in pages if path.exists() and path.stat().st_mtime_ns != since.pages.get(output)]


def _truth_unit(study: Study, datasets: Iterable[str]) -> dict[str, bytes]:
    paths = [study.store.root / "truth" / f"{name}{suffix}" for name in datasets for suffix in (".npz", ".json")]
    return {path.relative_to(study.store.root).as_posix(): path.read_bytes() for path in paths if path.exists()}


def _unit(study: Study, run: Run) -> dict[str, bytes]:
    """A run's files; they stay together."""
    names = _RUN_FILES if run.photos is None else (*_RUN_FILES, *PHOTO_FILES)
    paths = [run.path / name for name in names if (run.path / name).exists()]
    return {path.relative_to(study.store.root).as_posix(): path.read_bytes() for path in paths}


def _fit(
    units: list[dict[str, bytes]], pages: dict[str, bytes], limit: int
) -> tuple[list[dict[str, bytes]], list[str]]:
    """The archives' contents, and the pages that are left out, the largest first, before anything is split."""
    sizes = {name: _packed_size(data) for files in (*units, pages) for name, data in files.items()}
    total, left_out = _BASE_BYTES + sum(sizes.values()), []
    for name in sorted(pages, key=sizes.get, reverse=True):
        if total <= limit:
            break
        left_out.append(name)
        total -= sizes[name]
    units = [*units, *({name: data} for name, data in pages.items() if name not in left_out)]
    parts, room = [{}], limit - _BASE_BYTES
    for files in filter(None, units):
        size = sum(sizes[name] for name in files)
        if size > room and parts[-1]:
            parts.append({})
            room = limit - _BASE_BYTES
        parts[-1] |= files
        room -= size
    return parts, left_out


def _packed_size(data: bytes) -> int:
    return len(zlib.compress(data, 9)) + _ENTRY_BYTES


def _manifest(study: Study, files: dict[str, bytes], runs: list[Run]) -> dict:
    folders = {run.path.relative_to(study.store.root).as_posix(): run for run in runs}
    return {
        "format": FORMAT,
        "profile": study.profile.name,
        "generator_version": GENERATOR_VERSION,
        "package": {
            "version": msff.__version__,
            "commit": provenance(study.root, study.device)["commit"],
            "sha256": code_hash(),
        },
        "runs": {
            folder: {key: run.record[key] for key in ("run_id", "config_hash", "uid")}
            for folder, run in folders.items()
            if f"{folder}/run.json" in files
        },
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()
        },
    }


def _write(path: Path, files: dict[str, bytes], manifest: dict) -> None:
    """The whole archive or none; its bytes depend on its content alone."""
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
        for name, data in {MANIFEST: text.encode(), **files}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            target.writestr(entry, data)


def _describe(path: Path, files: dict[str, bytes], limit_mib: float) -> str:
    runs = sum(name.endswith("/run.json") for name in files)
    pages, size = sum(name.endswith(".ipynb") for name in files), path.stat().st_size / 2**20
    text = f"{path}: {runs} runs and helpers, {pages} executed notebooks, {size:.1f} MiB"
    return text + (f"; more than {limit_mib:g} MiB, for a run stays whole" if size > limit_mib else "")


# reading


@dataclass(frozen=True)
class Archive:
    """An archive whose every byte has been checked."""

    path: Path
    manifest: dict
    files: dict[str, bytes]

    @property
    def profile(self) -> str:
        return self.manifest["profile"]


def read(path: Path | str) -> Archive:
    """Check the whole archive; ArchiveError says what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise ArchiveError(f"{path}: expected an archive that `msff study run --out` wrote, found none")
    try:
        with zipfile.ZipFile(path) as source:
            manifest = _read_manifest(path, source)
            files = dict(_read_files(path, source, manifest["files"]))
    except PermissionError:
        raise
    except _DAMAGE as error:
        raise ArchiveError(f"{path}: damaged or cut short ({error}). {AGAIN}") from error
    archive = Archive(path, manifest, files)
    _check_runs(archive)
    return archive


def _read_manifest(path: Path, source: zipfile.ZipFile) -> dict:
    """The manifest, if it is one that this version understands and that the archive's entries agree with."""
    names = source.namelist()
    if names.count(MANIFEST) != 1:
        raise ArchiveError(f"{path}: expected one {MANIFEST}, found {names.count(MANIFEST)}: no archive of this study")
    try:
        manifest = json.loads(source.read(MANIFEST))
        version, profile = manifest["format"], manifest["profile"]
        files = {name: (entry["sha256"], entry["size"]) for name, entry in manifest["files"].items()}
        runs = {folder: (run["run_id"], run["config_hash"], run["uid"]) for folder, run in manifest["runs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path}: {MANIFEST} cannot be read ({error!r}). {AGAIN}") from error
    if version != FORMAT:
        raise ArchiveError(f"{path}: expected format {FORMAT}, found {version}: use the version of msff that wrote it")
    try:
        get_profile(profile)
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{path}: {error}; use the version of msff that wrote it") from error
    for name in {*files, *names} - {MANIFEST}:
        if not _NAME.fullmatch(name):
            raise ArchiveError(f"{path}: holds {name!r}, which is no file of results. Trust no archive from there")
    differing = sorted({*files} ^ ({*names} - {MANIFEST}))
    if differing or len(names) != len({*names}):
        found = ", ".join(differing[:3]) or "one file twice"
        raise ArchiveError(f"{path}: {MANIFEST} and content differ: {found}. {AGAIN}")
    strangers = sorted({*runs} ^ {name.rpartition("/")[0] for name in files if name.endswith("/run.json")})
    if strangers:
        raise ArchiveError(f"{path}: {strangers[0]} is not named in {MANIFEST}, or is not whole. {AGAIN}")
    return manifest


def _read_files(path: Path, source: zipfile.ZipFile, expected: dict[str, dict]) -> Iterator[tuple[str, bytes]]:
    for name, entry in expected.items():
        if source.getinfo(name).file_size != entry["size"]:
            raise ArchiveError(
                f"{path}: {name} is damaged: expected {entry['size']} bytes, found {source.getinfo(name).file_size}. "
                f"{AGAIN}"
            )
        data = source.read(name)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ArchiveError(f"{path}: {name} is damaged: its SHA-256 is not the one in {MANIFEST}. {AGAIN}")
        yield name, data


def _check_runs(archive: Archive) -> None:
    """Every run's own record says what the manifest says of it."""
    for folder, run in archive.manifest["runs"].items():
        try:
            record = json.loads(archive.files[f"{folder}/run.json"])
            stated = {key: record[key] for key in ("run_id", "config_hash", "uid")}
            text = json.dumps(record["config"], sort_keys=True)
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"{archive.path}: {folder}/run.json cannot be read ({error!r}). {AGAIN}") from error
        hashed = hashlib.sha256(text.encode()).hexdigest()[:12]
        kind, run_id = folder.split("/", 1)
        place = Store(kind).path(Experiment.parse(archive.profile, run_id))  # says whether it is a helper's
        right = place == Path(kind, folder) and run_id == run["run_id"] and hashed == run["config_hash"]
        if stated != run or not right:
            raise ArchiveError(f"{archive.path}: {folder}/run.json is of another run than {MANIFEST} says. {AGAIN}")
        _check_photos(archive, folder, run["uid"])
        _check_answers(archive, f"{folder}/{ANSWERS}")


def _check_answers(archive: Archive, name: str) -> None:
    """What a helper said can be read: runs are going to rest on it."""
    if name not in archive.files:
        return
    try:
        with np.load(io.BytesIO(archive.files[name]), allow_pickle=False) as arrays:
            Answers(**arrays)
    except (*_DAMAGE, ResultError, TypeError) as error:
        raise ArchiveError(f"{archive.path}: {name} cannot be read ({error!r}). {AGAIN}") from error


def _check_photos(archive: Archive, folder: str, uid: str) -> None:
    """What a run measured on real photos is of that run, whole, and of as many photos as it predicts."""
    record_name, predictions_name = names = [f"{folder}/{name}" for name in PHOTO_FILES]
    if not archive.files.keys() & names:
        return
    try:
        record = json.loads(archive.files[record_name])
        with np.load(io.BytesIO(archive.files[predictions_name]), allow_pickle=False) as arrays:
            predicted = len(arrays["sample_id"])
        stated = record["uid"], record["photos"]["count"]
        lacking = sorted(METRICS.keys() - record["metrics"][TRACK].keys())
    except (*_DAMAGE, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{archive.path}: {record_name} cannot be read ({error!r}). {AGAIN}") from error
    if stated != (uid, predicted) or lacking:
        raise ArchiveError(
            f"{archive.path}: {record_name}: expected every metric of run {uid} on the {predicted} photos predicted, "
            f"found run {stated[0]} on {stated[1]}, without {', '.join(lacking) or 'none'}. {AGAIN}"
        )
