"""Write the stand-in in the official on-disk layouts of RHD and InterHand2.6M: atomic, resumable, reproducible."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from msff.data.loading import standin_manifest
from msff.data.reading import STANDIN_MANIFEST as MANIFEST
from msff.data.sample import DataError
from msff.files import digest_of, locked
from msff.standin.formats import DATASETS, PARTS, Layout, Request, images_digest, part_path, write_json
from msff.standin.version import GENERATOR_VERSION

BATCH = 4  # images per job on the processor: what fits a core's cache
CUDA_BATCH_PX = 16 * 320**2  # per job with CUDA, and at most 64 images
CUDA_JOBS = 8  # at a time: one job's pictures are encoded and written while another's are rendered


def make(dataset: str, root: Path, train: int, test: int, seed: int = 0, size: int | None = None,
         progress: bool = True, device: str = "cpu") -> Path:  # fmt: skip
    """Write ``train`` + ``test`` images of "standin-rhd" or "standin-interhand" to ``root``; return ``root``.

    Works in ``<root>.partial`` and renames at the end; a killed run goes on from its last whole batch, and a second
    process waits for the first. A finished dataset of the same request is left as it is, without a look at its files,
    which `msff data verify` checks; anything else at ``root`` is an error and stays untouched. ``device`` renders,
    "cpu" or "cuda": pixels may differ by a grey level, and it is no part of what makes a dataset equal.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown stand-in {dataset!r}; known: {', '.join(DATASETS)}")
    _check_device(device)
    spec = DATASETS[dataset]
    request = Request(dataset, GENERATOR_VERSION, seed, train, test, spec.size if size is None else size, device)
    partial = Path(root)
    try:
        target = _resolved(Path(root))  # a link to a folder elsewhere stays a link
        partial = target.parent / f"{target.name}.partial"
        if _finished(target, request):
            return Path(root)
        _prepare(partial, request, spec)
        with locked(target.parent / f".{target.name}.lock"):
            if _finished(target, request):  # by another process, just now
                shutil.rmtree(partial, ignore_errors=True)
            else:
                _write(partial, target, request, spec, progress)
    except OSError as error:
        raise DataError(_why_not_made(error, partial)) from error
    return Path(root)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in known:
        raise ValueError(f"device must be one of {', '.join(known)} on this machine, got {device!r}")


def _resolved(path: Path) -> Path:
    """Return where the links in ``path`` lead, whether anything is there or not; DataError if they lead in a circle."""
    resolved = Path(os.path.realpath(path))
    if any(part.is_symlink() for part in (resolved, *resolved.parents)):  # none is left but those of a circle
        raise DataError(f"{path}: is or lies behind a symbolic link that leads back to itself; remove it")
    return resolved


def _write(partial: Path, target: Path, request: Request, spec: Layout, progress: bool) -> None:
    """Render and annotate what is missing, and put the whole at its place."""
    partial.mkdir(exist_ok=True)
    if not (_read_manifest(partial) or {}).get("finished"):
        write_json(partial / MANIFEST, request.identity() | {"finished": False})
        made = _render_all(partial, request, spec, progress)
        write_json(partial / MANIFEST, request.identity() | {"finished": True} | made)
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
        "sha256": {file.relative_to(partial).as_posix(): str(digest_of(file)) for file in files},
        "images_sha256": {split: images_digest(partial, split, count) for split, count in counts.items()},
    }


def _why_not_made(error: OSError, partial: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{partial}: the disk is full; free some space and run again: it resumes"
    where = error.filename or partial
    return f"{where}: cannot be read or written ({error.strerror}); choose a --root where you may, then run again"


def _finished(root: Path, request: Request) -> bool:
    """Return True if ``root`` holds the requested dataset, by its manifest; DataError if it holds anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder to write the dataset to, found a file; choose another --root")
    if not any(root.iterdir()):
        return False
    manifest = _read_manifest(root)
    if manifest is None:
        raise DataError(f"{root}: holds files but no {MANIFEST}: not a stand-in dataset; choose another --root")
    _same(root, manifest, request)
    if manifest.get("finished") is not True:
        name = f"{root.name}.partial"
        raise DataError(f"{root}: an unfinished stand-in; rename it to {name} and run again to finish it")
    return True


def _same(folder: Path, manifest: dict, request: Request) -> None:
    wanted = request.identity()
    differ = [f"{k} {manifest.get(k)!r} (requested {v!r})" for k, v in wanted.items() if manifest.get(k) != v]
    if differ:
        raise DataError(f"{folder}: holds another stand-in: {', '.join(differ)}; delete it or choose another --root")


def _prepare(partial: Path, request: Request, spec: Layout) -> None:
    """Make ``partial``, or check that it is the requested dataset, unfinished; raise if there is no room for it."""
    if partial.is_symlink():
        raise DataError(f"{partial}: is a symbolic link where the unfinished dataset has to go; remove it")
    if partial.exists() and not partial.is_dir():
        raise DataError(f"{partial}: is a file where the unfinished dataset has to go; move it away")
    if partial.exists():
        manifest = _read_manifest(partial)
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
        raise DataError(
            f"{above}: {needed / 1e6:.1f} MB needed for the dataset, {free / 1e6:.1f} MB free. Free some and run the "
            "same command again"
        )


def _read_manifest(folder: Path) -> dict | None:
    """The manifest of this very folder, None where there is none; a DataError if it cannot be read."""
    if not os.path.lexists(folder / MANIFEST):  # `standin_manifest` would go on to look in RHD's own folder
        return None
    manifest = standin_manifest(folder) or {}
    if "dataset" not in manifest:
        raise DataError(f"{folder / MANIFEST}: damaged, it names no dataset; delete {folder} and run again")
    return manifest


def _render_split(root: Path, split: str, count: int, request: Request, spec: Layout, progress: bool) -> None:
    """Render the batches of a split that are not yet whole, one per worker thread.

    A batch always holds the same images, also when a killed run goes on: the last bits depend on the company.
    """
    batches = _unrendered(root, split, count, request)
    if not batches:
        return
    bar = tqdm(
        total=count, initial=count - sum(map(len, batches)), desc=f"{request.dataset} {split}", unit="image",
        disable=not progress, mininterval=0.5 if sys.stderr.isatty() else 10.0,
    )  # fmt: skip
    with bar, _one_thread_per_operation() as threads:
        workers = threads if request.device == "cpu" else min(threads, CUDA_JOBS)
        with ThreadPoolExecutor(workers) as pool:
            jobs = {pool.submit(spec.write, root, split, indices, request): len(indices) for indices in batches}
            try:
                for job in as_completed(jobs):
                    job.result()
                    bar.update(jobs[job])
            except BaseException:  # Ctrl-C too: stop after the batches in hand
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _unrendered(root: Path, split: str, count: int, request: Request) -> list[list[int]]:
    """Return the batches that are to be rendered: those with an image without a part, which is written last."""
    parts = {path.name for path in (root / PARTS).glob("*.npz")}
    whole = {index for index in range(count) if part_path(root, split, index).name in parts}
    step = BATCH
    if request.device != "cpu":
        step = max(BATCH, min(64, CUDA_BATCH_PX // request.size**2))
    batches = [list(range(at, min(at + step, count))) for at in range(0, count, step)]
    return [batch for batch in batches if not whole.issuperset(batch)]


@contextmanager
def _one_thread_per_operation() -> Iterator[int]:
    """Many small operations run faster side by side than each split over the cores; yields the number of workers."""
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield workers
    finally:
        torch.set_num_threads(workers)
