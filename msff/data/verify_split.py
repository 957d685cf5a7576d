"""The checks of one split for ``msff data verify``: files, pixels, geometry, published and stated counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from msff.camera import project
from msff.data import interhand, realworld, rhd
from msff.data.datasets import DATASETS
from msff.data.images import WORKERS, decode_image, decode_sample
from msff.data.loading import check_distinct, states_rendering
from msff.data.masks import mask_path
from msff.data.reading import FETCH, STANDIN_MANIFEST, again, compare_files, sentence
from msff.data.sample import DataError, HandSample, count_hand_types
from msff.files import digest_of, listing_digest
from msff.skeleton import MASK_OF_SIDE, WRIST

SAMPLE_SIZE = 64  # images decoded per split unless all are
GEOMETRY_SIZE = 2048  # samples of a large split whose joints are projected unless all are
REPROJECTION_LIMIT_PX = 1.0  # RHD stores float32 metres and pixels: the rounding error is below 0.01 px
INSIDE_SHARE = 0.5  # InterHand2.6M gives no 2D: at least this share of the valid joints must lie in their image
MASK_REACH = 10 / 320  # of the width: a visible joint of RHD has a pixel of its hand this near ...
MASK_SHARE = 0.5  # ... in at least this share of the cases
REACH_MM = (40.0, 300.0)  # from the wrist to the farthest joint, median over hands; of a stretched hand 190 mm
DEPTH_MM = (100.0, 5000.0)  # of the median wrist
NAMED = 5  # names listed per message
IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split."""

    split: str
    annotated: int | None  # images that the annotations name; None if they cannot be read
    usable: int  # samples that the reader returns
    hand_types: dict[str, int]
    decoded: int
    reprojection_px: float | None  # largest distance of projected to annotated 2D; None if there is none
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class SplitCheck:
    """The check of one split; collects problems and notes."""

    root: Path
    layout: str
    split: str
    manifest: dict | None  # standin.json, if there is one
    full: bool
    progress: bool
    rendered: bool = False  # the annotations themselves state it
    images: list[Path] = field(default_factory=list)  # every file that the annotations name
    missing: set[Path] = field(default_factory=set)  # those of them that are not on disk
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> SplitReport:
        """Read the split, decode images and check what was read."""
        reader = {"rhd": self._read_rhd, "realworld": self._read_realworld, "interhand": self._read_interhand}
        samples, annotated = [], None
        try:
            samples, annotated = reader[self.layout]()
            check_distinct(self.root, self.split, samples)
        except DataError as error:
            self.problems.append(str(error))
        chosen = samples if self.full else spread(samples, SAMPLE_SIZE)
        self._decode(chosen)
        reprojection_px = self._check_geometry(samples) if len(samples) else None
        if self.manifest is not None:
            self._compare_manifest(annotated)
        if len(chosen) < len(samples):
            self.notes.append(f"only {len(chosen):,} of {len(samples):,} images were decoded; --full decodes them all")
        found = annotated, len(samples), count_hand_types(samples), len(chosen), reprojection_px
        return SplitReport(self.split, *found, tuple(self.problems), tuple(self.notes))

    # Readers: the samples and the number of annotated images.

    def _read_rhd(self) -> tuple[Sequence[HandSample], int]:
        records = rhd.read_annotations(self.root, self.split)
        folder, names = rhd.rhd_root(self.root) / self.split, {f"{i:05d}.png" for i in records}
        absent = self._compare_files(folder / "color", names) | self._compare_files(folder / "mask", names)
        self._compare_files(folder / "depth", names, needed=self.manifest is not None)  # no reader needs it
        there = {i: record for i, record in records.items() if f"{i:05d}.png" not in absent}
        samples, errors = rhd.read_each(self.root, self.split, there)
        self.problems += [str(error) for error in errors]
        self._compare_published(len(names), rhd.PUBLISHED_COUNTS[self.split], self.problems)  # v1.1 has one version
        left_out = len(there) - len(errors) - len(samples)
        if left_out and not samples:
            self.problems.append(f"{folder}: no sample left whose hand is visible; expected at least one")
        elif left_out:
            self.notes.append(f"{left_out:,} samples left out: their chosen hand has no visible joint")
        for key, text in (
            ("no_visible_joint", "samples whose chosen hand has no visible joint are kept"),
            ("fallback_box", "samples show nothing of the chosen hand, their box is a guess"),
        ):
            self._note([s.sample_id for s in samples if s.meta[key]], text)
        return samples, len(names)

    def _read_realworld(self) -> tuple[Sequence[HandSample], int]:
        samples = realworld.read_realworld(self.root)
        self._compare_files(self.root / "images", {s.image_path.name for s in samples})
        self._compare_published(len(samples), realworld.PUBLISHED_COUNT, self.notes)
        bent = [s.sample_id for s in samples if not realworld.bends_like_left(s.joints_cam_mm[s.hand_slices[0]])]
        self._note(bent, "hands bend like right ones, yet all are taken for left")
        return samples, len(samples)

    def _read_interhand(self) -> tuple[Sequence[HandSample], int]:
        subset = interhand.subsets_present(self.root, self.split)[0]
        samples = interhand.read_interhand(self.root, self.split, subset, check_files=False)  # they are compared here
        names = {*samples.file_names()}
        self._compare_files(interhand.part_folder(self.root, "images") / self.split, names)
        self.rendered = states_rendering(samples)
        if self.manifest is None and not self.rendered:
            sizes = interhand.PUBLISHED_COUNTS.items()  # the folders alone prove no version
            same = [(v, subset) for (v, split), counts in sizes if split == self.split
                    for subset, count in counts.items() if count == len(names)]  # fmt: skip
            if same:
                version, subset = same[-1]
                self.notes.append(f"as many images as {version} has at 5 frames per second in {self.split} {subset}")
            else:  # it is published in versions, frame rates and subsets
                published = interhand.PUBLISHED_COUNTS[samples.version, self.split]["H+M"]
                self._compare_published(len(names), published, self.notes)
        return samples, len(names)

    # Files

    def _compare_files(self, folder: Path, names: set[str], needed: bool = True) -> set[str]:
        """Report missing files, as a note if they are not ``needed``, and note surplus ones, which readers ignore.

        Returns the missing names.
        """
        try:
            missing, surplus = compare_files(folder, names)
        except DataError as error:
            missing, surplus = names, []
            self.problems.append(str(error))
        else:
            if missing:
                text = f"{len(missing):,} of {len(names):,} images missing: {first(sorted(missing))}"
                remedy = again(folder, "unpack the archive again")
                (self.problems if needed else self.notes).append(f"{folder}: {text}; {remedy}")
        surplus = [name for name in surplus if name.lower().endswith(IMAGES)]
        self._note(sorted(surplus), "surplus images without annotation", f"{folder}: ")
        if self.manifest is not None:
            self.images += [folder / name for name in names]
        self.missing |= {folder / name for name in missing}
        return {*missing}

    def _decode(self, samples: Sequence[HandSample]) -> None:
        """Decode images and, in RHD, depth images, which no reader needs but a complete copy has."""
        bar = tqdm(total=len(samples), desc=f"{self.split}: decoding", disable=not self.progress, unit="image")
        with bar, ThreadPoolExecutor(WORKERS) as pool:
            for at in range(0, len(samples), 1024):  # in pieces: an interruption must not wait for a million images
                piece = samples[at : at + 1024]
                jobs = [(s.image_path, partial(decode_sample, s)) for s in piece]
                if self.layout == "rhd":
                    paths = [s.image_path.parents[1] / "depth" / s.image_path.name for s in piece]
                    jobs += [(path, partial(rhd.read_depth_mm, path)) for path in paths]
                done = [pool.submit(decode) for path, decode in jobs if path not in self.missing]
                for job in done:
                    try:
                        job.result()
                    except DataError as error:
                        self.problems.append(str(error))
                bar.update(len(piece))

    def _compare_manifest(self, annotated: int | None) -> None:
        """Compare counts and annotation files with standin.json; if ``full``, every image."""
        home = rhd.rhd_root(self.root)  # RHD's archive brings a folder of its own
        if self.layout == "rhd":
            files = [home / self.split / f"anno_{self.split}.pickle"]
        else:
            files = [*interhand.annotation_files(self.root / "annotations" / self.split, self.split).values()]
        spec = DATASETS.get(f"standin-{self.layout}")
        part = next((p for p, s in spec.splits.items() if s == self.split), None) if spec else None
        if annotated and self.manifest.get(part, annotated) != annotated:
            text = f"standin.json says {self.manifest[part]!r} for {self.split}"
            self.problems.append(f"{annotated:,} images annotated, but {text}")
        for path in files:
            name = path.relative_to(home).as_posix()
            stated = self._stated("sha256", name, name)
            if stated and (found := _digest(path)) != stated:
                changed = "changed or damaged since it was rendered (SHA-256 differs)"
                text = "missing, though standin.json lists it" if found == "missing" else changed
                self.problems.append(f"{path}: {text}; {again(path)}")
        stated = self._stated("images_sha256", self.split, f"the images of {self.split}") if self.full else None
        if stated:
            names = [path.relative_to(home).as_posix() for path in self.images]
            with ThreadPoolExecutor(WORKERS) as pool:
                found = listing_digest(zip(names, pool.map(_digest, self.images), strict=True))
            if found != stated:
                text = f"images of {self.split} changed since they were rendered (their SHA-256 differs)"
                self.problems.append(f"{home}: {text}; {again(home / STANDIN_MANIFEST)}")

    def _stated(self, field: str, key: str, what: str) -> str | None:
        digests = self.manifest.get(field)
        stated = digests.get(key) if isinstance(digests, dict) else None
        if stated is None:
            self.notes.append(f"standin.json holds no SHA-256 of {what}: not compared")
        return stated

    # Geometry and counts

    def _check_geometry(self, samples: Sequence[HandSample]) -> float | None:
        """Do the joints fit their pixels? Returns the largest reprojection error where 2D joints are annotated."""
        if not self.full and self.layout == "interhand":
            samples = spread(samples, GEOMETRY_SIZE)
        self._check_sizes(samples)
        if self.layout != "rhd":
            if (share := share_inside(samples)) < INSIDE_SHARE:
                self.problems.append(f"only {share:.0%} of the valid 3D joints project into their image; wrong cameras")
            return None
        largest_px = max(reprojection_error_px(s) for s in samples)
        if not largest_px <= REPROJECTION_LIMIT_PX:
            self.problems.append(f"3D joints project up to {largest_px:.1f} px away from the annotated 2D joints")
        share = share_on_mask(spread(samples, SAMPLE_SIZE))
        if share < MASK_SHARE:  # splits share their file names: only the masks tell their images apart
            text = f"only {share:.0%} of the visible joints lie on their hand in the mask; images of another split"
            remedy = again(self.root / STANDIN_MANIFEST, "unpack images and annotations from one archive")
            self.problems.append(f"{text} or version: {remedy}")
        return largest_px if largest_px < np.inf else None

    def _check_sizes(self, samples: Sequence[HandSample]) -> None:
        """Check that hands and distances are of human size, which shows lengths in another unit."""
        hands = ((s, own) for s in samples for own in s.hand_slices)
        whole = [(s.sample_id, s.joints_cam_mm[own]) for s, own in hands if s.joint_valid[own].all()]
        if not whole:
            return
        ids, hands_mm = [name for name, _ in whole], np.stack([hand_mm for _, hand_mm in whole])  # (M, 21, 3)
        reach_mm = np.linalg.norm(hands_mm - hands_mm[:, [WRIST]], axis=-1).max(1)
        measures = ("hand's reach", reach_mm, REACH_MM), ("wrist's depth", hands_mm[:, WRIST, 2], DEPTH_MM)
        wrong = [
            f"the median {what} is {np.median(found):.3g} mm, expected {low:g} to {high:g} mm; are the lengths in "
            f"another unit? {sentence(again(self.root / STANDIN_MANIFEST, FETCH))}"
            for what, found, (low, high) in measures
            if not low <= np.median(found) <= high
        ]
        self.problems += wrong
        if not wrong:
            strange = np.flatnonzero((reach_mm < REACH_MM[0] / 2) | (reach_mm > 2 * REACH_MM[1]))
            self._note([ids[i] for i in strange], "hands are of impossible size")

    def _compare_published(self, annotated: int, published: int, messages: list[str]) -> None:
        if self.manifest is None and not self.rendered and annotated != published:
            messages.append(f"{annotated:,} images annotated, the published {self.split} split has {published:,}")

    def _note(self, ids: Sequence[str], text: str, where: str = "") -> None:
        if ids:
            self.notes.append(f"{where}{len(ids):,} {text}: {first(ids)}")


def first(names: Sequence[str]) -> str:
    """Return the first few names, for a message."""
    return ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")


def spread(samples: Sequence, limit: int) -> Sequence:
    """Return up to ``limit`` evenly spread samples, first and last included."""
    if len(samples) <= limit:
        return samples
    return [samples[i] for i in np.linspace(0, len(samples) - 1, limit).round().astype(int).tolist()]


def reprojection_error_px(sample: HandSample) -> float:
    """Return the largest distance between projected 3D joints and 2D joints over the valid joints."""
    valid = sample.joint_valid
    cam_mm, k = torch.from_numpy(sample.joints_cam_mm[valid].copy()), torch.from_numpy(sample.intrinsics.copy())
    distance = np.linalg.norm(project(cam_mm, k).numpy() - sample.joints_image_px[valid], axis=-1)
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))


def share_inside(samples: Iterable[HandSample]) -> float:
    """Return the share of valid joints that project into their image; 1 if no joint is valid."""
    inside = [
        ((s.joints_image_px >= -0.5) & (s.joints_image_px <= np.array(s.image_size) - 0.5)).all(-1)[s.joint_valid]
        for s in samples
    ]
    return float(np.concatenate(inside).mean()) if any(map(len, inside)) else 1.0


def share_on_mask(samples: Sequence[HandSample]) -> float:
    """Share of the visible joints of RHD samples that have a pixel of their hand nearby; 1 if none is visible."""
    near = []
    for sample in samples:
        mask = decode_image(mask_path(sample), mode=None)
        labels, reach_px = MASK_OF_SIDE[sample.hand_type], MASK_REACH * mask.shape[1]
        rows, columns = np.nonzero((mask >= labels.start) & (mask < labels.stop))
        pixels = np.stack([columns, rows], -1)  # (P, 2)
        joints = sample.joints_image_px[sample.joint_visible]  # (V, 2)
        near += [(np.abs(pixels - joint).max(-1) <= reach_px).any() for joint in joints]
    return float(np.mean(near)) if near else 1.0


def _digest(path: Path) -> str:
    try:
        return digest_of(path) or "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"  # unlike any digest; the reader reports more
