"""Write the stand-in in the official on-disk layouts of RHD and InterHand2.6M: atomic, resumable, reproducible."""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from msff.data.sample import DataError
from msff.standin.formats import DATASETS, PARTS, Layout, Request, images_digest, part_path, write_json
from msff.standin.version import GENERATOR_VERSION

MANIFEST = "standin.json"
BATCH = 4  # images per job: what fits a core's cache


def make(dataset: str, root: Path, train: int, test: int, seed: int = 0, size: int | None = None,
         progress: bool = True) -> Path:  # fmt: skip
    """Write ``train`` + ``test`` images of "standin-rhd" or "standin-interhand" to ``root``; return ``root``.

    Works in ``<root>.partial`` and renames at the end; a killed run goes on from its last whole batch. An equal
    finished dataset is left as it is; anything else at ``root``, a damaged dataset too, is an error and stays
    untouched.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown stand-in {dataset!r}; known: {', '.join(DATASETS)}")
    spec = DATASETS[dataset]
    request = Request(dataset, GENERATOR_VERSION, seed, train, test, spec.size if size is None else size)
    target = Path(root).resolve()  # a link to a folder elsewhere stays a link
    partial = target.parent / f"{target.name}.partial"
    try:
        if _finished(target, request):
            return Path(root)
        _prepare(partial, request, spec)
        with _alone(partial):
            if _finished(target, request):  # by another process, just now
                shutil.rmtree(partial)
            else:
                _write(partial, target, request, spec, progress)
    except OSError as error:
        raise DataError(_why_not_written(error, partial)) from error
    return Path(root)


def _write(partial: Path, target: Path, request: Request, spec: Layout, progress: bool) -> None:
    """Render and annotate what is missing, and put the whole at its place."""
    if not (_read_manifest(partial / MANIFEST) or {}).get("finished"):
        write_json(partial / MANIFEST, asdict(request) | {"finished": False})
        made = _render_all(partial, request, spec, progress)
        write_json(partial / MANIFEST, asdict(request) | {"finished": True} | made)
    if (partial / PARTS).is_dir():  # not so if the run was killed here
        shutil.rmtree(partial / PARTS)
    if target.exists():
        target.rmdir()  # an empty folder: `_finished` saw to it
    partial.rename(target)


def _render_all(partial: Path, request: Request, spec: Layout, progress: bool) -> dict[str, dict[str, str]]:
    """Images and annotations of both splits; returns their hashes for the manifest."""
    counts = dict(zip(spec.splits, (request.train, request.test), strict=True))
    for split, count in counts.items():
        _render_split(partial, split, count, request, spec, progress)
    files = [file for split, count in counts.items() for file in spec.annotate(partial, split, count, request)]
    return {
        "sha256": {file.relative_to(partial).as_posix(): _sha256(file) for file in files},
        "images_sha256": {split: images_digest(partial, split, count) for split, count in counts.items()},
    }


def _why_not_written(error: OSError, partial: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{partial}: the disk is full; free some space, run again: it goes on from here"
    where = error.filename or partial
    return f"{where}: cannot be written ({error.strerror}); choose a --root where you may write, then run again"


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """One process at a time: a lock on the folder itself, which goes with its process however that ends."""
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DataError(f"{partial}: another process is writing this dataset; wait for it, then run again") from error
    finally:
        os.close(handle)


def _finished(root: Path, request: Request) -> bool:
    """True if ``root`` holds the dataset asked for, undamaged; an error if it holds anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder to write the dataset to, found a file; choose another --root")
    if not any(root.iterdir()):
        return False
    manifest = _read_manifest(root / MANIFEST)
    if manifest is None:
        raise DataError(f"{root}: holds files but no {MANIFEST}: not a stand-in dataset; choose another --root")
    _same(root, manifest, request)
    if manifest.get("finished") is not True:
        raise DataError(f"{root}: an unfinished stand-in; rename it to {root.name}.partial and run again to finish it")
    _undamaged(root, manifest, request)
    return True


def _same(folder: Path, manifest: dict, request: Request) -> None:
    wanted = asdict(request)
    differ = [f"{k} {manifest.get(k)!r} (asked for {v!r})" for k, v in wanted.items() if manifest.get(k) != v]
    if differ:
        raise DataError(f"{folder}: holds another stand-in: {', '.join(differ)}; delete it or choose another --root")


def _undamaged(root: Path, manifest: dict, request: Request) -> None:
    """DataError if an annotation file is no longer what was written, or if images are missing."""
    remedy = f"delete {root} and run again: the same seed renders the same dataset"
    for name, digest in manifest.get("sha256", {}).items():
        if not (root / name).is_file():
            raise DataError(f"{root / name}: missing, though {MANIFEST} lists it; {remedy}")
        if _sha256(root / name) != digest:
            raise DataError(f"{root / name}: changed or damaged since it was written (SHA-256 differs); {remedy}")
    expected = (request.train + request.test) * DATASETS[request.dataset].files
    found = sum(len(fnmatch.filter(names, "*.[pj][np]g")) for _, _, names in os.walk(root))
    if found < expected:
        raise DataError(f"{root}: {expected - found:,} of {expected:,} image files are missing; {remedy}")


def _prepare(partial: Path, request: Request, spec: Layout) -> None:
    """Make ``partial``, or see that it is the unfinished dataset asked for; an error if there is no room for it."""
    if partial.exists() and not partial.is_dir():
        raise DataError(f"{partial}: is a file where the unfinished dataset has to go; move it away")
    if partial.exists():
        manifest = _read_manifest(partial / MANIFEST)
        if manifest is None and any(path.name != f"{MANIFEST}.tmp" for path in partial.iterdir()):
            raise DataError(f"{partial}: is not an unfinished stand-in (no {MANIFEST}); move it away")
        if manifest is not None:
            _same(partial, manifest, request)
    above = next(folder for folder in partial.parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{above}: is a file, so no folder can be made in it; choose another --root")
    total = request.train + request.test
    missing = total - min(total, len(list((partial / PARTS).glob("*.npz"))))
    needed, free = int(missing * spec.bytes_per_px * request.size**2), shutil.disk_usage(above).free
    if free < needed:
        raise DataError(f"{above}: {needed / 1e6:.0f} MB needed for the dataset, {free / 1e6:.0f} MB free")
    partial.mkdir(parents=True, exist_ok=True)


def _read_manifest(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise DataError(f"{path}: not valid JSON ({error}); delete its folder and make the dataset again") from error
    if not isinstance(manifest, dict):
        raise DataError(f"{path}: expected a JSON object, found a {type(manifest).__name__}; delete its folder")
    return manifest


def _render_split(root: Path, split: str, count: int, request: Request, spec: Layout, progress: bool) -> None:
    """Render the batches of a split that are not yet whole, one per worker thread.

    A batch always holds the same images, also when a killed run goes on: the last bits depend on the company.
    """
    batches = [list(range(at, min(at + BATCH, count))) for at in range(0, count, BATCH)]
    batches = [b for b in batches if not all(part_path(root, split, i).is_file() for i in b)]
    bar = tqdm(
        total=count, initial=count - sum(map(len, batches)), desc=f"{request.dataset} {split}", unit="image",
        disable=not progress, mininterval=0.5 if sys.stderr.isatty() else 10.0,
    )  # fmt: skip
    with bar, _one_thread_per_operation() as workers, ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(spec.write, root, split, indices, request): len(indices) for indices in batches}
        try:
            for job in as_completed(jobs):
                job.result()
                bar.update(jobs[job])
        except BaseException:  # Ctrl-C too: stop after the batches in hand
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _one_thread_per_operation() -> Iterator[int]:
    """Many small operations run faster side by side than each split over the cores; yields the number of workers."""
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield workers
    finally:
        torch.set_num_threads(workers)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
