"""The single checks of ``msff data verify``: files, pixels, geometry, published sizes. Each returns messages."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from msff.camera import project
from msff.data.files import again, listing, sentence
from msff.data.images import WORKERS
from msff.data.journal import Journal
from msff.data.sample import DataError, HandSample
from msff.skeleton import MASK_OF_SIDE, WRIST

SHOWN = 5  # names listed per problem
REACH_MM = (40.0, 300.0)  # from the wrist to the joint farthest from it, of the median hand; stretched it is 190 mm
DEPTH_MM = (100.0, 5000.0)  # of the median wrist
IMAGES = (".png", ".jpg", ".jpeg")


def first(names: Sequence[str]) -> str:
    """The first few names for a message."""
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")


def images_under(folder: Path) -> set[str]:
    """Image paths under ``folder``, relative to it; symbolic links are followed, each real folder once.

    DataError for a folder that may not be listed, or a ``folder`` that is a link that leads nowhere.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)) and error.errno != errno.ELOOP:
            where = error.filename or folder
            raise DataError(f"{where}: cannot be listed ({error.strerror}); check its permissions and the disk")

    listing(folder)
    found, seen = set(), set()
    for where, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        try:
            status = os.stat(where)
        except OSError as error:
            refuse(error)
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside = os.path.relpath(where, folder)
        names = (name for name in files if name.lower().endswith(IMAGES))
        found.update(name if inside == "." else f"{Path(inside).as_posix()}/{name}" for name in names)
    return found


def compare_files(folder: Path, names: set[str]) -> tuple[list[str], list[str], set[str]]:
    """Problems for missing files; notes for surplus ones, which the readers ignore; and the names of the missing."""
    try:
        found = images_under(folder)
    except DataError as error:
        return [str(error)], [], {*names}
    surplus, missing = sorted(found - names), sorted(names - found)
    notes = [f"{folder}: {len(surplus):,} surplus images without annotation: {first(surplus)}"] if surplus else []
    if not missing:
        return [], notes, set()
    text = f"{len(missing):,} of {len(names):,} images missing: {first(missing)}"
    return [f"{folder}: {text}; {again(folder, 'unpack the archive again')}"], notes, {*missing}


def is_absent(path: Path) -> bool:
    """Whether there is nothing; False for what may not be looked at, which whoever opens it will say."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def decode_all(jobs: Sequence[tuple[Path, Callable]], title: str, progress: bool, journal: Journal | None) -> list[str]:
    """Run ``decode()`` of every (path, decode); the messages of those that fail. Files in ``journal`` are skipped."""

    def attempt(job: tuple[Path, Callable]) -> tuple[Path, str | None]:
        path, decode = job
        try:
            decode()
        except DataError as error:
            return path, str(error)
        return path, None

    waiting = jobs if journal is None else [job for job in jobs if job[0] not in journal]
    problems = []
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc=title, disable=not progress, unit="image")
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        for at in range(0, len(waiting), 1024):  # in pieces: an interruption must not wait for a million jobs
            for path, message in pool.map(attempt, waiting[at : at + 1024]):
                bar.update()
                if message is not None:
                    problems.append(message)
                elif journal is not None:
                    journal.add(path)
    return problems


def reprojection_error_px(sample: HandSample) -> float:
    """Largest distance between projected 3D joints and 2D joints over the valid joints."""
    valid = sample.joint_valid
    cam_mm, k = torch.from_numpy(sample.joints_cam_mm[valid].copy()), torch.from_numpy(sample.intrinsics.copy())
    distance = np.linalg.norm(project(cam_mm, k).numpy() - sample.joints_image_px[valid], axis=-1)
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))


def share_inside(samples: Iterable[HandSample]) -> float:
    """Share of valid joints that project into their image; 1 if there is none."""
    inside = [
        ((s.joints_image_px >= -0.5) & (s.joints_image_px <= np.array(s.image_size) - 0.5)).all(-1)[s.joint_valid]
        for s in samples
    ]
    joints = np.concatenate(inside) if inside else np.zeros(0)
    return float(joints.mean()) if len(joints) else 1.0


def share_on_mask(samples: Sequence[HandSample], masks: Sequence[np.ndarray], reach_px: float) -> float:
    """Share of the visible joints of RHD samples with a pixel of their hand within ``reach_px``; 1 if there is none.

    Images of another split have the same names; only their masks tell.
    """
    near = []
    for sample, mask in zip(samples, masks, strict=True):
        labels = MASK_OF_SIDE[sample.hand_type]
        rows, columns = np.nonzero((mask >= labels.start) & (mask < labels.stop))
        joints = sample.joints_image_px[sample.joint_visible]  # (V, 2)
        if not len(rows):
            near += [False] * len(joints)
            continue
        pixels = np.stack([columns, rows], -1)  # (P, 2)
        near += [(np.abs(pixels - joint).max(-1) <= reach_px).any() for joint in joints]
    return float(np.mean(near)) if near else 1.0


def size_problems(samples: Iterable[HandSample], remedy: str) -> tuple[list[str], list[str]]:
    """Problems and notes: are hands and their distances of human size, or are the lengths in another unit?"""
    hands = [
        (sample.sample_id, sample.joints_cam_mm[own])
        for sample in samples
        for own in sample.hand_slices
        if sample.joint_valid[own].all()
    ]
    if not hands:
        return [], []
    reach_mm = np.array([np.linalg.norm(hand - hand[WRIST], axis=-1).max() for _, hand in hands])
    depth_mm = np.array([hand[WRIST, 2] for _, hand in hands])
    problems = [
        f"the median {what} is {np.median(found):.3g} mm, expected {low:g} to {high:g} mm; are the lengths in another "
        f"unit? {sentence(remedy)}"
        for what, found, (low, high) in (("hand's reach", reach_mm, REACH_MM), ("wrist's depth", depth_mm, DEPTH_MM))
        if not low <= np.median(found) <= high
    ]
    strange = np.flatnonzero((reach_mm < REACH_MM[0] / 2) | (reach_mm > 2 * REACH_MM[1]))
    if problems or not len(strange):
        return problems, []
    return [], [f"{len(strange):,} hands are of impossible size: {first([hands[i][0] for i in strange])}"]
