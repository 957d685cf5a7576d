"""Is a dataset folder whole? Recognises the layout, counts, decodes, and reprojects the 3D joints on the 2D ones."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from msff.camera import project
from msff.data import interhand, rhd
from msff.data.datasets import READERS, standin_manifest
from msff.data.files import listing
from msff.data.images import WORKERS, decode_sample
from msff.data.sample import DataError, HandSample

SAMPLE_SIZE = 64  # images decoded per split unless all are asked for
REPROJECTION_LIMIT_PX = 1.0  # RHD stores float32 metres and pixels: the honest error is below 0.01 px
INSIDE_SHARE = 0.5  # InterHand2.6M gives no 2D: at least this share of the valid joints must lie in their image
SHOWN = 5  # file names listed per problem
LAYOUT_NAMES = {"rhd": "RHD v1.1", "interhand": "InterHand2.6M"}


@dataclass(frozen=True)
class SplitReport:
    """What was found of one split."""

    split: str
    annotated: int  # images that the annotations name
    usable: int  # samples that the reader returns
    hand_types: dict[str, int]
    decoded: int
    reprojection_px: float | None  # largest distance of projected 3D to annotated 2D; None where 2D is not annotated
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VerifyReport:
    """The result of ``verify``; ``str`` of it is the text for a reader."""

    path: Path
    layout: str  # "rhd" or "interhand"
    kind: str  # "stand-in" or "real"
    version: str
    splits: tuple[SplitReport, ...]
    problems: tuple[str, ...]  # of the folder as a whole

    @property
    def ok(self) -> bool:
        return not self.problems and not any(s.problems for s in self.splits)

    def __str__(self) -> str:
        lines = [f"{self.path}: {LAYOUT_NAMES[self.layout]} layout, {self.kind}, {self.version}"]
        for s in self.splits:
            types = ", ".join(f"{count:,} {name}" for name, count in s.hand_types.items()) or "none"
            counts = f"{s.annotated:,} annotated, {s.usable:,} usable ({types}), {s.decoded:,} decoded"
            lines.append(f"  {s.split}: {counts}")
            if s.reprojection_px is not None:
                lines.append(f"    3D on 2D: at most {s.reprojection_px:.3f} px apart")
            lines += [f"    note: {note}" for note in s.notes]
            lines += [f"    PROBLEM: {problem}" for problem in s.problems]
        lines += [f"  PROBLEM: {problem}" for problem in self.problems]
        lines.append("  OK" if self.ok else f"  NOT OK: {self._count()} problem(s)")
        return "\n".join(lines)

    def _count(self) -> int:
        return len(self.problems) + sum(len(s.problems) for s in self.splits)

    def to_dict(self) -> dict:
        """For JSON, which has no infinity: a reprojection that failed is null, and its problem is listed."""
        splits = [{k: list(v) if isinstance(v, tuple) else v for k, v in vars(s).items()} for s in self.splits]
        for split in splits:
            if split["reprojection_px"] == float("inf"):
                split["reprojection_px"] = None
        head = {"path": str(self.path), "layout": self.layout, "kind": self.kind, "version": self.version}
        return {**head, "ok": self.ok, "problems": list(self.problems), "splits": splits}


def verify(path: Path | str, full: bool = False, progress: bool = False) -> VerifyReport:
    """Check the dataset folder ``path``; ``full`` decodes every image instead of 64 per split. Raises DataError only
    if there is no dataset to check."""
    root = Path(path)
    layout = recognise(root)
    manifest = standin_manifest(root)
    kind = "real" if manifest is None else "stand-in"
    splits = _splits_present(root, layout)
    reports = tuple(_verify_split(root, layout, split, kind, full, progress) for split in splits)
    problems = () if splits else ("no split has annotations; the download or the unpacking was cut short",)
    if manifest is not None and manifest.get("dataset") not in (None, f"standin-{layout}"):
        problems += (f"standin.json names {manifest['dataset']!r}, but this is the {LAYOUT_NAMES[layout]} layout",)
    return VerifyReport(root, layout, kind, _version(root, layout, splits, manifest), reports, problems)


def recognise(root: Path) -> str:
    """Layout of a folder, "rhd" or "interhand", or a DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: expected a dataset folder, found {'a file' if root.exists() else 'nothing'}")
    if (root / "annotations").is_dir():
        return "interhand"
    if any((rhd.rhd_root(root) / split).is_dir() for split in rhd.SPLITS):
        return "rhd"
    found = ", ".join(sorted(listing(root))[:SHOWN]) or "nothing"
    raise DataError(
        f"{root}: not a dataset that msff knows; expected training/ and evaluation/ (RHD) or annotations/ and images/ "
        f"(InterHand2.6M), found {found}. Give the folder that holds them"
    )


def _splits_present(root: Path, layout: str) -> list[str]:
    if layout == "rhd":
        return [s for s in rhd.SPLITS if (rhd.rhd_root(root) / s).is_dir()]
    names = {path.name for path in (root / "annotations").glob("*/InterHand2.6M_*_data.json")}
    folders = listing(root / "annotations")
    return [s for s in interhand.SPLITS if s in folders or f"InterHand2.6M_{s}_data.json" in names]


def _version(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> str:
    if manifest is not None:
        return f"generator version {manifest.get('generator_version', 'unknown')}"
    if layout == "rhd":
        return "v1.1" if splits else "unknown version"
    return interhand.annotation_folder(root, splits[0])[1] if splits else "unknown version"


def _verify_split(root: Path, layout: str, split: str, kind: str, full: bool, progress: bool) -> SplitReport:
    problems, notes, samples = [], [], []
    annotated = 0
    try:
        expected = _annotated_files(root, layout, split)
        annotated = len(next(iter(expected.values())))
        for folder, names in expected.items():
            problems += _compare_files(folder, names, notes)
        samples = READERS[layout](root, split)
    except DataError as error:
        problems += [] if any("missing" in p for p in problems) else [str(error)]  # the same files, already listed
    chosen = samples if full else [samples[i] for i in _spread(len(samples))]
    problems += _decode(chosen, f"{split}: decoding", progress)
    reprojection_px = None
    if samples and layout == "rhd":
        reprojection_px = max(map(reprojection_error_px, samples))
        if not reprojection_px <= REPROJECTION_LIMIT_PX:
            problems.append(f"3D joints project up to {reprojection_px:.1f} px away from the annotated 2D joints")
    elif samples and (share := _share_inside(samples)) < INSIDE_SHARE:
        problems.append(f"only {share:.0%} of the valid 3D joints project into their image; wrong cameras")
    _note_counts(layout, split, kind, annotated, samples, problems, notes)
    types = {t: n for t in ("right", "left", "interacting") if (n := sum(s.hand_type == t for s in samples))}
    return SplitReport(
        split, annotated, len(samples), types, len(chosen), reprojection_px, tuple(problems), tuple(notes)
    )


def _annotated_files(root: Path, layout: str, split: str) -> dict[Path, set[str]]:
    """{folder: names of the files that the annotations ask for}, paths relative to the folder."""
    if layout == "rhd":
        names = {f"{i:05d}.png" for i in rhd.read_annotations(root, split)}
        return {rhd.rhd_root(root) / split / kind: names for kind in ("color", "mask")}
    return {root / "images" / split: interhand.annotated_images(root, split)}


def _compare_files(folder: Path, names: set[str], notes: list[str]) -> list[str]:
    """Problems for missing files; surplus ones, which the readers ignore, become a note."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg")}
    surplus, missing = sorted(found - names), sorted(names - found)
    if surplus:
        notes.append(f"{folder}: {len(surplus):,} surplus images without annotation: {_first(surplus)}")
    if not missing:
        return []
    return [f"{folder}: {len(missing):,} of {len(names):,} images missing: {_first(missing)}; unpack the archive again"]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")


def _spread(count: int) -> list[int]:
    """Up to SAMPLE_SIZE evenly spread positions, first and last included."""
    return sorted(set(np.linspace(0, count - 1, min(count, SAMPLE_SIZE)).round().astype(int).tolist())) if count else []


def _decode(samples: Sequence[HandSample], title: str, progress: bool) -> list[str]:
    """The message of every image that cannot be decoded."""

    def attempt(sample: HandSample) -> str | None:
        try:
            decode_sample(sample)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(WORKERS) as pool:
        results = tqdm(pool.map(attempt, samples), title, len(samples), disable=not progress, unit="image")
        return [message for message in results if message]


def reprojection_error_px(sample: HandSample) -> float:
    """Largest distance between projected 3D joints and 2D joints over the valid joints."""
    valid = sample.joint_valid
    cam_mm, k = torch.from_numpy(sample.joints_cam_mm[valid].copy()), torch.from_numpy(sample.intrinsics.copy())
    distance = np.linalg.norm(project(cam_mm, k).numpy() - sample.joints_image_px[valid], axis=-1)
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))


def _share_inside(samples: Sequence[HandSample]) -> float:
    """Share of valid joints that project into their image."""
    inside = [
        ((s.joints_image_px >= -0.5) & (s.joints_image_px <= np.array(s.image_size) - 0.5)).all(-1)[s.joint_valid]
        for s in samples
    ]
    values = np.concatenate(inside)
    return float(values.mean()) if len(values) else 1.0


def _note_counts(layout, split, kind, annotated, samples, problems: list[str], notes: list[str]) -> None:
    """Compare with the published sizes, and report the samples that need a special rule."""
    published = (rhd.PUBLISHED_COUNTS if layout == "rhd" else interhand.PUBLISHED_COUNTS)[split]
    if kind == "real" and annotated != published:
        text = f"{annotated:,} images annotated, the published {split} split has {published:,}"
        # InterHand2.6M circulates in several versions and subsets, RHD v1.1 in one
        (problems if layout == "rhd" else notes).append(text)
    unseen = [s.sample_id for s in samples if s.meta.get("no_visible_joint")]
    if unseen:
        notes.append(f"{len(unseen):,} samples whose chosen hand has no visible joint are kept: {_first(unseen)}")
    unboxed = [s.sample_id for s in samples if s.meta.get("fallback_box")]
    if unboxed:
        notes.append(
            f"{len(unboxed):,} samples show nothing of the chosen hand, their box is a guess: {_first(unboxed)}"
        )
    if layout == "rhd" and samples and len(samples) < annotated:
        notes.append(f"{annotated - len(samples):,} samples left out: their chosen hand has no visible joint")
