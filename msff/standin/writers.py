"""Write the stand-in in the official on-disk layouts of RHD and InterHand2.6M: atomic, resumable, reproducible."""

from __future__ import annotations

import errno
import fcntl
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
from msff.standin.formats import DATASETS, PARTS, Layout, Request, part_path, write_json
from msff.standin.version import GENERATOR_VERSION

MANIFEST = "standin.json"
BATCH = 4  # images per job: what fits a core's cache


def make(dataset: str, root: Path, train: int, test: int, seed: int = 0, size: int | None = None,
         progress: bool = True) -> Path:  # fmt: skip
    """Write ``train`` + ``test`` images of "standin-rhd" or "standin-interhand" to ``root``; return ``root``.

    Works in ``<root>.partial`` and renames at the end; a killed run goes on from its last whole image. An equal
    finished dataset is left as it is; anything else at ``root`` is an error and stays untouched.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown stand-in {dataset!r}; known: {', '.join(DATASETS)}")
    spec = DATASETS[dataset]
    request = Request(dataset, GENERATOR_VERSION, seed, train, test, spec.size if size is None else size)
    root = Path(root)
    if _finished(root, request):
        return root
    partial = root.with_name(root.name + ".partial")
    try:
        _prepare(partial, request, spec)
        with _alone(partial):
            for split, count in zip(spec.splits, (train, test), strict=True):
                _render_split(partial, split, count, request, spec, progress)
            hashes = {}
            for split, count in zip(spec.splits, (train, test), strict=True):
                files = spec.annotate(partial, split, count, request)
                hashes |= {file.relative_to(partial).as_posix(): _sha256(file) for file in files}
            shutil.rmtree(partial / PARTS)
            write_json(partial / MANIFEST, asdict(request) | {"finished": True, "sha256": hashes})
            if root.exists():
                root.rmdir()  # an empty folder: _finished saw to it
            partial.rename(root)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"{partial}: the disk is full; free some space, run again: it goes on from here") from error
        raise
    return root


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
    """True if ``root`` already holds the dataset asked for; an error if it holds anything else."""
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
    return True


def _same(folder: Path, manifest: dict, request: Request) -> None:
    wanted = asdict(request)
    differ = [f"{k} {manifest.get(k)!r} (asked for {v!r})" for k, v in wanted.items() if manifest.get(k) != v]
    if differ:
        raise DataError(f"{folder}: holds another stand-in: {', '.join(differ)}; delete it or choose another --root")


def _prepare(partial: Path, request: Request, spec: Layout) -> None:
    if partial.exists():
        manifest = _read_manifest(partial / MANIFEST)
        if manifest is None and any(partial.iterdir()):
            raise DataError(f"{partial}: is not an unfinished stand-in (no {MANIFEST}); move it away")
        if manifest is not None:
            _same(partial, manifest, request)
    partial.parent.mkdir(parents=True, exist_ok=True)
    needed = int((request.train + request.test) * spec.bytes_per_px * request.size**2)
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise DataError(f"{partial.parent}: {needed / 1e6:.0f} MB needed for the dataset, {free / 1e6:.0f} MB free")
    (partial / PARTS).mkdir(parents=True, exist_ok=True)
    write_json(partial / MANIFEST, asdict(request) | {"finished": False})


def _read_manifest(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error}); delete its folder and make the dataset again") from error


def _render_split(root: Path, split: str, count: int, request: Request, spec: Layout, progress: bool) -> None:
    """Render the images of a split that are not yet whole, one batch per worker thread."""
    missing = [i for i in range(count) if not part_path(root, split, i).is_file()]
    batches = [missing[at : at + BATCH] for at in range(0, len(missing), BATCH)]
    bar = tqdm(
        total=count, initial=count - len(missing), desc=f"{request.dataset} {split}", unit="image",
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
