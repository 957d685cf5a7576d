"""Is a dataset folder whole? Recognises the layout, counts, decodes, and reprojects the 3D joints on the 2D ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msff.data import interhand, realworld, rhd
from msff.data.datasets import standin_manifest
from msff.data.files import STANDIN_MANIFEST, again, ask, kind_of, listing
from msff.data.journal import Journal
from msff.data.sample import DataError
from msff.data.verify_checks import SHOWN, reprojection_error_px
from msff.data.verify_report import SplitReport, VerifyReport
from msff.data.verify_split import SplitCheck
from msff.data.verify_standin import folder_problems, stated_splits

__all__ = ["SplitReport", "VerifyReport", "recognise", "reprojection_error_px", "verify"]


def verify(path: Path | str, full: bool = False, progress: bool = False) -> VerifyReport:
    """Check the dataset folder ``path``; ``full`` decodes every image instead of 64 per split, and if interrupted goes
    on from there. Raises DataError only if there is no dataset to check."""
    root = Path(path)
    layout = recognise(root)
    problems: list[str] = []
    try:
        manifest = standin_manifest(root)
        if manifest is not None:
            problems += folder_problems(root, layout, manifest)
    except DataError as error:
        manifest = {}
        problems.append(str(error))
    splits = _splits_present(root, layout)
    with _journal(root, full) as journal:
        checks = [SplitCheck(root, layout, split, manifest, full, progress, journal) for split in splits]
        reports = tuple(check.run() for check in checks)
    problems += _absent_splits(root, layout, splits, manifest)
    rendered = any(check.rendered for check in checks)
    if manifest is None and rendered:
        problems.append("the annotations say that they were rendered, but standin.json is gone: render it again")
    kind = "real" if manifest is None and not rendered else "stand-in"
    return VerifyReport(root, layout, kind, _version(root, layout, splits, manifest), reports, tuple(problems))


def _absent_splits(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> list[str]:
    """RHD comes in one piece and a stand-in is rendered in one; of InterHand2.6M one split alone is usable."""
    if not splits:
        return ["no split has annotations; the download or the unpacking was cut short"]
    expected = rhd.SPLITS if layout == "rhd" else stated_splits(layout, manifest or {})
    missing = [split for split in expected if split not in splits]
    remedy = again(root / STANDIN_MANIFEST, "unpack the archive again")
    return [f"{root}: the split {split} is missing; {remedy}" for split in missing]


@contextmanager
def _journal(root: Path, full: bool) -> Iterator[Journal | None]:
    if not full:
        yield None
        return
    with Journal(root, "verify") as journal:
        yield journal


def recognise(root: Path) -> str:
    """Layout of a folder, "rhd", "interhand" or "realworld", or a DataError."""
    if not ask(Path.is_dir, root):
        raise DataError(f"{root}: expected a dataset folder, found {kind_of(root)}. Check the path")
    names = listing(root)
    for name in names & {"annotations", "images", rhd.ARCHIVE_ROOT, *rhd.SPLITS}:
        listing(root / name)  # a link in a circle is no folder, yet should be named
    if ask(Path.is_dir, root / "annotations"):
        return "interhand"
    if any(ask(Path.is_dir, rhd.rhd_root(root) / split) for split in rhd.SPLITS):
        return "rhd"
    if "params.mat" in names or "pose_gt.mat" in names:
        return "realworld"
    found = ", ".join(sorted(names)[:SHOWN]) or "nothing"
    raise DataError(
        f"{root}: not a dataset that msff knows; expected training/ and evaluation/ (RHD), annotations/ and images/ "
        f"(InterHand2.6M) or params.mat and pose_gt.mat (real-world test set), found {found}. Give the folder that "
        "holds them"
    )


def _splits_present(root: Path, layout: str) -> list[str]:
    if layout == "realworld":
        return list(realworld.SPLITS)
    if layout == "rhd":
        return [s for s in rhd.SPLITS if ask(Path.is_dir, rhd.rhd_root(root) / s)]
    return [s for s in interhand.SPLITS if interhand.subsets_present(root, s)]


def _version(root: Path, layout: str, splits: Sequence[str], manifest: dict | None) -> str:
    if manifest is not None:
        return f"generator version {manifest.get('generator_version', 'unknown')}"
    if layout != "interhand":
        return {"rhd": "v1.1", "realworld": "2019"}[layout] if splits else "unknown version"
    if not splits:
        return "unknown version"
    return interhand.annotation_folder(root, splits[0], interhand.subsets_present(root, splits[0])[0])[1]
