"""InterHand2.6M's subsets by list of annotation ids, and what to say when its images do not fit its annotations.

v1.0 publishes H+M together; text files of annotation ids, one per line, tell the rest: aid_human_annot_train.txt and
aid_human_annot_test.txt (named as in the author's later InterWild code; aid_machine_annot_<split>.txt by analogy).
Of the test split H and M are disjoint (121,573 + 727,587 = 849,160), of train they share 76,457 frames, and all of val
is M.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msff.data.reading import again, listing, missing_files
from msff.data.sample import DataError

if TYPE_CHECKING:
    from msff.data.interhand import InterHandSamples

KINDS = {"H": "human", "M": "machine"}
PROBED = 50  # missing images that are looked for elsewhere


def select(samples: InterHandSamples, root: Path, split: str, subset: str, id_list: Path | None) -> InterHandSamples:
    """The samples of a v1.0 split that belong to ``subset``; DataError if that cannot be told or leaves none."""
    if subset == "H+M" or (subset == "M" and split == "val"):
        return samples
    if subset == "H" and split == "val":
        raise DataError(f"{root}: subset H of val was asked for, but all of val is annotated by machine; use another")
    path = _find(root, split, subset) if id_list is None else Path(id_list)
    if path is None and subset == "M" and split == "test" and (human := _find(root, split, "H")) is not None:
        wanted = np.setdiff1d(samples.annotation_ids(), read_ids(human))
        path = human
    elif path is None:
        raise DataError(
            f"{root / 'annotations' / split / list_name(split, subset)}: expected the ids of subset {subset}, found "
            "nothing. Put the list from the data set's home page there, or name it with id_list"
        )
    else:
        wanted = read_ids(path)
    chosen = samples.only(wanted, subset)
    if not len(chosen):
        raise DataError(f"{path}: none of its ids is an annotation of {split}; take the list of that split and of v1.0")
    return chosen


def list_name(split: str, subset: str) -> str:
    return f"aid_{KINDS[subset]}_annot_{split}.txt"


def _find(root: Path, split: str, subset: str) -> Path | None:
    name = list_name(split, subset)
    places = (root / "annotations" / split / name, root / "annotations" / name, root / name)
    return next((path for path in places if path.is_file()), None)


def read_ids(path: Path) -> np.ndarray:
    """(N,) int64 annotation ids from a text file, one per line."""
    try:
        ids = np.array([int(line) for line in path.read_text(encoding="ascii").split()], dtype=np.int64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected one annotation id per line ({error}); fetch the list again") from error
    if not len(ids):
        raise DataError(f"{path}: holds no id; fetch the list again")
    return ids


def explain_missing(root: Path, split: str, version: str, names: Sequence[str]) -> str:
    """What to do about missing images of ``names`` (relative to images/<split>/): another split, version, or a cut."""
    folder = root / "images" / split
    missing = missing_files(folder, names)[:PROBED]
    for other in {"train", "val", "test"} - {split}:
        if missing and all((root / "images" / other / name).exists() for name in missing):
            return f"they lie in images/{other}/: the images of {other} and {split} were exchanged"
    annotated = {*names}
    for name in missing:
        where = folder / Path(name).parent
        strange = [f for f in listing(where) if f"{Path(name).parent.as_posix()}/{f}" not in annotated]
        if strange:
            return (
                f"their folder holds other images, as {sorted(strange)[0]}: images/ is of another version, frame rate "
                f"or split than the annotations ({version}); take both from one release"
            )
    return again(folder)
