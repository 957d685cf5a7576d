"""Is a dataset folder whole? Recognises the layout, counts, decodes, and reprojects the 3D joints on the 2D ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from msff.data import interhand, realworld, rhd
from msff.data.datasets import says_standin, standin_manifest
from msff.data.files import listing
from msff.data.images import decode_image, decode_sample
from msff.data.journal import Journal
from msff.data.sample import DataError, HandSample, LazySamples
from msff.data.verify_checks import (
    SHOWN,
    compare_files,
    decode_all,
    first,
    reprojection_error_px,
    share_inside,
    share_on_mask,
)
from msff.data.verify_report import LAYOUT_NAMES, SplitReport, VerifyReport

__all__ = ["SplitReport", "VerifyReport", "recognise", "reprojection_error_px", "verify"]

SAMPLE_SIZE = 64  # images decoded per split unless all are asked for
GEOMETRY_SIZE = 2048  # samples of a large split whose joints are projected unless all are asked for
REPROJECTION_LIMIT_PX = 1.0  # RHD stores float32 metres and pixels: the honest error is below 0.01 px
INSIDE_SHARE = 0.5  # InterHand2.6M gives no 2D: at least this share of the valid joints must lie in their image
MASK_REACH = 10 / 320  # of the width: a visible joint of RHD has a pixel of its hand this near ...
MASK_SHARE = 0.5  # ... in at least this share of the cases


def verify(path: Path | str, full: bool = False, progress: bool = False) -> VerifyReport:
    """Check the dataset folder ``path``; ``full`` decodes every image instead of 64 per split, and if interrupted goes
    on from there. Raises DataError only if there is no dataset to check."""
    root = Path(path)
    layout = recognise(root)
    manifest = standin_manifest(root)
    splits = _splits_present(root, layout)
    with _journal(root, full) as journal:
        checks = [_Check(root, layout, split, manifest is not None, full, progress, journal) for split in splits]
        reports = tuple(check.run() for check in checks)
    problems = () if splits else ("no split has annotations; the download or the unpacking was cut short",)
    rendered = any(check.rendered for check in checks)
    if manifest is not None and manifest.get("dataset") not in (None, f"standin-{layout}"):
        problems += (f"standin.json names {manifest['dataset']!r}, but this is the {LAYOUT_NAMES[layout]} layout",)
    if manifest is None and rendered:
        problems += ("the annotations say that they were rendered, but standin.json is gone: render it again",)
    kind = "real" if manifest is None and not rendered else "stand-in"
    return VerifyReport(root, layout, kind, _version(root, layout, splits, manifest), reports, problems)


@contextmanager
def _journal(root: Path, full: bool) -> Iterator[Journal | None]:
    if not full:
        yield None
        return
    with Journal(root, "verify") as journal:
        yield journal


def recognise(root: Path) -> str:
    """Layout of a folder, "rhd", "interhand" or "realworld", or a DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: expected a dataset folder, found {'a file' if root.exists() else 'nothing'}")
    if (root / "annotations").is_dir():
        return "interhand"
    if any((rhd.rhd_root(root) / split).is_dir() for split in rhd.SPLITS):
        return "rhd"
    if (root / "params.mat").exists() or (root / "pose_gt.mat").exists():
        return "realworld"
    found = ", ".join(sorted(listing(root))[:SHOWN]) or "nothing"
    raise DataError(
        f"{root}: not a dataset that msff knows; expected training/ and evaluation/ (RHD), annotations/ and images/ "
        f"(InterHand2.6M) or params.mat and pose_gt.mat (real-world test set), found {found}. Give the folder that "
        "holds them"
    )


def _splits_present(root: Path, layout: str) -> list[str]:
    if layout == "realworld":
        return list(realworld.SPLITS)
    if layout == "rhd":
        return [s for s in rhd.SPLITS if (rhd.rhd_root(root) / s).is_dir()]
    return [s for s in interhand.SPLITS if interhand.subsets_present(root, s)]


def _version(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> str:
    if manifest is not None:
        return f"generator version {manifest.get('generator_version', 'unknown')}"
    if layout != "interhand":
        return {"rhd": "v1.1", "realworld": "2019"}[layout] if splits else "unknown version"
    if not splits:
        return "unknown version"
    return interhand.annotation_folder(root, splits[0], interhand.subsets_present(root, splits[0])[0])[1]


@dataclass
class _Check:
    """The check of one split; collects problems and notes on the way."""

    root: Path
    layout: str
    split: str
    marked: bool  # standin.json is there
    full: bool
    progress: bool
    journal: Journal | None
    rendered: bool = False  # the annotations themselves say so
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> SplitReport:
        samples, annotated = self._read()
        chosen = samples if self.full else [samples[i] for i in _spread(len(samples), SAMPLE_SIZE)]
        jobs = [(s.image_path, partial(decode_sample, s)) for s in chosen if s.image_path.exists()]
        jobs += self._extra_jobs(chosen)
        self.problems += decode_all(jobs, f"{self.split}: decoding", self.progress, self.journal)
        reprojection_px = self._geometry(samples) if len(samples) else None
        self._count(samples, annotated)
        return SplitReport(
            self.split, annotated, len(samples), _hand_types(samples), len(chosen), reprojection_px,
            tuple(self.problems), tuple(self.notes),
        )  # fmt: skip

    def _read(self) -> tuple[Sequence[HandSample], int]:
        """The samples, none if they cannot be read, and the number of images that the annotations name."""
        samples: Sequence[HandSample] = []
        annotated = 0
        try:
            if self.layout == "rhd":
                names = {f"{i:05d}.png" for i in rhd.read_annotations(self.root, self.split)}
                annotated = len(names)
                self._compare({rhd.rhd_root(self.root) / self.split / kind: names for kind in ("color", "mask")})
                samples = rhd.read_rhd(self.root, self.split)
            elif self.layout == "realworld":
                samples = realworld.read_realworld(self.root)
                annotated = len(samples)
                self._compare({self.root / "images": {s.image_path.name for s in samples}})
            else:
                subset = interhand.subsets_present(self.root, self.split)[0]
                # files are compared below; an index made without looking for them must not be kept for readers
                config = interhand.InterHandConfig(subset=subset, check_files=False, keep_from=sys.maxsize)
                samples = interhand.read_interhand(self.root, self.split, config)
                names = {*samples.file_names()}
                annotated = len(names)
                self.rendered = says_standin(samples)
                self._compare({self.root / "images" / self.split: names})
        except DataError as error:
            listed = any("missing" in p for p in self.problems)  # the same files
            self.problems += [] if listed else [str(error)]
        return samples, annotated

    def _compare(self, expected: dict[Path, set[str]]) -> None:
        for folder, names in expected.items():
            problems, notes = compare_files(folder, names)
            self.problems += problems
            self.notes += notes

    def _extra_jobs(self, chosen: Sequence[HandSample]) -> list[tuple[Path, Callable]]:
        """RHD's depth images, which no reader needs but a whole copy has."""
        if self.layout != "rhd":
            return []
        folder = rhd.rhd_root(self.root) / self.split / "depth"
        paths = [folder / s.image_path.name for s in chosen]
        there = [p for p in paths if p.exists()]
        if len(there) < len(paths):
            self.notes.append(f"{folder}: {len(paths) - len(there):,} of {len(paths):,} depth images are missing")
        return [(path, partial(rhd.read_depth_mm, path)) for path in there]

    def _geometry(self, samples: Sequence[HandSample]) -> float | None:
        """Do the joints fit their pixels? The largest reprojection error where 2D joints are annotated."""
        if not self.full and len(samples) > GEOMETRY_SIZE and self.layout == "interhand":
            samples = [samples[i] for i in _spread(len(samples), GEOMETRY_SIZE)]
        if self.layout != "rhd":
            if (share := share_inside(samples)) < INSIDE_SHARE:
                self.problems.append(f"only {share:.0%} of the valid 3D joints project into their image; wrong cameras")
            return None
        errors = [reprojection_error_px(s) for s in samples]
        if not max(errors) <= REPROJECTION_LIMIT_PX:
            self.problems.append(f"3D joints project up to {max(errors):.1f} px away from the annotated 2D joints")
        seen = [samples[i] for i in _spread(len(samples), SAMPLE_SIZE)]
        masks = [decode_image(s.image_path.parent.parent / "mask" / s.image_path.name, mode=None) for s in seen]
        share = share_on_mask(seen, masks, MASK_REACH * samples[0].image_size[0])
        if share < MASK_SHARE:
            text = f"only {share:.0%} of the visible joints lie on their hand in the mask; images of another split"
            self.problems.append(f"{text} or version: unpack images and annotations from one archive")
        return max(errors)

    def _count(self, samples: Sequence[HandSample], annotated: int) -> None:
        """Compare with the published sizes, and report the samples that need a special rule."""
        if not self.marked and not self.rendered:
            self._compare_published(samples, annotated)
        if self.layout == "interhand":
            return
        if self.layout == "realworld":
            own = [s for s in samples if not realworld.bends_like_left(s.joints_cam_mm[s.hand_slices[0]])]
            if own:
                listed = first([s.sample_id for s in own])
                self.notes.append(f"{len(own):,} hands bend like right ones, yet all are taken for left: {listed}")
            return
        unseen = [s.sample_id for s in samples if s.meta.get("no_visible_joint")]
        if unseen:
            text = f"{len(unseen):,} samples whose chosen hand has no visible joint are kept"
            self.notes.append(f"{text}: {first(unseen)}")
        unboxed = [s.sample_id for s in samples if s.meta.get("fallback_box")]
        if unboxed:
            text = f"{len(unboxed):,} samples show nothing of the chosen hand, their box is a guess"
            self.notes.append(f"{text}: {first(unboxed)}")
        if samples and len(samples) < annotated:
            self.notes.append(f"{annotated - len(samples):,} samples left out: their chosen hand has no visible joint")

    def _compare_published(self, samples: Sequence[HandSample], annotated: int) -> None:
        if self.layout == "interhand":
            if not isinstance(samples, interhand.InterHandSamples):
                return  # could not be read
            version, step = samples.version, samples.frame_step()
            sizes = interhand.PUBLISHED_COUNTS[version, self.split]
            if step is not None:
                self.notes.append(f"frame numbers mostly lie {step} apart (30 frames per second: a sixth of 5's step)")
            same = [subset for subset, count in sizes.items() if count == annotated]
            published = annotated if same else sizes["H+M"]
            if same:
                self.notes.append(f"as many images as {version} has at 5 frames per second in {self.split} {same[-1]}")
        else:
            published = rhd.PUBLISHED_COUNTS[self.split] if self.layout == "rhd" else realworld.PUBLISHED_COUNT
        if annotated != published:
            text = f"{annotated:,} images annotated, the published {self.split} split has {published:,}"
            # InterHand2.6M circulates in versions, frame rates and subsets, the photos in parts, RHD v1.1 in one piece
            (self.problems if self.layout == "rhd" else self.notes).append(text)


def _hand_types(samples: Sequence[HandSample]) -> dict[str, int]:
    if isinstance(samples, LazySamples):
        return samples.count_hand_types()
    return {t: n for t in ("right", "left", "interacting") if (n := sum(s.hand_type == t for s in samples))}


def _spread(count: int, limit: int | None = None) -> list[int]:
    """Up to ``limit`` evenly spread positions, first and last included."""
    limit = SAMPLE_SIZE if limit is None else limit
    return sorted(set(np.linspace(0, count - 1, min(count, limit)).round().astype(int).tolist())) if count else []
