"""InterHand2.6M's subsets by list of annotation ids.

v1.0 publishes H+M together; text files of annotation ids, one per line, separate them: aid_human_annot_train.txt and
aid_human_annot_test.txt (named as in the author's later InterWild code; aid_machine_annot_<split>.txt by analogy).
In test H and M are disjoint (121,573 + 727,587 = 849,160), in train they share 76,457 frames, and all of val is M.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from msff.data.reading import readable
from msff.data.sample import DataError

KINDS = {"H": "human", "M": "machine"}


def subset_ids(annotations: Path, split: str, subset: str, ids: np.ndarray) -> np.ndarray | None:
    """Return the annotation ids of ``subset`` among ``ids``, all of a v1.0 split, from the list in or beside
    ``annotations``; None for the whole split. DataError if there is no list or it names none of ``ids``.
    """
    if subset == "H+M" or (subset == "M" and split == "val"):
        return None
    if subset == "H" and split == "val":
        raise DataError(
            f"{annotations}: subset H of val was requested, but all of val is annotated by machine; use another"
        )
    if (path := _find(annotations, split, subset)) is not None:
        chosen = np.intersect1d(ids, read_ids(path))
    elif subset == "M" and split == "test" and (path := _find(annotations, split, "H")) is not None:
        chosen = np.setdiff1d(ids, read_ids(path))
    else:
        raise DataError(
            f"{annotations / split / list_name(split, subset)}: expected the ids of subset {subset}, found "
            "nothing. Put the list from the data set's home page there"
        )
    if not len(chosen):
        raise DataError(f"{path}: none of its ids is an annotation of {split}; take the list of that split and of v1.0")
    return chosen


def list_name(split: str, subset: str) -> str:
    return f"aid_{KINDS[subset]}_annot_{split}.txt"


def _find(annotations: Path, split: str, subset: str) -> Path | None:
    name = list_name(split, subset)
    places = (annotations / split / name, annotations / name, annotations.parent / name)
    return next((path for path in places if path.is_file()), None)


def read_ids(path: Path) -> np.ndarray:
    """Read (N,) int64 annotation ids from a text file, one per line."""
    try:
        with readable(path):
            ids = np.array([int(line) for line in path.read_text(encoding="ascii").split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected one annotation id per line ({error}); fetch the list again") from error
    if not len(ids):
        raise DataError(f"{path}: holds no id; fetch the list again")
    return ids
