"""The check of one split, for ``msff data verify``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from msff.data import interhand, realworld, rhd
from msff.data.datasets import check_distinct, says_standin
from msff.data.files import FETCH, STANDIN_MANIFEST, again
from msff.data.images import decode_image, decode_sample
from msff.data.journal import Journal
from msff.data.sample import DataError, HandSample, LazySamples
from msff.data.verify_checks import (
    compare_files,
    decode_all,
    first,
    is_absent,
    reprojection_error_px,
    share_inside,
    share_on_mask,
    size_problems,
)
from msff.data.verify_report import SplitReport
from msff.data.verify_standin import count_problem, file_problems, image_problems

SAMPLE_SIZE = 64  # images decoded per split unless all are asked for
GEOMETRY_SIZE = 2048  # samples of a large split whose joints are projected unless all are asked for
REPROJECTION_LIMIT_PX = 1.0  # RHD stores float32 metres and pixels: the honest error is below 0.01 px
INSIDE_SHARE = 0.5  # InterHand2.6M gives no 2D: at least this share of the valid joints must lie in their image
MASK_REACH = 10 / 320  # of the width: a visible joint of RHD has a pixel of its hand this near ...
MASK_SHARE = 0.5  # ... in at least this share of the cases


@dataclass
class SplitCheck:
    """The check of one split; collects problems and notes on the way."""

    root: Path
    layout: str
    split: str
    manifest: dict | None  # standin.json, if it is there
    full: bool
    progress: bool
    journal: Journal | None
    rendered: bool = False  # the annotations themselves say so
    left_out: int = 0  # samples that the reader leaves out by rule
    images: list[Path] = field(default_factory=list)  # that the annotations name
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> SplitReport:
        samples, annotated = self._read()
        chosen = samples if self.full else [samples[i] for i in _spread(len(samples), SAMPLE_SIZE)]
        jobs = [(s.image_path, partial(decode_sample, s)) for s in chosen if not is_absent(s.image_path)]
        jobs += self._depth_jobs(chosen)
        self.problems += decode_all(jobs, f"{self.split}: decoding", self.progress, self.journal)
        reprojection_px = self._geometry(samples) if len(samples) else None
        self._count(samples, annotated)
        if self.manifest is not None:
            self._compare_manifest(annotated)
        if len(chosen) < len(samples):
            self.notes.append(f"only {len(chosen):,} of {len(samples):,} images were decoded; --full decodes them all")
        return SplitReport(
            self.split, annotated, len(samples), _hand_types(samples), len(chosen), reprojection_px,
            tuple(self.problems), tuple(self.notes),
        )  # fmt: skip

    def _read(self) -> tuple[Sequence[HandSample], int]:
        """The samples, none if they cannot be read, and the number of images that the annotations name."""
        reader = {"rhd": self._read_rhd, "realworld": self._read_realworld, "interhand": self._read_interhand}
        try:
            samples, annotated = reader[self.layout]()
        except DataError as error:
            self.problems.append(str(error))
            return [], 0
        try:
            check_distinct(self.root, self.split, samples)
        except DataError as error:
            self.problems.append(str(error))
        return samples, annotated

    def _read_rhd(self) -> tuple[Sequence[HandSample], int]:
        records = rhd.read_annotations(self.root, self.split)
        folder, names = rhd.rhd_root(self.root) / self.split, {f"{i:05d}.png" for i in records}
        missing = self._compare(folder / "color", names) | self._compare(folder / "mask", names)
        self._compare(folder / "depth", names, needed=self.manifest is not None)  # no reader needs it
        if self.manifest is not None:
            self.images = [folder / kind / name for kind in ("color", "mask", "depth") for name in names]
        there = {i: record for i, record in records.items() if f"{i:05d}.png" not in missing}
        samples, errors = rhd.read_each(self.root, self.split, there)
        self.problems += [str(error) for error in errors]
        self.left_out = len(there) - len(errors) - len(samples)
        if not samples and self.left_out:
            self.problems.append(f"{folder}: no sample left whose hand is visible; expected at least one")
        return samples, len(names)

    def _read_realworld(self) -> tuple[Sequence[HandSample], int]:
        samples = realworld.read_realworld(self.root)
        self._compare(self.root / "images", {s.image_path.name for s in samples})
        return samples, len(samples)

    def _read_interhand(self) -> tuple[Sequence[HandSample], int]:
        subset = interhand.subsets_present(self.root, self.split)[0]
        # files are compared here; an index made without looking for them must not be kept for readers
        config = interhand.InterHandConfig(subset=subset, check_files=False, keep_from=sys.maxsize)
        samples = interhand.read_interhand(self.root, self.split, config)
        folder, names = self.root / "images" / self.split, {*samples.file_names()}
        self.rendered = says_standin(samples)
        self._compare(folder, names)
        self.images = [folder / name for name in names] if self.manifest is not None else []
        return samples, len(names)

    def _compare(self, folder: Path, names: set[str], needed: bool = True) -> set[str]:
        """The names that are missing; a note suffices if they are not ``needed``."""
        problems, notes, missing = compare_files(folder, names)
        (self.problems if needed else self.notes).extend(problems)
        self.notes += notes
        return missing

    def _compare_manifest(self, annotated: int) -> None:
        """Is it what was rendered? Only --full reads all images for it."""
        home = rhd.rhd_root(self.root)  # the same folder, except where RHD's archive brings its own
        if self.layout == "rhd":
            files = [home / self.split / f"anno_{self.split}.pickle"]
        else:
            files = [*interhand.annotation_files(self.root / "annotations" / self.split, self.split).values()]
        self.problems += count_problem(self.layout, self.split, self.manifest, annotated)
        checks = [file_problems(home, self.manifest, files)]
        checks += [image_problems(home, self.split, self.manifest, self.images)] if self.full else []
        for problems, notes in checks:
            self.problems += problems
            self.notes += notes

    def _depth_jobs(self, chosen: Sequence[HandSample]) -> list[tuple[Path, Callable]]:
        """RHD's depth images, which no reader needs but a whole copy has."""
        if self.layout != "rhd":
            return []
        folder = rhd.rhd_root(self.root) / self.split / "depth"
        paths = [folder / s.image_path.name for s in chosen]
        return [(path, partial(rhd.read_depth_mm, path)) for path in paths if not is_absent(path)]

    def _geometry(self, samples: Sequence[HandSample]) -> float | None:
        """Do the joints fit their pixels? The largest reprojection error where 2D joints are annotated."""
        if not self.full and len(samples) > GEOMETRY_SIZE and self.layout == "interhand":
            samples = [samples[i] for i in _spread(len(samples), GEOMETRY_SIZE)]
        problems, notes = size_problems(samples, again(self.root / STANDIN_MANIFEST, FETCH))
        self.problems += problems
        self.notes += notes
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
            remedy = again(self.root / STANDIN_MANIFEST, "unpack images and annotations from one archive")
            self.problems.append(f"{text} or version: {remedy}")
        return max(errors)

    def _count(self, samples: Sequence[HandSample], annotated: int) -> None:
        """Compare with the published sizes, and report the samples that need a special rule."""
        if self.manifest is None and not self.rendered:
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
        if samples and self.left_out:
            self.notes.append(f"{self.left_out:,} samples left out: their chosen hand has no visible joint")

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
