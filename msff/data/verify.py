"""Is a dataset folder complete and undamaged? Recognises its layout and checks every split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from msff.data import interhand, realworld, rhd
from msff.data.datasets import DATASETS
from msff.data.loading import check_identity, standin_manifest
from msff.data.reading import STANDIN_MANIFEST, again, check, kind_of, listing
from msff.data.sample import DataError
from msff.data.verify_split import NAMED, SplitCheck, SplitReport

LISTED = 20  # problems of a split that the text shows
LAYOUT_NAMES = {"rhd": "RHD v1.1", "interhand": "InterHand2.6M", "realworld": "real-world test set"}


@dataclass(frozen=True)
class VerifyReport:
    """The result of ``verify``; ``str`` formats it for the terminal."""

    path: Path
    layout: str  # "rhd", "interhand" or "realworld"
    kind: str  # "stand-in" or "real"
    version: str
    splits: tuple[SplitReport, ...]
    problems: tuple[str, ...]  # of the folder as a whole

    @property
    def ok(self) -> bool:
        return not self._count()

    def _count(self) -> int:
        return len(self.problems) + sum(len(s.problems) for s in self.splits)

    def __str__(self) -> str:
        lines = [f"{self.path}: {LAYOUT_NAMES[self.layout]} layout, {self.kind}, {self.version}"]
        for s in self.splits:
            if s.annotated is None:
                lines.append(f"  {s.split}: its annotations cannot be read")
            else:
                types = ", ".join(f"{count:,} {name}" for name, count in s.hand_types.items()) or "none"
                counts = f"{s.annotated:,} annotated, {s.usable:,} usable ({types}), {s.decoded:,} decoded"
                lines.append(f"  {s.split}: {counts}")
            if s.reprojection_px is not None:
                lines.append(f"    3D on 2D: at most {s.reprojection_px:.3f} px apart")
            lines += [f"    note: {note}" for note in s.notes]
            lines += [f"    PROBLEM: {problem}" for problem in s.problems[:LISTED]]
            if len(s.problems) > LISTED:
                lines.append(f"    PROBLEM: ... and {len(s.problems) - LISTED:,} more; --json lists them all")
        lines += [f"  PROBLEM: {problem}" for problem in self.problems]
        lines.append("  OK" if self.ok else f"  NOT OK: {self._count()} problem(s)")
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """Return the report in JSON's types."""
        return asdict(self) | {"path": str(self.path), "ok": self.ok}


def verify(path: Path | str, full: bool = False, progress: bool = False) -> VerifyReport:
    """Check the dataset folder ``path``; ``full`` decodes every image instead of 64 per split.

    Raises DataError only if there is no dataset to check.
    """
    root = Path(path)
    layout = recognise(root)
    problems: list[str] = []
    manifest: dict | None = {}
    try:
        manifest = standin_manifest(root)
        if manifest is not None:
            check_identity(DATASETS.get(f"standin-{layout}", DATASETS["realworld"]), root)
    except DataError as error:
        problems.append(str(error))
    splits = _splits_present(root, layout)
    checks = [SplitCheck(root, layout, split, manifest, full, progress) for split in splits]
    reports = tuple(check.run() for check in checks)
    problems += _absent_splits(root, layout, splits, manifest)
    rendered = any(check.rendered for check in checks)
    if manifest is None and rendered:
        problems.append("the annotations say that they were rendered, but standin.json is gone: render it again")
    kind = "real" if manifest is None and not rendered else "stand-in"
    return VerifyReport(root, layout, kind, _version(root, layout, splits, manifest), reports, tuple(problems))


def recognise(root: Path) -> str:
    """Return the layout of a folder, "rhd", "interhand" or "realworld"; DataError if it is none of them."""
    if not check(Path.is_dir, root):
        raise DataError(f"{root}: expected a dataset folder, found {kind_of(root)}. Check the path")
    names = listing(root)
    for name in names & {"annotations", "images", rhd.ARCHIVE_ROOT, *rhd.SPLITS}:
        listing(root / name)  # so that a link in a circle is named
    if any(check(Path.is_dir, rhd.rhd_root(root) / split) for split in rhd.SPLITS):
        return "rhd"  # also with an annotations/ that a conversion for another program added
    if check(Path.is_dir, interhand.part_folder(root, "annotations")):
        return "interhand"
    if "params.mat" in names or "pose_gt.mat" in names:
        return "realworld"
    found = ", ".join(sorted(names)[:NAMED]) or "nothing"
    raise DataError(
        f"{root}: not a dataset that msff can read; expected training/ and evaluation/ (RHD), annotations/ and images/ "
        f"(InterHand2.6M) or params.mat and pose_gt.mat (real-world test set), found {found}. Give the folder that "
        "holds them"
    )


def _splits_present(root: Path, layout: str) -> list[str]:
    if layout == "realworld":
        return list(realworld.SPLITS)
    if layout == "rhd":
        return [s for s in rhd.SPLITS if check(Path.is_dir, rhd.rhd_root(root) / s)]
    return [s for s in interhand.SPLITS if interhand.subsets_present(root, s)]


def _absent_splits(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> list[str]:
    """Report missing splits. One split of InterHand2.6M is usable; RHD and a stand-in come in one piece."""
    if not splits:
        return ["no split has annotations; the download or the unpacking was cut short"]
    expected = rhd.SPLITS
    if layout != "rhd":
        standin = DATASETS.get(f"standin-{layout}")
        parts = standin.splits.items() if standin and manifest else ()
        expected = [split for part, split in parts if part in ("train", "test") and part in manifest]
    remedy = again(root / STANDIN_MANIFEST, "unpack the archive again")
    return [f"{root}: the split {split} is missing; {remedy}" for split in expected if split not in splits]


def _version(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> str:
    if manifest is not None:
        return f"generator version {manifest.get('generator_version', 'unknown')}"
    if not splits:
        return "unknown version"
    if layout != "interhand":
        return {"rhd": "v1.1", "realworld": "2019"}[layout]
    _, version = interhand.annotation_folder(root, splits[0], interhand.subsets_present(root, splits[0])[0])
    return f"folders as in {version}"
