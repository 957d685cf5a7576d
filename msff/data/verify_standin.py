"""What standin.json says of a rendered dataset, held against what lies there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msff.data.datasets import DATASETS
from msff.data.files import STANDIN_MANIFEST, again
from msff.data.images import WORKERS
from msff.data.verify_report import LAYOUT_NAMES


def folder_problems(root: Path, layout: str, manifest: dict) -> list[str]:
    """Of the set as a whole: its name, and whether the rendering came to its end."""
    remedy = again(root / STANDIN_MANIFEST)
    problems = []
    if manifest.get("dataset") not in (None, f"standin-{layout}"):
        problems.append(f"standin.json names {manifest['dataset']!r}, but this is the {LAYOUT_NAMES[layout]} layout")
    if manifest.get("finished") is not True:
        problems.append(f"standin.json does not say that the rendering was finished; {remedy}")
    return problems


def stated_splits(layout: str, manifest: dict) -> list[str]:
    """The splits that a stand-in of this layout must have."""
    parts = DATASETS[f"standin-{layout}"].splits if f"standin-{layout}" in DATASETS else {}
    return [split for part, split in parts.items() if part in ("train", "test") and part in manifest]


def count_problem(layout: str, split: str, manifest: dict, annotated: int) -> list[str]:
    """Does the split have as many images as were asked for?"""
    part = next((p for p, s in DATASETS[f"standin-{layout}"].splits.items() if s == split), split)
    stated = manifest.get(part)
    if not annotated or stated is None or stated == annotated:  # 0: could not be read, which is said already
        return []
    return [f"{annotated:,} images annotated, but standin.json says {stated!r} for {split}"]


def file_problems(home: Path, manifest: dict, files: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Problems and notes: are the annotation ``files`` in folder ``home`` what was written?"""
    digests = manifest.get("sha256")
    problems, notes = [], []
    for path in files:
        name = path.relative_to(home).as_posix()
        stated = digests.get(name) if isinstance(digests, dict) else None
        if stated is None:
            notes.append(f"standin.json holds no SHA-256 of {name}: not compared")
        elif not path.is_file():
            problems.append(f"{path}: missing, though standin.json lists it; {again(path)}")
        elif _sha256(path) != stated:
            problems.append(f"{path}: changed or damaged since it was rendered (SHA-256 differs); {again(path)}")
    return problems, notes


def image_problems(home: Path, split: str, manifest: dict, images: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Problems and notes: are the bytes of all ``images`` of a split the rendered ones? Reads every file."""
    digests = manifest.get("images_sha256")
    stated = digests.get(split) if isinstance(digests, dict) else None
    if stated is None:
        return [], [f"standin.json holds no SHA-256 of the images of {split}: not compared"]
    if not all(path.is_file() for path in images):
        return [], []  # reported as missing
    names = sorted(path.relative_to(home).as_posix() for path in images)
    with ThreadPoolExecutor(WORKERS) as pool:
        listed = pool.map(lambda name: f"{_sha256(home / name)}  {name}\n", names)
        found = hashlib.sha256("".join(listed).encode()).hexdigest()
    if found == stated:
        return [], []
    remedy = again(home / STANDIN_MANIFEST)
    return [f"{home}: images of {split} changed since they were rendered (their SHA-256 differs); {remedy}"], []


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"  # unlike any digest; the reader says more
