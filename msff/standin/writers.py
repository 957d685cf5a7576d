"""Write the stand-in in the official on-disk layouts of RHD and InterHand2.6M: atomic, resumable, reproducible."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from msff.data.loading import standin_manifest
from msff.data.reading import STANDIN_MANIFEST as MANIFEST
from msff.data.sample import DataError
from msff.files import digest_of, listing_digest
from msff.standin.formats import (
    DATASETS,
    PARTS,
    Layout,
    Request,
    images_digest,
    is_whole,
    part_path,
    write_json,
)
from msff.standin.version import GENERATOR_VERSION

BATCH = 4  # images per job on the processor: what fits a core's cache
CUDA_BATCH_PX = 16 * 320**2  # per job with CUDA, and at most 64 images
CUDA_JOBS = 8  # at a time: one job's pictures are encoded and written while another's are rendered
_CHANGED = "changed or damaged since it was written (SHA-256 differs)"


def make(dataset: str, root: Path, train: int, test: int, seed: int = 0, size: int | None = None,
         progress: bool = True, device: str = "cpu", check: bool = True) -> Path:  # fmt: skip
    """Write ``train`` + ``test`` images of "standin-rhd" or "standin-interhand" to ``root``; return ``root``.

    Works in ``<root>.partial`` and renames at the end; a killed run goes on from its last whole batch. An equal
    finished dataset is left as it is, after its files have been checked against their hashes (which takes a second
    per thousand images; without ``check`` the manifest is believed); anything else at ``root``, a damaged dataset too,
    is an error and stays untouched. ``device`` renders, "cpu" or "cuda": pixels may differ by a grey level, and it is
    no part of what makes a dataset equal.
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
        if _finished(target, request, check):
            return Path(root)
        _prepare(partial, request, spec)
        with _alone(partial):
            if _finished(target, request, check):  # by another process, just now
                shutil.rmtree(partial)
            else:
                _write(partial, target, request, spec, progress)
    except OSError as error:
        raise DataError(_why_not_written(error, partial)) from error
    return Path(root)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in known:
        raise ValueError(f"device must be one of {', '.join(known)} on this machine, got {device!r}")


def _resolved(path: Path) -> Path:
    """Where the links in ``path`` lead, there being anything or not; an error if they lead nowhere for ever."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            message = f"{path}: is or lies behind a symbolic link that leads back to itself; remove that link"
            raise DataError(message) from error
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
    return path.resolve()


def _write(partial: Path, target: Path, request: Request, spec: Layout, progress: bool) -> None:
    """Render and annotate what is missing, and put the whole at its place."""
    with _readable(partial):
        manifest = _read_manifest(partial) or {}
        whole = manifest.get("finished") is True and _damage(partial, manifest, request) is None
    if not whole:
        write_json(partial / MANIFEST, request.identity() | {"finished": False})
        made = _render_all(partial, request, spec, progress)
        write_json(partial / MANIFEST, request.identity() | {"finished": True} | made)
    if (partial / PARTS).is_dir():  # not so if the run was killed here
        shutil.rmtree(partial / PARTS)
    _settle(partial)
    if target.exists():
        target.rmdir()  # an empty folder: `_finished` saw to it
    partial.rename(target)
    with suppress(OSError):
        _settle_folder(target.parent)


def _settle(root: Path) -> None:
    """Have the file system keep the names in all folders, as `write_whole` had it keep the bytes."""
    for folder, _, _ in os.walk(root):
        with suppress(OSError):  # network file systems that cannot; a next run would find what is missing
            _settle_folder(Path(folder))


def _settle_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _render_all(partial: Path, request: Request, spec: Layout, progress: bool) -> dict[str, dict[str, str]]:
    """Images and annotations of both splits; returns their hashes for the manifest."""
    counts = _counts(request)
    for split, count in counts.items():
        _render_split(partial, split, count, request, spec, progress)
    files = [file for split, count in counts.items() for file in spec.annotate(partial, split, count, request)]
    return {
        "sha256": {file.relative_to(partial).as_posix(): str(digest_of(file)) for file in files},
        "images_sha256": {split: images_digest(partial, split, count) for split, count in counts.items()},
    }


def _counts(request: Request) -> dict[str, int]:
    return dict(zip(DATASETS[request.dataset].splits, (request.train, request.test), strict=True))


def _why_not_written(error: OSError, partial: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{partial}: the disk is full; free some space and run again: it resumes"
    where = error.filename or partial
    return f"{where}: cannot be written ({error.strerror}); choose a --root where you may write, then run again"


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn an OSError into a DataError that names the path: what cannot be read need not be damaged."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or folder, error.strerror or error
        raise DataError(f"{where}: cannot be read ({why}); make it readable, then run again") from error


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Let one process at a time write, by a lock on the folder itself, which ends with its process."""
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DataError(f"{partial}: another process is writing this dataset; wait for it, then run again") from error
    finally:
        os.close(handle)


def _finished(root: Path, request: Request, check: bool) -> bool:
    """Return True if ``root`` holds the requested dataset, undamaged; an error if it holds anything else."""
    with _readable(root):
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
        damage = _damage(root, manifest, request) if check else None
    if damage is not None:
        raise DataError(f"{damage}; delete {root} and run again: the same seed renders the same dataset")
    return True


def _same(folder: Path, manifest: dict, request: Request) -> None:
    wanted = request.identity()
    differ = [f"{k} {manifest.get(k)!r} (requested {v!r})" for k, v in wanted.items() if manifest.get(k) != v]
    if differ:
        raise DataError(f"{folder}: holds another stand-in: {', '.join(differ)}; delete it or choose another --root")


def _damage(root: Path, manifest: dict, request: Request) -> str | None:
    """Return what is not as it was written, the first such file if it is known; None if every file is.

    Compared is with the manifest in the same folder: pixels may differ by a grey level between processors, and then
    so do their hashes, but not those of one folder. Files that do not belong to the dataset do not matter.
    """
    spec, counts = DATASETS[request.dataset], _counts(request)
    files = [name.format(split) for split in counts for name in spec.annotations]
    for key, names in (("sha256", files), ("images_sha256", list(counts))):
        known = manifest.get(key)
        if not isinstance(known, dict) or any(not isinstance(known.get(name), str) for name in names):
            return f"{root / MANIFEST}: {key!r} is missing or damaged, so the files cannot be checked"
    for name in files:
        digest = digest_of(root / name)
        if digest is None:
            return f"{root / name}: missing, or not a file"
        if digest != manifest["sha256"][name]:
            return f"{root / name}: {_CHANGED}"
    for split, count in counts.items():
        damage = _damaged_image(root, spec.images(root, split, count), manifest["images_sha256"][split])
        if damage is not None:
            return damage
    return None


def _damaged_image(root: Path, names: list[str], expected: str) -> str | None:
    """`_damage` of a split's images. The manifest has one hash for all: a changed image is named if it is no image."""
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda name: digest_of(root / name), names))
    if None in digests:
        first, number = root / names[digests.index(None)], digests.count(None)
        return f"{first}: missing, or not a file ({number:,} of {len(names):,} image files in all)"
    if listing_digest(zip(names, map(str, digests), strict=True)) == expected:
        return None
    broken = next((name for name in names if not _decodes(root / name)), None)
    if broken is not None:
        return f"{root / broken}: {_CHANGED}"
    folder = os.path.commonpath([root / name for name in names])
    return f"{folder}: at least one of its {len(names):,} images was changed or replaced since it was written"


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):  # PIL's errors; `digest_of` has read the file already
        return False
    return True


def _prepare(partial: Path, request: Request, spec: Layout) -> None:
    """Make ``partial``, or check that it is the requested dataset, unfinished; raise if there is no room for it."""
    if partial.is_symlink():
        raise DataError(f"{partial}: is a symbolic link where the unfinished dataset has to go; remove it")
    if partial.exists() and not partial.is_dir():
        raise DataError(f"{partial}: is a file where the unfinished dataset has to go; move it away")
    if partial.exists():
        with _readable(partial):
            manifest = _read_manifest(partial)
            foreign = manifest is None and any(path.name != f"{MANIFEST}.tmp" for path in partial.iterdir())
        if foreign:
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
    partial.mkdir(parents=True, exist_ok=True)


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
    """The batches that are to be rendered: those with an image whose part or files are not as they were written."""
    with _readable(root), ThreadPoolExecutor() as pool:
        names = set(os.listdir(root / PARTS)) if (root / PARTS).is_dir() else set()
        there = [index for index in range(count) if part_path(root, split, index).name in names]
        checked = pool.map(lambda index: is_whole(root, split, index), there)
        whole = {index for index, fine in zip(there, checked, strict=True) if fine}
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
